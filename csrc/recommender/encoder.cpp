#include "recommender/encoder.h"

#include <algorithm>
#include <cmath>

#include "ops/relation_attention.h"

namespace mmgrec {
UserMemory::UserMemory(Carver& cut, const Model& model, size_t history) : length(history) {
  const RecommenderShape& shape = model.shape();
  const size_t layers = shape.decoder_layers;
  user = cut.take<float>(padded(shape.item_width));
  queries = cut.take<float>(shape.levels() * padded(shape.item_width));
  keys_values = cut.take<float>(layers * length * padded(2 * shape.inner()) + kOverhang);
  keys_floats = shape.heads * model.kernels().layer.packed_keys(length, shape.head_width);
  keys = cut.take<float>(layers * keys_floats);
}

Rows UserMemory::keys_values_of(size_t layer, const RecommenderShape& shape) const {
  const size_t stride = padded(2 * shape.inner());
  return {keys_values + layer * length * stride, stride};
}

Encoder::Encoder(Carver& cut, const Model& model, size_t longest) {
  const RecommenderShape& shape = model.shape();
  items_ = take_rows(cut, longest, shape.item_width);
  x_ = model.input.data == nullptr ? items_ : take_rows(cut, longest, shape.width);
  projected_ = take_rows(cut, longest, shape.encoder_projection());
  attended_ = take_rows(cut, longest, shape.inner());
  hidden_ = take_rows(cut, std::min(longest, kForwardRows), shape.feed_forward);
  gates_ = cut.take<float>(3 * shape.encoder_layers);
  gate_hidden_ = cut.take<float>(padded(3 * shape.encoder_layers * shape.item_width));
}

void Encoder::encode(const Context& context, const History& history,
                     const UserMemory& memory) const {
  const RecommenderShape& shape = context.shape();
  const size_t length = history.items.size();
  gather(shape, history);
  user(context, history, memory);
  context.lap(Stages::kUser);
  if (context.model.input.data != nullptr) context.linear(context.model.input, length, items_, x_);
  for (size_t i = 0; i < shape.encoder_layers; ++i) layer(context, i, length);
  remember(context, memory);
  context.lap(Stages::kMemory);
}

void Encoder::gather(const RecommenderShape& shape, const History& history) const {
  const size_t width = shape.item_width;
  for (const int64_t item : history.items) {
    const float* from = history.item_vectors + static_cast<size_t>(item) * width;
    for (size_t d = 0; d < width; d += kRowUnit) __builtin_prefetch(from + d);
  }
  for (size_t i = 0; i < history.items.size(); ++i) {
    const float* from = history.item_vectors + static_cast<size_t>(history.items[i]) * width;
    std::copy_n(from, width, items_.row(i));
  }
}

// h_u, its part of every level's query, and the three scalars of every layer.
void Encoder::user(const Context& context, const History& history, const UserMemory& memory) const {
  const Model& model = context.model;
  const RecommenderShape& shape = context.shape();
  const size_t width = shape.item_width, stride = padded(width);
  const Rows user{memory.user, stride};
  if (shape.graph_users && history.user_row >= 0) {
    std::copy_n(model.user_vector(static_cast<size_t>(history.user_row)), width, user.data);
  } else {
    float* mean = gate_hidden_;
    std::fill_n(mean, width, 0.0f);
    float total = 0;
    for (size_t i = 0; i < history.items.size(); ++i) {
      const float* item = items_.row(i);
      const auto newer = static_cast<float>(history.items.size() - 1 - i);
      const float weight = shape.history_decay == 1 ? 1 : std::pow(shape.history_decay, newer);
      for (size_t d = 0; d < width; ++d) mean[d] += weight * item[d];
      total += weight;
    }
    const float share = 1.0f / total;
    for (size_t d = 0; d < width; ++d) mean[d] *= share;
    context.linear(model.user_map, 1, {mean, stride}, user);
  }
  if (shape.node_vectors)
    context.linear(model.query_user, 1, user, {memory.queries, shape.levels() * stride});
  context.linear({model.gates, 1, user.data, stride, nullptr, 0, true, false, gate_hidden_,
                  padded(model.gates.out)});
  for (size_t i = 0; i < 3 * shape.encoder_layers; ++i) {
    const EncoderLayer& layer = model.encoder[i / 3];
    const float* hidden = gate_hidden_ + i * width;
    const float* weight = layer.gate_weights + i % 3 * width;
    float sum = 0;
    for (size_t d = 0; d < width; ++d) sum += hidden[d] * weight[d];
    gates_[i] = sum + layer.gate_biases[i % 3];
  }
}

void Encoder::layer(const Context& context, size_t index, size_t length) const {
  const EncoderLayer& layer = context.model.encoder[index];
  context.linear(layer.projection, length, x_, projected_);
  context.lap(Stages::kProject);
  attend(context, length, gates_ + 3 * index);
  context.lap(Stages::kAttention);
  context.linear_add(layer.out, length, attended_, x_, x_);
  context.norm(layer.norm, length, x_);
  context.lap(Stages::kOut);
  context.feed_forward(layer.feed_forward, length, x_, hidden_);
  context.lap(Stages::kEncodeForward);
}

void Encoder::attend(const Context& context, size_t length, const float* gates) const {
  const RecommenderShape& shape = context.shape();
  const size_t inner = shape.inner();
  const auto row = static_cast<ptrdiff_t>(projected_.stride);
  const auto head = static_cast<ptrdiff_t>(shape.head_width);
  const int64_t offsets[] = {0, static_cast<int64_t>(length)};
  RelationAttention op;
  op.users = 1;
  op.heads = shape.heads;
  op.length = length;
  op.width = shape.head_width;
  op.q = {projected_.data, 0, head, row};
  op.k = {projected_.data + inner, 0, head, row};
  op.v = {projected_.data + 2 * inner, 0, head, row};
  op.relation_q = {projected_.data + 3 * inner, 0, 0, row};
  op.relation_k = {projected_.data + 3 * inner + shape.head_width, 0, 0, row};
  op.relation_v = {projected_.data + 3 * inner + 2 * shape.head_width, 0, 0, row};
  op.gates = gates;
  op.offsets = offsets;
  op.out = attended_.data;
  op.out_rows = {nullptr, 0, head, static_cast<ptrdiff_t>(attended_.stride)};
  const double pairs = static_cast<double>(length * length);
  context.count(2 * pairs * static_cast<double>(2 * inner + shape.head_width),
                4 * static_cast<double>(length * (4 * inner + 3 * shape.head_width)));
  relation_attention(op, 1, &context.model.kernels());
}

void Encoder::remember(const Context& context, const UserMemory& memory) const {
  const RecommenderShape& shape = context.shape();
  for (size_t i = 0; i < shape.decoder_layers; ++i) {
    const Rows rows = memory.keys_values_of(i, shape);
    context.linear(context.model.decoder[i].cross_kv, memory.length, x_, rows);
    context.kernels().pack_memory_keys(rows.data, rows.stride, memory.length, shape.heads,
                                       shape.head_width, memory.keys + i * memory.keys_floats);
  }
}

}  // namespace mmgrec
