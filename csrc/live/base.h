// The built part of a live catalogue: a trie and the ids of its leaves. Immutable and shared.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "trie/trie.h"

namespace mmgrec {

class Base {
 public:
  // `ids` has one unique id per leaf rank, or is empty: an item's id is then its rank. Throws
  // std::invalid_argument.
  Base(Trie trie, std::vector<uint32_t> ids);

  const Trie& trie() const { return trie_; }
  TrieView view() const { return trie_.view().base; }
  uint32_t items() const { return static_cast<uint32_t>(trie_.num_items()); }
  std::vector<uint32_t> level_sizes() const { return trie_.level_sizes(); }

  uint32_t id(uint32_t rank) const { return ids_.empty() ? rank : ids_[rank]; }
  std::optional<uint32_t> rank_of(uint32_t id) const;
  std::span<const uint32_t> ids() const { return ids_; }

 private:
  Trie trie_;
  std::vector<uint32_t> ids_;
  // Ranks in the order of their ids: four bytes per item make an id's rank a binary search, however
  // sparse the ids have become.
  std::vector<uint32_t> by_id_;
};

}  // namespace mmgrec
