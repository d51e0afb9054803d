// Linear maps by vdpbf16ps: every lane adds two products of bfloat16 to a float32.
//
// A packed map is its bias, then panels of 32 columns: rows of pairs of inputs, in each row the 32
// columns' two weights.
#include "recommender/narrow_maps.h"

namespace mmgrec {
extern const LinearKernels bf16_avx512;
namespace {

constexpr size_t kColumns = 2 * kLanes;
constexpr size_t kRows = 12;

size_t packed_bytes(size_t in, size_t out) {
  return bias_bytes(out) + whole(out, kColumns) * whole(in, 2) * sizeof(uint16_t);
}

void pack(const float* weight, const float* bias, size_t in, size_t out, std::byte* to) {
  pack_bias(bias, out, to);
  auto* panel = reinterpret_cast<uint16_t*>(to + bias_bytes(out));
  for (size_t column = 0; column < out; column += kColumns) {
    for (size_t k = 0; k < whole(in, 2); ++k) {
      for (size_t c = 0; c < kColumns; ++c) {
        const bool inside = k < in && column + c < out;
        panel[(k / 2 * kColumns + c) * 2 + k % 2] =
            inside ? to_bf16(weight[(column + c) * in + k]) : uint16_t{0};
      }
    }
    panel += whole(in, 2) * kColumns;
  }
}

struct Panel {
  const Finish& finish;
  const uint32_t* x;  // pairs
  size_t pairs;
  const uint16_t* weights;
  size_t column;
  bool second;  // whether the second vector has columns

  template <size_t MR>
  void run(size_t first) const {
    __m512 sum[MR][2] = {};
    for (size_t k = 0; k < pairs; ++k) {
      const auto b0 = (__m512bh)_mm512_loadu_si512(weights + k * 2 * kColumns);
      const auto b1 = (__m512bh)_mm512_loadu_si512(weights + k * 2 * kColumns + kColumns);
#pragma GCC unroll 16
      for (size_t r = 0; r < MR; ++r) {
        const auto a =
            (__m512bh)_mm512_set1_epi32(static_cast<int32_t>(x[(first + r) * pairs + k]));
        sum[r][0] = _mm512_dpbf16_ps(sum[r][0], a, b0);
        sum[r][1] = _mm512_dpbf16_ps(sum[r][1], a, b1);
      }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r) {
      finish(first + r, column, sum[r][0]);
      if (second) finish(first + r, column + kLanes, sum[r][1]);
    }
  }
};

void run(const LinearOp& op) {
  const size_t pairs = whole(op.map.in, 2) / 2;
  const Finish finish{op, reinterpret_cast<const float*>(op.map.data)};
  const auto* x = reinterpret_cast<const uint32_t*>(bf16_rows(op, 2, op.rows));
  const auto* weights = reinterpret_cast<const uint16_t*>(op.map.data + bias_bytes(op.map.out));
  for (size_t column = 0; column < op.map.out; column += kColumns) {
    const Panel panel{finish, x, pairs, weights, column, op.map.out - column > kLanes};
    for_row_tiles<kRows>(op.rows, panel);
    weights += 2 * pairs * kColumns;
  }
}

}  // namespace

const LinearKernels bf16_avx512{packed_bytes, pack, run};

}  // namespace mmgrec
