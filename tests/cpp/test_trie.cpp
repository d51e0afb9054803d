// The trie against a sorted list: lookup, codes, children, files and their damage.
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <vector>

#include "check.h"
#include "trie/trie.h"

namespace {

using mmgrec::Range;
using mmgrec::Trie;
using Tuples = std::vector<std::vector<int32_t>>;

Tuples random_tuples(size_t count, const std::vector<uint32_t>& sizes, unsigned seed) {
  std::mt19937 random(seed);
  std::set<std::vector<int32_t>> tuples;
  for (size_t tries = 0; tuples.size() < count && tries < 100 * count; ++tries) {
    std::vector<int32_t> tuple;
    // Squared uniforms: crowded low tokens, so that some prefixes hold many items.
    for (const uint32_t size : sizes) {
      const double u = std::uniform_real_distribution<>()(random);
      tuple.push_back(static_cast<int32_t>(u * u * size));
    }
    tuples.insert(tuple);
  }
  return {tuples.begin(), tuples.end()};
}

std::vector<int32_t> flatten(const Tuples& tuples) {
  std::vector<int32_t> flat;
  for (const auto& tuple : tuples) flat.insert(flat.end(), tuple.begin(), tuple.end());
  return flat;
}

void check_children(const Trie& trie, const Tuples& sorted, Range range, size_t level) {
  if (level == trie.num_levels()) return;
  uint32_t next = range.lo;
  trie.for_each_child(range, level, [&](uint32_t token, Range child) {
    CHECK(child.lo == next && child.lo < child.hi && child.hi <= range.hi);
    for (uint32_t rank = child.lo; rank < child.hi; ++rank) {
      CHECK(sorted[rank][level] == static_cast<int32_t>(token));
    }
    next = child.hi;
    check_children(trie, sorted, child, level + 1);
  });
  CHECK(next == range.hi);
}

void check_trie(const Trie& trie, const Tuples& sorted) {
  CHECK(trie.num_items() == sorted.size());
  std::vector<int32_t> tuple(trie.num_levels());
  for (size_t rank = 0; rank < sorted.size(); ++rank) {
    CHECK(trie.lookup(sorted[rank].data()) == rank);
    trie.codes(static_cast<uint32_t>(rank), tuple.data());
    CHECK(tuple == sorted[rank]);
  }
  check_children(trie, sorted, {0, static_cast<uint32_t>(sorted.size())}, 0);
}

void check_file(const Trie& trie, const Tuples& sorted, const std::filesystem::path& path) {
  trie.save(path);
  check_trie(Trie::open(path), sorted);
  std::ifstream stream(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(stream)), {});
  const auto write = [&](const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  };
  for (size_t size = 0; size < whole.size(); size += 1 + whole.size() / 97) {
    write(whole.substr(0, size));
    CHECK_THROWS(Trie::open(path), mmgrec::DamagedFile);
  }
  for (size_t at = 0; at < whole.size(); at += 1 + whole.size() / 97) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    write(flipped);
    CHECK_THROWS(Trie::open(path), mmgrec::DamagedFile);
  }
  std::filesystem::remove(path);
}

void check(size_t count, const std::vector<uint32_t>& sizes) {
  const Tuples sorted = random_tuples(count, sizes, 7);
  Tuples shuffled = sorted;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(5));
  std::vector<uint32_t> order;
  const Trie trie = Trie::build(flatten(shuffled), sizes, order);
  for (size_t rank = 0; rank < sorted.size(); ++rank) CHECK(shuffled[order[rank]] == sorted[rank]);
  check_trie(trie, sorted);
  const auto name = "mmgrec_trie_" + std::to_string(::getpid()) + ".bin";
  check_file(trie, sorted, std::filesystem::temp_directory_path() / name);
}

void check_errors() {
  std::vector<uint32_t> order;
  const std::vector<uint32_t> sizes{4, 4};
  const std::vector<int32_t> twice{1, 2, 0, 0, 1, 2};
  CHECK_THROWS(Trie::build(twice, sizes, order), std::invalid_argument);
  const std::vector<int32_t> outside{1, 4};
  CHECK_THROWS(Trie::build(outside, sizes, order), std::invalid_argument);
  const std::vector<int32_t> negative{-1, 0};
  CHECK_THROWS(Trie::build(negative, sizes, order), std::invalid_argument);
  const std::vector<uint32_t> one{4};
  CHECK_THROWS(Trie::build(outside, one, order), std::invalid_argument);
  const std::vector<uint32_t> large{4, 65537};
  CHECK_THROWS(Trie::build(outside, large, order), std::invalid_argument);
  const std::vector<int32_t> good{1, 2, 0, 0};
  const Trie trie = Trie::build(good, sizes, order);
  for (const std::vector<int32_t>& absent : Tuples{{0, 1}, {3, 3}, {-1, 0}, {4, 0}, {1, 400}}) {
    CHECK(trie.lookup(absent.data()) == trie.num_items());
  }
  CHECK_THROWS(trie.save("/nonexistent/folder/trie.bin"), std::system_error);
  CHECK_THROWS(trie.save("/dev/full"), std::system_error);
}

}  // namespace

int main() {
  check(0, {4, 4});
  check(1, {1, 1});
  check(50, {7, 5, 3});
  check(500, {16, 16, 16, 16});
  check(300, {256, 256, 5});
  check(300, {300, 257, 65536});          // two-byte tokens
  check(200, {65536, 65536, 2});          // second level not dense
  check(400, {2, 2, 2, 2, 2, 2, 2, 65});  // eight levels
  check_errors();
}
