// All leaves but some as a bitmap with its directory of counts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/constrained_topk_kernels.h"
#include "ops/filters.h"

namespace mmgrec {

// The memory of a Bitmap.
class OwnedBitmap {
 public:
  OwnedBitmap() = default;
  // `ranks` in any order, repeated or not, all below `bound`.
  static OwnedBitmap all_but(std::span<const uint32_t> ranks, uint32_t bound,
                             const StepKernels& kernels) {
    OwnedBitmap set;
    // One word more than is full, so that `below` may be asked for the bound.
    set.words_.assign(size_t{bound} / 64 + 1, ~uint64_t{0});
    for (const uint32_t rank : ranks) set.words_[rank / 64] &= ~(uint64_t{1} << (rank % 64));
    set.counts_.resize(set.words_.size() / Bitmap::kBlock + 2);
    kernels.count_bits(set.words_.data(), set.words_.size(), set.counts_.data());
    return set;
  }
  Bitmap view() const { return {words_.data(), counts_.data()}; }

  // A bitmap answers with one look at memory, a list with three; it may take twice as much of it.
  static bool suits(size_t ranks, uint32_t bound) {
    constexpr size_t kLeavesPerRank = 128;
    return bound <= kLeavesPerRank * ranks;
  }

 private:
  std::vector<uint64_t> words_;
  std::vector<uint32_t> counts_;
};

}  // namespace mmgrec
