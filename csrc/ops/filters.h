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
  static constexpr uint32_t kBlock = 8;  // words
  const uint64_t* words = nullptr;
  const uint32_t* counts = nullptr;

  // How many set ranks are smaller.
  MMGREC_HOST_DEVICE uint32_t below(uint32_t rank) const {
    const uint32_t word = rank / 64;
    uint32_t found = counts[word / kBlock];
    for (uint32_t w = word / kBlock * kBlock; w < word; ++w) found += population(words[w]);
    const uint32_t bit = rank % 64;
    if (bit > 0) found += population(words[word] & ((uint64_t{1} << bit) - 1));
    return found;
  }
  MMGREC_HOST_DEVICE bool contains(uint32_t rank) const {
    return words[rank / 64] >> (rank % 64) & 1;
  }
  // Whether a leaf of the range is set, as far as the word of its first one tells.
  MMGREC_HOST_DEVICE bool any_at_once(Range range) const {
    const uint32_t count = range.hi - range.lo;
    const uint64_t asked = count < 64 ? (uint64_t{1} << count) - 1 : ~uint64_t{0};
    return (words[range.lo / 64] >> (range.lo % 64) & asked) != 0;
  }
};

// Items that nobody gets, as bits of their ids (see IdMap): leaves are turned into ids where the
// search comes by, instead of all ids into leaves beforehand. On the CPU only.
struct DeniedIds {
  const uint64_t* words = nullptr;    // null: no ids are denied
  uint32_t bits = 0;                  // so many are in the words; larger ones are not denied
  const uint32_t* of_leaf = nullptr;  // [leaves] the bit of its item's id

  bool contain(uint32_t leaf) const {
    const uint32_t bit = of_leaf[leaf];
    return bit < bits && (words[bit / 64] >> (bit % 64) & 1) != 0;
  }
};

// The leaves of one segment (base or added) that a user may get.
//
//   all     every leaf      but `gone` and `denied`
//   bitmap  the set leaves  but `gone` and `denied`, which name only set leaves
//   list    the listed leaves, from which gone and denied ones were taken beforehand
// `gone` and `denied` have no leaf in common, so that numbers can be subtracted. `denied_ids` may
// name any leaves; of a list they were taken out as well.
struct SegmentFilter {
  enum class Kind : uint32_t { all, bitmap, list };
  Kind kind = Kind::all;
  Bitmap bits;
  RankSet listed;
  RankSet gone;
  RankSet denied;
  DeniedIds denied_ids = {};

  // How many leaves of the range are allowed, denied ids aside.
  MMGREC_HOST_DEVICE uint32_t allowed_inside(Range range) const {
    if (range.empty()) return 0;
    if (kind == Kind::list) return listed.inside(range);
    uint32_t found = range.hi - range.lo;
    if (kind == Kind::bitmap) found = bits.below(range.hi) - bits.below(range.lo);
    return found - gone.inside(range) - denied.inside(range);
  }
  MMGREC_HOST_DEVICE bool allows_any(Range range) const {
    if (range.empty()) return false;
#ifndef __CUDA_ARCH__
    if (denied_ids.words != nullptr) return allows_any_by_id(range);
#endif
    // Mostly one bit suffices.
    if (kind == Kind::bitmap && bits.any_at_once(range) &&
        gone.inside(range) + denied.inside(range) == 0)
      return true;
    return allowed_inside(range) > 0;
  }

 private:
  // Mostly the first leaf is allowed; at most as many are looked at as are not, and one more.
  bool allows_any_by_id(Range range) const {
    for (uint32_t leaf = range.lo; leaf < range.hi; ++leaf) {
      if (!denied_ids.contain(leaf) && allowed_inside({leaf, leaf + 1}) > 0) return true;
    }
    return false;
  }
};

struct UserFilter {
  SegmentFilter base;
  SegmentFilter added;

  MMGREC_HOST_DEVICE bool allows_any(Range base_range, Range added_range) const {
    return base.allows_any(base_range) || added.allows_any(added_range);
  }
};

}  // namespace mmgrec
