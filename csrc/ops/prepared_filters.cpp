#include "ops/prepared_filters.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <stdexcept>

#include "parallel/pool.h"

namespace mmgrec {
namespace {

using Ranks = std::vector<uint32_t>;

// Sorts ranks below `bound` and drops repeats, in time proportional to their number.
//
//   scatter into about as many buckets as there are ranks; sort every bucket, most hold one or two
void sort_unique(Ranks& ranks, uint32_t bound) {
  const auto count = static_cast<uint32_t>(ranks.size());
  if (count > 64) {
    const auto shift = static_cast<uint32_t>(std::bit_width(std::max(bound / count, 1u)) - 1);
    Ranks ends(size_t{bound >> shift} + 2, 0);
    for (const uint32_t rank : ranks) ++ends[(rank >> shift) + 1];
    for (size_t b = 1; b < ends.size(); ++b) ends[b] += ends[b - 1];
    Ranks scattered(count);
    for (const uint32_t rank : ranks) scattered[ends[rank >> shift]++] = rank;
    // ends[b] is now where bucket b ends.
    uint32_t begin = 0;
    for (size_t b = 0; b + 1 < ends.size(); ++b) {
      if (ends[b] - begin > 1) std::sort(&scattered[begin], &scattered[begin] + (ends[b] - begin));
      begin = ends[b];
    }
    ranks.swap(scattered);
  } else {
    std::sort(ranks.begin(), ranks.end());
  }
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
}

// Calls keep(segment, rank) for every leaf; false where one is outside the catalogue.
template <class Keep>
bool for_each_leaf(std::span<const int64_t> leaves, const CatalogView& catalog, Keep keep) {
  for (const int64_t leaf : leaves) {
    if (leaf < 0 || leaf >= int64_t{catalog.leaves()}) return false;
    const auto rank = static_cast<uint32_t>(leaf);
    const bool is_base = rank < catalog.base.items;
    keep(is_base, is_base ? rank : rank - catalog.base.items);
  }
  return true;
}

}  // namespace

PreparedFilters::PreparedFilters(const CatalogView& catalog, const FilterRequest& request,
                                 unsigned threads)
    : filters_(request.users), lists_(request.users) {
  for (const LeafBits& bits : request.bitmaps) {
    Ranks gone;
    for (uint32_t i = 0; i < catalog.removed.count; ++i) {
      if (bits.base.contains(catalog.removed.ranks[i])) gone.push_back(catalog.removed.ranks[i]);
    }
    gone_.emplace_back(std::move(gone), catalog.base.items);
  }
  std::atomic<bool> inside = true;
  parallel_for(request.users, threads, [&](size_t user) {
    if (!prepare(catalog, request, user)) inside = false;
  });
  if (!inside) throw std::invalid_argument("a filter names a leaf that is not in the catalogue");
}

bool PreparedFilters::prepare(const CatalogView& catalog, const FilterRequest& request,
                              size_t user) {
  UserFilter& filter = filters_[user];
  const int32_t chosen = request.bitmap_of_user != nullptr ? request.bitmap_of_user[user] : -1;
  const LeafBits* bits = chosen >= 0 ? &request.bitmaps[static_cast<size_t>(chosen)] : nullptr;
  filter.base.gone = bits != nullptr ? gone_[static_cast<size_t>(chosen)].view() : catalog.removed;
  if (bits != nullptr) {
    filter.base.kind = filter.added.kind = SegmentFilter::Kind::bitmap;
    filter.base.bits = bits->base;
    filter.added.bits = bits->added;
  }

  // Leaves that are gone, or that the bitmap lacks, are not counted twice.
  const auto possible = [&](bool is_base, uint32_t rank) {
    if (is_base && catalog.removed.contains(rank)) return false;
    return bits == nullptr || (is_base ? bits->base : bits->added).contains(rank);
  };
  Ranks base, added;
  const auto collect = [&](bool is_base, uint32_t rank) {
    if (possible(is_base, rank)) (is_base ? base : added).push_back(rank);
  };
  if (request.deny.offsets != nullptr && !for_each_leaf(request.deny.of(user), catalog, collect)) {
    return false;
  }
  sort_unique(base, catalog.base.items);
  sort_unique(added, catalog.added.items);
  Lists& lists = lists_[user];
  const bool listed = request.allow.offsets != nullptr && request.allow_all[user] == 0;
  if (listed) {
    const OwnedRankSet denied_base(std::move(base), catalog.base.items);
    const OwnedRankSet denied_added(std::move(added), catalog.added.items);
    base.clear();
    added.clear();
    const auto allow = [&](bool is_base, uint32_t rank) {
      if (!(is_base ? denied_base : denied_added).view().contains(rank)) collect(is_base, rank);
    };
    if (!for_each_leaf(request.allow.of(user), catalog, allow)) return false;
    sort_unique(base, catalog.base.items);
    sort_unique(added, catalog.added.items);
    filter.base.kind = filter.added.kind = SegmentFilter::Kind::list;
  }
  lists.base = OwnedRankSet(std::move(base), catalog.base.items);
  lists.added = OwnedRankSet(std::move(added), catalog.added.items);
  (listed ? filter.base.listed : filter.base.denied) = lists.base.view();
  (listed ? filter.added.listed : filter.added.denied) = lists.added.view();
  return true;
}

}  // namespace mmgrec
