// All leaves of a trie in order, a constant time each.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "trie/trie_view.h"

namespace mmgrec {

// for (LeafCursor leaf(view); !leaf.done(); leaf.next()) use(leaf.rank(), leaf.tuple());
//
// The tokens of the dense levels come from walking along their offsets, where `Trie::codes` would
// search them. Never leaves the tables, whatever they hold; what it then yields may be no item.
class LeafCursor {
 public:
  explicit LeafCursor(const TrieView& view, uint32_t rank = 0) : view_(view), rank_(rank) {
    if (done()) return;
    if (view_.dense_levels >= 1) seek();
    read();
  }

  bool done() const { return rank_ >= view_.items; }
  uint32_t rank() const { return rank_; }
  // [levels], until the next call of next().
  const uint32_t* tuple() const { return tuple_.data(); }

  void next() { move_to(rank_ + 1); }

  // Goes to any leaf; a little further on is as fast as next().
  void move_to(uint32_t rank) {
    constexpr uint32_t kFar = 64;
    const bool near = rank >= rank_ && rank - rank_ <= kFar && !done();
    rank_ = rank;
    if (done()) return;
    if (view_.dense_levels >= 1) near ? walk() : seek();
    read();
  }

 private:
  // Offsets of the deepest dense level: entry `at` belongs to the prefix with that number.
  const uint32_t* starts() const { return view_.dense_levels == 2 ? view_.second : view_.first; }
  uint64_t prefixes() const {
    const uint64_t k0 = view_.level_sizes[0];
    return view_.dense_levels == 2 ? k0 * view_.level_sizes[1] : k0;
  }

  void seek() {
    const uint32_t* end = starts() + prefixes();
    at_ = static_cast<uint64_t>(std::upper_bound(starts() + 1, end, rank_) - (starts() + 1));
    set_prefix();
  }
  void walk() {
    const uint64_t last = prefixes() - 1;
    if (at_ == last || starts()[at_ + 1] > rank_) return;
    while (at_ < last && starts()[at_ + 1] <= rank_) ++at_;
    set_prefix();
  }
  void set_prefix() {
    const uint32_t k1 = view_.dense_levels == 2 ? view_.level_sizes[1] : 1;
    tuple_[0] = static_cast<uint32_t>(at_ / k1);
    if (view_.dense_levels == 2) tuple_[1] = static_cast<uint32_t>(at_ % k1);
  }
  void read() {
    for (uint32_t level = view_.dense_levels; level < view_.levels; ++level) {
      tuple_[level] = view_.wide(level) ? view_.words(level)[rank_] : view_.bytes(level)[rank_];
    }
  }

  TrieView view_;
  uint32_t rank_;
  uint64_t at_ = 0;
  std::array<uint32_t, kMaxLevels> tuple_{};
};

}  // namespace mmgrec
