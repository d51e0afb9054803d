// The builder against a sorted list: every width of key, batches, threads, and what it refuses.
#include <string>
#include <vector>

#include "trie/builder.h"
#include "tries.h"

namespace {

using mmgrec::BuiltTrie;
using mmgrec::TrieBuilder;
using mmgrec::Tuples;

BuiltTrie build(const std::vector<int32_t>& codes, const std::vector<uint32_t>& sizes,
                size_t batch_rows, unsigned threads) {
  TrieBuilder builder(sizes);
  const size_t batch = batch_rows * sizes.size();
  for (size_t at = 0; at < codes.size(); at += batch) {
    builder.add({codes.data() + at, std::min(batch, codes.size() - at)});
  }
  CHECK(builder.num_rows() == codes.size() / sizes.size());
  BuiltTrie built = builder.finish(threads);
  CHECK(builder.num_rows() == 0);
  return built;
}

void check(size_t count, const std::vector<uint32_t>& sizes) {
  const Tuples sorted = mmgrec::random_tuples(count, sizes, 3);
  const Tuples shuffled = mmgrec::shuffled(sorted);
  const std::vector<int32_t> codes = mmgrec::flatten(shuffled);
  for (const unsigned threads : {1, 2, 3}) {
    const BuiltTrie built = build(codes, sizes, 1 + count / threads, threads);
    CHECK(built.order.size() == sorted.size());
    for (size_t rank = 0; rank < sorted.size(); ++rank) {
      CHECK(shuffled[built.order[rank]] == sorted[rank]);
    }
    mmgrec::check_trie(built.trie, sorted);
  }
}

// Enough items for several slices and blocks: every multiple of an odd number is another key.
void check_many(const std::vector<uint32_t>& sizes, unsigned threads) {
  constexpr size_t kItems = 300'000;
  std::vector<int32_t> codes(kItems * sizes.size());
  for (size_t row = 0; row < kItems; ++row) {
    uint64_t key = row * 0x9e3779b97f4a7c15u >> 40 << 20 | row;
    for (size_t level = sizes.size(); level-- > 0; key /= sizes[level]) {
      codes[row * sizes.size() + level] = static_cast<int32_t>(key % sizes[level]);
    }
  }
  const BuiltTrie built = build(codes, sizes, 70'001, threads);
  built.trie.verify(threads);
  std::vector<int32_t> tuple(sizes.size());
  for (uint32_t rank = 0; rank < kItems; ++rank) {
    built.trie.codes(rank, tuple.data());
    CHECK(std::equal(tuple.begin(), tuple.end(),
                     codes.begin() + static_cast<ptrdiff_t>(built.order[rank] * sizes.size())));
  }
}

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "nothing was thrown";
}

void check_messages() {
  const std::vector<uint32_t> sizes{300, 4};
  const std::vector<int32_t> first{1, 2, 0, 0};
  const std::vector<int32_t> outside{7, 3, 299, 4};
  TrieBuilder builder(sizes);
  builder.add(first);
  CHECK(message_of([&] { builder.add(outside); }) == "row 3: token 4 is outside 0..3");
  CHECK(builder.num_rows() == 2);
  builder.add(first);
  builder.add(first);
  CHECK(message_of([&] { builder.finish(2); }) == "rows 1 and 3 have the same Rec-ID (0, 0)");
  CHECK(builder.num_rows() == 0);
  CHECK(builder.finish(1).trie.num_items() == 0);
}

// The pair that is named does not depend on how the work is divided.
void check_duplicates_far_apart() {
  constexpr int32_t kItems = 200'000;
  std::vector<int32_t> codes;
  for (int32_t row = 0; row < kItems; ++row) {
    const int32_t key = row % (kItems - 5);
    codes.insert(codes.end(), {key / 512, key % 512});
  }
  for (const unsigned threads : {1, 2, 3}) {
    CHECK(message_of([&] { build(codes, {512, 512}, 50'000, threads); }) ==
          "rows 0 and 199995 have the same Rec-ID (0, 0)");
  }
}

}  // namespace

int main() {
  for (const size_t count : {0, 1, 2, 300}) {
    check(count, {1, 1});                                           // no bits at all
    check(count, {1, 65536, 65536});                                // exactly 32
    check(count, {256, 256, 256, 256, 200});                        // 40 and the row fit one word
    check(count, {1, 65536, 65536, 65536, 65536, 1});               // exactly 64: the row beside it
    check(count, {65536, 300, 65536, 2, 65536, 2});                 // two words
    check(count, std::vector<uint32_t>(8, mmgrec::kMaxLevelSize));  // 128 bits
  }
  for (const unsigned threads : {1, 2, 3}) {
    check_many({256, 256, 256, 256, 256}, threads);
    check_many({65536, 2, 65536, 65536, 256}, threads);
    check_many({65536, 65536, 65536, 65536, 5}, threads);
  }
  check_messages();
  check_duplicates_far_apart();
}
