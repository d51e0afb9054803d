// Linear maps and norms of the recommender for one instruction set; part of simd/kernels.simd.cpp
// (see simd/vec.h).
//
// A packed map is panels of two vectors of columns: a row of the bias, then [in] rows of weights.
// The last panel may be one vector wide.
#pragma once

#include "ops/relation_attention.simd.h"
#include "recommender/layer_kernels.h"
#include "simd/dispatch.h"
#include "simd/tile.h"

namespace mmgrec::MMGREC_ISA {
namespace {

size_t linear_packed_bytes(size_t in, size_t out) {
  return (in + 1) * round_up(out, W) * sizeof(float);
}

void linear_pack(const float* weight, const float* bias, size_t in, size_t out, std::byte* to) {
  float* panel = reinterpret_cast<float*>(to);
  for (size_t column = 0; column < out; column += kPanel) {
    const size_t left = out - column;
    const size_t wide = left < kPanel ? round_up(left, W) : kPanel;
    for (size_t c = 0; c < wide; ++c)
      panel[c] = bias != nullptr && c < left ? bias[column + c] : 0.0f;
    pack_columns(weight + column * in, static_cast<ptrdiff_t>(in), left < kPanel ? left : kPanel,
                 in, 1.0f, wide, panel + wide);
    panel += (in + 1) * wide;
  }
}

// One panel's columns of some rows. Few rows leave most accumulators of a tile without work: there
// the depth is split into parts that are added in the end, so that no product waits for the last.
struct LinearTiles {
  const LinearOp& op;
  const float* panel;
  size_t column;  // of y

  template <size_t MR, size_t NV>
  void run(size_t first) {
    constexpr size_t kParts = MR * NV >= 8 ? 1 : 8 / (MR * NV);
    const float* x = op.x + first * op.x_stride;
    const float* b = panel + NV * W;
    Tile<MR, NV> tile;
    begin(tile, first);
    if constexpr (kParts == 1) {
      tile.multiply(x, op.x_stride, b, NV * W, op.map.in);
    } else {
      Tile<MR, NV> part[kParts - 1];
#pragma GCC unroll 8
      for (size_t p = 0; p < kParts - 1; ++p) part[p].clear();
      size_t k = 0;
      for (; k + kParts <= op.map.in; k += kParts) {
        tile.multiply(x + k, op.x_stride, b + k * NV * W, NV * W, 1);
#pragma GCC unroll 8
        for (size_t p = 1; p < kParts; ++p)
          part[p - 1].multiply(x + k + p, op.x_stride, b + (k + p) * NV * W, NV * W, 1);
      }
      tile.multiply(x + k, op.x_stride, b + k * NV * W, NV * W, op.map.in - k);
#pragma GCC unroll 8
      for (size_t p = 0; p < kParts - 1; ++p)
#pragma GCC unroll 16
        for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
          for (size_t v = 0; v < NV; ++v) tile.sum[r][v] += part[p].sum[r][v];
    }
    finish(tile, first);
  }

  template <size_t MR, size_t NV>
  void begin(Tile<MR, NV>& tile, size_t first) const {
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
      for (size_t v = 0; v < NV; ++v) tile.sum[r][v] = load(panel + v * W);
    if (op.residual == nullptr) return;
    const float* residual = op.residual + first * op.residual_stride + column;
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
      for (size_t v = 0; v < NV; ++v)
        tile.sum[r][v] += load(residual + r * op.residual_stride + v * W);
  }

  template <size_t MR, size_t NV>
  void finish(Tile<MR, NV>& tile, size_t first) const {
    if (op.relu) {
      // In this order NaN stays NaN.
#pragma GCC unroll 16
      for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (size_t v = 0; v < NV; ++v) tile.sum[r][v] = max(Vec{}, tile.sum[r][v]);
    }
    float* y = op.y + first * op.y_stride + column;
    const size_t left = op.map.out - column;
    if (op.exact && left < NV * W) {
#pragma GCC unroll 16
      for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (size_t v = 0; v < NV; ++v)
          if (left > v * W) store_some(y + r * op.y_stride + v * W, tile.sum[r][v], left - v * W);
      return;
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
      for (size_t v = 0; v < NV; ++v) store(y + r * op.y_stride + v * W, tile.sum[r][v]);
  }
};

void linear(const LinearOp& op) {
  const float* panel = reinterpret_cast<const float*>(op.map.data);
  for (size_t column = 0; column < op.map.out; column += kPanel) {
    LinearTiles tiles{op, panel, column};
    if (op.map.out - column > W) {
      for_row_tiles<2>(op.rows, tiles);
    } else {
      for_row_tiles<1>(op.rows, tiles);
    }
    panel += (op.map.in + 1) * kPanel;
  }
}

// The first lanes of a vector, then zeros.
Vec keep_lanes(Vec v, size_t count) {
  return lane_numbers() < static_cast<int32_t>(count) ? v : Vec{};
}

// A row's vector with zeros behind its end; what lies there is read.
Vec load_inside(const float* from, size_t count) {
  return count >= W ? load(from) : keep_lanes(load(from), count);
}

// The sum over a row of from_mean or of its square, lanes apart.
template <bool SQUARES>
Vec row_sum(const float* x, size_t width, float mean) {
  Vec sum{};
  for (size_t i = 0; i < width; i += W) {
    Vec each = load(x + i) - mean;
    if constexpr (SQUARES) each *= each;
    sum += width - i >= W ? each : keep_lanes(each, width - i);
  }
  return sum;
}

// W rows at a time, one to a lane where their sums are.
void norm_block(const NormOp& op, float* x, size_t rows) {
  constexpr float kEpsilon = 1e-5f;
  const float share = 1.0f / static_cast<float>(op.width);
  float mean[W], scale[W];
  Vec sum[W] = {};
  for (size_t r = 0; r < rows; ++r) sum[r] = row_sum<false>(x + r * op.stride, op.width, 0.0f);
  store(mean, sum_rows(sum) * share);
  for (size_t r = 0; r < W; ++r)
    sum[r] = r < rows ? row_sum<true>(x + r * op.stride, op.width, mean[r]) : Vec{};
  store(scale, sum_rows(sum) * share + kEpsilon);
  for (size_t r = 0; r < rows; ++r) scale[r] = __builtin_sqrtf(scale[r]);
  store(scale, 1.0f / load(scale));
  for (size_t r = 0; r < rows; ++r) {
    float* row = x + r * op.stride;
    for (size_t i = 0; i < op.width; i += W)
      store(row + i,
            (load(row + i) - mean[r]) * scale[r] * load(op.weight + i) + load(op.bias + i));
  }
}

void norm(const NormOp& op) {
  for (size_t row = 0; row < op.rows; row += W)
    norm_block(op, op.x + row * op.stride, op.rows - row < W ? op.rows - row : W);
}

}  // namespace
}  // namespace mmgrec::MMGREC_ISA
