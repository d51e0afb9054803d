#include "trie/trie_file.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "io/file.h"
#include "parallel/pool.h"
#include "trie/leaf_cursor.h"
#include "trie/radix_sort.h"
#include "trie/trie.h"

namespace mmgrec {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are mapped as they are");

std::span<const std::byte> bytes_of(const TrieHeader& header) {
  return {reinterpret_cast<const std::byte*>(&header), sizeof(header)};
}

std::span<const std::byte> bytes_of(const std::vector<uint32_t>& table) {
  return {reinterpret_cast<const std::byte*>(table.data()), 4 * table.size()};
}

TrieHeader read_header(std::span<const std::byte> file, const std::string& name) {
  // A file of another format may be shorter than this header, but says so.
  if (file.size() < offsetof(TrieHeader, levels)) throw DamagedFile(name + " is truncated");
  TrieHeader header;
  std::memcpy(&header, file.data(), std::min(file.size(), sizeof(header)));
  if (header.magic != kTrieMagic) throw DamagedFile(name + " is not a trie file");
  if (header.version != kTrieVersion) {
    throw DamagedFile(name + " has trie format " + std::to_string(header.version) +
                      "; this version reads format " + std::to_string(kTrieVersion));
  }
  if (file.size() < sizeof(header)) throw DamagedFile(name + " is truncated");
  if (header.header_crc != header_crc(header)) throw DamagedFile(name + ": damaged header");
  return header;
}

TrieView shape_of(const TrieHeader& header, const std::string& name) {
  try {
    check_level_sizes({header.level_sizes.data(), std::min<size_t>(header.levels, kMaxLevels + 1)});
    check_items(header.items);
  } catch (const std::invalid_argument& error) {
    throw DamagedFile(name + ": " + error.what());
  }
  TrieView view;
  view.items = static_cast<uint32_t>(header.items);
  view.levels = header.levels;
  view.dense_levels = header.dense_levels;
  std::ranges::copy(header.level_sizes, view.level_sizes);
  if (view.dense_levels > 2 || header.payload_bytes != sections_of(view).bytes) {
    throw DamagedFile(name + ": header fields contradict each other");
  }
  return view;
}

// Ascending from 0 to the number of items.
bool ascends(const uint32_t* table, uint64_t last, uint32_t items) {
  return table[0] == 0 && table[last] == items && std::is_sorted(table, table + last + 1);
}

}  // namespace

uint32_t header_crc(const TrieHeader& header) {
  return crc32(bytes_of(header).first(offsetof(TrieHeader, header_crc)));
}

uint64_t table_bytes(uint64_t payload_bytes) {
  const uint64_t chunks = (payload_bytes + kTrieChunk - 1) / kTrieChunk;
  return (4 * chunks + 63) / 64 * 64;
}

std::vector<uint32_t> chunk_crcs(std::span<const std::byte> payload, unsigned threads) {
  std::vector<uint32_t> crcs((payload.size() + kTrieChunk - 1) / kTrieChunk);
  parallel_for(crcs.size(), threads, [&](size_t chunk) {
    const auto rest = payload.subspan(chunk * kTrieChunk);
    crcs[chunk] = crc32(rest.first(std::min(rest.size(), kTrieChunk)));
  });
  return crcs;
}

Trie Trie::open(const std::filesystem::path& path) {
  Trie trie;
  trie.mapped_ = MappedFile(path);
  const std::span<const std::byte> file = trie.mapped_.bytes();
  const std::string name = path.string();
  const TrieHeader header = read_header(file, name);
  trie.view_ = shape_of(header, name);
  const uint64_t table = table_bytes(header.payload_bytes);
  const uint64_t whole = sizeof(header) + table + header.payload_bytes;
  if (file.size() < whole) throw DamagedFile(name + " is truncated");
  if (file.size() > whole) throw DamagedFile(name + " is longer than its header says");
  if (crc32(file.subspan(sizeof(header), table)) != header.table_crc) {
    throw DamagedFile(name + ": damaged table of checksums");
  }
  attach(trie.view_, file.data() + sizeof(header) + table);
  // A few hundred kilobytes at most, and every search starts here.
  const TrieView& view = trie.view_;
  if (view.dense_levels >= 1 && !ascends(view.first, view.level_sizes[0], view.items)) {
    trie.fail_damaged("the first level's offsets do not ascend from 0 to the number of items");
  }
  return trie;
}

void Trie::verify(unsigned threads) const {
  const std::span<const std::byte> file = mapped_.bytes();
  if (!file.empty()) {
    const uint64_t payload_bytes = sections_of(view_).bytes;
    const std::vector<uint32_t> crcs = chunk_crcs(file.last(payload_bytes), threads);
    const std::byte* table = file.data() + sizeof(TrieHeader);
    for (size_t chunk = 0; chunk < crcs.size(); ++chunk) {
      if (std::memcmp(table + 4 * chunk, &crcs[chunk], 4) == 0) continue;
      fail_damaged("checksum does not match between bytes " +
                   std::to_string(file.size() - payload_bytes + chunk * kTrieChunk) + " and " +
                   std::to_string(std::min(file.size() - payload_bytes + (chunk + 1) * kTrieChunk,
                                           file.size())));
    }
  }
  check_offsets();
  check_leaves(threads);
}

void Trie::check_offsets() const {
  const uint64_t k0 = view_.level_sizes[0];
  const uint64_t k1 = view_.level_sizes[1];
  bool sound = true;
  if (view_.first != nullptr) sound = ascends(view_.first, k0, view_.items);
  if (sound && view_.second != nullptr) {
    sound = ascends(view_.second, k0 * k1, view_.items);
    for (uint64_t c0 = 0; c0 <= k0; ++c0) sound &= view_.second[c0 * k1] == view_.first[c0];
  }
  if (!sound) fail_damaged("offsets do not ascend from 0 to the number of items");
}

// Right checksums say that a file is what was written; this says that what was written is a trie.
void Trie::check_leaves(unsigned threads) const {
  const Slices slices(view_.items, 1 << 14, size_t{8} * threads);
  std::atomic<uint32_t> bad = std::numeric_limits<uint32_t>::max();
  parallel_for(slices.parts, threads, [&](size_t part) {
    const auto begin = static_cast<uint32_t>(slices.begin(part));
    std::array<uint32_t, kMaxLevels> previous{};
    LeafCursor leaf(view_, begin > 0 ? begin - 1 : 0);
    for (; leaf.rank() < slices.begin(part + 1); leaf.next()) {
      const uint32_t* tuple = leaf.tuple();
      bool sound = true;
      for (size_t level = 0; level < view_.levels; ++level) {
        sound &= tuple[level] < view_.level_sizes[level];
      }
      const bool is_first = leaf.rank() + 1 == begin || leaf.rank() == 0;
      sound &=
          is_first || std::lexicographical_compare(previous.data(), previous.data() + view_.levels,
                                                   tuple, tuple + view_.levels);
      if (!sound) {
        bad = leaf.rank();
        return;
      }
      std::copy_n(tuple, view_.levels, previous.begin());
    }
  });
  if (bad == std::numeric_limits<uint32_t>::max()) return;
  fail_damaged("leaf " + std::to_string(bad.load()) +
               " has a token outside its level, or does not come after the leaf before it");
}

size_t Trie::num_bytes() const {
  const uint64_t payload_bytes = sections_of(view_).bytes;
  return sizeof(TrieHeader) + table_bytes(payload_bytes) + payload_bytes;
}

void Trie::save(const std::filesystem::path& path, unsigned threads) const {
  if (!mapped_.bytes().empty()) {
    // Onto itself it is there already, and truncating it would take the map's pages away.
    if (!mapped_.is(path)) write_file(path, {mapped_.bytes()});
    return;
  }
  const std::span<const std::byte> payload{owned_.payload.data(), owned_.sections.bytes};
  std::vector<uint32_t> table = chunk_crcs(payload, threads);
  table.resize(table_bytes(payload.size()) / 4);
  TrieHeader header;
  header.levels = view_.levels;
  header.items = view_.items;
  std::ranges::copy(view_.level_sizes, header.level_sizes.begin());
  header.dense_levels = view_.dense_levels;
  header.payload_bytes = payload.size();
  header.table_crc = crc32(bytes_of(table));
  header.header_crc = header_crc(header);
  write_file(path, {bytes_of(header), bytes_of(table), payload});
}

}  // namespace mmgrec
