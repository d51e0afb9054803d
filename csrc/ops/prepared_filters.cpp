#include "ops/prepared_filters.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <stdexcept>

#include "ops/rank_sort.h"
#include "parallel/pool.h"
#include "simd/dispatch.h"

namespace mmgrec {
namespace {

using Ranks = std::vector<uint32_t>;

// Leaves of a list by segment, in the order of the list. Memory is kept from list to list.
struct Picked {
  Ranks base, added;
  size_t base_count = 0, added_count = 0;

  // Takes the leaves for which keep(is_base, rank) holds; false where one is outside the catalogue.
  template <class Keep>
  bool pick(std::span<const int64_t> leaves, const CatalogView& catalog, Keep keep) {
    base_count = added_count = 0;
    if (base.size() < leaves.size()) base.resize(leaves.size());
    if (catalog.added.items > 0 && added.size() < leaves.size()) added.resize(leaves.size());
    const auto end = uint64_t{catalog.leaves()};
    for (const int64_t leaf : leaves) {
      if (static_cast<uint64_t>(leaf) >= end) return false;
      const auto rank = static_cast<uint32_t>(leaf);
      if (rank < catalog.base.items) {
        base[base_count] = rank;
        base_count += keep(true, rank);
      } else {
        added[added_count] = rank - catalog.base.items;
        added_count += keep(false, rank - catalog.base.items);
      }
    }
    return true;
  }
  // The same where every leaf is a base leaf and kept: nothing to decide, so the loop is vectors.
  bool pick_all(std::span<const int64_t> leaves, const CatalogView& catalog) {
    base_count = leaves.size();
    added_count = 0;
    if (base.size() < leaves.size()) base.resize(leaves.size());
    const uint64_t last = uint64_t{catalog.base.items} - 1;
    uint64_t outside = 0;
    for (size_t i = 0; i < leaves.size(); ++i) {
      base[i] = static_cast<uint32_t>(leaves[i]);
      const auto leaf = static_cast<uint64_t>(leaves[i]);
      outside |= leaf | (last - leaf);  // the sign of either
    }
    return outside >> 63 == 0;
  }
  OwnedRankSet base_set(const CatalogView& catalog) const {
    return rank_set_of({base.data(), base_count}, catalog.base.items, best_kernels().step);
  }
  OwnedBitmap base_bits(const CatalogView& catalog) const {
    return OwnedBitmap::all_but({base.data(), base_count}, catalog.base.items, best_kernels().step);
  }
  OwnedRankSet added_set(const CatalogView& catalog) const {
    return rank_set_of({added.data(), added_count}, catalog.added.items, best_kernels().step);
  }
};

Picked& thread_picked() {
  thread_local Picked picked;
  return picked;
}

Ranks united(const RankSet& a, const RankSet& b) {
  Ranks both;
  both.reserve(size_t{a.count} + b.count);
  std::set_union(a.ranks, a.ranks + a.count, b.ranks, b.ranks + b.count, std::back_inserter(both));
  return both;
}

OwnedRankSet held_by(const Bitmap& bits, const RankSet& set, uint32_t bound) {
  Ranks held;
  for (uint32_t i = 0; i < set.count; ++i) {
    if (bits.contains(set.ranks[i])) held.push_back(set.ranks[i]);
  }
  return {std::move(held), bound};
}

}  // namespace

PreparedFilters::PreparedFilters(const CatalogView& catalog, const FilterRequest& request,
                                 unsigned threads)
    : catalog_(catalog), lists_(request.users), bits_(request.users), filters_(request.users) {
  std::atomic<bool> inside = prepare_gone(request);
  parallel_for(request.users, threads, [&](size_t user) {
    if (!prepare(request, user)) inside = false;
  });
  if (!inside) throw std::invalid_argument("a filter names a leaf that is not in the catalogue");
}

// Denied to everybody is as good as removed.
bool PreparedFilters::prepare_gone(const FilterRequest& request) {
  gone_base_ = catalog_.removed;
  if (!request.deny_all.empty()) {
    Picked& picked = thread_picked();
    if (!picked.pick(request.deny_all, catalog_, [](bool, uint32_t) { return true; })) return false;
    denied_to_all_ = {picked.base_set(catalog_), picked.added_set(catalog_)};
    gone_base_ = denied_to_all_.base.view();
    gone_added_ = denied_to_all_.added.view();
    if (catalog_.removed.count > 0) {
      removed_or_denied_ = OwnedRankSet(united(catalog_.removed, gone_base_), catalog_.base.items);
      gone_base_ = removed_or_denied_.view();
    }
  }
  for (const LeafBits& bits : request.bitmaps) {
    gone_of_bitmap_.push_back({held_by(bits.base, gone_base_, catalog_.base.items),
                               held_by(bits.added, gone_added_, catalog_.added.items)});
  }
  return true;
}

bool PreparedFilters::prepare(const FilterRequest& request, size_t user) {
  UserFilter& filter = filters_[user];
  const int32_t chosen = request.bitmap_of_user != nullptr ? request.bitmap_of_user[user] : -1;
  const LeafBits* bits = chosen >= 0 ? &request.bitmaps[static_cast<size_t>(chosen)] : nullptr;
  filter.base.gone = gone_base_;
  filter.added.gone = gone_added_;
  if (bits != nullptr) {
    const Lists& gone = gone_of_bitmap_[static_cast<size_t>(chosen)];
    filter.base = {SegmentFilter::Kind::bitmap, bits->base, {}, gone.base.view(), {}};
    filter.added = {SegmentFilter::Kind::bitmap, bits->added, {}, gone.added.view(), {}};
  }
  filter.base.denied_ids = request.base_ids;
  filter.added.denied_ids = request.added_ids;
  // Leaves that are gone, or that the bitmap lacks, are not counted twice.
  const bool any_gone = gone_base_.count + gone_added_.count > 0;
  const auto possible = [&](bool is_base, uint32_t rank) {
    if (any_gone && (is_base ? gone_base_ : gone_added_).contains(rank)) return false;
    return bits == nullptr || (is_base ? bits->base : bits->added).contains(rank);
  };
  Picked& picked = thread_picked();
  const std::span<const int64_t> denied =
      request.deny.offsets != nullptr ? request.deny.of(user) : std::span<const int64_t>{};
  const bool all = !any_gone && bits == nullptr && catalog_.added.items == 0;
  if (!(all ? picked.pick_all(denied, catalog_) : picked.pick(denied, catalog_, possible)))
    return false;
  const bool all_allowed = request.allow.offsets == nullptr || request.allow_all[user] != 0;
  Lists& lists = lists_[user];
  lists.added = picked.added_set(catalog_);
  if (all_allowed && bits == nullptr &&
      OwnedBitmap::suits(picked.base_count, catalog_.base.items)) {
    bits_[user] = picked.base_bits(catalog_);
    filter.base.kind = SegmentFilter::Kind::bitmap;
    filter.base.bits = bits_[user].view();
    filter.added.denied = lists.added.view();
    return true;
  }
  lists.base = picked.base_set(catalog_);
  if (all_allowed) {
    filter.base.denied = lists.base.view();
    filter.added.denied = lists.added.view();
    return true;
  }
  const auto allowed = [&](bool is_base, uint32_t rank) {
    const DeniedIds& ids = (is_base ? filter.base : filter.added).denied_ids;
    return possible(is_base, rank) && !(is_base ? lists.base : lists.added).view().contains(rank) &&
           (ids.words == nullptr || !ids.contain(rank));
  };
  if (!picked.pick(request.allow.of(user), catalog_, allowed)) return false;
  lists = {picked.base_set(catalog_), picked.added_set(catalog_)};
  filter.base.kind = filter.added.kind = SegmentFilter::Kind::list;
  filter.base.listed = lists.base.view();
  filter.added.listed = lists.added.view();
  filter.base.denied_ids = filter.added.denied_ids = {};
  return true;
}

}  // namespace mmgrec
