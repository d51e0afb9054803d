// One state of a live catalogue: immutable, shared by any number of readers in any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "live/added_leaves.h"
#include "live/base.h"
#include "live/leaves.h"
#include "trie/catalog.h"
#include "trie/rank_set.h"

namespace mmgrec {

// Leaves are numbered as in catalog.h: base ranks first (gone ones included), then added ranks.
class Snapshot : public Catalog {
 public:
  explicit Snapshot(std::shared_ptr<const Base> base);
  Snapshot(std::shared_ptr<const Base> base, std::shared_ptr<const AddedLeaves> added,
           std::shared_ptr<const OwnedRankSet> removed);

  CatalogView view() const override;

  uint32_t num_items() const { return num_leaves() - num_removed(); }
  uint32_t num_leaves() const { return base_->items() + num_added(); }
  uint32_t num_added() const { return static_cast<uint32_t>(added_->ids().size()); }
  uint32_t num_removed() const { return removed_->view().count; }

  // The live leaf of a tuple whose tokens are in range, or of an id.
  std::optional<uint32_t> find(const Tuple& tuple) const;
  std::optional<uint32_t> find_id(uint32_t id) const;
  bool is_live(uint32_t leaf) const;
  // Of any leaf, gone or not.
  Tuple codes(uint32_t leaf) const;
  uint32_t id(uint32_t leaf) const;

  // Calls visit(leaf, tuple) for all live leaves in the order of their tuples.
  template <class Visit>
  void for_each_live(Visit visit) const;

  const std::shared_ptr<const Base>& base() const { return base_; }
  const std::shared_ptr<const AddedLeaves>& added() const { return added_; }
  const std::shared_ptr<const OwnedRankSet>& removed() const { return removed_; }

 private:
  std::shared_ptr<const Base> base_;
  std::shared_ptr<const AddedLeaves> added_;
  std::shared_ptr<const OwnedRankSet> removed_;
};

template <class Visit>
void Snapshot::for_each_live(Visit visit) const {
  const CatalogView all = view();
  LeafCursor base(all.base);
  const std::span<const uint32_t> removed = removed_->ranks();
  uint32_t rank = 0;
  size_t gone = 0;
  const auto visit_base_up_to = [&](uint32_t end) {
    for (; rank < end; ++rank) {
      if (gone < removed.size() && removed[gone] == rank) {
        ++gone;
      } else {
        base.move_to(rank);
        visit(rank, tuple_at(base));
      }
    }
  };
  for (LeafCursor added(all.added); !added.done(); added.next()) {
    const Tuple tuple = tuple_at(added);
    visit_base_up_to(place(all.base, tuple).rank);
    visit(all.base.items + added.rank(), tuple);
  }
  visit_base_up_to(all.base.items);
}

}  // namespace mmgrec
