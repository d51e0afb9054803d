// Tuples of a trie view: where one is or would be, and what a leaf's is.
#pragma once

#include <algorithm>
#include <cstdint>

#include "live/edit.h"
#include "trie/narrow.h"

namespace mmgrec {

// Number of leaves with a smaller tuple, and whether the leaf of that rank has this very tuple.
struct Place {
  uint32_t rank = 0;
  bool found = false;
};

inline Range narrow_level(const TrieView& view, size_t level, Range range, uint32_t token) {
  return view.wide(level) ? narrow<HostGroup<1>>(view.words(level), range, token)
                          : narrow<HostGroup<1>>(view.bytes(level), range, token);
}

// An empty range stands where its leaves would be, so its start is the answer too.
inline Place place(const TrieView& view, const Tuple& tuple) {
  Range range{0, view.items};
  if (view.dense_levels == 1) range = {view.first[tuple[0]], view.first[tuple[0] + 1]};
  if (view.dense_levels == 2) {
    const uint32_t* at = view.second + size_t{tuple[0]} * view.level_sizes[1] + tuple[1];
    range = {at[0], at[1]};
  }
  for (size_t level = view.dense_levels; level < view.levels && !range.empty(); ++level) {
    range = narrow_level(view, level, range, tuple[level]);
  }
  return {range.lo, !range.empty()};
}

// Reads the tuples of leaves; fast where ranks mostly ascend in small steps, as in a walk.
class TupleReader {
 public:
  explicit TupleReader(const TrieView& view) : view_(view) {}

  Tuple read(uint32_t rank) {
    Tuple tuple{};
    if (view_.dense_levels > 0) {
      const uint32_t* table = view_.dense_levels == 2 ? view_.second : view_.first;
      seek(table, rank);
      const uint32_t per_first = view_.dense_levels == 2 ? view_.level_sizes[1] : 1;
      tuple[0] = static_cast<uint16_t>(key_ / per_first);
      if (view_.dense_levels == 2) tuple[1] = static_cast<uint16_t>(key_ % per_first);
    }
    for (size_t level = view_.dense_levels; level < view_.levels; ++level) {
      tuple[level] = view_.wide(level) ? view_.words(level)[rank] : view_.bytes(level)[rank];
    }
    return tuple;
  }

 private:
  // Moves key_ to the last entry that starts at or before `rank`.
  void seek(const uint32_t* table, uint32_t rank) {
    constexpr size_t kSteps = 16;
    for (size_t step = 0; step < kSteps && table[key_] <= rank; ++step, ++key_) {
      if (table[key_ + 1] > rank) return;
    }
    const size_t keys =
        size_t{view_.level_sizes[0]} * (view_.dense_levels == 2 ? view_.level_sizes[1] : 1);
    key_ = static_cast<size_t>(std::upper_bound(table, table + keys + 1, rank) - table) - 1;
  }

  TrieView view_;
  size_t key_ = 0;
};

}  // namespace mmgrec
