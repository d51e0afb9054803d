// The decoder's attention for one instruction set; part of simd/kernels.simd.cpp (see simd/vec.h).
#pragma once

#include "ops/relation_attention.simd.h"
#include "recommender/layer_kernels.h"
#include "recommender/layers.simd.h"

namespace mmgrec::MMGREC_ISA {
namespace {

// W rows at a time, one to a lane, so that a softmax needs no sums across lanes.
struct PrefixBlock {
  const PrefixAttention& op;
  size_t first;
  size_t rows;  // W at most

  const float* const* at(size_t row) const { return op.at + (first + row) * op.positions; }

  // scores[p * heads + h] of all rows, in base 2. Lanes without a row repeat the last one.
  void scores() const {
    const float factor = kLog2E / __builtin_sqrtf(static_cast<float>(op.width));
    const size_t inner = op.heads * op.width;
    for (size_t p = 0; p < op.positions; ++p) {
      for (size_t h = 0; h < op.heads; ++h) {
        Vec sum[W];
#pragma GCC unroll 16
        for (size_t r = 0; r < W; ++r) {
          const float* const* row = at(r < rows ? r : rows - 1);
          const float* q = row[op.positions - 1] + h * op.width;
          const float* k = row[p] + inner + h * op.width;
          sum[r] = load_inside(q, op.width) * load_inside(k, op.width);
          for (size_t i = W; i < op.width; i += W)
            sum[r] += load_inside(q + i, op.width - i) * load_inside(k + i, op.width - i);
        }
        store(op.scores + (p * op.heads + h) * W, sum_rows(sum) * factor);
      }
    }
  }

  void softmax() const {
    const size_t step = op.heads * W;
    for (size_t h = 0; h < op.heads; ++h) {
      float* scores = op.scores + h * W;
      Vec top = load(scores);
      for (size_t p = 1; p < op.positions; ++p) top = max(top, load(scores + p * step));
      Vec sum{};
      for (size_t p = 0; p < op.positions; ++p) {
        // What is 2^-126 of the largest weight or less counts as that. In this order NaN stays NaN.
        Vec x[1] = {max(splat(-126.0f), load(scores + p * step) - top)};
        exp2_bounded(x);
        store(scores + p * step, x[0]);
        sum += x[0];
      }
      const Vec share = 1.0f / sum;
      for (size_t p = 0; p < op.positions; ++p)
        store(scores + p * step, load(scores + p * step) * share);
    }
  }

  void mix() const {
    const size_t values = 2 * op.heads * op.width;
    for (size_t r = 0; r < rows; ++r) {
      const float* const* row = at(r);
      float* out = op.out + (first + r) * op.out_stride;
      for (size_t h = 0; h < op.heads; ++h) {
        for (size_t i = 0; i < op.width; i += W) {
          Vec mixed{};
          for (size_t p = 0; p < op.positions; ++p)
            mixed +=
                op.scores[(p * op.heads + h) * W + r] * load(row[p] + values + h * op.width + i);
          store_some(out + h * op.width + i, mixed, op.width - i);
        }
      }
    }
  }
};

void prefix_attention(const PrefixAttention& op) {
  for (size_t first = 0; first < op.rows; first += W) {
    const PrefixBlock block{op, first, op.rows - first < W ? op.rows - first : W};
    block.scores();
    block.softmax();
    block.mix();
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
