// The trie against a sorted list: build, lookup, codes, children, leaves in order.
#include <vector>

#include "trie/trie.h"
#include "tries.h"

namespace {

using mmgrec::Trie;
using mmgrec::Tuples;

// A cursor over a sorted list, as from_sorted wants it.
auto reader(const Tuples& sorted) {
  return [&sorted, next = size_t{0}](uint32_t* tuple) mutable {
    std::ranges::copy(sorted[next++], tuple);
  };
}

void check(size_t count, const std::vector<uint32_t>& sizes) {
  const Tuples sorted = mmgrec::random_tuples(count, sizes, 7);
  const Tuples shuffled = mmgrec::shuffled(sorted);
  std::vector<uint32_t> order;
  const Trie trie = Trie::build(mmgrec::flatten(shuffled), sizes, order);
  CHECK(order.size() == sorted.size());
  for (size_t rank = 0; rank < sorted.size(); ++rank) CHECK(shuffled[order[rank]] == sorted[rank]);
  mmgrec::check_trie(trie, sorted);
  mmgrec::check_trie(Trie::from_sorted(sizes, sorted.size(), reader(sorted)), sorted);
  for (uint32_t dense = 0; dense <= 2; ++dense) {
    if (dense == 2 && uint64_t{sizes[0]} * sizes[1] > 1 << 20) continue;
    const Trie other = Trie::from_sorted(sizes, sorted.size(), reader(sorted), dense);
    CHECK(other.view().base.dense_levels == dense);
    mmgrec::check_trie(other, sorted);
  }
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
  const std::vector<int32_t> ragged{1, 0, 1};
  CHECK_THROWS(Trie::build(ragged, sizes, order), std::invalid_argument);
  const std::vector<uint32_t> one{4};
  CHECK_THROWS(Trie::build(outside, one, order), std::invalid_argument);
  const std::vector<uint32_t> large{4, 65537};
  CHECK_THROWS(Trie::build(outside, large, order), std::invalid_argument);
  const std::vector<int32_t> good{1, 2, 0, 0};
  const Trie trie = Trie::build(good, sizes, order);
  for (const std::vector<int32_t>& absent : Tuples{{0, 1}, {3, 3}, {-1, 0}, {4, 0}, {1, 400}}) {
    CHECK(trie.lookup(absent.data()) == trie.num_items());
  }
}

void check_errors_of_sorted_input() {
  const std::vector<uint32_t> sizes{4, 4};
  for (const Tuples& bad : {Tuples{{1, 2}, {1, 2}}, Tuples{{1, 2}, {1, 1}}, Tuples{{2, 0}, {1, 3}},
                            Tuples{{1, 2}, {1, 4}}, Tuples{{4, 0}}}) {
    CHECK_THROWS(Trie::from_sorted(sizes, bad.size(), reader(bad)), std::invalid_argument);
  }
  const Tuples good{{1, 2}};
  CHECK_THROWS(Trie::from_sorted(sizes, 1, reader(good), 3), std::invalid_argument);
  CHECK_THROWS(Trie::from_sorted(sizes, 0xffffffff, reader(good)), std::invalid_argument);
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
  check_errors_of_sorted_input();
}
