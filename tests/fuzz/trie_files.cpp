#include "trie_files.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

#include "io/file.h"
#include "trie/trie.h"
#include "trie/trie_file.h"

namespace mmgrec {
namespace {

Bytes saved(const Trie& trie) {
  const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                     ("mmgrec_seed_" + std::to_string(::getpid()) + ".bin");
  trie.save(path);
  std::ifstream stream(path, std::ios::binary);
  Bytes bytes((std::istreambuf_iterator<char>(stream)), {});
  std::filesystem::remove(path);
  return bytes;
}

// Every `step`-th tuple there is, in order.
Trie every(const std::vector<uint32_t>& sizes, uint32_t items, uint64_t step, uint32_t dense) {
  uint64_t key = 0;
  return Trie::from_sorted(
      sizes, items,
      [&](uint32_t* tuple) {
        uint64_t rest = key;
        for (size_t level = sizes.size(); level-- > 0; rest /= sizes[level]) {
          tuple[level] = static_cast<uint32_t>(rest % sizes[level]);
        }
        key += step;
      },
      dense);
}

std::span<const std::byte> as_bytes(const Bytes& file, size_t from, size_t count) {
  return {reinterpret_cast<const std::byte*>(file.data()) + from, count};
}

}  // namespace

std::vector<Bytes> small_trie_files() {
  std::vector<Bytes> files;
  for (const uint32_t dense : {0, 1, 2}) {
    files.push_back(saved(every({4, 4}, 0, 1, dense)));
    files.push_back(saved(every({1, 1}, 1, 1, dense)));
    files.push_back(saved(every({4, 4, 4}, 30, 2, dense)));
    files.push_back(saved(every({5, 3, 200, 300}, 100, 7919, dense)));
    files.push_back(saved(every({2, 2, 2, 2, 2, 2, 2, 2}, 85, 3, dense)));
  }
  files.push_back(saved(every({300, 65536, 2}, 50, 99991, 1)));
  return files;
}

void seal(Bytes& file, size_t most, bool payload_too) {
  TrieHeader header;
  if (file.size() < sizeof(header)) return;
  std::memcpy(&header, file.data(), sizeof(header));
  header.magic = kTrieMagic;
  header.version = kTrieVersion;
  header.levels = std::clamp<uint32_t>(header.levels, 2, kMaxLevels);
  header.dense_levels %= 3;
  for (uint32_t& size : header.level_sizes) size = std::clamp<uint32_t>(size, 1, kMaxLevelSize);
  TrieView view;
  view.items = static_cast<uint32_t>(header.items);
  view.levels = header.levels;
  view.dense_levels = header.dense_levels;
  std::ranges::copy(header.level_sizes, view.level_sizes);
  header.payload_bytes = sections_of(view).bytes;
  const size_t table = table_bytes(header.payload_bytes);
  const uint64_t whole = sizeof(header) + table + header.payload_bytes;
  if (whole <= most) {
    file.resize(whole);
    if (payload_too) {
      const auto crcs =
          chunk_crcs(as_bytes(file, whole - header.payload_bytes, header.payload_bytes), 1);
      std::ranges::copy(crcs, reinterpret_cast<uint32_t*>(file.data() + sizeof(header)));
    }
    header.table_crc = crc32(as_bytes(file, sizeof(header), table));
  }
  header.header_crc = header_crc(header);
  std::memcpy(file.data(), &header, sizeof(header));
}

}  // namespace mmgrec
