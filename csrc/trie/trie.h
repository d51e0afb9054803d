// The prefix trie: items sorted by Rec-ID, a beam is a contiguous range of leaf ranks.
//
// Level 1 is dense unless K0 * K1 > 4 N + 65,536: its table would then outweigh packed tokens
// (which cost 1-2 bytes per item), as with 65,536 codes on two levels. trie_view.h has the layout.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "io/file.h"
#include "trie/catalog.h"
#include "trie/narrow.h"
#include "trie/trie_view.h"

namespace mmgrec {

// First bytes of the file and the whole description of what follows; a plain struct, little endian.
struct TrieHeader {
  std::array<char, 8> magic{};
  uint32_t version = 0;
  uint32_t levels = 0;
  uint64_t items = 0;
  std::array<uint32_t, kMaxLevels> level_sizes{};
  uint32_t dense_levels = 0;
  uint32_t payload_crc = 0;
  uint64_t payload_bytes = 0;
  uint32_t reserved = 0;
  uint32_t header_crc = 0;  // of all bytes before this one
};
static_assert(sizeof(TrieHeader) == 80);

class Trie : public Catalog {
 public:
  // Builds from unsorted tuples, row-major [items, level_sizes.size()]; order[rank] = row. Throws
  // std::invalid_argument on tokens out of range and on equal tuples.
  static Trie build(std::span<const int32_t> codes, std::span<const uint32_t> level_sizes,
                    std::vector<uint32_t>& order);
  // Maps a file. Throws DamagedFile unless every size, checksum and offset is sound.
  static Trie open(const std::filesystem::path& path);
  void save(const std::filesystem::path& path) const;

  CatalogView view() const override;

  size_t num_items() const { return header_.items; }
  size_t num_levels() const { return header_.levels; }
  uint32_t level_size(size_t level) const { return header_.level_sizes[level]; }
  size_t num_bytes() const { return sizeof(TrieHeader) + header_.payload_bytes; }

  // Leaf rank of a full tuple, or num_items() when it is no item. Any int32 values are allowed.
  size_t lookup(const int32_t* tuple) const;
  // Writes the tuple of a leaf.
  void codes(uint32_t rank, int32_t* tuple) const;

  // Calls visit(token, range) for the children of a prefix of `level` tokens, in token order.
  template <class Visit>
  void for_each_child(Range range, size_t level, Visit visit) const;

 private:
  Trie() = default;
  void attach(std::span<const std::byte> payload);
  void check_tables() const;
  uint32_t first_token(uint32_t rank) const;
  bool wide(size_t level) const { return header_.level_sizes[level] > 256; }
  const uint8_t* bytes(size_t level) const {
    return reinterpret_cast<const uint8_t*>(tokens_[level]);
  }
  const uint16_t* words(size_t level) const {
    return reinterpret_cast<const uint16_t*>(tokens_[level]);
  }
  uint32_t token(size_t level, uint32_t rank) const {
    return wide(level) ? words(level)[rank] : bytes(level)[rank];
  }
  template <class Token, class Visit>
  static void for_each_run(const Token* tokens, Range range, Visit visit);

  TrieHeader header_;
  std::vector<std::byte> owned_;
  MappedFile mapped_;
  const uint32_t* first_ = nullptr;
  const uint32_t* second_ = nullptr;
  std::array<const std::byte*, kMaxLevels> tokens_{};
};

template <class Token, class Visit>
void Trie::for_each_run(const Token* tokens, Range range, Visit visit) {
  uint32_t lo = range.lo;
  while (lo < range.hi) {
    // Gallop: most runs near the leaves are one item long, runs near the root may be very long.
    const uint64_t left = range.hi - lo;
    uint64_t step = 1;
    while (step < left && tokens[lo + step] == tokens[lo]) step *= 2;
    const auto from = static_cast<uint32_t>(lo + step / 2);
    const auto bound = static_cast<uint32_t>(lo + std::min(step, left));
    const uint32_t hi = first_not_less<HostGroup<1>>(tokens, from, bound, uint32_t{tokens[lo]} + 1);
    visit(uint32_t{tokens[lo]}, Range{lo, hi});
    lo = hi;
  }
}

template <class Visit>
void Trie::for_each_child(Range range, size_t level, Visit visit) const {
  if (range.empty()) return;
  if (level >= header_.dense_levels) {
    if (wide(level)) return for_each_run(words(level), range, visit);
    return for_each_run(bytes(level), range, visit);
  }
  const uint32_t* table = first_;
  if (level == 1) table = second_ + size_t{first_token(range.lo)} * header_.level_sizes[1];
  for (uint32_t token = 0; token < header_.level_sizes[level]; ++token) {
    if (table[token] < table[token + 1]) visit(token, Range{table[token], table[token + 1]});
  }
}

}  // namespace mmgrec
