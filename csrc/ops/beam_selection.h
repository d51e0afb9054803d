// The best candidates of a user's step, with a threshold that rises as they come in.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

#include "ops/constrained_topk.h"

namespace mmgrec {

// Keeps the `wanted` best beams of any number; equal scores in the order of Rec-IDs.
//
//   candidates gather in a buffer; when it is full the best `wanted` stay, and the worst of them is
//   the least score that still matters
class BeamSelection {
 public:
  void reset(size_t wanted) {
    wanted_ = wanted;
    limit_ = 2 * wanted + 16;
    least_ = -std::numeric_limits<float>::infinity();
    count_ = 0;
    dropped_ = false;
    if (keys_.size() < limit_) {
      keys_.resize(limit_);
      beams_.resize(limit_);
      spare_.resize(limit_);
    }
  }

  // Lower scores cannot be among the best any more (equal ones still can).
  float least() const { return least_; }

  void push(const Beam& beam) {
    keys_[count_] = {key_of(beam), static_cast<uint32_t>(count_)};
    beams_[count_] = beam;
    if (++count_ == limit_) shrink();
  }

  // Best first.
  void sort() {
    std::sort(keys_.begin(), end());
    if (count_ <= wanted_) return;
    count_ = wanted_;
    dropped_ = true;
  }
  size_t size() const { return count_; }
  const Beam& operator[](size_t i) const { return beams_[keys_[i].at]; }

  // Takes out what the filter denies, until `enough` are known to be allowed. False where that
  // leaves fewer although others were dropped on the way: those would have to be looked at.
  bool drop_denied(const UserFilter& filter, size_t enough) {
    sort();
    size_t kept = 0;
    for (size_t i = 0; i < count_ && kept < enough; ++i) {
      const Beam& beam = (*this)[i];
      if (filter.allows_any(beam.base, beam.added)) keys_[kept++] = keys_[i];
    }
    count_ = kept;
    return kept >= enough || !dropped_;
  }

 private:
  struct Key {
    uint64_t order;  // ascending: better first
    uint32_t at;
    bool operator<(const Key& other) const { return order < other.order; }
  };

  // Descending score, then ascending place among all Rec-IDs, as one number.
  static uint64_t key_of(const Beam& beam) {
    const auto bits = std::bit_cast<uint32_t>(beam.score + 0.0f);  // -0 as 0
    const uint32_t ascending = bits >> 31 ? ~bits : bits | 0x80000000u;
    const uint32_t place = beam.base.lo + beam.added.lo;
    return uint64_t{~ascending} << 32 | place;
  }

  std::vector<Key>::iterator end() { return keys_.begin() + static_cast<std::ptrdiff_t>(count_); }

  void shrink() {
    const auto worst = keys_.begin() + static_cast<std::ptrdiff_t>(wanted_ - 1);
    std::nth_element(keys_.begin(), worst, end());
    least_ = beams_[worst->at].score;
    count_ = wanted_;
    for (uint32_t i = 0; i < count_; ++i) {
      spare_[i] = beams_[keys_[i].at];
      keys_[i].at = i;
    }
    beams_.swap(spare_);
    dropped_ = true;
  }

  size_t wanted_ = 0;
  size_t limit_ = 0;
  size_t count_ = 0;
  float least_ = 0;
  bool dropped_ = false;  // has any candidate been passed over?
  std::vector<Key> keys_;
  std::vector<Beam> beams_, spare_;
};

// The calling thread's; its memory grows and is kept.
inline BeamSelection& thread_selection() {
  thread_local BeamSelection selection;
  return selection;
}

}  // namespace mmgrec
