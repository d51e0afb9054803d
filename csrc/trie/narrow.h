// Narrowing: from a prefix (a range of leaf ranks) and one more token to the child's range.
#pragma once

#include <cstdint>

#include "trie/lane_group.h"

namespace mmgrec {

struct Range {
  uint32_t lo = 0;
  uint32_t hi = 0;
  MMGREC_HOST_DEVICE bool empty() const { return lo >= hi; }
};

// First position in [lo, hi) of the ascending `tokens` whose value is >= token.
//
//   W lanes probe W evenly spaced positions; the ballot of "still smaller" is a run of low bits, so
//   its population count says which of the W + 1 parts holds the answer; go on inside that part
template <class Group, class Token>
MMGREC_HOST_DEVICE uint32_t first_not_less(const Token* tokens, uint32_t lo, uint32_t hi,
                                           uint32_t token) {
  constexpr uint64_t W = Group::lanes;
  while (lo < hi) {
    const uint64_t span = hi - lo;
    const auto probe = [=](uint64_t lane) {
      return lo + static_cast<uint32_t>((lane + 1) * span / (W + 1));
    };
    const auto smaller = [&](unsigned lane) {
      return static_cast<uint32_t>(tokens[probe(lane)]) < token;
    };
    const unsigned below = Group::count(Group::ballot(smaller));
    const uint32_t next_lo = below > 0 ? probe(below - 1) + 1 : lo;
    hi = below < W ? probe(below) : hi;
    lo = next_lo;
  }
  return lo;
}

// The leaves of `range` whose token is `token`; empty when there is none.
template <class Group, class Token>
MMGREC_HOST_DEVICE Range narrow(const Token* tokens, Range range, uint32_t token) {
  const uint32_t lo = first_not_less<Group>(tokens, range.lo, range.hi, token);
  const uint32_t hi = first_not_less<Group>(tokens, lo, range.hi, token + 1);
  return {lo, hi};
}

}  // namespace mmgrec
