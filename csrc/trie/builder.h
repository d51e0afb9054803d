// Building a trie from Rec-IDs in any order, which may come in batches.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "trie/radix_sort.h"
#include "trie/trie.h"

namespace mmgrec {

// A Rec-ID as one number: ceil(log2 K) bits per level, the first level highest, so that keys sort
// as tuples do.
class KeyLayout {
 public:
  explicit KeyLayout(std::span<const uint32_t> level_sizes);

  unsigned bits() const { return bits_; }
  std::span<const uint32_t> level_sizes() const { return {sizes_.data(), levels_}; }

  // False where a token is outside its level; the key then means nothing.
  template <class Key>
  bool pack(const int32_t* tuple, Key& key) const {
    key = 0;
    bool sound = true;
    for (size_t level = 0; level < levels_; ++level) {
      const auto token = static_cast<uint32_t>(tuple[level]);  // negative values become too large
      sound &= token < sizes_[level];
      key = static_cast<Key>(key << level_bits_[level]) | token;
    }
    return sound;
  }
  template <class Key>
  void unpack(Key key, uint32_t* tuple) const {
    for (size_t level = 0; level < levels_; ++level) {
      tuple[level] = static_cast<uint32_t>(key >> shifts_[level]) & masks_[level];
    }
  }

 private:
  size_t levels_;
  unsigned bits_ = 0;
  std::array<uint32_t, kMaxLevels> sizes_{};
  std::array<uint32_t, kMaxLevels> masks_{};
  std::array<unsigned, kMaxLevels> level_bits_{};
  std::array<unsigned, kMaxLevels> shifts_{};
};

// Keys in blocks: a list that grows without ever being copied, and goes back block by block.
template <class KeyType>
struct KeyBlocks {
  using Key = KeyType;
  static constexpr size_t kBlock = size_t{1} << 16;

  std::vector<std::unique_ptr<Key[]>> blocks;
  size_t count = 0;

  Key& operator[](size_t i) { return blocks[i / kBlock][i % kBlock]; }
  void reserve(size_t wanted) {
    while (blocks.size() * kBlock < wanted) {
      blocks.push_back(std::make_unique_for_overwrite<Key[]>(kBlock));
    }
  }
};

struct BuiltTrie {
  Trie trie;
  std::vector<uint32_t> order;  // order[rank] = row
};

//   add: check tokens, pack each tuple into a key
//   finish: sort (key, row); equal neighbours are an error; write offsets and tokens
//
// 10^8 items of four byte-sized tokens need 1.6 GB while they are sorted.
class TrieBuilder {
 public:
  // Throws std::invalid_argument on impossible level sizes.
  explicit TrieBuilder(std::span<const uint32_t> level_sizes);
  TrieBuilder(TrieBuilder&&) = default;

  // Row-major [n, levels]. Throws std::invalid_argument on a token outside its level, naming its
  // row (counted over all batches), or on too many items; nothing is added then.
  void add(std::span<const int32_t> codes);
  size_t num_rows() const;
  std::span<const uint32_t> level_sizes() const { return layout_.level_sizes(); }

  // Throws std::invalid_argument where two rows have one Rec-ID. The builder is empty afterwards.
  // Without `dense_levels`, the trie has the tables that suit so many items.
  BuiltTrie finish(unsigned threads, std::optional<uint32_t> dense_levels = {});

 private:
  template <class Key>
  void add_keys(KeyBlocks<Key>& keys, std::span<const int32_t> codes);
  template <class Form, class Blocks>
  BuiltTrie sort_and_write(const Form& form, Blocks keys, unsigned threads,
                           std::optional<uint32_t> dense_levels) const;
  template <class Form>
  void check_unique(const Form& form, const typename Form::Entry* entries, size_t count,
                    unsigned threads) const;

  KeyLayout layout_;
  std::variant<KeyBlocks<uint32_t>, KeyBlocks<uint64_t>, KeyBlocks<Key128>> keys_;
};

}  // namespace mmgrec
