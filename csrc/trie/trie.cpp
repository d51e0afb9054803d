#include "trie/trie.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace mmgrec {
namespace {

constexpr std::array<char, 8> kMagic{'M', 'M', 'G', 'T', 'R', 'I', 'E', '\0'};
constexpr uint32_t kVersion = 1;

std::span<const std::byte> header_bytes(const TrieHeader& header, size_t count) {
  return {reinterpret_cast<const std::byte*>(&header), count};
}

uint32_t header_crc(const TrieHeader& header) {
  return crc32(header_bytes(header, offsetof(TrieHeader, header_crc)));
}

bool second_level_is_dense(size_t items, std::span<const uint32_t> sizes) {
  return uint64_t{sizes[0]} * sizes[1] <= 4 * uint64_t{items} + 65536;
}

// Sections are padded to 4 bytes so that every table is aligned.
uint64_t padded(uint64_t bytes) { return (bytes + 3) / 4 * 4; }

uint64_t payload_bytes(const TrieHeader& header) {
  uint64_t bytes = 4 * (uint64_t{header.level_sizes[0]} + 1);
  if (header.dense_levels == 2) {
    bytes += 4 * (uint64_t{header.level_sizes[0]} * header.level_sizes[1] + 1);
  }
  for (size_t level = header.dense_levels; level < header.levels; ++level) {
    bytes += padded(header.items * (header.level_sizes[level] > 256 ? 2 : 1));
  }
  return bytes;
}

void check_level_sizes(std::span<const uint32_t> sizes) {
  if (sizes.size() < 2 || sizes.size() > kMaxLevels) {
    throw std::invalid_argument("a trie has 2 to 8 levels, not " + std::to_string(sizes.size()));
  }
  for (const uint32_t size : sizes) {
    if (size < 1 || size > kMaxLevelSize) {
      throw std::invalid_argument("a level has 1 to 65536 tokens, not " + std::to_string(size));
    }
  }
}

std::string to_string(const int32_t* tuple, size_t levels) {
  std::string text = "(";
  for (size_t i = 0; i < levels; ++i) text += (i ? ", " : "") + std::to_string(tuple[i]);
  return text + ")";
}

void check_codes(std::span<const int32_t> codes, std::span<const uint32_t> sizes) {
  const size_t levels = sizes.size();
  for (size_t i = 0; i < codes.size(); ++i) {
    const uint32_t size = sizes[i % levels];
    if (codes[i] < 0 || static_cast<uint32_t>(codes[i]) >= size) {
      throw std::invalid_argument("row " + std::to_string(i / levels) + ": token " +
                                  std::to_string(codes[i]) + " is outside 0.." +
                                  std::to_string(size - 1));
    }
  }
}

std::vector<uint32_t> sorted_rows(std::span<const int32_t> codes, size_t items, size_t levels) {
  std::vector<uint32_t> order(items);
  std::iota(order.begin(), order.end(), 0u);
  const auto row = [&](uint32_t i) { return codes.subspan(size_t{i} * levels, levels); };
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::ranges::lexicographical_compare(row(a), row(b));
  });
  for (size_t rank = 1; rank < items; ++rank) {
    if (!std::ranges::equal(row(order[rank - 1]), row(order[rank]))) continue;
    const auto [a, b] = std::minmax(order[rank - 1], order[rank]);
    throw std::invalid_argument("rows " + std::to_string(a) + " and " + std::to_string(b) +
                                " have the same Rec-ID " + to_string(row(a).data(), levels));
  }
  return order;
}

// starts[key] = number of leaves with a smaller key; `keys` ascends with the rank.
template <class KeyOf>
void fill_starts(uint32_t* starts, size_t keys, size_t items, KeyOf key_of) {
  size_t next = 0;
  for (size_t rank = 0; rank < items; ++rank) {
    for (const size_t key = key_of(rank); next <= key; ++next) {
      starts[next] = static_cast<uint32_t>(rank);
    }
  }
  for (; next <= keys; ++next) starts[next] = static_cast<uint32_t>(items);
}

}  // namespace

Trie Trie::build(std::span<const int32_t> codes, std::span<const uint32_t> level_sizes,
                 std::vector<uint32_t>& order) {
  check_level_sizes(level_sizes);
  const size_t levels = level_sizes.size();
  const size_t items = codes.size() / levels;
  if (items >= std::numeric_limits<uint32_t>::max()) {
    throw std::invalid_argument("a trie holds at most 2^32 - 2 items");
  }
  check_codes(codes, level_sizes);
  order = sorted_rows(codes, items, levels);

  Trie trie;
  TrieHeader& header = trie.header_;
  header.magic = kMagic;
  header.version = kVersion;
  header.levels = static_cast<uint32_t>(levels);
  header.items = items;
  std::ranges::copy(level_sizes, header.level_sizes.begin());
  header.dense_levels = second_level_is_dense(items, level_sizes) ? 2 : 1;
  header.payload_bytes = payload_bytes(header);
  trie.owned_.resize(header.payload_bytes);
  trie.attach(trie.owned_);

  const auto code = [&](size_t rank, size_t level) {
    return static_cast<uint32_t>(codes[size_t{order[rank]} * levels + level]);
  };
  fill_starts(const_cast<uint32_t*>(trie.first_), level_sizes[0], items,
              [&](size_t rank) -> size_t { return code(rank, 0); });
  if (trie.second_ != nullptr) {
    fill_starts(
        const_cast<uint32_t*>(trie.second_), size_t{level_sizes[0]} * level_sizes[1], items,
        [&](size_t rank) { return size_t{code(rank, 0)} * level_sizes[1] + code(rank, 1); });
  }
  for (size_t level = header.dense_levels; level < levels; ++level) {
    auto* bytes = const_cast<uint8_t*>(trie.bytes(level));
    auto* words = const_cast<uint16_t*>(trie.words(level));
    for (size_t rank = 0; rank < items; ++rank) {
      if (trie.wide(level)) {
        words[rank] = static_cast<uint16_t>(code(rank, level));
      } else {
        bytes[rank] = static_cast<uint8_t>(code(rank, level));
      }
    }
  }
  header.payload_crc = crc32(trie.owned_);
  header.header_crc = header_crc(header);
  return trie;
}

Trie Trie::open(const std::filesystem::path& path) {
  Trie trie;
  trie.mapped_ = MappedFile(path);
  const std::span<const std::byte> file = trie.mapped_.bytes();
  const std::string name = path.string();
  if (file.size() < sizeof(TrieHeader)) throw DamagedFile(name + " is too short for a trie");
  TrieHeader& header = trie.header_;
  std::memcpy(&header, file.data(), sizeof(TrieHeader));
  if (header.magic != kMagic) throw DamagedFile(name + " is not a trie file");
  if (header.version != kVersion) {
    throw DamagedFile(name + " has trie format " + std::to_string(header.version) +
                      "; this version reads format " + std::to_string(kVersion));
  }
  if (header.header_crc != header_crc(header)) throw DamagedFile(name + ": damaged header");
  try {
    check_level_sizes({header.level_sizes.data(), std::min<size_t>(header.levels, kMaxLevels + 1)});
  } catch (const std::invalid_argument& error) {
    throw DamagedFile(name + ": " + error.what());
  }
  const bool sound = (header.dense_levels == 1 || header.dense_levels == 2) &&
                     header.items < std::numeric_limits<uint32_t>::max() &&
                     header.payload_bytes == payload_bytes(header);
  if (!sound) throw DamagedFile(name + ": header fields contradict each other");
  const std::span<const std::byte> payload = file.subspan(sizeof(TrieHeader));
  if (payload.size() != header.payload_bytes) throw DamagedFile(name + " is truncated");
  if (crc32(payload) != header.payload_crc) throw DamagedFile(name + ": checksum does not match");
  trie.attach(payload);
  trie.check_tables();
  return trie;
}

void Trie::save(const std::filesystem::path& path) const {
  const std::span<const std::byte> payload{reinterpret_cast<const std::byte*>(first_),
                                           static_cast<size_t>(header_.payload_bytes)};
  write_file(path, {header_bytes(header_, sizeof(TrieHeader)), payload});
}

void Trie::attach(std::span<const std::byte> payload) {
  const std::byte* at = payload.data();
  first_ = reinterpret_cast<const uint32_t*>(at);
  at += 4 * (size_t{header_.level_sizes[0]} + 1);
  if (header_.dense_levels == 2) {
    second_ = reinterpret_cast<const uint32_t*>(at);
    at += 4 * (size_t{header_.level_sizes[0]} * header_.level_sizes[1] + 1);
  }
  for (size_t level = header_.dense_levels; level < header_.levels; ++level) {
    tokens_[level] = at;
    at += padded(header_.items * (wide(level) ? 2 : 1));
  }
}

// Offsets must ascend from 0 to N and tokens lie below their level's size: a search then never
// leaves its tables, whatever a file with a right checksum holds.
void Trie::check_tables() const {
  const auto ascends = [&](const uint32_t* table, size_t last) {
    return table[0] == 0 && table[last] == header_.items && std::is_sorted(table, table + last + 1);
  };
  const size_t k0 = header_.level_sizes[0];
  bool sound = ascends(first_, k0);
  if (sound && second_ != nullptr) sound = ascends(second_, k0 * header_.level_sizes[1]);
  if (!sound) throw DamagedFile("a trie's offsets do not ascend from 0 to the number of items");
  for (size_t level = header_.dense_levels; level < header_.levels; ++level) {
    const uint32_t size = header_.level_sizes[level];
    const auto outside = [size](uint32_t token) { return token >= size; };
    const size_t n = num_items();
    const bool bad = wide(level) ? std::any_of(words(level), words(level) + n, outside)
                                 : std::any_of(bytes(level), bytes(level) + n, outside);
    if (bad) throw DamagedFile("a trie holds a token outside its level");
  }
}

CatalogView Trie::view() const {
  CatalogView view;
  TrieView& base = view.base;
  base.items = static_cast<uint32_t>(header_.items);
  base.levels = header_.levels;
  base.dense_levels = header_.dense_levels;
  std::ranges::copy(header_.level_sizes, base.level_sizes);
  base.first = first_;
  base.second = second_;
  std::ranges::copy(tokens_, base.tokens);
  return view;
}

uint32_t Trie::first_token(uint32_t rank) const {
  const uint32_t* end = first_ + header_.level_sizes[0] + 1;
  return static_cast<uint32_t>(std::upper_bound(first_, end, rank) - first_) - 1;
}

size_t Trie::lookup(const int32_t* tuple) const {
  for (size_t level = 0; level < header_.levels; ++level) {
    const auto token = static_cast<uint32_t>(tuple[level]);  // negative values become too large
    if (token >= header_.level_sizes[level]) return num_items();
  }
  const auto token = [&](size_t level) { return static_cast<uint32_t>(tuple[level]); };
  Range range{first_[token(0)], first_[token(0) + 1]};
  if (second_ != nullptr) {
    const uint32_t* row = second_ + size_t{token(0)} * header_.level_sizes[1];
    range = {row[token(1)], row[token(1) + 1]};
  }
  for (size_t level = header_.dense_levels; level < header_.levels && !range.empty(); ++level) {
    range = wide(level) ? narrow<HostGroup<1>>(words(level), range, token(level))
                        : narrow<HostGroup<1>>(bytes(level), range, token(level));
  }
  return range.empty() ? num_items() : range.lo;
}

void Trie::codes(uint32_t rank, int32_t* tuple) const {
  tuple[0] = static_cast<int32_t>(first_token(rank));
  if (second_ != nullptr) {
    const uint32_t* row = second_ + size_t{first_token(rank)} * header_.level_sizes[1];
    const uint32_t* end = row + header_.level_sizes[1] + 1;
    tuple[1] = static_cast<int32_t>(std::upper_bound(row, end, rank) - row) - 1;
  }
  for (size_t level = header_.dense_levels; level < header_.levels; ++level) {
    tuple[level] = static_cast<int32_t>(token(level, rank));
  }
}

}  // namespace mmgrec
