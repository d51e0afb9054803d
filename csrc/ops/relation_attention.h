// Relation-aware self-attention over the set of a user's history items.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mmgrec {

struct Kernels;

// A float tensor [B, H, L, d] whose last dimension is contiguous; strides in floats. Tensors
// without heads have head == 0. Packed tensors have no user stride: users follow each other along
// the rows.
struct HeadRows {
  const float* data = nullptr;
  ptrdiff_t user = 0;
  ptrdiff_t head = 0;
  ptrdiff_t row = 0;
};

// Shapes: B users, H heads, L history length, d head width.
//
//   bias   = a_q a_k (x U_Q) (x U_K)^T            once per user, shared by all heads
//   S_h    = (Q_h K_h^T + bias) / sqrt(d)         keys >= length do not exist
//   out_h  = softmax(S_h) (V_h + a_v x U_V)       queries >= length give zeros
struct RelationAttention {
  size_t users = 0;   // B
  size_t heads = 0;   // H
  size_t length = 0;  // L: rows of a padded output; of packed ones the longest history
  size_t width = 0;   // d
  HeadRows q, k, v;
  HeadRows relation_q, relation_k, relation_v;
  const float* gates = nullptr;  // [B, 3]: a_q, a_k, a_v
  // One of the two: valid rows per user [B], or the first row of each user [B + 1] (packed).
  const int64_t* lengths = nullptr;
  const int64_t* offsets = nullptr;
  float* out = nullptr;  // laid out as out_rows says; its data is ignored
  HeadRows out_rows;

  [[gnu::always_inline]] size_t length_of(size_t b) const {
    return static_cast<size_t>(offsets ? offsets[b + 1] - offsets[b] : lengths[b]);
  }
  [[gnu::always_inline]] ptrdiff_t at(const HeadRows& x, size_t b, size_t h, size_t row) const {
    const ptrdiff_t first =
        offsets ? static_cast<ptrdiff_t>(offsets[b]) * x.row : static_cast<ptrdiff_t>(b) * x.user;
    return first + static_cast<ptrdiff_t>(h) * x.head + static_cast<ptrdiff_t>(row) * x.row;
  }
};

// Throws std::invalid_argument on a length below 0 or above L. Uses up to `threads` threads.
// `kernels` is an instruction set of simd/dispatch.h; null takes the best one.
void relation_attention(const RelationAttention& op, unsigned threads,
                        const Kernels* kernels = nullptr);

}  // namespace mmgrec
