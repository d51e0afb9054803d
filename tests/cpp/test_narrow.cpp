// Narrowing with one lane and with 32 emulated lanes, against std::equal_range.
#include <algorithm>
#include <random>
#include <vector>

#include "check.h"
#include "trie/narrow.h"

namespace {

template <class Group, class Token>
void check_all_ranges(const std::vector<Token>& tokens, uint32_t top) {
  const auto size = static_cast<uint32_t>(tokens.size());
  for (uint32_t lo = 0; lo <= size; lo += 1 + lo / 4) {
    for (uint32_t hi = lo; hi <= size; hi += 1 + hi / 8) {
      for (uint32_t token = 0; token <= top; ++token) {
        const auto begin = tokens.begin();
        const auto expected = std::equal_range(begin + lo, begin + hi, token);
        const mmgrec::Range found = mmgrec::narrow<Group>(tokens.data(), {lo, hi}, token);
        CHECK(found.lo == expected.first - begin);
        CHECK(found.hi == expected.second - begin);
      }
    }
  }
}

template <class Token>
void check_groups(size_t size, uint32_t top, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(size);
  for (Token& token : tokens) token = static_cast<Token>(random() % (top + 1));
  std::ranges::sort(tokens);
  check_all_ranges<mmgrec::HostGroup<1>>(tokens, top);
  check_all_ranges<mmgrec::HostGroup<32>>(tokens, top);
}

}  // namespace

int main() {
  for (const size_t size : {0, 1, 2, 31, 32, 33, 100, 1057}) {
    check_groups<uint8_t>(size, 0, 1);
    check_groups<uint8_t>(size, 7, 2);
    check_groups<uint16_t>(size, 300, 3);
  }
  std::vector<uint16_t> last(40, 65535);
  check_all_ranges<mmgrec::HostGroup<32>>(last, 0);
  CHECK(mmgrec::narrow<mmgrec::HostGroup<32>>(last.data(), {3, 40}, 65535).lo == 3);
}
