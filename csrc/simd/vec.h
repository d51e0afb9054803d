// Vectors of MMGREC_LANES floats for sources that are compiled once per instruction set.
//
// Included only by *.simd.cpp files, which are built several times with other flags and another
// MMGREC_ISA each. Everything here lives in that namespace, and no such file may call an inline
// function of the standard library (types such as std::index_sequence are fine): the linker keeps
// one copy of those, and a copy built for AVX-512 would crash the baseline.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <utility>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace mmgrec::MMGREC_ISA {

constexpr size_t W = MMGREC_LANES;

typedef float Vec __attribute__((vector_size(4 * W)));
typedef int32_t IVec __attribute__((vector_size(4 * W)));
typedef uint32_t UVec __attribute__((vector_size(4 * W)));
typedef float VecUnaligned __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t IVecUnaligned __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint32_t UVecUnaligned __attribute__((vector_size(4 * W), aligned(4), may_alias));

inline Vec load(const float* from) { return *reinterpret_cast<const VecUnaligned*>(from); }
inline IVec load(const int32_t* from) { return *reinterpret_cast<const IVecUnaligned*>(from); }
inline UVec load(const uint32_t* from) { return *reinterpret_cast<const UVecUnaligned*>(from); }
inline void store(float* to, Vec v) { *reinterpret_cast<VecUnaligned*>(to) = v; }
inline void store(int32_t* to, IVec v) { *reinterpret_cast<IVecUnaligned*>(to) = v; }
inline void store(uint32_t* to, UVec v) { *reinterpret_cast<UVecUnaligned*>(to) = v; }
inline Vec splat(float x) { return x - Vec{}; }
inline IVec splat(int32_t x) { return x - IVec{}; }
// The second where either is NaN. (Masked without need: see `widen`.)
#if defined(__AVX512F__) && MMGREC_LANES == 16
inline Vec max(Vec a, Vec b) { return _mm512_maskz_max_ps(0xffff, a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_maskz_min_ps(0xffff, a, b); }
#else
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }
#endif

// Lane i takes lane i ^ S.
template <size_t S, class V, size_t... I>
inline V exchange(V v, std::index_sequence<I...>) {
  return __builtin_shufflevector(v, v, static_cast<int>(I ^ S)...);
}

// Combines all lanes with an associative and commutative operation.
template <size_t S = W / 2, class V, class Combine>
inline auto reduce(V v, Combine combine) {
  v = combine(v, exchange<S>(v, std::make_index_sequence<W>()));
  if constexpr (S > 1) return reduce<S / 2>(v, combine);
  return v[0];
}

inline float reduce_max(Vec v) {
  return reduce(v, [](Vec a, Vec b) { return max(a, b); });
}
inline float reduce_add(Vec v) {
  return reduce(v, [](Vec a, Vec b) { return a + b; });
}
inline int32_t reduce_min(IVec v) {
  return reduce(v, [](IVec a, IVec b) { return a < b ? a : b; });
}

inline IVec lane_numbers() {
  IVec lane{};
  for (size_t i = 0; i < W; ++i) lane[i] = static_cast<int32_t>(i);
  return lane;
}

// Transposes the 4 x 4 block in every group of four lanes of four rows: eight shuffles, each one
// instruction.
//
//   [a0 a1 a2 a3]    [a0 b0 a1 b1]    [a0 b0 c0 d0]
//   [b0 b1 b2 b3] -> [a2 b2 a3 b3] -> [a1 b1 c1 d1]
//   [c0 c1 c2 c3]    [c0 d0 c1 d1]    [a2 b2 c2 d2]
//   [d0 d1 d2 d3]    [c2 d2 c3 d3]    [a3 b3 c3 d3]
template <size_t... I>
inline void transpose_fours(Vec* r, std::index_sequence<I...>) {
#define MMGREC_LOW(a, b) __builtin_shufflevector(a, b, int(I % 2 * W + I / 4 * 4 + I % 4 / 2)...)
#define MMGREC_HIGH(a, b) \
  __builtin_shufflevector(a, b, int(I % 2 * W + I / 4 * 4 + I % 4 / 2 + 2)...)
#define MMGREC_LEFT(a, b) __builtin_shufflevector(a, b, int(I % 4 / 2 * W + I / 4 * 4 + I % 2)...)
#define MMGREC_RIGHT(a, b) \
  __builtin_shufflevector(a, b, int(I % 4 / 2 * W + I / 4 * 4 + I % 2 + 2)...)
  const Vec ab = MMGREC_LOW(r[0], r[1]), ab2 = MMGREC_HIGH(r[0], r[1]);
  const Vec cd = MMGREC_LOW(r[2], r[3]), cd2 = MMGREC_HIGH(r[2], r[3]);
  r[0] = MMGREC_LEFT(ab, cd);
  r[1] = MMGREC_RIGHT(ab, cd);
  r[2] = MMGREC_LEFT(ab2, cd2);
  r[3] = MMGREC_RIGHT(ab2, cd2);
#undef MMGREC_LOW
#undef MMGREC_HIGH
#undef MMGREC_LEFT
#undef MMGREC_RIGHT
}

// Rows a and b, S apart, trade the blocks of S lanes beside the diagonal.
template <size_t S, size_t... I>
inline void trade(Vec& a, Vec& b, std::index_sequence<I...>) {
  const Vec upper = __builtin_shufflevector(a, b, static_cast<int>(I & S ? W + (I ^ S) : I)...);
  const Vec lower = __builtin_shufflevector(a, b, static_cast<int>(I & S ? W + I : I ^ S)...);
  a = upper;
  b = lower;
}

template <size_t S = 4>
inline void trade_blocks(Vec (&rows)[W]) {
  if constexpr (S < W) {
#pragma GCC unroll 16
    for (size_t i = 0; i < W; ++i) {
      if ((i & S) == 0) trade<S>(rows[i], rows[i + S], std::make_index_sequence<W>());
    }
    trade_blocks<2 * S>(rows);
  }
}

inline void transpose(Vec (&rows)[W]) {
#pragma GCC unroll 4
  for (size_t i = 0; i < W; i += 4) transpose_fours(rows + i, std::make_index_sequence<W>());
  trade_blocks(rows);
}

// Lane i of the result is the sum of row i's lanes: two shuffles and an addition for a pair of
// rows, where a row summed alone takes log2(W) of each.
template <size_t S = W / 2>
inline Vec sum_rows(Vec (&rows)[W]) {
#pragma GCC unroll 16
  for (size_t i = 0; i < S; ++i) {
    trade<S>(rows[i], rows[i + S], std::make_index_sequence<W>());
    rows[i] += rows[i + S];
  }
  if constexpr (S > 1) return sum_rows<S / 2>(rows);
  return rows[0];
}

// x = 2^x for N vectors with -126 <= x <= 126; relative error below 3e-7; NaN stays NaN.
//
//   n = round(x), by adding a number so large that the fraction falls off
//   2^x = 2^n * p(x - n), p of degree 5 fitted on [-1/2, 1/2]; 2^n is added to the exponent's bits
//
// Step by step over all N, because one vector's chain of dependent instructions is longer than what
// a processor looks ahead.
template <size_t N>
inline void exp2_bounded(Vec (&x)[N]) {
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23
  constexpr float kCoefficients[] = {9.6715130e-3f, 5.5507336e-2f, 2.4022242e-1f, 6.9314700e-1f,
                                     1.0f};
  Vec shifted[N], p[N];
#pragma GCC unroll 8
  for (size_t i = 0; i < N; ++i) shifted[i] = x[i] + magic;
#pragma GCC unroll 8
  for (size_t i = 0; i < N; ++i) x[i] -= shifted[i] - magic;
#pragma GCC unroll 8
  for (size_t i = 0; i < N; ++i) p[i] = splat(1.3264727e-3f);
#pragma GCC unroll 8
  for (const float c : kCoefficients)
#pragma GCC unroll 8
    for (size_t i = 0; i < N; ++i) p[i] = p[i] * x[i] + splat(c);
#pragma GCC unroll 8
  for (size_t i = 0; i < N; ++i) {
    const IVec exponent = reinterpret_cast<IVec>(shifted[i]) << 23;
    x[i] = reinterpret_cast<Vec>(reinterpret_cast<IVec>(p[i]) + exponent);
  }
}

}  // namespace mmgrec::MMGREC_ISA
