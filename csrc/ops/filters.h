// Which leaves a user may get, in a form that answers "how many below this prefix" by a few
// lookups.
#pragma once

#include <cstdint>

#include "trie/catalog.h"

namespace mmgrec {

// A set of ranks as bits, with a directory of counts.
//
//   counts[b] = number of set bits before word 8 b (512 ranks);   [ceil(words / 8) + 1]
struct Bitmap {
  const uint64_t* words = nullptr;
  const uint32_t* counts = nullptr;

  // How many set ranks are smaller.
  MMGREC_HOST_DEVICE uint32_t below(uint32_t rank) const {
    const uint32_t word = rank / 64;
    uint32_t found = counts[word / 8];
    for (uint32_t w = word / 8 * 8; w < word; ++w) found += population(words[w]);
    const uint32_t bit = rank % 64;
    if (bit > 0) found += population(words[word] & ((uint64_t{1} << bit) - 1));
    return found;
  }
  MMGREC_HOST_DEVICE bool contains(uint32_t rank) const {
    return words[rank / 64] >> (rank % 64) & 1;
  }
};

// The leaves of one segment (base or added) that a user may get.
//
//   all     every leaf      but `gone` and `denied`
//   bitmap  the set leaves  but `gone` and `denied`, which name only set leaves
//   list    the listed leaves, from which gone and denied ones were taken beforehand
// `gone` and `denied` have no leaf in common, so that numbers can be subtracted.
struct SegmentFilter {
  enum class Kind : uint32_t { all, bitmap, list };
  Kind kind = Kind::all;
  Bitmap bits;
  RankSet listed;
  RankSet gone;
  RankSet denied;

  // How many leaves of the range are allowed.
  MMGREC_HOST_DEVICE uint32_t allowed_inside(Range range) const {
    if (range.empty()) return 0;
    if (kind == Kind::list) return listed.inside(range);
    uint32_t found = range.hi - range.lo;
    if (kind == Kind::bitmap) found = bits.below(range.hi) - bits.below(range.lo);
    return found - gone.inside(range) - denied.inside(range);
  }
};

struct UserFilter {
  SegmentFilter base;
  SegmentFilter added;

  MMGREC_HOST_DEVICE bool allows_any(Range base_range, Range added_range) const {
    return base.allowed_inside(base_range) > 0 || added.allowed_inside(added_range) > 0;
  }
};

}  // namespace mmgrec
