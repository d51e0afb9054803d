// The arrays of a trie in memory: where they lie, and how they are filled. The same bytes are the
// payload of a file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "io/buffer.h"
#include "trie/trie_view.h"

namespace mmgrec {

// Level 1 is dense unless K0 * K1 > 4 N + 65,536: its table would then outweigh packed tokens
// (which cost 1-2 bytes per item), as with 65,536 codes on two levels.
uint32_t default_dense_levels(size_t items, std::span<const uint32_t> level_sizes);

// Throws std::invalid_argument unless there are 2 to 8 levels of 1 to 65,536 tokens.
void check_level_sizes(std::span<const uint32_t> level_sizes);

// Throws std::invalid_argument where leaf ranks would not fit 32 bits.
void check_items(uint64_t items);

// "(1, 2, 3)", as messages name a Rec-ID.
template <class Token>
std::string to_string(const Token* tuple, size_t levels) {
  std::string text = "(";
  for (size_t i = 0; i < levels; ++i) text += (i ? ", " : "") + std::to_string(tuple[i]);
  return text + ")";
}

// Byte offsets of the arrays, each a multiple of 64; zero for arrays that a trie does not have.
struct Sections {
  uint64_t first = 0;
  uint64_t second = 0;
  std::array<uint64_t, kMaxLevels> tokens{};
  uint64_t bytes = 0;
};

// Needs items, levels, dense_levels and level_sizes of the view.
Sections sections_of(const TrieView& view);

// Points the view's arrays into `payload`.
void attach(TrieView& view, const std::byte* payload);

// Memory for a trie whose leaves are still to be written (by LeafWriter).
struct TrieStorage {
  TrieStorage() = default;
  // Without `dense_levels`, the default for so many items.
  TrieStorage(std::span<const uint32_t> level_sizes, uint64_t items,
              std::optional<uint32_t> dense_levels);

  TrieView view;  // points into the payload
  Sections sections;
  Buffer<std::byte> payload;
};

// Writes leaves in ascending order: all of them, or, several writers side by side, a slice each.
class LeafWriter {
 public:
  LeafWriter(TrieStorage& storage, uint32_t rank);

  // The leaf before the first one of a slice.
  void follow(const uint32_t* tuple) {
    if (first_ != nullptr) next_first_ = tuple[0] + 1;
    if (second_ != nullptr) next_second_ = second_key(tuple) + 1;
  }

  void append(const uint32_t* tuple) {
    if (first_ != nullptr) fill_first(tuple[0]);
    if (second_ != nullptr) fill_second(second_key(tuple));
    for (uint32_t level = dense_levels_; level < levels_; ++level) {
      if (wide_[level]) {
        words(level)[rank_] = static_cast<uint16_t>(tuple[level]);
      } else {
        reinterpret_cast<uint8_t*>(tokens_[level])[rank_] = static_cast<uint8_t>(tuple[level]);
      }
    }
    ++rank_;
  }

  // After the last leaf of all: the offsets behind its prefixes.
  void finish() {
    if (first_ != nullptr) fill_first(sizes_[0]);
    if (second_ != nullptr) fill_second(uint64_t{sizes_[0]} * sizes_[1]);
  }

 private:
  // starts[key] = number of leaves with a smaller key
  void fill_first(uint32_t key) {
    for (; next_first_ <= key; ++next_first_) first_[next_first_] = rank_;
  }
  void fill_second(uint64_t key) {
    for (; next_second_ <= key; ++next_second_) second_[next_second_] = rank_;
  }
  uint64_t second_key(const uint32_t* tuple) const {
    return uint64_t{tuple[0]} * sizes_[1] + tuple[1];
  }
  uint16_t* words(uint32_t level) { return reinterpret_cast<uint16_t*>(tokens_[level]); }

  uint32_t* first_ = nullptr;
  uint32_t* second_ = nullptr;
  std::array<std::byte*, kMaxLevels> tokens_{};
  std::array<bool, kMaxLevels> wide_{};
  std::array<uint32_t, kMaxLevels> sizes_{};
  uint32_t levels_;
  uint32_t dense_levels_;
  uint32_t rank_;
  uint32_t next_first_ = 0;
  uint64_t next_second_ = 0;
};

}  // namespace mmgrec
