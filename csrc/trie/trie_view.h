// The arrays of a trie as plain pointers: what a search walks, on the host or on a device.
//
//   level 0            first[c]           u32 [K0 + 1]        first leaf whose token 0 is >= c
//   level 1 (dense)    second[c0*K1 + c1] u32 [K0 * K1 + 1]   first leaf whose tokens are >= these
//   deeper levels      tokens[t][rank]    u8 or u16 [N]       one packed token per item
//
// Levels from `dense_levels` on have packed tokens, levels below it have offsets: two in a large
// catalogue; one where the second table would outweigh packed tokens; none in a small set of
// additions, whose tables would cost more than its items.
#pragma once

#include <cstddef>
#include <cstdint>

#include "trie/narrow.h"

namespace mmgrec {

constexpr size_t kMaxLevels = 8;
constexpr uint32_t kMaxLevelSize = 65536;

// Plain and trivially copyable, so that a device kernel can take it by value.
struct TrieView {
  uint32_t items = 0;
  uint32_t levels = 0;
  uint32_t dense_levels = 0;
  uint32_t level_sizes[kMaxLevels] = {};
  const uint32_t* first = nullptr;   // null when dense_levels == 0
  const uint32_t* second = nullptr;  // null when dense_levels < 2
  const void* tokens[kMaxLevels] = {};

  MMGREC_HOST_DEVICE bool wide(size_t level) const { return level_sizes[level] > 256; }
  MMGREC_HOST_DEVICE const uint8_t* bytes(size_t level) const {
    return static_cast<const uint8_t*>(tokens[level]);
  }
  MMGREC_HOST_DEVICE const uint16_t* words(size_t level) const {
    return static_cast<const uint16_t*>(tokens[level]);
  }
};

}  // namespace mmgrec
