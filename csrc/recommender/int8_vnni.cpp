// Linear maps by vpdpbusd: every lane adds four products of bytes to an int32.
//
//   w[o, k] ~ scale[o] * q[o, k], q in -127 .. 127         x[k] ~ step * a[k], a in -127 .. 127
//   sum over k of (a[k] + 128) q[o, k] = step-less product + 128 * (sum of column o)
//
// The instruction's first factor has no sign, hence the 128, which is taken off again. A packed map
// is its bias, every column's scale and 128 times its sum, then panels of 32 columns: rows of four
// inputs, in each row the 32 columns' four weights.
#include "parallel/pool.h"
#include "recommender/narrow_maps.h"

namespace mmgrec {
extern const LinearKernels int8_vnni;
namespace {

constexpr size_t kColumns = 2 * kLanes;
constexpr size_t kRows = 12;

size_t head_bytes(size_t out) { return bias_bytes(out) + 2 * whole(out, kColumns) * sizeof(float); }

size_t packed_bytes(size_t in, size_t out) {
  return head_bytes(out) + whole(out, kColumns) * whole(in, 4);
}

float largest(const float* x, size_t count) {
  float top = 0;
  for (size_t i = 0; i < count; ++i) {
    const float size = __builtin_fabsf(x[i]);
    top = size > top ? size : top;
  }
  return top;
}

void pack(const float* weight, const float* bias, size_t in, size_t out, std::byte* to) {
  pack_bias(bias, out, to);
  auto* scale = reinterpret_cast<float*>(to + bias_bytes(out));
  auto* offset = reinterpret_cast<int32_t*>(scale + whole(out, kColumns));
  auto* panel = reinterpret_cast<int8_t*>(to + head_bytes(out));
  for (size_t o = 0; o < whole(out, kColumns); ++o) {
    const float* column = weight + o * in;
    const float top = o < out ? largest(column, in) : 0.0f;
    scale[o] = top / 127;
    offset[o] = 0;
    for (size_t k = 0; k < whole(in, 4); ++k) {
      const bool inside = k < in && top > 0;
      const auto q = static_cast<int8_t>(inside ? __builtin_lrintf(column[k] / scale[o]) : 0);
      offset[o] += 128 * q;
      const size_t first = o / kColumns * whole(in, 4) * kColumns;
      panel[first + (k / 4 * kColumns + o % kColumns) * 4 + k % 4] = q;
    }
  }
}

// Rows as bytes with the 128 added, [rows, in rounded up to 4], and the step of each.
struct ByteRows {
  const uint32_t* fours;
  const float* step;

  explicit ByteRows(const LinearOp& op) {
    const size_t stride = whole(op.map.in, 4);
    float* memory = thread_scratch(op.rows + op.rows * stride / 4);
    auto* bytes = reinterpret_cast<uint8_t*>(memory + op.rows);
    step = memory;
    fours = reinterpret_cast<const uint32_t*>(bytes);
    for (size_t row = 0; row < op.rows; ++row)
      memory[row] = quantise(op.x + row * op.x_stride, op.map.in, stride, bytes + row * stride);
  }

  static float quantise(const float* x, size_t in, size_t stride, uint8_t* to) {
    const __m512 sign = _mm512_set1_ps(-0.0f);
    __m512 top = _mm512_setzero_ps();
    __mmask16 nan = 0;
    for (size_t k = 0; k < in; k += kLanes) {
      const __m512 v = _mm512_maskz_loadu_ps(first_lanes(in - k), x + k);
      top = _mm512_max_ps(top, _mm512_andnot_ps(sign, v));
      nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    }
    const float step = nan != 0 ? __builtin_nanf("") : _mm512_reduce_max_ps(top) / 127;
    const __m512 reciprocal = _mm512_set1_ps(step > 0 ? 1 / step : 0);
    for (size_t k = 0; k < stride; k += kLanes) {
      const __mmask16 inside = k < in ? first_lanes(in - k) : __mmask16{0};
      const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(inside, x + k), reciprocal);
      const __m512i shifted = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(128));
      _mm512_mask_cvtepi32_storeu_epi8(to + k, first_lanes(stride - k), shifted);
    }
    return step;
  }
};

// Calls panel.run<height>(first) over the rows in tiles of nearly equal height.
template <size_t MR, class Panel>
void run_tile(size_t height, size_t first, const Panel& panel) {
  if (height == MR) return panel.template run<MR>(first);
  if constexpr (MR > 1) run_tile<MR - 1>(height, first, panel);
}

template <size_t MR, class Panel>
void for_row_tiles(size_t rows, const Panel& panel) {
  const size_t tiles = (rows + MR - 1) / MR;
  size_t first = 0;
  for (size_t tile = 0; tile < tiles; ++tile) {
    const size_t height = (rows - first + tiles - tile - 1) / (tiles - tile);
    run_tile<MR>(height, first, panel);
    first += height;
  }
}

struct Panel {
  const Finish& finish;
  const ByteRows& x;
  size_t fours;
  const int8_t* weights;
  const float* scale;
  const int32_t* offset;
  size_t column;
  bool second;  // whether the second vector has columns

  template <size_t MR>
  void run(size_t first) const {
    __m512i sum[MR][2];
    const __m512i none = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r) {
      sum[r][0] = _mm512_sub_epi32(none, _mm512_loadu_si512(offset + column));
      sum[r][1] = _mm512_sub_epi32(none, _mm512_loadu_si512(offset + column + kLanes));
    }
    for (size_t k = 0; k < fours; ++k) {
      const __m512i b0 = _mm512_loadu_si512(weights + k * 4 * kColumns);
      const __m512i b1 = _mm512_loadu_si512(weights + k * 4 * kColumns + 64);
#pragma GCC unroll 16
      for (size_t r = 0; r < MR; ++r) {
        const __m512i a = _mm512_set1_epi32(static_cast<int32_t>(x.fours[(first + r) * fours + k]));
        sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], a, b0);
        sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], a, b1);
      }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r) {
      finish(first + r, column, scaled(first + r, column, sum[r][0]));
      if (second) finish(first + r, column + kLanes, scaled(first + r, column + kLanes, sum[r][1]));
    }
  }

  __m512 scaled(size_t row, size_t at, __m512i sum) const {
    const __m512 unit = _mm512_mul_ps(_mm512_loadu_ps(scale + at), _mm512_set1_ps(x.step[row]));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(sum), unit);
  }
};

void run(const LinearOp& op) {
  const size_t fours = whole(op.map.in, 4) / 4;
  const Finish finish{op, reinterpret_cast<const float*>(op.map.data)};
  const ByteRows x(op);
  const auto* scale = reinterpret_cast<const float*>(op.map.data + bias_bytes(op.map.out));
  const auto* offset = reinterpret_cast<const int32_t*>(scale + whole(op.map.out, kColumns));
  const auto* weights = reinterpret_cast<const int8_t*>(op.map.data + head_bytes(op.map.out));
  for (size_t column = 0; column < op.map.out; column += kColumns) {
    const Panel panel{finish, x,      fours,  weights,
                      scale,  offset, column, op.map.out - column > kLanes};
    for_row_tiles<kRows>(op.rows, panel);
    weights += 4 * fours * kColumns;
  }
}

}  // namespace

const LinearKernels int8_vnni{packed_bytes, pack, run};

}  // namespace mmgrec
