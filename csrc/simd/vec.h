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

namespace mmgrec::MMGREC_ISA {

constexpr size_t W = MMGREC_LANES;

typedef float Vec __attribute__((vector_size(4 * W)));
typedef int32_t IVec __attribute__((vector_size(4 * W)));
typedef float VecUnaligned __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t IVecUnaligned __attribute__((vector_size(4 * W), aligned(4), may_alias));

inline Vec load(const float* from) { return *reinterpret_cast<const VecUnaligned*>(from); }
inline IVec load(const int32_t* from) { return *reinterpret_cast<const IVecUnaligned*>(from); }
inline void store(float* to, Vec v) { *reinterpret_cast<VecUnaligned*>(to) = v; }
inline void store(int32_t* to, IVec v) { *reinterpret_cast<IVecUnaligned*>(to) = v; }
inline Vec splat(float x) { return x - Vec{}; }
inline IVec splat(int32_t x) { return x - IVec{}; }
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }

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

// One stage of a transposition: rows a and b, S apart, trade the blocks beside the diagonal.
template <size_t S, size_t... I>
inline void trade(Vec& a, Vec& b, std::index_sequence<I...>) {
  const Vec upper = __builtin_shufflevector(a, b, static_cast<int>(I & S ? W + (I ^ S) : I)...);
  const Vec lower = __builtin_shufflevector(a, b, static_cast<int>(I & S ? W + I : I ^ S)...);
  a = upper;
  b = lower;
}

template <size_t S = W / 2>
inline void transpose(Vec (&rows)[W]) {
#pragma GCC unroll 16
  for (size_t i = 0; i < W; ++i) {
    if ((i & S) == 0) trade<S>(rows[i], rows[i + S], std::make_index_sequence<W>());
  }
  if constexpr (S > 1) transpose<S / 2>(rows);
}

// 2^x for -126 <= x <= 0, relative error below 3e-7; NaN stays NaN.
//
//   n = round(x), by adding a number so large that the fraction falls off
//   2^x = 2^n * p(x - n), p of degree 5 fitted on [-1/2, 1/2]; 2^n is added to the exponent's bits
inline Vec exp2_nonpositive(Vec x) {
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23
  const Vec shifted = x + magic;
  const Vec f = x - (shifted - magic);
  Vec p = splat(1.3264727e-3f);
  p = p * f + splat(9.6715130e-3f);
  p = p * f + splat(5.5507336e-2f);
  p = p * f + splat(2.4022242e-1f);
  p = p * f + splat(6.9314700e-1f);
  p = p * f + splat(1.0f);
  return reinterpret_cast<Vec>(reinterpret_cast<IVec>(p) + (reinterpret_cast<IVec>(shifted) << 23));
}

}  // namespace mmgrec::MMGREC_ISA
