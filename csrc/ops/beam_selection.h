// The best candidates of a user's step, with a threshold that rises as they come in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "ops/constrained_topk.h"
#include "ops/constrained_topk_kernels.h"

namespace mmgrec {

// Keeps the `wanted` best beams of any number; equal scores in the order of Rec-IDs.
//
//   candidates gather in a buffer; when it is full the best `wanted` stay, and the worst of them is
//   the least score that still matters
class BeamSelection {
 public:
  void reset(size_t wanted, const StepKernels& kernels) {
    kernels_ = &kernels;
    wanted_ = wanted;
    limit_ = 2 * wanted + 64;
    least_ = -std::numeric_limits<float>::infinity();
    count_ = 0;
    dropped_ = sorted_ = false;
    if (beams_.size() >= limit_) return;
    beams_.resize(limit_);
    spare_.resize(limit_);
    order_.resize(limit_);
    scores_.resize(limit_ + kUnit);
    ranks_.resize(limit_ + kUnit);
  }

  size_t wanted() const { return wanted_; }
  // Lower scores cannot be among the best any more (equal ones still can).
  float least() const { return least_; }
  // At least `wanted` candidates are known to score so much or more.
  void raise_least(float least) {
    least_ = std::max(least_, least);
    dropped_ = true;
  }

  // Where the next candidates are to be written, and how many; `take` then makes them some.
  Beam* slots() { return beams_.data() + count_; }
  size_t room() const { return limit_ - count_; }
  void take(size_t count) {
    count_ += count;
    if (count_ == limit_) shrink();
  }

  // Best first. Nothing may be pushed afterwards.
  void sort() {
    if (sorted_) return;
    sorted_ = true;
    if (count_ <= kFew) {
      sort_few();
    } else {
      for (uint32_t i = 0; i < count_; ++i) order_[i] = i;
      std::sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(count_), Better{this});
    }
    if (count_ <= wanted_) return;
    count_ = wanted_;
    dropped_ = true;
  }
  size_t size() const { return count_; }
  const Beam& operator[](size_t i) const { return beams_[order_[i]]; }

  // Takes out what the filter denies, until `enough` are known to be allowed. False where that
  // leaves fewer although others were dropped on the way: those would have to be looked at.
  bool drop_denied(const UserFilter& filter, size_t enough) {
    sort();
    size_t kept = 0;
    for (size_t i = 0; i < count_ && kept < enough; ++i) {
      const Beam& beam = (*this)[i];
      if (filter.allows_any(beam.base, beam.added)) order_[kept++] = order_[i];
    }
    count_ = kept;
    return kept >= enough || !dropped_;
  }

 private:
  // Up to here everybody is compared with everybody, which has no branches to guess.
  static constexpr size_t kFew = 256;

  static bool better(const Beam& a, const Beam& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.base.lo + a.added.lo < b.base.lo + b.added.lo;
  }
  struct Better {
    const BeamSelection* selection;
    bool operator()(uint32_t a, uint32_t b) const {
      const auto& beams = selection->beams_;
      if (better(beams[a], beams[b])) return true;
      return !better(beams[b], beams[a]) && a < b;
    }
  };

  // A candidate's place is the number of those that score more; the few of equal score take
  // neighbouring places as they come and are put in order afterwards.
  void sort_few() {
    constexpr uint32_t kFree = ~0u;
    for (size_t i = 0; i < count_; ++i) scores_[i] = beams_[i].score;
    if (kernels_->ranks(scores_.data(), count_, ranks_.data())) {
      for (uint32_t i = 0; i < count_; ++i) order_[ranks_[i]] = i;
      return;
    }
    std::fill_n(order_.begin(), count_, kFree);
    for (uint32_t i = 0; i < count_; ++i) {
      uint32_t place = ranks_[i];
      while (order_[place] != kFree) ++place;
      order_[place] = i;
    }
    const Better is_better{this};
    for (size_t i = 1; i < count_; ++i) {
      for (size_t j = i; j > 0 && is_better(order_[j], order_[j - 1]); --j)
        std::swap(order_[j], order_[j - 1]);
    }
  }

  void shrink() {
    for (uint32_t i = 0; i < count_; ++i) order_[i] = i;
    const auto begin = order_.begin(), worst = begin + static_cast<std::ptrdiff_t>(wanted_ - 1);
    std::nth_element(begin, worst, begin + static_cast<std::ptrdiff_t>(count_), Better{this});
    least_ = std::max(least_, beams_[*worst].score);
    count_ = wanted_;
    for (size_t i = 0; i < count_; ++i) spare_[i] = beams_[order_[i]];
    beams_.swap(spare_);
    dropped_ = true;
  }

  const StepKernels* kernels_ = nullptr;
  size_t wanted_ = 0;
  size_t limit_ = 0;
  size_t count_ = 0;
  float least_ = 0;
  bool dropped_ = false;  // has any candidate been passed over?
  bool sorted_ = false;
  std::vector<Beam> beams_, spare_;
  std::vector<uint32_t> order_, ranks_;
  std::vector<float> scores_;
};

// The calling thread's; its memory grows and is kept.
inline BeamSelection& thread_selection() {
  thread_local BeamSelection selection;
  return selection;
}

}  // namespace mmgrec
