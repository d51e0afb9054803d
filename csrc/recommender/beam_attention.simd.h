// The decoder's attention for one instruction set; part of simd/kernels.simd.cpp (see simd/vec.h).
#pragma once

#include "ops/relation_attention.simd.h"
#include "recommender/layer_kernels.h"

namespace mmgrec::MMGREC_ISA {
namespace {

float dot(const float* a, const float* b, size_t width) {
  Vec sum{};
  size_t i = 0;
  for (; i + W <= width; i += W) sum += load(a + i) * load(b + i);
  float total = width >= W ? reduce_add(sum) : 0.0f;
  for (; i < width; ++i) total += a[i] * b[i];
  return total;
}

// scores[p * heads + h], in base 2, from the largest of their head downwards.
void prefix_logits(const PrefixAttention& op, const float* const* at, float* scores) {
  const size_t inner = op.heads * op.width;
  const float factor = kLog2E / __builtin_sqrtf(static_cast<float>(op.width));
  const float* q = at[op.positions - 1];
  for (size_t h = 0; h < op.heads; ++h) {
    float top = -__builtin_inff();
    for (size_t p = 0; p < op.positions; ++p) {
      const float score = dot(q + h * op.width, at[p] + inner + h * op.width, op.width) * factor;
      scores[p * op.heads + h] = score;
      top = top > score ? top : score;  // NaN stays NaN
    }
    for (size_t p = 0; p < op.positions; ++p) scores[p * op.heads + h] -= top;
  }
}

void prefix_attention(const PrefixAttention& op) {
  const size_t inner = op.heads * op.width, count = op.positions * op.heads;
  for (size_t i = 0; i < round_up(count, W); ++i) op.scores[i] = 0;
  for (size_t row = 0; row < op.rows; ++row) {
    const float* const* at = op.at + row * op.positions;
    prefix_logits(op, at, op.scores);
    for (size_t i = 0; i < count; i += W) {
      // What is 2^-126 of the largest weight or less counts as that.
      Vec x[1] = {max(splat(-126.0f), load(op.scores + i))};
      exp2_nonpositive(x);
      store(op.scores + i, x[0]);
    }
    float* out = op.out + row * op.out_stride;
    for (size_t h = 0; h < op.heads; ++h) {
      float sum = 0;
      for (size_t p = 0; p < op.positions; ++p) sum += op.scores[p * op.heads + h];
      const float share = 1.0f / sum;
      for (size_t i = 0; i < op.width; i += W) {
        const size_t left = op.width - i;
        Vec mixed{};
        for (size_t p = 0; p < op.positions; ++p) {
          const float* v = at[p] + 2 * inner + h * op.width + i;
          mixed += op.scores[p * op.heads + h] * load_some(v, left);
        }
        store_some(out + h * op.width + i, mixed * share, left);
      }
    }
  }
}

size_t packed_keys(size_t length, size_t width) { return round_up(length, W) * width; }

void pack_memory_keys(const float* k, size_t stride, size_t length, size_t heads, size_t width,
                      float* to) {
  const float factor = kLog2E / __builtin_sqrtf(static_cast<float>(width));
  for (size_t h = 0; h < heads; ++h)
    pack_keys(k + h * width, static_cast<ptrdiff_t>(stride), length, width, factor,
              to + h * packed_keys(length, width));
}

// Weights of a block of rows and the reciprocals of their sums.
size_t memory_scores(size_t length) { return kBlockRows * round_up(length, W) + kBlockRows; }

// V is read where it lies: vectors that reach beyond a head are cut when they are stored.
void memory_attention(const MemoryAttention& op) {
  const size_t keys = round_up(op.length, W);
  float* reciprocal = op.scores + kBlockRows * keys;
  for (size_t h = 0; h < op.heads; ++h) {
    const float* packed = op.keys + h * packed_keys(op.length, op.width);
    for (size_t first = 0; first < op.rows; first += kBlockRows) {
      const size_t rows = op.rows - first < kBlockRows ? op.rows - first : kBlockRows;
      score_block(op.q + first * op.q_stride + h * op.width, static_cast<ptrdiff_t>(op.q_stride),
                  rows, packed, op.width, keys, nullptr, op.scores);
      for (size_t i = 0; i < rows; ++i)
        reciprocal[i] = 1.0f / softmax_row(op.scores + i * keys, op.length);
      for (size_t column = 0; column < op.width; column += kPanel) {
        ValueTiles tiles{op.scores,
                         keys,
                         op.v + h * op.width + column,
                         op.length,
                         reciprocal,
                         op.out + first * op.out_stride + h * op.width + column,
                         static_cast<ptrdiff_t>(op.out_stride),
                         op.width - column,
                         op.v_stride};
        if (op.width - column > W) {
          for_row_tiles<2>(rows, tiles);
        } else {
          for_row_tiles<1>(rows, tiles);
        }
      }
    }
  }
}

}  // namespace
}  // namespace mmgrec::MMGREC_ISA
