// One level's step of the decoder for all beams of a user.
#pragma once

#include <cstdint>
#include <span>

#include "recommender/arena.h"
#include "recommender/context.h"
#include "recommender/encoder.h"

namespace mmgrec {

// The prefixes that a user's decoder has in hand, and Q, K, V of every position so far.
//
// A row is a prefix of one length; level t has rows of t tokens. Rows of earlier levels are never
// copied: a row knows which row of each earlier level it grew from.
class Decoder {
 public:
  Decoder(Carver& cut, const Model& model, size_t width, size_t longest_history);

  // One row: the empty prefix.
  void begin();
  // The next level's rows: row m is row `parent` of this level and one more token.
  template <class Grown>
  void grow(size_t rows, Grown grown);

  size_t level() const { return level_; }
  size_t rows() const { return rows_; }
  // Decodes the rows; leaves hidden vectors [rows, padded E].
  Rows step(const Context& context, const UserMemory& memory) const;
  // Logits [rows, K_t] and, where there are node vectors, queries [rows, D], without gaps.
  void head(const Context& context, const UserMemory& memory, float* logits, float* query) const;

 private:
  void input(const Context& context) const;
  void self_attention(const Context& context, size_t layer) const;
  void cross_attention(const Context& context, const UserMemory& memory, size_t layer) const;
  uint32_t* ancestors(size_t level) const { return ancestors_ + level * width_; }
  const float* qkv_row(const Context& context, size_t layer, size_t level, size_t row) const;

  size_t width_;  // most rows of a level
  size_t levels_;
  size_t level_ = 0;
  size_t rows_ = 1;
  uint32_t* ancestors_;  // [T, width]: of each row now, its row on each earlier level
  uint32_t* next_ancestors_;
  uint32_t* tokens_;         // [T, width]: the last token of every row of a level
  float* qkv_;               // [layers - 1, T, width, padded 3 inner]
  const float** positions_;  // [width, T]
  Rows x_, attended_, query_, hidden_;
  float* scores_;
};

template <class Grown>
void Decoder::grow(size_t rows, Grown grown) {
  for (size_t m = 0; m < rows; ++m) {
    const auto [parent, token] = grown(m);
    for (size_t level = 0; level < level_; ++level)
      next_ancestors_[level * width_ + m] = ancestors(level)[parent];
    next_ancestors_[level_ * width_ + m] = static_cast<uint32_t>(parent);
    tokens_[(level_ + 1) * width_ + m] = static_cast<uint32_t>(token);
  }
  std::swap(ancestors_, next_ancestors_);
  ++level_;
  rows_ = rows;
}

}  // namespace mmgrec
