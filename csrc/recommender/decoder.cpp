#include "recommender/decoder.h"

#include <algorithm>

namespace mmgrec {

Decoder::Decoder(Carver& cut, const Model& model, size_t width, size_t longest_history)
    : width_(width), levels_(model.shape().levels()) {
  const RecommenderShape& shape = model.shape();
  ancestors_ = cut.take<uint32_t>(levels_ * width);
  next_ancestors_ = cut.take<uint32_t>(levels_ * width);
  tokens_ = cut.take<uint32_t>(levels_ * width);
  qkv_ = cut.take<float>((shape.decoder_layers - 1) * levels_ * width * padded(3 * shape.inner()) +
                         kOverhang);
  positions_ = cut.take<const float*>(levels_ * width);
  x_ = take_rows(cut, width, shape.width);
  attended_ = take_rows(cut, width, shape.inner());
  query_ = take_rows(cut, width, shape.inner());
  hidden_ = take_rows(cut, std::min(width, kForwardRows), shape.feed_forward);
  scores_ = cut.take<float>(std::max(model.kernels().layer.memory_scores(longest_history),
                                     prefix_scores(levels_, shape.heads)));
}

void Decoder::begin() {
  level_ = 0;
  rows_ = 1;
}

Rows Decoder::step(const Context& context, const UserMemory& memory) const {
  input(context);
  for (size_t layer = 0; layer < context.shape().decoder_layers; ++layer) {
    if (level_ > 0 || layer > 0) self_attention(context, layer);
    context.lap(Stages::at(level_, Stages::kSelf));
    cross_attention(context, memory, layer);
    context.lap(Stages::at(level_, Stages::kCross));
    context.feed_forward(context.model.decoder[layer].feed_forward, rows_, x_, hidden_);
    context.lap(Stages::at(level_, Stages::kForward));
  }
  return x_;
}

// The empty prefix is the same for everybody up to the first layer's cross-attention.
void Decoder::input(const Context& context) const {
  const Model& model = context.model;
  if (level_ == 0) {
    std::copy_n(model.start, x_.stride, x_.data);
    return;
  }
  const float* embedding = model.inputs[level_].embedding;
  const uint32_t* tokens = tokens_ + level_ * width_;
  for (size_t m = 0; m < rows_; ++m)
    std::copy_n(embedding + tokens[m] * x_.stride, x_.stride, x_.row(m));
}

const float* Decoder::qkv_row(const Context& context, size_t layer, size_t level,
                              size_t row) const {
  const size_t stride = padded(3 * context.shape().inner());
  if (layer > 0) return qkv_ + (((layer - 1) * levels_ + level) * width_ + row) * stride;
  const size_t token = level == 0 ? 0 : tokens_[level * width_ + row];
  return context.model.inputs[level].qkv + token * stride;
}

void Decoder::self_attention(const Context& context, size_t layer) const {
  const RecommenderShape& shape = context.shape();
  const DecoderLayer& maps = context.model.decoder[layer];
  const size_t positions = level_ + 1, stride = padded(3 * shape.inner());
  if (layer > 0) {
    float* rows = qkv_ + ((layer - 1) * levels_ + level_) * width_ * stride;
    context.linear(maps.self_qkv, rows_, x_, {rows, stride});
  }
  for (size_t m = 0; m < rows_; ++m) {
    const float** at = positions_ + m * positions;
    for (size_t level = 0; level < level_; ++level)
      at[level] = qkv_row(context, layer, level, ancestors(level)[m]);
    at[level_] = qkv_row(context, layer, level_, m);
  }
  const double terms = static_cast<double>(rows_ * positions * shape.inner());
  context.count(4 * terms, 8 * terms);
  context.kernels().prefix_attention({rows_, positions, shape.heads, shape.head_width, positions_,
                                      scores_, attended_.data, attended_.stride});
  context.linear_add(maps.self_out, rows_, attended_, x_, x_);
  context.norm(maps.norm_self, rows_, x_);
}

void Decoder::cross_attention(const Context& context, const UserMemory& memory,
                              size_t layer) const {
  const RecommenderShape& shape = context.shape();
  const DecoderLayer& maps = context.model.decoder[layer];
  const bool known = level_ == 0 && layer == 0;
  if (!known) context.linear(maps.cross_q, rows_, x_, query_);
  const Rows keys_values = memory.keys_values_of(layer, shape);
  const double terms = static_cast<double>(rows_ * memory.length * shape.inner());
  context.count(4 * terms, 8 * static_cast<double>((rows_ + memory.length) * shape.inner()));
  context.kernels().memory_attention({rows_, shape.heads, shape.head_width, memory.length,
                                      known ? context.model.start_query : query_.data,
                                      query_.stride, memory.keys_of(layer),
                                      keys_values.data + shape.inner(), keys_values.stride, scores_,
                                      attended_.data, attended_.stride});
  context.linear_add(maps.cross_out, rows_, attended_, x_, x_);
  context.norm(maps.norm_cross, rows_, x_);
}

void Decoder::head(const Context& context, const UserMemory& memory, float* logits,
                   float* query) const {
  const HeadLevel& maps = context.model.head[level_];
  context.linear(
      {maps.columns, rows_, x_.data, x_.stride, nullptr, 0, false, true, logits, maps.columns.out});
  if (query != nullptr) {
    const float* user = memory.queries + level_ * padded(context.shape().item_width);
    context.linear({maps.query_hidden, rows_, x_.data, x_.stride, user, 0, false, true, query,
                    maps.query_hidden.out});
  }
  context.lap(Stages::at(level_, Stages::kHead));
}

}  // namespace mmgrec
