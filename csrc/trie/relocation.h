// Moving what views point to into one block of other memory, of a device for instance.
//
//   Relocation plan;
//   for_each_array(view, [&](auto& pointer, size_t bytes) { plan.add(pointer, bytes); });
//   block = plan.bytes() bytes;  plan.for_each([&](source, bytes, offset) { copy });
//   for_each_array(view, [&](auto& pointer, size_t) { plan.move(pointer, block); });
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "trie/catalog.h"

namespace mmgrec {

class Relocation {
 public:
  // Arrays are known by their address: one that several views share is copied once.
  void add(const void* array, size_t bytes) {
    if (array == nullptr || !parts_.try_emplace(array, Part{bytes, bytes_}).second) return;
    bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  size_t bytes() const { return bytes_; }

  template <class Copy>
  void for_each(Copy copy) const {
    for (const auto& [array, part] : parts_) copy(array, part.bytes, part.offset);
  }

  // Points to the copy in the block at address `block`, which need not be one of this process.
  template <class T>
  void move(const T*& array, uintptr_t block) const {
    if (array != nullptr) array = reinterpret_cast<const T*>(block + parts_.at(array).offset);
  }

 private:
  static constexpr size_t kAlignment = 16;
  struct Part {
    size_t bytes;
    size_t offset;
  };
  std::unordered_map<const void*, Part> parts_;
  size_t bytes_ = 0;
};

// Each calls visit(pointer, bytes) with every array of a view; `bound` is a set's number of leaves.

template <class Visit>
void for_each_array(TrieView& trie, Visit visit) {
  const uint64_t k0 = trie.level_sizes[0];
  visit(trie.first, (k0 + 1) * sizeof(uint32_t));
  visit(trie.second, (k0 * trie.level_sizes[1] + 1) * sizeof(uint32_t));
  for (size_t level = trie.dense_levels; level < trie.levels; ++level) {
    visit(trie.tokens[level], size_t{trie.items} * (trie.wide(level) ? 2 : 1));
  }
}

template <class Visit>
void for_each_array(RankSet& set, uint32_t bound, Visit visit) {
  if (set.count == 0) {
    // Nothing is looked up, but an address of the other memory would mislead.
    set = RankSet{};
    return;
  }
  visit(set.ranks, set.count * sizeof(uint32_t));
  visit(set.directory, ((bound >> set.shift) + size_t{2}) * sizeof(uint32_t));
}

template <class Visit>
void for_each_array(CatalogView& catalog, Visit visit) {
  for_each_array(catalog.base, visit);
  for_each_array(catalog.added, visit);
  for_each_array(catalog.removed, catalog.base.items, visit);
}

}  // namespace mmgrec
