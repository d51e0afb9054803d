#include "trie/trie_layout.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace mmgrec {
namespace {

// A cache line: no table shares one with another, and vector loads may be aligned.
uint64_t aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

uint32_t default_dense_levels(size_t items, std::span<const uint32_t> level_sizes) {
  return uint64_t{level_sizes[0]} * level_sizes[1] <= 4 * uint64_t{items} + 65536 ? 2 : 1;
}

void check_level_sizes(std::span<const uint32_t> level_sizes) {
  if (level_sizes.size() < 2 || level_sizes.size() > kMaxLevels) {
    throw std::invalid_argument("a trie has 2 to 8 levels, not " +
                                std::to_string(level_sizes.size()));
  }
  for (const uint32_t size : level_sizes) {
    if (size < 1 || size > kMaxLevelSize) {
      throw std::invalid_argument("a level has 1 to 65536 tokens, not " + std::to_string(size));
    }
  }
}

void check_items(uint64_t items) {
  if (items >= std::numeric_limits<uint32_t>::max()) {
    throw std::invalid_argument("a trie holds at most 2^32 - 2 items, not " +
                                std::to_string(items));
  }
}

Sections sections_of(const TrieView& view) {
  Sections sections;
  const auto place = [&](uint64_t bytes) {
    const uint64_t at = sections.bytes;
    sections.bytes += aligned(bytes);
    return at;
  };
  const uint64_t k0 = view.level_sizes[0];
  if (view.dense_levels >= 1) sections.first = place(4 * (k0 + 1));
  if (view.dense_levels == 2) sections.second = place(4 * (k0 * view.level_sizes[1] + 1));
  for (size_t level = view.dense_levels; level < view.levels; ++level) {
    sections.tokens[level] = place(uint64_t{view.items} * (view.wide(level) ? 2 : 1));
  }
  return sections;
}

void attach(TrieView& view, const std::byte* payload) {
  const Sections sections = sections_of(view);
  const auto offsets = [&](uint64_t at) { return reinterpret_cast<const uint32_t*>(payload + at); };
  view.first = view.dense_levels >= 1 ? offsets(sections.first) : nullptr;
  view.second = view.dense_levels == 2 ? offsets(sections.second) : nullptr;
  for (size_t level = view.dense_levels; level < view.levels; ++level) {
    view.tokens[level] = payload + sections.tokens[level];
  }
}

TrieStorage::TrieStorage(std::span<const uint32_t> level_sizes, uint64_t items,
                         std::optional<uint32_t> dense_levels) {
  check_level_sizes(level_sizes);
  check_items(items);
  if (dense_levels > 2) throw std::invalid_argument("0, 1 or 2 levels of a trie can be dense");
  view.items = static_cast<uint32_t>(items);
  view.levels = static_cast<uint32_t>(level_sizes.size());
  view.dense_levels = dense_levels.value_or(default_dense_levels(items, level_sizes));
  std::ranges::copy(level_sizes, view.level_sizes);
  sections = sections_of(view);
  payload = Buffer<std::byte>(sections.bytes);
  attach(view, payload.data());
  // What lies between the arrays goes to the file too.
  const auto clear_end = [&](uint64_t at, uint64_t bytes) {
    std::memset(payload.data() + at + bytes, 0, aligned(bytes) - bytes);
  };
  const uint64_t k0 = view.level_sizes[0];
  if (view.dense_levels >= 1) clear_end(sections.first, 4 * (k0 + 1));
  if (view.dense_levels == 2) clear_end(sections.second, 4 * (k0 * view.level_sizes[1] + 1));
  for (size_t level = view.dense_levels; level < view.levels && items > 0; ++level) {
    clear_end(sections.tokens[level], items * (view.wide(level) ? 2 : 1));
  }
}

LeafWriter::LeafWriter(TrieStorage& storage, uint32_t rank)
    : levels_(storage.view.levels), dense_levels_(storage.view.dense_levels), rank_(rank) {
  std::byte* payload = storage.payload.data();
  const Sections& sections = storage.sections;
  std::ranges::copy(storage.view.level_sizes, sizes_.begin());
  if (dense_levels_ >= 1) first_ = reinterpret_cast<uint32_t*>(payload + sections.first);
  if (dense_levels_ == 2) second_ = reinterpret_cast<uint32_t*>(payload + sections.second);
  for (uint32_t level = dense_levels_; level < levels_; ++level) {
    tokens_[level] = payload + sections.tokens[level];
    wide_[level] = storage.view.wide(level);
  }
}

}  // namespace mmgrec
