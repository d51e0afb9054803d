// Ids to rows, against std::unordered_map: numbered through, with gaps, far apart, at both ends of
// the numbers, and with later ids of every kind.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <unordered_map>
#include <vector>

#include "check.h"
#include "ids/id_map.h"

namespace {

using Ids = std::vector<int64_t>;
using Known = std::unordered_map<int64_t, int64_t>;

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

void check_all(const mmgrec::IdMap& map, const Known& known, Ids asked) {
  for (const auto& [id, row] : known) {
    asked.push_back(id);
    asked.push_back(id == kMost ? id : id + 1);
    asked.push_back(id == kLeast ? id : id - 1);
  }
  Ids rows = asked;
  map.find(rows);
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto found = known.find(asked[i]);
    CHECK(rows[i] == (found == known.end() ? mmgrec::IdMap::kNone : found->second));
  }
}

// `step` numbers per id: the direct table takes up to four.
void check_steps(size_t count, int64_t first, int64_t step, unsigned seed) {
  std::mt19937_64 random(seed);
  Ids ids(count);
  for (size_t i = 0; i < count; ++i) ids[i] = first + static_cast<int64_t>(i) * step;
  std::ranges::shuffle(ids, random);
  mmgrec::IdMap map(ids);
  Known known;
  for (size_t i = 0; i < count; ++i) known[ids[i]] = static_cast<int64_t>(i);
  const Ids strangers{kLeast, kLeast + 1, -1, 0, 1, kMost - 1, kMost};
  check_all(map, known, strangers);
  for (size_t i = 0; i < 200; ++i) {
    // Inside of what was there, just outside, and anywhere.
    const auto anywhere = static_cast<int64_t>(random());
    const int64_t id = i % 3 == 0   ? first + static_cast<int64_t>(random() % (4 * count + 1))
                       : i % 3 == 1 ? first - static_cast<int64_t>(i)
                                    : anywhere;
    map.set(id, static_cast<int64_t>(count + i));
    known[id] = static_cast<int64_t>(count + i);
  }
  check_all(map, known, strangers);
}

// Sets of ids as bits: of the ids that are put in, and of those that the map began with only.
void check_bits(size_t count, int64_t first, int64_t step) {
  Ids ids(count);
  for (size_t i = 0; i < count; ++i) ids[i] = first + static_cast<int64_t>(i) * step;
  mmgrec::IdMap map(ids);
  const size_t bits = (count - 1) * static_cast<size_t>(step) + 1;
  for (const size_t n : {size_t{0}, bits / 128, bits / 128 + 1, bits / 8, bits / 8 + 1, count})
    CHECK(map.bits_suit(n) == (128 * n >= bits && 8 * n <= bits));
  std::vector<uint64_t> words = map.no_bits();
  const mmgrec::IdMap::BitSetter setter(map, words);
  for (size_t i = 0; i < count; i += 3) CHECK(setter.set(ids[i]) && setter.set(ids[i]));
  for (const int64_t stranger : {first - 1, ids.back() + 1, kLeast, kMost}) {
    CHECK(!setter.set(stranger));
    CHECK(map.bit(stranger) == mmgrec::IdMap::kNoBit);
  }
  CHECK(map.began_with(words));
  for (size_t i = 0; i < count; ++i) {
    const uint32_t bit = map.bit(ids[i]);
    CHECK(bit == i * static_cast<size_t>(step));
    CHECK((words[bit / 64] >> (bit % 64) & 1) == (i % 3 == 0));
  }
  // An id given again keeps its bit; one that fills a gap was not there at the beginning.
  map.set(ids[0], static_cast<int64_t>(count));
  CHECK(map.began_with(words) && map.bit(ids[0]) == 0);
  if (step == 1) return;
  map.set(ids.back() - 1, static_cast<int64_t>(count) + 1);
  CHECK(map.began_with(words));
  CHECK(setter.set(ids.back() - 1) && !map.began_with(words));
}

}  // namespace

int main() {
  for (const size_t count : {0, 1, 2, 7, 8, 9, 100, 4097})
    for (const int64_t step : {1, 2, 4, 5, 1024, 1 << 20})
      for (const int64_t first : {int64_t{0}, int64_t{-50}, int64_t{1} << 40})
        check_steps(count, first, step, static_cast<unsigned>(count + static_cast<size_t>(step)));
  check_all(mmgrec::IdMap(Ids{kLeast, kMost}), {{kLeast, 0}, {kMost, 1}}, {0});
  check_all(mmgrec::IdMap(Ids{kMost - 1, kMost}), {{kMost - 1, 0}, {kMost, 1}}, {0, kLeast});
  check_all(mmgrec::IdMap(Ids{5, 6, 5}), {{5, 2}, {6, 1}}, {});
  for (const size_t count : {2, 64, 65, 1000})
    for (const int64_t step : {1, 2, 3})
      for (const int64_t first : {int64_t{0}, int64_t{-50}, int64_t{1} << 40})
        check_bits(count, first, step);
  const mmgrec::IdMap sparse(Ids{5, 1'000'000}), empty(Ids{});
  for (const size_t count : {0, 1, 2}) CHECK(!sparse.bits_suit(count) && !empty.bits_suit(count));
  CHECK(sparse.bit(5) == mmgrec::IdMap::kNoBit);
  mmgrec::IdMap map(Ids{5});
  CHECK_THROWS(map.set(6, -1), std::invalid_argument);
  CHECK_THROWS(map.set(6, int64_t{1} << 31), std::invalid_argument);
  check_all(map, {{5, 0}}, {6});
}
