// The trie's file: round trips, every kind of damage, and searches in a damaged file.
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "trie/trie_file.h"
#include "tries.h"

namespace {

using mmgrec::DamagedFile;
using mmgrec::Range;
using mmgrec::Trie;
using mmgrec::TrieHeader;
using mmgrec::Tuples;

std::string read(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

Trie build(const Tuples& sorted, const std::vector<uint32_t>& sizes, uint32_t dense_levels) {
  size_t next = 0;
  return Trie::from_sorted(
      sizes, sorted.size(), [&](uint32_t* tuple) { std::ranges::copy(sorted[next++], tuple); },
      dense_levels);
}

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const DamagedFile& error) {
    return error.what();
  }
  return "nothing was thrown";
}

// Walks everything there is, at the mercy of the file; true where the damage was met.
bool walk(const Trie& trie, Range range, size_t level) {
  if (level == trie.num_levels()) return false;
  bool met = false;
  try {
    trie.for_each_child(range, level, [&](uint32_t token, Range child) {
      CHECK(token < trie.level_size(level));
      CHECK(child.lo >= range.lo && child.lo < child.hi && child.hi <= range.hi);
      met |= walk(trie, child, level + 1);
    });
  } catch (const DamagedFile&) {
    met = true;
  }
  return met;
}

void walk(const Trie& trie, const Tuples& sorted) {
  std::vector<int32_t> tuple(trie.num_levels());
  for (uint32_t rank = 0; rank < trie.num_items(); ++rank) {
    try {
      trie.codes(rank, tuple.data());
      for (size_t level = 0; level < tuple.size(); ++level) {
        CHECK(static_cast<uint32_t>(tuple[level]) < trie.level_size(level));
      }
    } catch (const DamagedFile&) {
    }
  }
  for (const auto& item : sorted) CHECK(trie.lookup(item.data()) <= trie.num_items());
  for (mmgrec::LeafCursor leaf(trie.view().base); !leaf.done(); leaf.next()) {
    for (size_t level = 0; level < trie.view().base.dense_levels; ++level) {
      CHECK(leaf.tuple()[level] < trie.level_size(level));
    }
  }
  walk(trie, {0, static_cast<uint32_t>(trie.num_items())}, 0);
}

void check(size_t count, const std::vector<uint32_t>& sizes, uint32_t dense_levels) {
  const mmgrec::TemporaryFile file;
  const Tuples sorted = mmgrec::random_tuples(count, sizes, 7);
  build(sorted, sizes, dense_levels).save(file.path, 2);
  const std::string whole = read(file.path);
  {
    const Trie trie = Trie::open(file.path);
    CHECK(trie.num_bytes() == whole.size());
    mmgrec::check_trie(trie, sorted);
    CHECK(reinterpret_cast<uintptr_t>(trie.view().base.tokens[sizes.size() - 1]) % 64 == 0);
  }
  // About a hundred places each, odd steps apart, so that they fall on all parts.
  for (size_t size = 0; size < whole.size(); size += 1 + whole.size() / 97) {
    write(file.path, whole.substr(0, size));
    CHECK(message_of([&] { Trie::open(file.path); }).find("truncated") != std::string::npos);
  }
  write(file.path, whole + '\0');
  CHECK_THROWS(Trie::open(file.path), DamagedFile);
  const size_t step = whole.size() < 2048 ? 1 : whole.size() / 199;
  for (size_t at = 0; at < whole.size(); at += step) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (at % 2 ? 0x10 : 0xff));
    write(file.path, flipped);
    bool opened = false;
    const std::string message = message_of([&] {
      const Trie trie = Trie::open(file.path);
      opened = true;
      walk(trie, sorted);
      trie.verify(2);
    });
    CHECK(message.find(file.path.string()) == 0);
    // Opening reads the header and the table of checksums.
    if (at < sizeof(TrieHeader) + 64) CHECK(!opened);
  }
}

// Damage that a search meets is named, not followed.
void check_search_names_damage() {
  const mmgrec::TemporaryFile file;
  const std::vector<uint32_t> sizes{4, 4, 200};
  const Tuples sorted = mmgrec::random_tuples(60, sizes, 7);
  build(sorted, sizes, 1).save(file.path);
  std::string content = read(file.path);
  content.back() = 0;  // filled-up bytes at the end do not count
  const size_t tokens = content.size() - 64;
  content[tokens + 5] = static_cast<char>(201);
  write(file.path, content);
  const Trie trie = Trie::open(file.path);
  int32_t tuple[3];
  const std::string message = message_of([&] { trie.codes(5, tuple); });
  CHECK(message.find(file.path.string() + ": damaged at leaf 5: token 201 on level 2") == 0);
  CHECK(walk(trie, {0, 60}, 0));
  CHECK(message_of([&] { trie.verify(); }).find("checksum does not match") != std::string::npos);
}

// A right checksum over what is no trie: only `verify` looks.
void check_well_sealed_nonsense() {
  const mmgrec::TemporaryFile file;
  const std::vector<uint32_t> sizes{4, 4, 4};
  const Tuples sorted{{0, 0, 1}, {0, 0, 2}, {3, 3, 3}};
  for (const uint32_t dense : {0, 1, 2}) {
    build(sorted, sizes, dense).save(file.path);
    std::string content = read(file.path);
    TrieHeader header;
    std::memcpy(&header, content.data(), sizeof(header));
    const size_t table = mmgrec::table_bytes(header.payload_bytes);
    std::span payload{reinterpret_cast<std::byte*>(content.data()) + sizeof(header) + table,
                      header.payload_bytes};
    std::swap(payload[header.payload_bytes - 64], payload[header.payload_bytes - 63]);
    const std::vector<uint32_t> crcs = mmgrec::chunk_crcs(payload, 1);
    std::memcpy(content.data() + sizeof(header), crcs.data(), 4);
    header.table_crc =
        mmgrec::crc32({reinterpret_cast<const std::byte*>(content.data()) + sizeof(header), table});
    header.header_crc = mmgrec::header_crc(header);
    std::memcpy(content.data(), &header, sizeof(header));
    write(file.path, content);
    const Trie trie = Trie::open(file.path);
    CHECK(message_of([&] { trie.verify(); }).find("does not come after") != std::string::npos);
  }
}

void check_other_files() {
  const mmgrec::TemporaryFile file;
  write(file.path, std::string("MMGTRIE\0\1\0\0\0", 12) + std::string(68, '\0'));
  CHECK(message_of([&] { Trie::open(file.path); }) ==
        file.path.string() + " has trie format 1; this version reads format 2");
  write(file.path, std::string(200, 'x'));
  CHECK(message_of([&] { Trie::open(file.path); }) == file.path.string() + " is not a trie file");
  CHECK_THROWS(Trie::open("/nonexistent.bin"), std::system_error);
  CHECK_THROWS(Trie::open("/tmp"), DamagedFile);
}

void check_saving() {
  const mmgrec::TemporaryFile file;
  const std::vector<uint32_t> sizes{1024, 512, 3};  // a table of two megabytes: several chunks
  const Tuples sorted = mmgrec::random_tuples(1000, sizes, 1);
  const Trie trie = build(sorted, sizes, 2);
  CHECK_THROWS(trie.save("/nonexistent/folder/trie.bin"), std::system_error);
  CHECK_THROWS(trie.save("/dev/full"), std::system_error);
  trie.save(file.path, 1);
  const std::string alone = read(file.path);
  trie.save(file.path, 3);
  CHECK(read(file.path) == alone);
  const Trie mapped = Trie::open(file.path);
  mapped.save(file.path);  // onto itself
  mmgrec::check_trie(mapped, sorted);
  const std::filesystem::path copy = file.path.string() + ".copy";
  mapped.save(copy);
  CHECK(read(copy) == alone);
  std::filesystem::remove(copy);
  CHECK_THROWS(mapped.save("/dev/full"), std::system_error);
}

}  // namespace

int main() {
  for (const uint32_t dense_levels : {0, 1, 2}) {
    check(0, {4, 4}, dense_levels);
    check(1, {1, 1}, dense_levels);
    check(60, {7, 5, 3}, dense_levels);
    check(300, {16, 300, 65536, 5}, dense_levels);
  }
  check(200, {65536, 65536, 2}, 1);
  check_search_names_damage();
  check_well_sealed_nonsense();
  check_other_files();
  check_saving();
}
