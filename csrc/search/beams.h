// The beams of a batch of users on their way from the whole catalogue to single items.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/constrained_topk.h"

namespace mmgrec {

// Holds what a search carries from level to level, so that a step needs the logits only. Memory is
// taken once; `begin` starts over without giving it back.
//
//   begin: one beam per user, the whole catalogue, score 0
//   step:  constrained_topk on the level; remember the best prefix ever dropped
//   the beams of every level stay: a prefix is read by going back from parent to parent
//   after the last step a beam is one item; certified: no dropped prefix scored higher
class Beams {
 public:
  // The catalogue must outlive the beams.
  Beams(const Catalog& catalog, size_t users, size_t width);

  void begin(const UserFilter* filters);  // [B] or null; they must outlive the search
  // `logits` [B, M, K]; `nodes` without a query where the head has none.
  void step(const float* logits, bool softmax_over_level, const NodeTables& nodes,
            unsigned threads);

  size_t users() const { return users_; }
  size_t width() const { return width_; }
  size_t level() const { return level_; }                    // the next one
  size_t beams() const { return level_ == 0 ? 1 : width_; }  // M
  const CatalogView& catalog() const { return catalog_; }
  std::span<const Beam> now() const { return reached_[level_]; }  // [B, M]
  std::vector<int64_t> prefixes() const;                          // [B, M, level]: their tokens
  std::span<const float> best_pruned() const { return best_pruned_; }  // [B]

 private:
  CatalogView catalog_;
  size_t users_, width_;
  size_t level_ = 0;
  const UserFilter* filters_ = nullptr;
  std::vector<std::vector<Beam>> reached_;  // [levels + 1][B, M]
  std::vector<float> best_pruned_, pruned_;
};

}  // namespace mmgrec
