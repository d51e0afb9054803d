// The prefix trie: items sorted by Rec-ID, a beam is a contiguous range of leaf ranks.
// trie_view.h has the layout of its arrays, trie_file.h that of its file.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "io/file.h"
#include "trie/catalog.h"
#include "trie/narrow.h"
#include "trie/trie_layout.h"
#include "trie/trie_view.h"

namespace mmgrec {

// Immutable, so that threads may share it.
//
// What a file holds is not read through when it is opened (that takes `verify`), so nothing here
// trusts offsets and tokens: a search in a damaged file never leaves its tables, and a token
// outside its level is a DamagedFile.
class Trie : public Catalog {
 public:
  // Leaves that a LeafWriter has written.
  explicit Trie(TrieStorage storage) : view_(storage.view), owned_(std::move(storage)) {}

  // Builds from unsorted tuples, row-major [items, level_sizes.size()]; order[rank] = row. Throws
  // std::invalid_argument on tokens out of range and on equal tuples. builder.h has more ways.
  static Trie build(std::span<const int32_t> codes, std::span<const uint32_t> level_sizes,
                    std::vector<uint32_t>& order, unsigned threads = 1);

  // Builds from sorted tuples without keeping them: next(uint32_t* tuple) writes the next one, and
  // is called `items` times. Throws std::invalid_argument unless they ascend strictly. Without
  // `dense_levels`, the trie has the tables that suit so many items.
  template <class Next>
  static Trie from_sorted(std::span<const uint32_t> level_sizes, uint64_t items, Next&& next,
                          std::optional<uint32_t> dense_levels = {});

  // Maps a file: checks its header, its size and its table of checksums, but not what they are
  // checksums of, so that it takes as long for 10^8 items as for one.
  static Trie open(const std::filesystem::path& path);
  // Checks everything: checksums, offsets, tokens, and that the leaves ascend. Throws DamagedFile.
  void verify(unsigned threads = 1) const;
  // Throws std::system_error with the cause, such as a full disk. A trie that came from a file is
  // copied as it is, damage included.
  void save(const std::filesystem::path& path, unsigned threads = 1) const;

  CatalogView view() const override { return {.base = view_, .added = {}, .removed = {}}; }

  size_t num_items() const { return view_.items; }
  size_t num_levels() const { return view_.levels; }
  uint32_t level_size(size_t level) const { return view_.level_sizes[level]; }
  std::vector<uint32_t> level_sizes() const {
    return {view_.level_sizes, view_.level_sizes + view_.levels};
  }
  // The size of its file.
  size_t num_bytes() const;

  // Leaf rank of a full tuple, or num_items() when it is no item. Any int32 values are allowed.
  size_t lookup(const int32_t* tuple) const;
  // Writes the tuple of a leaf.
  void codes(uint32_t rank, int32_t* tuple) const;

  // Calls visit(token, range) for the children of a prefix of `level` tokens, in token order.
  template <class Visit>
  void for_each_child(Range range, size_t level, Visit visit) const;

 private:
  Trie() = default;
  void check_offsets() const;
  void check_leaves(unsigned threads) const;
  [[noreturn]] void fail_damaged(const std::string& what) const;
  [[noreturn]] void fail_token(size_t level, uint32_t rank, int64_t token) const;

  bool wide(size_t level) const { return view_.wide(level); }
  uint32_t token(size_t level, uint32_t rank) const {
    return wide(level) ? view_.words(level)[rank] : view_.bytes(level)[rank];
  }
  uint32_t first_token(uint32_t rank) const;
  // A child's offsets as a range inside its parent, whatever they are.
  static Range inside(Range parent, uint32_t lo, uint32_t hi) {
    lo = std::clamp(lo, parent.lo, parent.hi);
    return {lo, std::clamp(hi, lo, parent.hi)};
  }
  template <class Token, class Visit>
  void for_each_run(const Token* tokens, Range range, size_t level, Visit visit) const;

  TrieView view_;
  TrieStorage owned_;  // either this
  MappedFile mapped_;  // or this holds the arrays
};

template <class Next>
Trie Trie::from_sorted(std::span<const uint32_t> level_sizes, uint64_t items, Next&& next,
                       std::optional<uint32_t> dense_levels) {
  TrieStorage storage(level_sizes, items, dense_levels);
  LeafWriter writer(storage, 0);
  std::array<uint32_t, kMaxLevels> tuple{};
  std::array<uint32_t, kMaxLevels> previous{};
  for (uint64_t rank = 0; rank < items; ++rank) {
    next(tuple.data());
    bool sound = true;
    int order = rank == 0 ? 1 : 0;  // above zero: the tuple is greater than the one before
    for (size_t level = 0; level < level_sizes.size(); ++level) {
      sound &= tuple[level] < level_sizes[level];
      if (order == 0) order = (tuple[level] > previous[level]) - (tuple[level] < previous[level]);
    }
    if (!sound || order <= 0) {
      throw std::invalid_argument(
          "leaf " + std::to_string(rank) + ": " + to_string(tuple.data(), level_sizes.size()) +
          (sound ? " does not come after the leaf before it" : " has a token outside its level"));
    }
    writer.append(tuple.data());
    previous = tuple;
  }
  writer.finish();
  return Trie(std::move(storage));
}

template <class Token, class Visit>
void Trie::for_each_run(const Token* tokens, Range range, size_t level, Visit visit) const {
  uint32_t lo = range.lo;
  int64_t previous = -1;
  while (lo < range.hi) {
    // Gallop: most runs near the leaves are one item long, runs near the root may be very long.
    const uint32_t token = tokens[lo];
    const uint64_t left = range.hi - lo;
    uint64_t step = 1;
    while (step < left && tokens[lo + step] == token) step *= 2;
    const auto from = static_cast<uint32_t>(lo + step / 2);
    const auto bound = static_cast<uint32_t>(lo + std::min(step, left));
    const uint32_t hi = first_not_less<HostGroup<1>>(tokens, from, bound, token + 1);
    if (token >= view_.level_sizes[level] || token <= previous) fail_token(level, lo, token);
    visit(token, Range{lo, hi});
    previous = token;
    lo = hi;
  }
}

template <class Visit>
void Trie::for_each_child(Range range, size_t level, Visit visit) const {
  range = inside({0, view_.items}, range.lo, range.hi);
  if (range.empty()) return;
  if (level >= view_.dense_levels) {
    if (wide(level)) return for_each_run(view_.words(level), range, level, visit);
    return for_each_run(view_.bytes(level), range, level, visit);
  }
  const uint32_t* table = view_.first;
  if (level == 1) table = view_.second + size_t{first_token(range.lo)} * view_.level_sizes[1];
  for (uint32_t token = 0; token < view_.level_sizes[level]; ++token) {
    const Range child = inside(range, table[token], table[token + 1]);
    if (child.empty()) continue;
    visit(token, child);
    range.lo = child.hi;
  }
}

}  // namespace mmgrec
