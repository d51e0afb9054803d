// Reading a bitmap from end to end; see rank_sort.h and filter_bits.h.
//
// Included by simd/kernels.simd.cpp only: not for vectors, but for instructions that count and find
// bits, which the baseline lacks.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace mmgrec::MMGREC_ISA {

// Lists the bits that are set and clears them; before[w] is how many lie before word w. `ranks` has
// room for two more than there are.
size_t list_bits(uint64_t* words, size_t count, uint32_t* ranks, uint32_t* before) {
  constexpr uint64_t kTop = uint64_t{1} << 63;  // so that there is a bit to find
  size_t listed = 0;
  for (size_t w = 0; w < count; ++w) {
    before[w] = static_cast<uint32_t>(listed);
    uint64_t word = words[w];
    words[w] = 0;
    const auto first = static_cast<uint32_t>(64 * w);
    const auto found = static_cast<size_t>(__builtin_popcountll(word));
    const auto take = [&](size_t i) {
      ranks[listed + i] = first + static_cast<uint32_t>(__builtin_ctzll(word | kTop));
      word &= word - 1;
    };
    // Two at once whether they are there or not: few words have more, and a processor cannot guess
    // how many they have.
    take(0);
    take(1);
    for (size_t i = 2; i < found; ++i) take(i);
    listed += found;
  }
  return listed;
}

// counts[b] = how many bits are set before word 8 b; one more than there are blocks of 8.
void count_bits(const uint64_t* words, size_t count, uint32_t* counts) {
  size_t set = 0;
  for (size_t w = 0; w < count; ++w) {
    if (w % 8 == 0) counts[w / 8] = static_cast<uint32_t>(set);
    set += static_cast<size_t>(__builtin_popcountll(words[w]));
  }
  counts[(count + 7) / 8] = static_cast<uint32_t>(set);
}

}  // namespace mmgrec::MMGREC_ISA
