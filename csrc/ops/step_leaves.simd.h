// The leaves of a batch's beams as candidates: their logits, and what their exponentials add up to.
//
// Included by simd/kernels.simd.cpp only; see simd/vec.h.
#pragma once

#include "ops/constrained_topk.simd.h"
#include "ops/step_scores.simd.h"

namespace mmgrec::MMGREC_ISA {

// W tokens of which only the first `left` can be read.
template <class Token>
inline IVec load_tokens(const Token* tokens, int64_t left) {
  if (left >= static_cast<int64_t>(W)) return widen(tokens);
  Token copy[W] = {};
  for (int64_t lane = 0; lane < left; ++lane) copy[lane] = tokens[lane];
  return widen(copy);
}

// The lanes of `v` one further; lane 0 comes from the last one of `before`.
template <size_t... I>
inline IVec shift_in(IVec before, IVec v, std::index_sequence<I...>) {
  return __builtin_shufflevector(before, v, static_cast<int>(W - 1 + I)...);
}

// What holds in each lane; a bit each where the processor has masks.
#if defined(__AVX512F__) && MMGREC_LANES == 16
using Mask = __mmask16;
inline Mask less(IVec a, IVec b) {
  return _mm512_cmplt_epi32_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
}
inline Mask differ(IVec a, IVec b) {
  return _mm512_cmpneq_epi32_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
}
inline bool any(Mask m) { return m != 0; }
// Fetches the lanes of the mask; -inf in the others, which may fetch from `spare`.
inline Vec gather_some(Mask mask, const float* from, IVec at, int32_t) {
  return _mm512_mask_i32gather_ps(splat(-__builtin_inff()), mask, reinterpret_cast<__m512i>(at),
                                  from, 4);
}
#else
using Mask = IVec;
inline Mask less(IVec a, IVec b) { return static_cast<IVec>(a < b); }
inline Mask differ(IVec a, IVec b) { return static_cast<IVec>(a != b); }
inline bool any(Mask m) {
  return reduce(m, [](IVec a, IVec b) { return a | b; }) != 0;
}
inline Vec gather_some(Mask mask, const float* from, IVec at, int32_t spare) {
  const Vec found = gather(from, mask ? at : splat(spare));
  return mask ? found : splat(-__builtin_inff());
}
#endif

// Nothing else happens in this loop: the shorter it is, the more logits a processor waits for at
// once.
template <class Token>
inline bool gather_units(const Token* tokens, int64_t items, uint32_t size, const Candidates& c,
                         size_t begin, size_t end) {
  const IVec sizes = splat(static_cast<int32_t>(size)), lanes = lane_numbers();
  Mask bad{};
  for (size_t u = begin; u < end; ++u) {
    const Unit& unit = c.units[u];
    const size_t first = c.begins[unit.segment];
    const int32_t last_token = tokens[unit.leaf - (u != first)], own = tokens[unit.leaf];
    // A cache line that is needed in any case.
    const int32_t spare = own < static_cast<int32_t>(size) ? own : 0;
    IVec before = splat(u == first ? -1 : last_token);
#pragma GCC unroll 4
    for (size_t v = 0; v < kUnit / W; ++v) {
      const int64_t leaf = int64_t{unit.leaf} + static_cast<int64_t>(v * W);
      const IVec token = load_tokens(tokens + leaf, items - leaf);
      const IVec previous = shift_in(before, token, std::make_index_sequence<W>());
      const Mask live = less(lanes, splat(static_cast<int32_t>(unit.end - leaf)));
      const Mask inside = less(token, sizes);
      bad |= live & (less(token, previous) | ~inside);
      const Mask begins = live & inside & differ(token, previous);
      store(c.x + u * kUnit + v * W, gather_some(begins, c.logits[unit.segment], token, spare));
      before = token;
    }
  }
  return !any(bad);
}

// Logits of the leaves of units [begin, end) instead of their children: where a child has several
// leaves the first one counts and the others are -inf, as is what fills up a unit. Saves listing
// where most have one. False where tokens do not ascend below the level's size.
bool gather_leaves(const TrieView& trie, size_t level, const Candidates& c, size_t begin,
                   size_t end) {
  const uint32_t size = trie.level_sizes[level];
  return trie.wide(level) ? gather_units(trie.words(level), trie.items, size, c, begin, end)
                          : gather_units(trie.bytes(level), trie.items, size, c, begin, end);
}

}  // namespace mmgrec::MMGREC_ISA
