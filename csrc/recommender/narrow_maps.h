// What the maps of narrow numbers have in common; included by files that are built for AVX-512.
//
// Such files are compiled with instructions that not every processor has, so nothing in them may be
// shared with others: no inline functions of the standard library.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "parallel/pool.h"
#include "recommender/layer_kernels.h"

namespace mmgrec {
namespace {

constexpr size_t kLanes = 16;

constexpr size_t whole(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

inline __mmask16 first_lanes(size_t count) {
  return count >= kLanes ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

// The nearest bfloat16, ties to the even one, by the bits of a float32.
inline uint16_t to_bf16(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Rows as bfloat16 [rows, in rounded up to `unit`], zeros behind a row's end, in memory for `room`
// rows.
inline uint16_t* bf16_rows(const LinearOp& op, size_t unit, size_t room) {
  const size_t stride = whole(op.map.in, unit);
  auto* to = reinterpret_cast<uint16_t*>(thread_scratch(room * stride / 2));
  for (size_t row = 0; row < op.rows; ++row) {
    const float* from = op.x + row * op.x_stride;
    uint16_t* out = to + row * stride;
    for (size_t k = 0; k < stride; k += kLanes) {
      const __mmask16 inside = k < op.map.in ? first_lanes(op.map.in - k) : __mmask16{0};
      const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(inside, from + k));
      _mm256_mask_storeu_epi16(out + k, first_lanes(stride - k), (__m256i)narrow);
    }
  }
  return to;
}

// The end of a map for one vector of one row: bias, residual and ReLU, then stored.
struct Finish {
  const LinearOp& op;
  const float* bias;

  void operator()(size_t row, size_t column, __m512 sum) const {
    sum = _mm512_add_ps(sum, _mm512_loadu_ps(bias + column));
    if (op.residual != nullptr)
      sum = _mm512_add_ps(sum, _mm512_loadu_ps(op.residual + row * op.residual_stride + column));
    // In this order NaN stays NaN.
    if (op.relu) sum = _mm512_max_ps(_mm512_setzero_ps(), sum);
    float* y = op.y + row * op.y_stride + column;
    if (op.exact) {
      _mm512_mask_storeu_ps(y, first_lanes(op.map.out - column), sum);
    } else {
      _mm512_storeu_ps(y, sum);
    }
  }
};

// Calls panel.run<height>(first) over the rows in tiles of nearly equal height.
template <size_t MR, class Panel>
inline void run_tile(size_t height, size_t first, const Panel& panel) {
  if (height == MR) return panel.template run<MR>(first);
  if constexpr (MR > 1) run_tile<MR - 1>(height, first, panel);
}

template <size_t MR, class Panel>
inline void for_row_tiles(size_t rows, const Panel& panel) {
  const size_t tiles = (rows + MR - 1) / MR;
  size_t first = 0;
  for (size_t tile = 0; tile < tiles; ++tile) {
    const size_t height = (rows - first + tiles - tile - 1) / (tiles - tile);
    run_tile<MR>(height, first, panel);
    first += height;
  }
}

// Every packed map begins with its bias, in whole vectors.
inline size_t bias_bytes(size_t out) { return whole(out, kLanes) * sizeof(float); }

inline void pack_bias(const float* bias, size_t out, std::byte* to) {
  auto* rows = reinterpret_cast<float*>(to);
  for (size_t i = 0; i < whole(out, kLanes); ++i)
    rows[i] = bias != nullptr && i < out ? bias[i] : 0.0f;
}

}  // namespace
}  // namespace mmgrec
