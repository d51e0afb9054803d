#include "trie/trie.h"

#include <algorithm>
#include <string>
#include <utility>

#include "trie/builder.h"

namespace mmgrec {

Trie Trie::build(std::span<const int32_t> codes, std::span<const uint32_t> level_sizes,
                 std::vector<uint32_t>& order, unsigned threads) {
  TrieBuilder builder(level_sizes);
  builder.add(codes);
  BuiltTrie built = builder.finish(threads);
  order = std::move(built.order);
  return std::move(built.trie);
}

uint32_t Trie::first_token(uint32_t rank) const {
  const uint32_t* end = view_.first + view_.level_sizes[0] + 1;
  return static_cast<uint32_t>(std::upper_bound(view_.first, end, rank) - view_.first) - 1;
}

size_t Trie::lookup(const int32_t* tuple) const {
  const auto token = [&](size_t level) { return static_cast<uint32_t>(tuple[level]); };
  for (size_t level = 0; level < view_.levels; ++level) {
    if (token(level) >= view_.level_sizes[level]) return num_items();  // negative values too
  }
  Range range{0, view_.items};
  if (view_.dense_levels >= 1) {
    range = inside(range, view_.first[token(0)], view_.first[token(0) + 1]);
  }
  if (view_.dense_levels == 2) {
    const uint32_t* row = view_.second + size_t{token(0)} * view_.level_sizes[1];
    range = inside(range, row[token(1)], row[token(1) + 1]);
  }
  for (size_t level = view_.dense_levels; level < view_.levels && !range.empty(); ++level) {
    range = wide(level) ? narrow<HostGroup<1>>(view_.words(level), range, token(level))
                        : narrow<HostGroup<1>>(view_.bytes(level), range, token(level));
  }
  return range.empty() ? num_items() : range.lo;
}

void Trie::codes(uint32_t rank, int32_t* tuple) const {
  if (view_.dense_levels >= 1) tuple[0] = static_cast<int32_t>(first_token(rank));
  if (view_.dense_levels == 2) {
    const uint32_t* row = view_.second + size_t{first_token(rank)} * view_.level_sizes[1];
    const uint32_t* end = row + view_.level_sizes[1] + 1;
    const int64_t found = std::upper_bound(row, end, rank) - row - 1;
    if (found < 0 || found >= view_.level_sizes[1]) fail_token(1, rank, found);
    tuple[1] = static_cast<int32_t>(found);
  }
  for (size_t level = view_.dense_levels; level < view_.levels; ++level) {
    const uint32_t found = token(level, rank);
    if (found >= view_.level_sizes[level]) fail_token(level, rank, found);
    tuple[level] = static_cast<int32_t>(found);
  }
}

void Trie::fail_damaged(const std::string& what) const {
  const std::string name = mapped_.path().string();
  throw DamagedFile((name.empty() ? "a trie" : name) + ": " + what);
}

void Trie::fail_token(size_t level, uint32_t rank, int64_t token) const {
  fail_damaged("damaged at leaf " + std::to_string(rank) + ": token " + std::to_string(token) +
               " on level " + std::to_string(level) + " is outside 0.." +
               std::to_string(view_.level_sizes[level] - 1) + " or out of order");
}

}  // namespace mmgrec
