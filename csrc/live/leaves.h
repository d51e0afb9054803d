// Tuples of a trie view: where one is or would be, and what a leaf's is.
#pragma once

#include <algorithm>
#include <cstdint>

#include "live/edit.h"
#include "trie/leaf_cursor.h"
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

// The tuple that a cursor stands at.
inline Tuple tuple_at(const LeafCursor& leaf) {
  Tuple tuple{};
  std::copy_n(leaf.tuple(), kMaxLevels, tuple.begin());
  return tuple;
}

}  // namespace mmgrec
