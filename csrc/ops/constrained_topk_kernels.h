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

// The inner loops of one instruction set; constrained_topk.simd.h has the contracts.
struct StepKernels {
  size_t (*list_children)(const TrieView&, size_t level, Range range, Children out);
  void (*gather)(const float* logits, const uint32_t* tokens, size_t count, float* x);
  bool (*gather_leaves)(const TrieView&, size_t level, Range range, const float* logits, float* x);
  void (*add_dots)(const float* query, const float* rows, size_t count, size_t width, float* x);
  float (*log_sum_exp)(float* x, size_t count);
  size_t (*survivors)(float* x, size_t count, float score, float log_total, float least,
                      uint32_t* found);
};

}  // namespace mmgrec
