#include "recommender/model.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace mmgrec {

// Walks over all weights twice, first to count the memory, then to fill it.
class Model::Builder {
 public:
  Builder(Model& model, const Weights& weights, std::byte* block)
      : model_(model), shape_(model.shape_), weights_(weights), memory_(block), fill_(block) {}

  size_t build() {
    const size_t d = shape_.item_width;
    model_.user_map = linear("user_map", d, d, true);
    model_.input = {};
    if (d != shape_.width) model_.input = linear("encoder.input", d, shape_.width, true);
    gates();
    model_.encoder.clear();
    for (size_t i = 0; i < shape_.encoder_layers; ++i) encoder_layer(i);
    model_.decoder.clear();
    for (size_t i = 0; i < shape_.decoder_layers; ++i) decoder_layer(i);
    head();
    const size_t before = memory_.bytes();
    inputs();
    start();
    model_.table_bytes_ = memory_.bytes() - before;
    return memory_.bytes();
  }

 private:
  using Rows = std::vector<float>;

  PackedLinear pack(const float* weight, const float* bias, size_t in, size_t out) {
    const LinearKernels& kernels = model_.linear();
    std::byte* to = memory_.take<std::byte>(kernels.packed_bytes(in, out));
    if (fill_) kernels.pack(weight, bias, in, out, to);
    return {to, in, out};
  }

  PackedLinear linear(const std::string& name, size_t in, size_t out, bool with_bias) {
    const float* weight = weights_.get(name + ".weight", {out, in});
    return pack(weight, with_bias ? weights_.get(name + ".bias", {out}) : nullptr, in, out);
  }

  // A row of padding zeros behind it.
  const float* vector(const float* from, size_t count) {
    float* to = memory_.take<float>(padded(count));
    if (fill_) {
      std::fill_n(to, padded(count), 0.0f);
      std::copy_n(from, count, to);
    }
    return to;
  }

  Norm norm(const std::string& name) {
    return {vector(weights_.get(name + ".weight", {shape_.width}), shape_.width),
            vector(weights_.get(name + ".bias", {shape_.width}), shape_.width)};
  }

  FeedForward feed_forward(const std::string& layer) {
    const PackedLinear inner =
        linear(layer + "feed_forward.0", shape_.width, shape_.feed_forward, true);
    const PackedLinear outer =
        linear(layer + "feed_forward.2", shape_.feed_forward, shape_.width, true);
    return {inner, outer, norm(layer + "norm_feed_forward")};
  }

  static std::string gate(size_t layer, size_t which, const char* what) {
    return "encoder.layers." + std::to_string(layer) + ".gates.mlps." + std::to_string(which) +
           "." + what;
  }

  void gates() {
    const size_t d = shape_.item_width;
    Rows weight, bias;
    for (size_t i = 0; i < shape_.encoder_layers; ++i) {
      for (size_t which = 0; which < 3; ++which) {
        const float* w = weights_.get(gate(i, which, "0.weight"), {d, d});
        const float* b = weights_.get(gate(i, which, "0.bias"), {d});
        weight.insert(weight.end(), w, w + d * d);
        bias.insert(bias.end(), b, b + d);
      }
    }
    model_.gates = pack(weight.data(), bias.data(), d, bias.size());
  }

  void encoder_layer(size_t i) {
    const std::string name = "encoder.layers." + std::to_string(i) + ".";
    const size_t e = shape_.width, inner = shape_.inner(), d = shape_.item_width;
    const float* qkv = weights_.get(name + "qkv.weight", {3 * inner, e});
    const float* relation = weights_.get(name + "relation.weight", {3 * shape_.head_width, e});
    Rows both(qkv, qkv + 3 * inner * e);
    both.insert(both.end(), relation, relation + 3 * shape_.head_width * e);
    EncoderLayer layer;
    layer.projection = pack(both.data(), nullptr, e, shape_.encoder_projection());
    layer.out = linear(name + "out", inner, e, false);
    layer.norm = norm(name + "norm_attention");
    layer.feed_forward = feed_forward(name);
    Rows weight, bias;
    for (size_t which = 0; which < 3; ++which) {
      const float* w = weights_.get(gate(i, which, "2.weight"), {1, d});
      weight.insert(weight.end(), w, w + d);
      bias.push_back(*weights_.get(gate(i, which, "2.bias"), {1}));
    }
    layer.gate_weights = vector(weight.data(), weight.size());
    layer.gate_biases = vector(bias.data(), bias.size());
    model_.encoder.push_back(layer);
  }

  void decoder_layer(size_t i) {
    const std::string name = "decoder.layers." + std::to_string(i) + ".";
    const size_t e = shape_.width, inner = shape_.inner();
    DecoderLayer layer;
    layer.self_qkv = linear(name + "self_qkv", e, 3 * inner, false);
    layer.self_out = linear(name + "self_out", inner, e, false);
    layer.norm_self = norm(name + "norm_self");
    layer.cross_q = linear(name + "cross_q", e, inner, false);
    layer.cross_kv = linear(name + "cross_kv", e, 2 * inner, false);
    layer.cross_out = linear(name + "cross_out", inner, e, false);
    layer.norm_cross = norm(name + "norm_cross");
    layer.feed_forward = feed_forward(name);
    model_.decoder.push_back(layer);
  }

  void head() {
    const size_t e = shape_.width, d = shape_.item_width;
    model_.head.clear();
    Rows user(shape_.levels() * padded(d) * d);
    for (size_t t = 0; t < shape_.levels(); ++t) {
      const std::string level = std::to_string(t);
      HeadLevel head;
      head.columns = linear("head.columns." + level, e, shape_.level_sizes[t], true);
      if (shape_.node_vectors) {
        head.query_hidden = linear("head.query_hidden." + level, e, d, false);
        const float* from = weights_.get("head.query_user." + level + ".weight", {d, d});
        std::copy_n(from, d * d, user.data() + t * padded(d) * d);
      }
      model_.head.push_back(head);
    }
    model_.query_user = {};
    if (shape_.node_vectors)
      model_.query_user = pack(user.data(), nullptr, d, shape_.levels() * padded(d));
  }

  void inputs() {
    model_.inputs.clear();
    model_.inputs.push_back(table(weights_.get("decoder.start", {shape_.width}), 1));
    for (size_t t = 0; t + 1 < shape_.levels(); ++t) {
      const size_t tokens = shape_.level_sizes[t];
      const std::string name = "decoder.embeddings." + std::to_string(t) + ".weight";
      model_.inputs.push_back(table(weights_.get(name, {tokens, shape_.width}), tokens));
    }
  }

  TokenTable table(const float* embedding, size_t tokens) {
    const size_t width = padded(shape_.width), projected = padded(3 * shape_.inner());
    float* rows = memory_.take<float>(tokens * width);
    float* qkv = memory_.take<float>(tokens * projected + kOverhang);
    if (fill_) {
      std::fill_n(rows, tokens * width, 0.0f);
      for (size_t i = 0; i < tokens; ++i)
        std::copy_n(embedding + i * shape_.width, shape_.width, rows + i * width);
      run({model_.decoder[0].self_qkv, tokens, rows, width, nullptr, 0, false, false, qkv,
           projected});
    }
    return {rows, qkv};
  }

  // Self-attention over one position is its value.
  void start() {
    const DecoderLayer& layer = model_.decoder[0];
    const size_t width = padded(shape_.width), inner = shape_.inner();
    float* x = memory_.take<float>(width);
    float* query = memory_.take<float>(padded(inner));
    if (fill_) {
      Slab slab(padded(inner) * sizeof(float));  // as aligned as every row is
      float* value = reinterpret_cast<float*>(slab.data());
      std::copy_n(model_.inputs[0].qkv + 2 * inner, inner, value);
      run({layer.self_out, 1, value, padded(inner), model_.inputs[0].embedding, width, false, false,
           x, width});
      model_.kernels().layer.norm(
          {layer.norm_self.weight, layer.norm_self.bias, shape_.width, 1, x, width});
      run({layer.cross_q, 1, x, width, nullptr, 0, false, false, query, padded(inner)});
    }
    model_.start = x;
    model_.start_query = query;
  }

  void run(const LinearOp& op) const { model_.linear().run(op); }

  Model& model_;
  const RecommenderShape& shape_;
  const Weights& weights_;
  Carver memory_;
  const bool fill_;
};

Model::Model(RecommenderShape shape, const Weights& weights, const Kernels& kernels,
             Precision precision)
    : shape_(std::move(shape)), kernels_(&kernels), precision_(std::move(precision)) {
  shape_.check();
  const NamedArray& users = weights.rows_of("user_vectors", shape_.item_width);
  user_vectors_.assign(users.data, users.data + users.shape[0] * shape_.item_width);
  slab_ = Slab(Builder(*this, weights, nullptr).build());
  const LinearScope scope(precision_.linear);
  Builder(*this, weights, slab_.data()).build();
}

}  // namespace mmgrec
