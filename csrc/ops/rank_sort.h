// From ranks in any order, repeated or not, to a RankSet.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "ops/constrained_topk_kernels.h"
#include "trie/rank_set.h"

namespace mmgrec {

namespace rank_sort {

using Ranks = std::vector<uint32_t>;

inline bool ascend(std::span<const uint32_t> ranks) {
  for (size_t i = 1; i < ranks.size(); ++i) {
    if (ranks[i - 1] >= ranks[i]) return false;
  }
  return true;
}

// Marks every rank in a bitmap and reads it from end to end: no comparisons, and the directory's
// counts come along. The bitmap is the thread's, and all zero in between.
inline OwnedRankSet by_bitmap(std::span<const uint32_t> ranks, uint32_t bound,
                              const StepKernels& kernels) {
  thread_local std::vector<uint64_t> bits;
  const size_t words = size_t{bound} / 64 + 1;
  if (bits.size() < words) bits.resize(words);
  uint64_t* marks = bits.data();
  for (const uint32_t rank : ranks) marks[rank / 64] |= uint64_t{1} << (rank % 64);
  Ranks sorted(ranks.size() + 2), before(words + 1);
  const size_t count = kernels.list_bits(marks, words, sorted.data(), before.data());
  sorted.resize(count);
  const uint32_t shift = OwnedRankSet::shift_for(static_cast<uint32_t>(count), bound);
  if (shift < 6) return {std::move(sorted), bound};
  // A bucket is a word or several.
  const size_t buckets = size_t{bound >> shift} + 1;
  for (size_t b = 0; b < buckets; ++b) before[b] = before[b << (shift - 6)];
  before.resize(buckets + 1);
  before.back() = static_cast<uint32_t>(count);
  return {std::move(sorted), std::move(before), shift};
}

// Scatters into about as many buckets as there are ranks, most of which hold one or two; what is
// out of order then is close to its place.
inline Ranks by_buckets(std::span<const uint32_t> ranks, uint32_t bound) {
  const auto count = static_cast<uint32_t>(ranks.size());
  const uint32_t shift = OwnedRankSet::shift_for(count, bound);
  Ranks ends(size_t{bound >> shift} + 2, 0), sorted(count);
  for (const uint32_t rank : ranks) ++ends[(rank >> shift) + 1];
  for (size_t b = 1; b < ends.size(); ++b) ends[b] += ends[b - 1];
  for (const uint32_t rank : ranks) sorted[ends[rank >> shift]++] = rank;
  // ends[b] is now where bucket b ends.
  uint32_t begin = 0;
  for (const uint32_t end : ends) {
    if (end - begin > 1) std::sort(sorted.data() + begin, sorted.data() + end);
    begin = std::max(begin, end);
  }
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  return sorted;
}

}  // namespace rank_sort

// In time proportional to the number of ranks, all below `bound`.
inline OwnedRankSet rank_set_of(std::span<const uint32_t> ranks, uint32_t bound,
                                const StepKernels& kernels) {
  constexpr size_t kFew = 64;
  // So many words of a bitmap are read in the time that sorting one rank takes.
  constexpr size_t kWordsPerRank = 16;
  if (ranks.empty()) return {};
  if (rank_sort::ascend(ranks)) return {{ranks.begin(), ranks.end()}, bound};
  if (ranks.size() > kFew && bound / 64 < kWordsPerRank * ranks.size())
    return rank_sort::by_bitmap(ranks, bound, kernels);
  if (ranks.size() > kFew) return {rank_sort::by_buckets(ranks, bound), bound};
  rank_sort::Ranks sorted(ranks.begin(), ranks.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  return {std::move(sorted), bound};
}

}  // namespace mmgrec
