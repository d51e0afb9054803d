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
// Candidates are handled by the unit: whole vectors everywhere.
constexpr size_t kUnit = 16;

// kUnit candidates of one beam, side by side with its other units.
struct Unit {
  uint32_t segment;  // the beam, by its place in the batch
  uint32_t leaf;     // where candidates are leaves: the first one,
  uint32_t end;      // and where the beam's leaves end
};

// The candidates of several beams; step_batch.h has their memory.
//
//   segment s: a beam, whose units are [begins[s], begins[s + 1])
//   unit u:    the candidates x[kUnit u .. kUnit (u + 1)), filled up with -inf
struct Candidates {
  size_t segments = 0, num_units = 0;
  uint32_t* begins;
  const float** logits;  // of a segment whose candidates are leaves
  float* scores;         // of a segment's beam
  float* totals;         // log-sum-exp; room as `log_totals` says
  Unit* units;
  float* sums;  // of a unit's exponentials
  float* x;     // logits, then scores

  size_t size() const { return num_units * kUnit; }
};

// The inner loops of one instruction set; constrained_topk.simd.h, step_leaves.simd.h,
// step_scores.simd.h and rank_sort.simd.h have the contracts.
struct StepKernels {
  size_t (*list_children)(const TrieView&, size_t level, Range range, Children out);
  void (*gather)(const float* logits, const uint32_t* tokens, size_t count, float* x);
  bool (*gather_leaves)(const TrieView&, size_t level, const Candidates&, size_t begin, size_t end);
  void (*add_dots)(const float* query, const float* rows, size_t count, size_t width, float* x);
  void (*add_log_counts)(const uint32_t* starts, size_t count, float* x);
  float (*log_sum_exp)(float* x, size_t count);
  bool (*log_totals)(const Candidates&);
  void (*score)(const Candidates&, float* most, size_t groups);
  float (*threshold)(const float* x, size_t count, size_t wanted);
  size_t (*survivors)(const float* x, size_t count, float least, uint32_t* found);
  bool (*ranks)(float* x, size_t count, uint32_t* before);
  size_t (*list_bits)(uint64_t* words, size_t count, uint32_t* ranks, uint32_t* before);
  void (*count_bits)(const uint64_t* words, size_t count, uint32_t* counts);
};

}  // namespace mmgrec
