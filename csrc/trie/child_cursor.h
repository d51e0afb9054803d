// The children of a beam over base and added leaves together, dealt out to lanes.
//
//   few leaves   lane v of V takes the children that start in its V-th of the larger segment, and
//                those of the other segment with the same tokens: the cost follows the children
//   many leaves  lane v takes the tokens v, v + V, ... of the level: neighbouring lanes read
//                neighbouring entries of a dense table
// Every lane walks on its own; children come in no order that matters.
#pragma once

#include "trie/rank_set.h"
#include "trie/segment.h"

namespace mmgrec {

struct ChildRanges {
  uint32_t token = 0;
  Range base;
  Range added;

  // How many leaves are left.
  MMGREC_HOST_DEVICE uint32_t leaves(const RankSet& removed) const {
    const uint32_t of_base = base.empty() ? 0 : base.hi - base.lo - removed.inside(base);
    return of_base + (added.hi - added.lo);
  }
  // Where the child's first leaf stands among all leaves of the catalogue.
  MMGREC_HOST_DEVICE uint32_t place() const { return base.lo + added.lo; }
};

struct BeamSegments {
  Segment base;
  Segment added;

  MMGREC_HOST_DEVICE ChildRanges child(uint32_t token) const {
    return {token, base.child(token), added.child(token)};
  }
};

class ChildCursor {
 public:
  ChildCursor() = default;
  // Lane `lane` of `lanes`; every token of the level is visited if `every_token`.
  MMGREC_HOST_DEVICE ChildCursor(const BeamSegments& beam, uint32_t lane, uint32_t lanes,
                                 bool every_token)
      : stride_(lanes) {
    if (every_token || worth_a_walk_over_tokens(beam.base)) {
      next_token_ = lane;
      return;
    }
    by_leaves_ = true;
    // Not one call with chosen references: they would force registers into memory.
    if (beam.base.leaves() >= beam.added.leaves()) {
      deal_out(beam.base, base_, beam.added, added_, lane, lanes);
    } else {
      deal_out(beam.added, added_, beam.base, base_, lane, lanes);
    }
  }

  // The lane's next child; it may have no leaf left (`leaves` tells). False at the end.
  MMGREC_HOST_DEVICE bool next(const BeamSegments& beam, ChildRanges& child) {
    return by_leaves_ ? next_run(beam, child) : next_token(beam, child);
  }

 private:
  static constexpr uint32_t kNoToken = kMaxLevelSize;
  struct Cut {
    uint32_t leaf;
    uint32_t token;
  };

  // A step over tokens costs two neighbouring reads, one over leaves of a dense level a search.
  MMGREC_HOST_DEVICE static bool worth_a_walk_over_tokens(const Segment& base) {
    return base.dense() && base.tokens / 16 <= base.leaves();
  }

  MMGREC_HOST_DEVICE static void deal_out(const Segment& larger, Range& mine, const Segment& other,
                                          Range& theirs, uint32_t lane, uint32_t lanes) {
    const Cut from = cut(larger, lane, lanes);
    const Cut to = cut(larger, lane + 1, lanes);
    mine = {from.leaf, to.leaf};
    theirs = {lane == 0 ? other.range.lo : other.first_at_least(from.token),
              other.first_at_least(to.token)};
  }

  // Where the part of a lane starts: at the first run that starts at or after its first leaf.
  MMGREC_HOST_DEVICE static Cut cut(const Segment& segment, uint32_t lane, uint32_t lanes) {
    const Range range = segment.range;
    if (lane == lanes || range.empty()) return {range.hi, lane == 0 ? 0 : kNoToken};
    const auto first = range.lo + static_cast<uint32_t>(uint64_t{segment.leaves()} * lane / lanes);
    uint32_t leaf = first;
    if (first > range.lo) {
      leaf = segment.end_of_run(first - 1, range.hi, segment.token_at(first - 1));
    }
    return {leaf, leaf < range.hi ? segment.token_at(leaf) : kNoToken};
  }

  MMGREC_HOST_DEVICE bool next_token(const BeamSegments& beam, ChildRanges& child) {
    if (next_token_ >= beam.base.tokens) return false;
    child = beam.child(next_token_);
    next_token_ += stride_;
    return true;
  }

  MMGREC_HOST_DEVICE bool next_run(const BeamSegments& beam, ChildRanges& child) {
    while (!base_.empty() || !added_.empty()) {
      const uint32_t in_base = base_.empty() ? kNoToken : beam.base.token_at(base_.lo);
      const uint32_t in_added = added_.empty() ? kNoToken : beam.added.token_at(added_.lo);
      child.token = in_base < in_added ? in_base : in_added;
      child.base = first_run(beam.base, base_, in_base == child.token, child.token);
      child.added = first_run(beam.added, added_, in_added == child.token, child.token);
      base_.lo = child.base.hi;
      added_.lo = child.added.hi;
      // Damaged tokens are skipped: there is no logit for them.
      if (child.token < beam.base.tokens) return true;
    }
    return false;
  }

  MMGREC_HOST_DEVICE static Range first_run(const Segment& segment, Range left, bool present,
                                            uint32_t token) {
    return {left.lo, present ? segment.end_of_run(left.lo, left.hi, token) : left.lo};
  }

  bool by_leaves_ = false;
  uint32_t stride_ = 1;
  uint32_t next_token_ = 0;
  Range base_;
  Range added_;
};

}  // namespace mmgrec
