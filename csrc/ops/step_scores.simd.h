// The inner loops of the constrained step that score the candidates of several beams together.
//
// Included by simd/kernels.simd.cpp only; see simd/vec.h. Candidates lie beam after beam in one
// array; every beam begins at a multiple of kSegment and is filled up with -inf, so that vectors
// never mix beams and most loops need no look at where a beam ends.
#pragma once

#include "ops/constrained_topk_kernels.h"
#include "simd/vec.h"
#if defined(__AVX512F__) && MMGREC_LANES == 16
#define MMGREC_COMPRESS
#include <immintrin.h>
#endif

namespace mmgrec::MMGREC_ISA {

static_assert(kSegment % W == 0);

// Lane sums of exp(x - most) over N vectors; exp through 2^y, whose argument never rises above 0.
template <size_t N>
inline Vec exp_sum(const Vec (&x)[N], float most) {
  constexpr float kLog2E = 1.44269504f;
  Vec y[N], sum{};
#pragma GCC unroll 8
  // In this order NaN stays: both comparisons with it are false.
  for (size_t v = 0; v < N; ++v) y[v] = max(splat(-126.0f), (x[v] - most) * kLog2E);
  exp2_nonpositive(y);
#pragma GCC unroll 8
  for (size_t v = 0; v < N; ++v) sum += y[v];
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

// The most of a segment and the sum of exp(x - most). NaN where any x is NaN or +inf.
//
//   two units of kSegment are looked at whatever the segment's length: most segments have one or
//   two, which of them a processor cannot guess
inline void most_and_sum(const float* x, size_t count, float& most, float& sum) {
  constexpr size_t kUnit = kSegment / W;
  const IVec second = splat(-static_cast<int32_t>(count > kSegment));
  Vec head[2 * kUnit];
#pragma GCC unroll 4
  for (size_t v = 0; v < kUnit; ++v) {
    head[v] = load(x + v * W);
    head[kUnit + v] = second ? load(x + kSegment + v * W) : splat(-__builtin_inff());
  }
  Vec top = head[0];
#pragma GCC unroll 8
  for (size_t v = 1; v < 2 * kUnit; ++v) top = max(head[v], top);
  for (size_t i = 2 * kSegment; i < count; i += W) top = max(load(x + i), top);
  most = reduce_max(top);
  // Where nothing is finite, a difference of infinities would be NaN; a NaN that comparisons
  // passed over shows in the sum.
  const float shift = most == -__builtin_inff() ? 0.0f : most;
  Vec lanes = exp_sum(head, shift);
  for (size_t i = 2 * kSegment; i < count; i += kSegment) {
    Vec more[kUnit];
    for (size_t v = 0; v < kUnit; ++v) more[v] = load(x + i + v * W);
    lanes += exp_sum(more, shift);
  }
  sum = reduce_add(lanes);
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

// totals[s] = log-sum-exp of segment s, candidates [begins[s], begins[s + 1]); kSegment more can
// be read. `totals` has room
// for whole vectors, and once more beyond kSegment * ceil(segments / kSegment) entries.
void log_totals(const float* x, const uint32_t* begins, size_t segments, float* totals) {
  const size_t stride = (segments + kSegment - 1) / kSegment * kSegment;
  float* sums = totals + stride;
  for (size_t s = 0; s < segments; ++s)
    most_and_sum(x + begins[s], begins[s + 1] - begins[s], totals[s], sums[s]);
  for (size_t s = segments; s < stride; ++s) totals[s] = sums[s] = 1;
  for (size_t s = 0; s < stride; s += W)
    store(totals + s, load(totals + s) + log_of(load(sums + s)));
}

// log(sum(exp(x))); x has room for kChildPadding more entries, which are overwritten.
float log_sum_exp(float* x, size_t count) {
  if (count == 0) return -__builtin_inff();
  size_t end = count;
  for (; end % kSegment != 0; ++end) x[end] = -__builtin_inff();
  const uint32_t begins[] = {0, static_cast<uint32_t>(end)};
  float totals[2 * kSegment];
  log_totals(x, begins, 1, totals);
  return totals[0];
}

// x[i] = score + min(0, x[i] - total) with the score and total of its segment. Candidate i belongs
// to group i mod `groups` (a power of two, at least kSegment): most[g] is the best score of each.
void score(float* x, const uint32_t* begins, size_t segments, const float* scores,
           const float* totals, float* most, size_t groups) {
  for (size_t g = 0; g < groups; g += W) store(most + g, splat(-__builtin_inff()));
  for (size_t s = 0; s < segments; ++s) {
    for (size_t i = begins[s]; i < begins[s + 1]; i += W) {
      const Vec log_p = load(x + i) - totals[s];
      const Vec value = scores[s] + (log_p < 0.0f ? log_p : Vec{});
      store(x + i, value);
      float* group = most + (i & (groups - 1));
      store(group, max(value, load(group)));
    }
  }
}

inline uint32_t count_from(const float* x, size_t count, float least) {
  IVec found{};
  for (size_t i = 0; i < count; i += W) found -= static_cast<IVec>(load(x + i) >= least);
  return static_cast<uint32_t>(reduce(found, [](IVec a, IVec b) { return a + b; }));
}

// A number that at least `wanted` of x are not below, and few more than that. `count` is a multiple
// of kSegment, at least `wanted`.
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

// Lists the i in [0, count) with x[i] >= least, ascending; count is a multiple of kSegment, and
// `found` has room for kSegment more than it has.
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
  for (size_t block = 0; block < count; block += kSegment) {
    // Mostly nothing in a block survives.
    Vec best = load(x + block);
    for (size_t i = W; i < kSegment; i += W) best = max(load(x + block + i), best);
    if (!(reduce_max(best) >= least)) continue;
    for (size_t i = block; i < block + kSegment; ++i) {
      found[kept] = static_cast<uint32_t>(i);
      kept += x[i] >= least;
    }
  }
#endif
  return kept;
}

// before[i] = how many of x are greater than x[i]; x is filled up with -inf to a multiple of
// kSegment.
void ranks(float* x, size_t count, uint32_t* before) {
  size_t end = count;
  for (; end % kSegment != 0; ++end) x[end] = -__builtin_inff();
  for (size_t i = 0; i < count; ++i) {
    const Vec own = splat(x[i]);
    IVec greater{};
    for (size_t j = 0; j < end; j += W) greater -= static_cast<IVec>(load(x + j) > own);
    before[i] = static_cast<uint32_t>(reduce(greater, [](IVec a, IVec b) { return a + b; }));
  }
}

}  // namespace mmgrec::MMGREC_ISA
