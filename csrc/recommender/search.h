// One user's request: encode, then decode and expand level by level.
#pragma once

#include <cstdint>
#include <span>

#include "ops/constrained_topk.h"
#include "recommender/decoder.h"
#include "recommender/encoder.h"

namespace mmgrec {

// Node vectors of one level of the catalogue, as NodeTables has them.
struct LevelNodes {
  const float* vectors = nullptr;  // [n, D]
  const int64_t* starts = nullptr;
  size_t nodes = 0;
};

// What all users of a batch share.
struct SearchPlan {
  CatalogView catalog;
  std::span<const LevelNodes> nodes;     // [T], or empty
  const double* added_sums = nullptr;    // [added + 1, D]
  const double* removed_sums = nullptr;  // [removed + 1, D]
  size_t width = 0;                      // beams, at least `keep`
  size_t keep = 0;                       // results
  size_t longest = 0;                    // history of the batch
};

// Best first; leaves are -1 and scores -inf where fewer than `keep` items are allowed.
struct UserResult {
  int64_t* leaves = nullptr;  // [keep], added ones numbered after the base
  float* scores = nullptr;    // [keep]
  bool* certified = nullptr;  // no item outside the result scores higher
};

// Scratch of one user's request, cut from one block.
class UserSearch {
 public:
  UserSearch(Carver& cut, const Model& model, const SearchPlan& plan);
  // Throws as constrained_topk does.
  void run(const Context& context, const SearchPlan& plan, const History& history,
           const UserFilter* filter, const UserResult& result);

 private:
  void expand(const Context& context, const SearchPlan& plan, const UserFilter* filter);
  void write(const SearchPlan& plan, const UserResult& result) const;

  std::byte* memory_;  // of the user's history, cut anew for its length
  Encoder encoder_;
  Decoder decoder_;
  float* logits_;  // [width, largest K]
  float* query_;   // [width, D], or null
  Beam* beams_;    // [width]
  Beam* next_;
  size_t alive_ = 0;
  float best_pruned_ = 0;
};

}  // namespace mmgrec
