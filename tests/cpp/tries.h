// Random Rec-IDs, and a trie against the sorted list of them.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "check.h"
#include "trie/leaf_cursor.h"
#include "trie/trie.h"

namespace mmgrec {

using Tuples = std::vector<std::vector<int32_t>>;

inline Tuples random_tuples(size_t count, const std::vector<uint32_t>& sizes, unsigned seed) {
  std::mt19937 random(seed);
  std::set<std::vector<int32_t>> tuples;
  for (size_t tries = 0; tuples.size() < count && tries < 100 * count; ++tries) {
    std::vector<int32_t> tuple;
    // Squared uniforms: crowded low tokens, so that some prefixes hold many items.
    for (const uint32_t size : sizes) {
      const double u = std::uniform_real_distribution<>()(random);
      tuple.push_back(static_cast<int32_t>(u * u * size));
    }
    tuples.insert(tuple);
  }
  return {tuples.begin(), tuples.end()};
}

inline Tuples shuffled(Tuples tuples) {
  std::shuffle(tuples.begin(), tuples.end(), std::mt19937(5));
  return tuples;
}

inline std::vector<int32_t> flatten(const Tuples& tuples) {
  std::vector<int32_t> flat;
  for (const auto& tuple : tuples) flat.insert(flat.end(), tuple.begin(), tuple.end());
  return flat;
}

inline void check_children(const Trie& trie, const Tuples& sorted, Range range, size_t level) {
  if (level == trie.num_levels()) return;
  uint32_t next = range.lo;
  trie.for_each_child(range, level, [&](uint32_t token, Range child) {
    CHECK(child.lo == next && child.lo < child.hi && child.hi <= range.hi);
    for (uint32_t rank = child.lo; rank < child.hi; ++rank) {
      CHECK(sorted[rank][level] == static_cast<int32_t>(token));
    }
    next = child.hi;
    check_children(trie, sorted, child, level + 1);
  });
  CHECK(next == range.hi);
}

inline void check_cursor(const Trie& trie, const Tuples& sorted, uint32_t from) {
  LeafCursor leaf(trie.view().base, from);
  for (size_t rank = from; rank < sorted.size(); ++rank, leaf.next()) {
    CHECK(!leaf.done() && leaf.rank() == rank);
    CHECK(std::equal(sorted[rank].begin(), sorted[rank].end(), leaf.tuple()));
  }
  CHECK(leaf.done());
}

inline void check_trie(const Trie& trie, const Tuples& sorted) {
  CHECK(trie.num_items() == sorted.size());
  std::vector<int32_t> tuple(trie.num_levels());
  for (size_t rank = 0; rank < sorted.size(); ++rank) {
    CHECK(trie.lookup(sorted[rank].data()) == rank);
    trie.codes(static_cast<uint32_t>(rank), tuple.data());
    CHECK(tuple == sorted[rank]);
  }
  const auto items = static_cast<uint32_t>(sorted.size());
  check_children(trie, sorted, {0, items}, 0);
  for (const uint32_t from : {0u, items / 3, items}) check_cursor(trie, sorted, from);
  trie.verify(2);
}

// A path for one test at a time, removed in the end.
struct TemporaryFile {
  const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                     ("mmgrec_trie_" + std::to_string(::getpid()) + ".bin");
  ~TemporaryFile() { std::filesystem::remove(path); }
};

}  // namespace mmgrec
