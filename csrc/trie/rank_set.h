// Sorted unique ranks with a directory, so that "how many are below r" looks at a few of them only.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "trie/narrow.h"

namespace mmgrec {

// Plain pointers, as a search or a device kernel sees it.
//
//   directory[b] = number of ranks whose (rank >> shift) is below b;   [(bound >> shift) + 2]
struct RankSet {
  const uint32_t* ranks = nullptr;
  uint32_t count = 0;
  const uint32_t* directory = nullptr;
  uint32_t shift = 0;

  // How many ranks are smaller than `rank`, which may be up to the set's bound.
  MMGREC_HOST_DEVICE uint32_t below(uint32_t rank) const {
    if (count == 0) return 0;
    const uint32_t bucket = rank >> shift;
    uint32_t at = directory[bucket];
    const uint32_t end = directory[bucket + 1];
    if (end - at > 16) return first_not_less<SingleLane>(ranks, at, end, rank);
    while (at < end && ranks[at] < rank) ++at;
    return at;
  }
  MMGREC_HOST_DEVICE uint32_t inside(Range range) const {
    return count == 0 ? 0 : below(range.hi) - below(range.lo);
  }
  MMGREC_HOST_DEVICE bool contains(uint32_t rank) const {
    if (count == 0) return false;
    const uint32_t at = below(rank);
    return at < count && ranks[at] == rank;
  }
};

// The memory of a RankSet.
class OwnedRankSet {
 public:
  OwnedRankSet() = default;
  // `ranks` ascend, are unique and lie below `bound`.
  OwnedRankSet(std::vector<uint32_t> ranks, uint32_t bound) : ranks_(std::move(ranks)) {
    if (ranks_.empty()) return;
    shift_ = shift_for(static_cast<uint32_t>(ranks_.size()), bound);
    directory_.assign(size_t{bound >> shift_} + 2, 0);
    for (const uint32_t rank : ranks_) ++directory_[(rank >> shift_) + 1];
    for (size_t b = 1; b < directory_.size(); ++b) directory_[b] += directory_[b - 1];
  }
  // Directory and all; see RankSet.
  OwnedRankSet(std::vector<uint32_t> ranks, std::vector<uint32_t> directory, uint32_t shift)
      : ranks_(std::move(ranks)), directory_(std::move(directory)), shift_(shift) {}

  // Buckets of a directory: about one per rank.
  static uint32_t shift_for(uint32_t count, uint32_t bound) {
    return static_cast<uint32_t>(std::bit_width(std::max(bound / count, 1u)) - 1);
  }

  RankSet view() const {
    return {ranks_.data(), static_cast<uint32_t>(ranks_.size()), directory_.data(), shift_};
  }
  std::span<const uint32_t> ranks() const { return ranks_; }

 private:
  std::vector<uint32_t> ranks_;
  std::vector<uint32_t> directory_;
  uint32_t shift_ = 0;
};

}  // namespace mmgrec
