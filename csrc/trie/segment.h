// One beam's leaves in one segment of a catalogue (base or added), seen from the next level.
//
// Positions are clamped into the beam's range wherever they come from a table, so that damaged data
// yields wrong children but never an address outside the tables.
#pragma once

#include "trie/trie_view.h"

namespace mmgrec {

struct Segment {
  const uint32_t* row = nullptr;   // dense levels: first leaf of every token below this prefix
  const uint8_t* bytes = nullptr;  // packed levels: one of these two
  const uint16_t* words = nullptr;
  uint32_t tokens = 0;  // of the level
  Range range;

  MMGREC_HOST_DEVICE uint32_t leaves() const { return range.hi - range.lo; }
  MMGREC_HOST_DEVICE bool dense() const { return row != nullptr; }

  // The token of a leaf of the range.
  MMGREC_HOST_DEVICE uint32_t token_at(uint32_t leaf) const {
    if (bytes != nullptr) return bytes[leaf];
    if (words != nullptr) return words[leaf];
    const uint32_t after = first_not_less<SingleLane>(row, 0, tokens, leaf + 1);
    return after > 0 ? after - 1 : 0;
  }

  // End of the run of equal tokens that `leaf` belongs to, above `leaf` and at most `end`.
  MMGREC_HOST_DEVICE uint32_t end_of_run(uint32_t leaf, uint32_t end, uint32_t token) const {
    if (bytes != nullptr) return gallop(bytes, leaf, end, token);
    if (words != nullptr) return gallop(words, leaf, end, token);
    const uint32_t next = row[token + 1];
    if (next <= leaf) return leaf + 1;
    return next < end ? next : end;
  }

  // First leaf of the range whose token is not below `token`, which may be past the level's last.
  MMGREC_HOST_DEVICE uint32_t first_at_least(uint32_t token) const {
    if (range.empty()) return range.lo;
    if (token >= tokens) return range.hi;
    if (bytes != nullptr) return first_not_less<SingleLane>(bytes, range.lo, range.hi, token);
    if (words != nullptr) return first_not_less<SingleLane>(words, range.lo, range.hi, token);
    return inside(row[token]);
  }

  // The leaves below `token`; an empty range stands where they would be.
  MMGREC_HOST_DEVICE Range child(uint32_t token) const {
    const uint32_t lo = first_at_least(token);
    const uint32_t hi = first_at_least(token + 1);
    return {lo, hi > lo ? hi : lo};
  }

 private:
  MMGREC_HOST_DEVICE uint32_t inside(uint32_t leaf) const {
    if (leaf < range.lo) return range.lo;
    return leaf < range.hi ? leaf : range.hi;
  }
  // Most runs near the leaves are one item long, runs near the root may be very long.
  template <class Token>
  MMGREC_HOST_DEVICE static uint32_t gallop(const Token* at, uint32_t leaf, uint32_t end,
                                            uint32_t token) {
    const uint64_t left = end - leaf;
    uint64_t step = 1;
    while (step < left && at[leaf + step] == token) step *= 2;
    const auto from = static_cast<uint32_t>(leaf + (step + 1) / 2);
    const auto bound = static_cast<uint32_t>(leaf + (step < left ? step : left));
    return first_not_less<SingleLane>(at, from, bound, token + 1);
  }
};

// `range` must lie inside the trie's leaves.
template <class Group>
MMGREC_HOST_DEVICE Segment segment_of(const TrieView& trie, uint32_t level, Range range) {
  Segment found;
  found.tokens = trie.level_sizes[level];
  found.range = range;
  if (range.empty()) return found;
  if (level >= trie.dense_levels) {
    if (trie.wide(level)) {
      found.words = trie.words(level);
    } else {
      found.bytes = trie.bytes(level);
    }
    return found;
  }
  found.row = trie.first;
  if (level == 0) return found;
  const uint32_t after = first_not_less<Group>(trie.first, 0, trie.level_sizes[0], range.lo + 1);
  found.row = trie.second + size_t{after > 0 ? after - 1 : 0} * trie.level_sizes[1];
  return found;
}

}  // namespace mmgrec
