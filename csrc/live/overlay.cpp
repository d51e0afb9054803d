#include "live/overlay.h"

#include <algorithm>
#include <utility>

#include "trie/trie_layout.h"

namespace mmgrec {
namespace {

// From this many edits on, sorting the added ids once is cheaper than looking through them each
// time.
constexpr size_t kLargeBatch = 256;

struct RankChange {
  uint32_t rank;
  bool gone;
};

// `ranks` and `changes` ascend.
std::vector<uint32_t> changed(std::span<const uint32_t> ranks,
                              std::span<const RankChange> changes) {
  std::vector<uint32_t> next;
  next.reserve(ranks.size() + changes.size());
  auto at = ranks.begin();
  for (const RankChange& change : changes) {
    const auto upto = std::lower_bound(at, ranks.end(), change.rank);
    next.insert(next.end(), at, upto);
    at = upto;
    if (at != ranks.end() && *at == change.rank) ++at;
    if (change.gone) next.push_back(change.rank);
  }
  next.insert(next.end(), at, ranks.end());
  return next;
}

}  // namespace

Overlay::Overlay(std::shared_ptr<const Snapshot> before, size_t edits)
    : before_(std::move(before)), level_sizes_(before_->base()->level_sizes()) {
  levels_ = level_sizes_.size();
  if (edits < kLargeBatch) return;
  const auto ids = before_->added()->ids();
  sorted_added_ids_.assign(ids.begin(), ids.end());
  std::ranges::sort(sorted_added_ids_);
}

void Overlay::make(Edit& edit, size_t index) {
  check_tuple(edit.tuple, level_sizes_, index);
  const std::string name = "edit " + std::to_string(index);
  switch (edit.kind) {
    case EditKind::kInsert:
      return put(edit.tuple, edit.id, name);
    case EditKind::kDelete:
      edit.id = take(edit.tuple, name);
      return;
    case EditKind::kReplace:
      check_tuple(edit.old, level_sizes_, index);
      edit.id = take(edit.old, name);
      return put(edit.tuple, edit.id, name);
  }
}

void Overlay::put(const Tuple& tuple, uint32_t id, const std::string& edit) {
  const std::string item = "item " + std::to_string(id) + " at " + to_string(tuple.data(), levels_);
  if (const auto other = id_at(tuple)) {
    throw EditError(edit + ": the Rec-ID of " + item + " is taken",
                    "item " + std::to_string(*other) + " is there", "a Rec-ID without an item",
                    "delete or replace the other item first, or give another collision token");
  }
  if (const auto other = tuple_of(id)) {
    throw EditError(edit + ": the id of " + item + " is taken",
                    "item " + std::to_string(id) + " is at " + to_string(other->data(), levels_),
                    "an id that no item has", "replace the item, or give another id");
  }
  items_[tuple] = id;
  ids_[id] = tuple;
}

uint32_t Overlay::take(const Tuple& tuple, const std::string& edit) {
  const auto id = id_at(tuple);
  if (!id) {
    throw EditError(edit + ": no item has this Rec-ID", to_string(tuple.data(), levels_),
                    "the Rec-ID of an item", "look it up in a snapshot");
  }
  items_[tuple] = std::nullopt;
  ids_[*id] = std::nullopt;
  return *id;
}

std::optional<uint32_t> Overlay::id_at(const Tuple& tuple) const {
  if (const auto at = items_.find(tuple); at != items_.end()) return at->second;
  const auto leaf = before_->find(tuple);
  return leaf ? std::optional(before_->id(*leaf)) : std::nullopt;
}

std::optional<Tuple> Overlay::tuple_of(uint32_t id) const {
  if (const auto at = ids_.find(id); at != ids_.end()) return at->second;
  const std::optional<uint32_t> rank = before_->base()->rank_of(id);
  if (rank && before_->is_live(*rank)) return before_->codes(*rank);
  if (!added_has(id)) return std::nullopt;
  return before_->codes(*before_->find_id(id));
}

bool Overlay::added_has(uint32_t id) const {
  if (!sorted_added_ids_.empty()) return std::ranges::binary_search(sorted_added_ids_, id);
  return std::ranges::find(before_->added()->ids(), id) != before_->added()->ids().end();
}

// An item that is back at its base leaf lives there again; any other is an addition, also where a
// base leaf with its tuple is gone.
std::shared_ptr<const Snapshot> Overlay::snapshot() const {
  const Base& base = *before_->base();
  std::vector<AddedLeaves::Change> added;
  std::vector<RankChange> removed;
  for (const auto& [tuple, id] : items_) {
    const Place at = place(base.view(), tuple);
    const bool back = at.found && id && *id == base.id(at.rank);
    added.push_back({tuple, back ? std::nullopt : id});
    if (at.found && before_->is_live(at.rank) != back) removed.push_back({at.rank, !back});
  }
  auto next_removed = before_->removed();
  if (!removed.empty()) {
    next_removed = std::make_shared<const OwnedRankSet>(
        changed(before_->removed()->ranks(), removed), base.items());
  }
  auto next_added = std::make_shared<const AddedLeaves>(before_->added()->with(added));
  return std::make_shared<const Snapshot>(before_->base(), std::move(next_added),
                                          std::move(next_removed));
}

}  // namespace mmgrec
