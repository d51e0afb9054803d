// The best candidates that one warp has seen, in the shared memory of its block.
//
//   push up to one candidate per lane; when there is no room for another round, sort and cut back
//   to `keep`: what does not beat the last of these is not let in any more
#pragma once

#include <cmath>
#include <cstdint>

#include "trie/lane_group.h"

namespace mmgrec {

// A child without its ranges: those follow from its parent and token, and are looked up for the
// few children that are kept.
struct Candidate {
  float score;
  uint32_t place;  // see ChildRanges::place
  uint16_t parent;
  uint16_t token;

  // A total order over different children, so that results do not depend on the order of arrival.
  MMGREC_HOST_DEVICE bool better_than(const Candidate& other) const {
    if (score != other.score) return score > other.score;
    if (place != other.place) return place < other.place;
    if (parent != other.parent) return parent < other.parent;
    return token < other.token;
  }
};
static_assert(sizeof(Candidate) == 12);

constexpr float kDeadScore = -INFINITY;

MMGREC_HOST_DEVICE inline Candidate dead_candidate() {
  return {kDeadScore, UINT32_MAX, UINT16_MAX, UINT16_MAX};
}

template <class Group>
class CandidatePool {
 public:
  // `memory` holds `capacity` candidates: a power of two, at least keep + Group::lanes.
  MMGREC_HOST_DEVICE CandidatePool(Candidate* memory, uint32_t capacity, uint32_t keep)
      : memory_(memory), capacity_(capacity), keep_(keep), last_(dead_candidate()) {}

  MMGREC_HOST_DEVICE bool wants(const Candidate& candidate) const {
    return candidate.better_than(last_);
  }

  // Adds the candidates of those lanes whose bit is set in `chosen`.
  MMGREC_HOST_DEVICE void push(const PerLane<Group, Candidate>& candidates, uint32_t chosen) {
    if (chosen == 0) return;
    Group::for_each_lane([&](unsigned lane) {
      if (chosen >> lane & 1) memory_[count_ + lanes_before(chosen, lane)] = candidates[lane];
    });
    count_ += Group::count(chosen);
    Group::sync();
    if (count_ + Group::lanes > capacity_) sort_and_cut();
  }

  // Sorts, best first, keeps no more than `keep` and returns how many there are.
  MMGREC_HOST_DEVICE uint32_t sort_and_cut() {
    sort();
    if (count_ >= keep_) {
      count_ = keep_;
      last_ = memory_[keep_ - 1];
    }
    // The next push overwrites what other lanes may still be reading here.
    Group::sync();
    return count_;
  }

 private:
  // Bitonic: every stage compares disjoint pairs, so that lanes are independent within it.
  MMGREC_HOST_DEVICE void sort() {
    uint32_t size = 1;
    while (size < count_) size *= 2;
    Group::for_each_lane([&](unsigned lane) {
      for (uint32_t i = count_ + lane; i < size; i += Group::lanes) memory_[i] = dead_candidate();
    });
    Group::sync();
    for (uint32_t block = 2; block <= size; block *= 2) {
      for (uint32_t distance = block / 2; distance > 0; distance /= 2) {
        Group::for_each_lane([&](unsigned lane) {
          for (uint32_t pair = lane; pair < size / 2; pair += Group::lanes) {
            const uint32_t i = 2 * pair - (pair & (distance - 1));
            exchange(memory_[i], memory_[i + distance], (i & block) == 0);
          }
        });
        Group::sync();
      }
    }
  }
  MMGREC_HOST_DEVICE static void exchange(Candidate& a, Candidate& b, bool best_first) {
    if (b.better_than(a) != best_first) return;
    const Candidate kept = a;
    a = b;
    b = kept;
  }

  Candidate* memory_;
  uint32_t capacity_;
  uint32_t keep_;
  uint32_t count_ = 0;
  Candidate last_;  // of those kept, once there are enough
};

}  // namespace mmgrec
