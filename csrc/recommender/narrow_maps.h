// What the maps of narrow numbers have in common; included by files that are built for AVX-512.
//
// Such files are compiled with instructions that not every processor has, so nothing in them may be
// shared with others: no inline functions of the standard library.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "recommender/layer_kernels.h"

namespace mmgrec {
namespace {

constexpr size_t kLanes = 16;

constexpr size_t whole(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

inline __mmask16 first_lanes(size_t count) {
  return count >= kLanes ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
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

// Every packed map begins with its bias, in whole vectors.
inline size_t bias_bytes(size_t out) { return whole(out, kLanes) * sizeof(float); }

inline void pack_bias(const float* bias, size_t out, std::byte* to) {
  auto* rows = reinterpret_cast<float*>(to);
  for (size_t i = 0; i < whole(out, kLanes); ++i)
    rows[i] = bias != nullptr && i < out ? bias[i] : 0.0f;
}

}  // namespace
}  // namespace mmgrec
