// The inner loops of the constrained step that score the candidates of several beams together.
//
// Included by simd/kernels.simd.cpp only; see simd/vec.h. Candidates lie beam after beam in one
// array; every beam begins at a multiple of kUnit and is filled up with -inf, so that vectors
// never mix beams and most loops need no look at where a beam ends.
#pragma once

#include "ops/constrained_topk_kernels.h"
#include "simd/vec.h"
#if defined(__AVX512F__) && MMGREC_LANES == 16
#define MMGREC_COMPRESS
#include <immintrin.h>
#endif

namespace mmgrec::MMGREC_ISA {

static_assert(kUnit % W == 0);

// exp(x - shift) of a unit, summed lane by lane. exp goes through 2^y with y in [-126, 126]: what
// rises above that, or is no number, is a sum that `log_totals` knows by its size.
inline Vec exps(const float* x, float shift) {
  constexpr float kLog2E = 1.44269504f;
  Vec y[kUnit / W];
#pragma GCC unroll 4
  for (size_t v = 0; v < kUnit / W; ++v) {
    // In this order NaN becomes 126.
    y[v] = max(min((load(x + v * W) - shift) * kLog2E, splat(126.0f)), splat(-126.0f));
  }
  exp2_bounded(y);
  Vec sum = y[0];
#pragma GCC unroll 4
  for (size_t v = 1; v < kUnit / W; ++v) sum += y[v];
  return sum;
}

// The natural logarithm of normal numbers; NaN stays NaN. Error below 2 units in the last place.
//
//   x = 2^e m with m in [sqrt(1/2), sqrt(2));  log x = e log 2 + f - f^2/2 + f^3 p(f), f = m - 1
//
// p and the split of log 2 in two are those of the Cephes library.
inline Vec log_of(Vec x) {
  constexpr float kCoefficients[] = {-1.1514610310e-1f, 1.1676998740e-1f,  -1.2420140846e-1f,
                                     1.4249322787e-1f,  -1.6668057665e-1f, 2.0000714765e-1f,
                                     -2.4999993993e-1f, 3.3333331174e-1f};
  constexpr int32_t kRootHalf = 0x3f3504f3;
  const IVec bits = reinterpret_cast<IVec>(x);
  const IVec exponent = (bits - kRootHalf) >> 23;
  const Vec f = reinterpret_cast<Vec>(bits - (exponent << 23)) - 1.0f;
  const Vec e = __builtin_convertvector(exponent, Vec);
  Vec p = splat(7.0376836292e-2f);
  for (const float c : kCoefficients) p = p * f + splat(c);
  const Vec square = f * f;
  const Vec low = p * f * square - e * 2.12194440e-4f - 0.5f * square;
  return e * 0.693359375f + (low + f) + 0.0f * x;
}

// x[i] += log(starts[i + 1] - starts[i]); no difference is 0. As many starts as fill up a vector
// are read beyond the last one.
void add_log_counts(const uint32_t* starts, size_t count, float* x) {
  for (size_t i = 0; i < count; i += W) {
    // Behind the last start lie any numbers; unsigned, their differences may wrap.
    const IVec leaves = reinterpret_cast<IVec>(load(starts + i + 1) - load(starts + i));
    const Vec logs = log_of(__builtin_convertvector(leaves, Vec));
    if (i + W <= count) {
      store(x + i, load(x + i) + logs);
    } else {
      for (size_t j = i; j < count; ++j) x[j] += logs[j - i];
    }
  }
}

// sums[u] = sum of exp(x - x0) over unit u, where x0 is its beam's first candidate.
inline void sum_exps(const Candidates& c) {
  const size_t units = c.num_units;
  for (size_t u = 0; u < units; u += W) {
    Vec rows[W] = {};
    const size_t end = u + W < units ? u + W : units;
    for (size_t i = u; i < end; ++i)
      rows[i - u] = exps(c.x + i * kUnit, c.x[c.begins[c.units[i].segment] * kUnit]);
    store(c.sums + u, sum_rows(rows));
  }
}

// log(sum(exp(x))) whatever x is; NaN where any x is NaN or +inf. x has room for kChildPadding more
// entries, which are overwritten.
float log_sum_exp(float* x, size_t count) {
  for (; count % kUnit != 0; ++count) x[count] = -__builtin_inff();
  Vec top = splat(-__builtin_inff());
  IVec bad{};
  for (size_t i = 0; i < count; i += W) {
    top = max(load(x + i), top);
    bad |= ~static_cast<IVec>(load(x + i) < __builtin_inff());
  }
  if (reduce(bad, [](IVec a, IVec b) { return a | b; }) != 0) return __builtin_nanf("");
  const float most = reduce_max(top);
  if (most == -__builtin_inff()) return most;
  Vec sum{};
  for (size_t i = 0; i < count; i += kUnit) sum += exps(x + i, most);
  return most + log_of(splat(reduce_add(sum)))[0];
}

// totals[s] = log-sum-exp of segment s; 0 where nothing in it is finite. False where anything is
// NaN or +inf.
//
//   x0 serves as well as the greatest x does, and need not be looked for: sums of exp(x - x0) are
//   at least 1. Where it is very large, or x0 is -inf, the segment is looked at once more
// `sums` has room for whole vectors; `totals` has room for whole vectors, and once more
// beyond kUnit * ceil(segments / kUnit) entries.
bool log_totals(const Candidates& c) {
  sum_exps(c);
  constexpr float kMost = 0x1p40f;
  const size_t stride = (c.segments + kUnit - 1) / kUnit * kUnit;
  float *totals = c.totals, *shifts = totals + stride;
  bool finite = true;
  for (size_t s = 0; s < c.segments; ++s) totals[s] = 0;
  for (size_t u = 0; u < c.num_units; ++u) totals[c.units[u].segment] += c.sums[u];
  for (size_t s = 0; s < c.segments; ++s) {
    float* x = c.x + c.begins[s] * kUnit;
    shifts[s] = x[0];
    if (totals[s] < kMost) continue;
    const float total = log_sum_exp(x, (c.begins[s + 1] - c.begins[s]) * kUnit);
    finite &= total < __builtin_inff();
    shifts[s] = total == -__builtin_inff() ? 0 : total;
    totals[s] = 1;
  }
  for (size_t s = c.segments; s < stride; ++s) totals[s] = shifts[s] = 1;
  for (size_t s = 0; s < stride; s += W)
    store(totals + s, load(shifts + s) + log_of(load(totals + s)));
  return finite;
}

// x[i] = score + min(0, x[i] - total) with the score and total of its segment. Candidate i belongs
// to group i mod `groups` (a power of two, at least kUnit): most[g] is the best score of each.
void score(const Candidates& c, float* most, size_t groups) {
  for (size_t g = 0; g < groups; g += W) store(most + g, splat(-__builtin_inff()));
  const size_t units = c.num_units;
  float* x = c.x;
  for (size_t u = 0; u < units; ++u, x += kUnit) {
    const uint32_t segment = c.units[u].segment;
    const float from = c.scores[segment], total = c.totals[segment];
    float* group = most + (u * kUnit & (groups - 1));
#pragma GCC unroll 4
    for (size_t v = 0; v < kUnit; v += W) {
      const Vec value = from + min(load(x + v) - total, Vec{});
      store(x + v, value);
      store(group + v, max(value, load(group + v)));
    }
  }
}

inline uint32_t count_from(const float* x, size_t count, float least) {
#ifdef MMGREC_COMPRESS
  uint32_t found = 0;
  for (size_t i = 0; i < count; i += W)
    found += static_cast<uint32_t>(__builtin_popcount(
        _mm512_cmp_ps_mask(_mm512_loadu_ps(x + i), _mm512_set1_ps(least), _CMP_GE_OQ)));
  return found;
#else
  IVec found{};
  for (size_t i = 0; i < count; i += W) found -= static_cast<IVec>(load(x + i) >= least);
  return static_cast<uint32_t>(reduce(found, [](IVec a, IVec b) { return a + b; }));
#endif
}

// A number that at least `wanted` of x are not below, and few more than that. `count` is a multiple
// of kUnit, at least `wanted`.
//
//   bisection on the bits of a float, in which order they ascend
float threshold(const float* x, size_t count, size_t wanted) {
  const auto key = [](float value) {
    int32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    return bits < 0 ? bits ^ 0x7fffffff : bits;
  };
  const auto value_of = [](int32_t bits) {
    bits = bits < 0 ? bits ^ 0x7fffffff : bits;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  };
  Vec least = load(x), most = load(x);
  for (size_t i = W; i < count; i += W) {
    const Vec next = load(x + i);
    least = next < least ? next : least;
    most = max(next, most);
  }
  int64_t lo = key(-reduce_max(-least)), hi = int64_t{key(reduce_max(most))} + 1;
  while (hi - lo > 1) {
    const int64_t middle = lo + (hi - lo) / 2;
    const uint32_t found = count_from(x, count, value_of(static_cast<int32_t>(middle)));
    (found >= wanted ? lo : hi) = middle;
    if (found >= wanted && found <= wanted + wanted / 16) break;
  }
  return value_of(static_cast<int32_t>(lo));
}

// Lists the i in [0, count) with x[i] >= least, ascending; count is a multiple of kUnit, and
// `found` has room for kUnit more than it has.
size_t survivors(const float* x, size_t count, float least, uint32_t* found) {
  size_t kept = 0;
#ifdef MMGREC_COMPRESS
  __m512i at = reinterpret_cast<__m512i>(lane_numbers());
  for (size_t i = 0; i < count; i += W, at = _mm512_add_epi32(at, _mm512_set1_epi32(W))) {
    const __mmask16 mask =
        _mm512_cmp_ps_mask(_mm512_loadu_ps(x + i), _mm512_set1_ps(least), _CMP_GE_OQ);
    _mm512_storeu_si512(found + kept, _mm512_maskz_compress_epi32(mask, at));
    kept += static_cast<size_t>(__builtin_popcount(mask));
  }
#else
  for (size_t block = 0; block < count; block += kUnit) {
    // Mostly nothing in a block survives.
    Vec best = load(x + block);
    for (size_t i = W; i < kUnit; i += W) best = max(load(x + block + i), best);
    if (!(reduce_max(best) >= least)) continue;
    for (size_t i = block; i < block + kUnit; ++i) {
      found[kept] = static_cast<uint32_t>(i);
      kept += x[i] >= least;
    }
  }
#endif
  return kept;
}

// before[i] = how many of x are greater than x[i]. True where all differ, so that these are places.
// x is filled up with -inf to a multiple of kUnit, and `before` has room for as many.
//
//   kUnit of them at a time are compared with one after the other: nothing is summed across lanes
bool ranks(float* x, size_t count, uint32_t* before) {
  size_t end = count;
  for (; end % kUnit != 0; ++end) x[end] = -__builtin_inff();
  for (size_t i = 0; i < end; i += kUnit) {
    Vec own[kUnit / W];
    IVec greater[kUnit / W] = {};
#pragma GCC unroll 4
    for (size_t v = 0; v < kUnit / W; ++v) own[v] = load(x + i + v * W);
    for (size_t j = 0; j < count; ++j) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kUnit / W; ++v)
        greater[v] = splat(x[j]) > own[v] ? greater[v] + 1 : greater[v];
    }
#pragma GCC unroll 4
    for (size_t v = 0; v < kUnit / W; ++v)
      store(before + i + v * W, reinterpret_cast<UVec>(greater[v]));
  }
  size_t sum = 0;
  for (size_t i = 0; i < count; ++i) sum += before[i];
  return sum == count * (count - 1) / 2;
}

}  // namespace mmgrec::MMGREC_ISA
