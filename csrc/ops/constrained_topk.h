// One step of constrained beam search for a batch of users: expand, score, filter, keep the best.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/filters.h"
#include "trie/catalog.h"

namespace mmgrec {

struct Kernels;

// A prefix under search. Both ranges empty: a dead beam.
struct Beam {
  Range base;
  Range added;
  float score = 0;
  int32_t parent = 0;  // which beam of the step before it came from
  int32_t token = 0;   // its last token
  bool dead() const { return base.empty() && added.empty(); }
};

// Node vectors: the mean item vector below every node of the level.
//
//   n base nodes: mean [n, D], first leaf of each [n + 1]
//   additions and removals in between: running sums of item vectors, [added + 1, D] and
//   [removed + 1, D], so that any range's sum is a difference; null where there are none
struct NodeTables {
  const float* query = nullptr;  // [B, M, D]; null: the head has no node vectors
  const float* vectors = nullptr;
  const int64_t* starts = nullptr;
  size_t nodes = 0;
  size_t width = 0;
  const double* added_sums = nullptr;
  const double* removed_sums = nullptr;
};

// Shapes: B users, M beams, K columns of the level, W beams kept.
struct ConstrainedTopk {
  CatalogView catalog;
  size_t level = 0;
  size_t users = 0;               // B
  size_t beams = 0;               // M
  size_t keep = 0;                // W
  const Beam* from = nullptr;     // [B, M]
  const float* logits = nullptr;  // [B, M, K]
  bool softmax_over_level = false;
  NodeTables nodes;
  const UserFilter* filters = nullptr;  // [B]; null: everybody may get every leaf that is there
  // Outputs, best first, padded with dead beams.
  Beam* out = nullptr;           // [B, W]
  float* best_pruned = nullptr;  // [B] best allowed child that was not kept, or -inf
};

// Runs on up to `threads` threads, users side by side, with the best kernels or the given ones.
// Throws std::invalid_argument on a range outside the catalogue and on NaN, DamagedFile on a trie
// whose tokens do not ascend below their level's size.
void constrained_topk(const ConstrainedTopk& step, unsigned threads = 1,
                      const Kernels* kernels = nullptr);

}  // namespace mmgrec
