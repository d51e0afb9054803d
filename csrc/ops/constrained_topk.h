// One step of constrained beam search for a batch of users: expand, score, filter, keep the best.
#pragma once

#include <cstddef>
#include <cstdint>

#include "trie/trie.h"

namespace mmgrec {

// Sorted unique leaf ranks per user, concatenated; user b has ranks[offsets[b] .. offsets[b + 1]).
struct RankLists {
  const int64_t* offsets = nullptr;
  const int64_t* ranks = nullptr;
};

// Shapes: B users, M beams, K columns of the level, W beams kept, n nodes of the level, D width.
struct ConstrainedTopk {
  const Trie* trie = nullptr;
  size_t level = 0;
  size_t users = 0;  // B
  size_t beams = 0;  // M
  size_t keep = 0;   // W
  // Inputs.
  const int64_t* lo = nullptr;    // [B, M] leaf ranges; lo == hi is a dead beam
  const int64_t* hi = nullptr;    // [B, M]
  const float* scores = nullptr;  // [B, M]
  const float* logits = nullptr;  // [B, M, K]
  bool softmax_over_level = false;
  // Node vectors; null when the head has none.
  const float* node_query = nullptr;     // [B, M, D]
  const float* node_vectors = nullptr;   // [n, D]
  const int64_t* node_starts = nullptr;  // [n + 1]
  size_t nodes = 0;
  size_t node_width = 0;
  // Filters; null pointers mean none. allow_all[b] != 0 frees user b from the allow lists.
  RankLists deny;
  RankLists allow;
  const uint8_t* allow_all = nullptr;
  // Outputs, best first, padded with dead beams.
  float* out_scores = nullptr;  // [B, W]
  int32_t* out_parents = nullptr;
  int32_t* out_tokens = nullptr;
  int64_t* out_lo = nullptr;
  int64_t* out_hi = nullptr;
  float* out_best_pruned = nullptr;  // [B] best allowed child that was not kept, or -inf
};

// Throws std::invalid_argument on a range outside the catalogue and on NaN.
void constrained_topk(const ConstrainedTopk& step);

}  // namespace mmgrec
