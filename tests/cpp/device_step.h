// Catalogues, filters and a driver for tests of the device step on the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "ops/constrained_topk_body.h"

namespace device_test {

using namespace mmgrec;
using Codes = std::vector<std::vector<uint32_t>>;  // sorted tuples, one per leaf

// A trie with any number of dense levels, every array exactly as long as the layout says.
class Tables {
 public:
  Tables(const Codes& codes, const std::vector<uint32_t>& sizes, uint32_t dense_levels) {
    view.items = static_cast<uint32_t>(codes.size());
    view.levels = static_cast<uint32_t>(sizes.size());
    view.dense_levels = dense_levels;
    std::ranges::copy(sizes, view.level_sizes);
    const auto starts = [&](size_t keys, auto key_of) {
      std::vector<uint32_t> table(keys + 1);
      for (const auto& code : codes) ++table[key_of(code) + 1];
      for (size_t key = 0; key < keys; ++key) table[key + 1] += table[key];
      return table;
    };
    if (dense_levels > 0) {
      first_ = starts(sizes[0], [](const auto& code) { return code[0]; });
      view.first = first_.data();
    }
    if (dense_levels > 1) {
      second_ = starts(size_t{sizes[0]} * sizes[1],
                       [&](const auto& code) { return size_t{code[0]} * sizes[1] + code[1]; });
      view.second = second_.data();
    }
    bytes_.resize(sizes.size());
    words_.resize(sizes.size());
    for (size_t level = dense_levels; level < sizes.size(); ++level) {
      for (const auto& code : codes) {
        if (view.wide(level)) {
          words_[level].push_back(static_cast<uint16_t>(code[level]));
        } else {
          bytes_[level].push_back(static_cast<uint8_t>(code[level]));
        }
      }
      view.tokens[level] = view.wide(level) ? static_cast<const void*>(words_[level].data())
                                            : static_cast<const void*>(bytes_[level].data());
    }
  }
  Tables(const Tables&) = delete;

  TrieView view;
  // For tests of damage.
  std::vector<uint32_t> first_, second_;
  std::vector<std::vector<uint8_t>> bytes_;
  std::vector<std::vector<uint16_t>> words_;
};

class OwnedBitmap {
 public:
  explicit OwnedBitmap(const std::vector<bool>& set)
      : words_((set.size() + 63) / 64), counts_((words_.size() + 7) / 8 + 1) {
    for (size_t rank = 0; rank < set.size(); ++rank) {
      if (set[rank]) words_[rank / 64] |= uint64_t{1} << (rank % 64);
    }
    uint32_t before = 0;
    for (size_t word = 0; word < words_.size(); ++word) {
      if (word % 8 == 0) counts_[word / 8] = before;
      before += population(words_[word]);
    }
    counts_.back() = before;
  }
  Bitmap view() const { return {words_.data(), counts_.data()}; }

 private:
  std::vector<uint64_t> words_;
  std::vector<uint32_t> counts_;
};

struct Output {
  Output(size_t users, size_t keep)
      : scores(users * keep, NAN),
        best_pruned(users, NAN),
        parents(users * keep, -1),
        tokens(users * keep, -1),
        lo(users * keep, -1),
        hi(users * keep, -1),
        added_lo(users * keep, -1),
        added_hi(users * keep, -1),
        status(users, 99) {}
  std::vector<float> scores, best_pruned;
  std::vector<int32_t> parents, tokens;
  std::vector<int64_t> lo, hi, added_lo, added_hi;
  std::vector<uint32_t> status;
};

// Runs every phase with all warps before the next phase.
template <class Group>
Output run_device(DeviceStep step, uint32_t warps) {
  Output out(step.users, step.keep);
  step.out_scores = out.scores.data();
  step.out_best_pruned = out.best_pruned.data();
  step.out_parents = out.parents.data();
  step.out_tokens = out.tokens.data();
  step.out_lo = out.lo.data();
  step.out_hi = out.hi.data();
  step.out_added_lo = out.added_lo.data();
  step.out_added_hi = out.added_hi.data();
  step.out_status = out.status.data();
  const BlockShape shape = BlockShape::of(step.beams, step.keep, warps);
  CHECK(shape.warps > 0);
  for (uint32_t user = 0; user < step.users; ++user) {
    // As many bytes as the kernel is given, so that the sanitizer sees an overrun.
    const auto shared = std::make_unique<uint32_t[]>(shape.shared_bytes() / 4);
    std::fill_n(shared.get(), shape.shared_bytes() / 4, 0x7fc00000u);  // NaN
    const auto body = [&](uint32_t warp) {
      return ConstrainedTopkBody<Group>(step, shape, shared.get(), user, warp);
    };
    for (uint32_t warp = 0; warp < shape.warps; ++warp) body(warp).sum_children();
    for (uint32_t warp = shape.warps; warp-- > 0;) body(warp).collect();
    for (uint32_t warp = 0; warp < shape.warps; ++warp) body(warp).write_best();
  }
  return out;
}

}  // namespace device_test
