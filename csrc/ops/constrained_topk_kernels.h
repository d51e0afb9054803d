// What the constrained step and its inner loops, compiled per instruction set, agree on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "trie/trie_view.h"

namespace mmgrec {

// Children of a range in token order: child i is [starts[i], starts[i + 1]).
struct Children {
  uint32_t* tokens;
  uint32_t* starts;
};

constexpr size_t kDamaged = ~size_t{0};
// Entries that arrays of children have beyond the level's tokens: one for the last start, the rest
// for whole vectors.
constexpr size_t kChildPadding = 32;
// Candidates of a beam begin at a multiple of this many floats: whole vectors everywhere.
constexpr size_t kSegment = 16;

// The inner loops of one instruction set; constrained_topk.simd.h, step_scores.simd.h and
// rank_sort.simd.h have the contracts.
struct StepKernels {
  size_t (*list_children)(const TrieView&, size_t level, Range range, Children out);
  void (*gather)(const float* logits, const uint32_t* tokens, size_t count, float* x);
  bool (*gather_leaves)(const TrieView&, size_t level, Range range, const float* logits, float* x);
  void (*add_dots)(const float* query, const float* rows, size_t count, size_t width, float* x);
  void (*add_log_counts)(const uint32_t* starts, size_t count, float* x);
  float (*log_sum_exp)(float* x, size_t count);
  void (*log_totals)(const float* x, const uint32_t* begins, size_t segments, float* totals);
  void (*score)(float* x, const uint32_t* begins, size_t segments, const float* scores,
                const float* totals, float* most, size_t groups);
  float (*threshold)(const float* x, size_t count, size_t wanted);
  size_t (*survivors)(const float* x, size_t count, float least, uint32_t* found);
  void (*ranks)(float* x, size_t count, uint32_t* before);
  size_t (*list_bits)(uint64_t* words, size_t count, uint32_t* ranks, uint32_t* before);
};

}  // namespace mmgrec
