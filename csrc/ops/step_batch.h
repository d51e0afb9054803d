// Candidates of several beams side by side, so that every part of a step is one loop over them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "ops/constrained_topk_kernels.h"
#include "parallel/pool.h"

namespace mmgrec {

// A beam of at most so many leaves is scored leaf by leaf.
constexpr uint32_t kFewLeaves = 128;

// The candidates of a batch and what they are, in the calling thread's scratch memory.
//
//   leaves:    candidate i of a unit is the i-th leaf from its first one on
//   children:  candidate i is the child that is described at i in the arrays below
struct StepBatch : Candidates {
  // A batch is full with so many candidates (they stay in the first-level cache) or beams.
  static constexpr size_t kFull = 2048;
  static constexpr size_t kBeams = 128;
  static constexpr size_t kMostGroups = 1024;

  uint32_t* beams;  // of segments
  bool* listed;     // the segment's candidates are children
  uint32_t* found;  // survivors
  float* groups;    // best scores of groups of candidates

  uint32_t* tokens;
  uint32_t* starts;
  uint32_t* added_starts;  // null: no child has added leaves

  // Room for one beam's children before they are merged, and for a level's logits.
  Children base, added;
  float* level;

  StepBatch(size_t columns, bool edited) {
    const size_t own = std::max<size_t>(columns, kFewLeaves) + 2 * kChildPadding;
    const size_t all = kFull + own, units_room = all / kUnit;
    char* memory = reinterpret_cast<char*>(
        thread_scratch((kBeams + kUnit) * (sizeof(float*) / 4 + 6) + kMostGroups + 5 * all +
                       5 * own + units_room * (sizeof(Unit) / 4 + 1) + kArrays * 2 * kUnit));
    const auto take = [&]<class T>(T*& array, size_t count) {
      constexpr size_t kLine = 64;
      array = reinterpret_cast<T*>(memory);
      memory += (count * sizeof(T) + kLine - 1) / kLine * kLine;
    };
    take(begins, kBeams + 1);
    take(logits, kBeams);
    take(scores, kBeams);
    take(totals, 2 * (kBeams + kUnit));
    take(beams, kBeams);
    take(listed, kBeams);
    take(units, units_room);
    take(sums, units_room + kUnit);
    take(x, all);
    take(found, all);
    take(groups, kMostGroups);
    take(tokens, all);
    take(starts, all);
    take(added_starts, all);
    for (uint32_t** array : {&base.tokens, &base.starts, &added.tokens, &added.starts})
      take(*array, own);
    take(level, own);
    if (!edited) added_starts = nullptr;
    clear();
  }

  void clear() {
    segments = num_units = 0;
    begins[0] = 0;
  }
  bool full() const { return segments == kBeams || size() >= kFull; }

  // The leaves of a range, to be gathered from the beam's row of logits.
  void append_leaves(uint32_t beam, float score, const float* row, Range range) {
    Unit* to = units + num_units;
    const uint32_t count = (range.hi - range.lo + kUnit - 1) / kUnit;
    const auto put = [&](uint32_t i) {
      to[i] = {static_cast<uint32_t>(segments), range.lo + i * static_cast<uint32_t>(kUnit),
               range.hi};
    };
    // Two whether there are so many or not: a processor cannot guess which.
    put(0);
    put(1);
    for (uint32_t i = 2; i < count; ++i) put(i);
    logits[segments] = row;
    append(beam, score, false, count);
  }
  // The children that were written at `size()`; they take `used` entries.
  void append_children(uint32_t beam, float score, size_t used) {
    Unit* to = units + num_units;
    const auto count = static_cast<uint32_t>((used + kUnit - 1) / kUnit);
    for (uint32_t i = 0; i < count; ++i) to[i] = {static_cast<uint32_t>(segments), 0, 0};
    append(beam, score, true, count);
  }

 private:
  static constexpr size_t kArrays = 20;

  void append(uint32_t beam, float score, bool are_children, uint32_t count) {
    beams[segments] = beam;
    scores[segments] = score;
    listed[segments] = are_children;
    num_units += count;
    begins[++segments] = static_cast<uint32_t>(num_units);
  }
};

}  // namespace mmgrec
