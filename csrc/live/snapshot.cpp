#include "live/snapshot.h"

#include <algorithm>

namespace mmgrec {

Snapshot::Snapshot(std::shared_ptr<const Base> base)
    : base_(std::move(base)),
      added_(std::make_shared<const AddedLeaves>(base_->level_sizes())),
      removed_(std::make_shared<const OwnedRankSet>()) {}

Snapshot::Snapshot(std::shared_ptr<const Base> base, std::shared_ptr<const AddedLeaves> added,
                   std::shared_ptr<const OwnedRankSet> removed)
    : base_(std::move(base)), added_(std::move(added)), removed_(std::move(removed)) {}

CatalogView Snapshot::view() const {
  CatalogView view;
  view.base = base_->view();
  view.added = added_->view();
  view.removed = removed_->view();
  return view;
}

std::optional<uint32_t> Snapshot::find(const Tuple& tuple) const {
  const Place in_base = place(base_->view(), tuple);
  if (in_base.found && is_live(in_base.rank)) return in_base.rank;
  const Place in_added = place(added_->view(), tuple);
  if (in_added.found) return base_->items() + in_added.rank;
  return std::nullopt;
}

std::optional<uint32_t> Snapshot::find_id(uint32_t id) const {
  const std::optional<uint32_t> rank = base_->rank_of(id);
  if (rank && is_live(*rank)) return rank;
  const auto ids = added_->ids();
  const auto at = std::ranges::find(ids, id);
  if (at == ids.end()) return std::nullopt;
  return base_->items() + static_cast<uint32_t>(at - ids.begin());
}

bool Snapshot::is_live(uint32_t leaf) const {
  return leaf < base_->items() ? !removed_->view().contains(leaf) : leaf < num_leaves();
}

Tuple Snapshot::codes(uint32_t leaf) const {
  if (leaf < base_->items()) return tuple_at(LeafCursor(base_->view(), leaf));
  return tuple_at(LeafCursor(added_->view(), leaf - base_->items()));
}

uint32_t Snapshot::id(uint32_t leaf) const {
  return leaf < base_->items() ? base_->id(leaf) : added_->ids()[leaf - base_->items()];
}

}  // namespace mmgrec
