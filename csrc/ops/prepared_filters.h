// From a request's lists and bitmaps to what the search asks: how many allowed leaves are below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/filter_bits.h"
#include "ops/filters.h"

namespace mmgrec {

// Leaves per user in any order, repeated or not; user b has leaves[offsets[b] .. offsets[b + 1]).
struct LeafLists {
  const int64_t* offsets = nullptr;
  const int64_t* leaves = nullptr;
  std::span<const int64_t> of(size_t user) const {
    return {leaves + offsets[user], static_cast<size_t>(offsets[user + 1] - offsets[user])};
  }
};

// A named set of leaves, one bitmap per segment.
struct LeafBits {
  Bitmap base;
  Bitmap added;
};

// What the users of a batch may get: an item that the user's bitmap holds (where one is named),
// that the user's allow list holds (where one applies), and that neither the user's deny list nor
// everybody's holds, by leaf or by id.
struct FilterRequest {
  size_t users = 0;
  std::span<const int64_t> deny_all;   // leaves that nobody gets, prepared once
  DeniedIds base_ids, added_ids;       // more of them, taken as they are
  LeafLists deny;                      // null offsets: nothing else is denied
  LeafLists allow;                     // null offsets: no allow lists
  const uint8_t* allow_all = nullptr;  // [B] 1: the user's allow list does not apply
  std::span<const LeafBits> bitmaps;
  const int32_t* bitmap_of_user = nullptr;  // [B] index, or -1; null where there are no bitmaps
};

// Filters of a batch in the form of filters.h, with the memory behind them. The catalogue, the
// bitmaps, the bits of ids and this object must outlive their use.
class PreparedFilters {
 public:
  // Throws std::invalid_argument on a leaf outside the catalogue.
  PreparedFilters(const CatalogView& catalog, const FilterRequest& request, unsigned threads);
  const UserFilter* data() const { return filters_.data(); }
  size_t users() const { return filters_.size(); }

 private:
  struct Lists {
    OwnedRankSet base;
    OwnedRankSet added;
  };
  bool prepare_gone(const FilterRequest& request);
  bool prepare(const FilterRequest& request, size_t user);

  CatalogView catalog_;
  RankSet gone_base_, gone_added_;  // removed and denied to everybody
  Lists denied_to_all_;
  OwnedRankSet removed_or_denied_;
  std::vector<Lists> gone_of_bitmap_;  // those of them that the bitmap holds
  std::vector<Lists> lists_;
  std::vector<OwnedBitmap> bits_;  // of users with bitmaps of their own
  std::vector<UserFilter> filters_;
};

}  // namespace mmgrec
