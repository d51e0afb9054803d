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

// The arrays of a batch, in the calling thread's scratch memory.
//
//   segment s: the candidates x[begins[s] .. begins[s + 1]) of beam beams[s], filled up with -inf
//   leaves:    candidate i of a segment is the i-th leaf of the beam's range
//   children:  candidate i is child i, described in the arrays below at begins[s] + i
struct StepBatch {
  // A batch is full with so many candidates (they stay in the first-level cache) or beams.
  static constexpr size_t kFull = 2048;
  static constexpr size_t kBeams = 128;
  static constexpr size_t kMostGroups = 1024;

  size_t segments = 0;
  uint32_t* beams;
  uint32_t* begins;
  uint32_t* listed;  // 1: the candidates are children, 0: leaves
  float* scores;     // of the beams
  float* totals;     // log-sum-exp of each
  float* x;          // logits, then scores
  uint32_t* found;   // survivors
  uint32_t* owners;  // the segment of every kSegment candidates
  float* groups;     // best scores of groups of candidates

  uint32_t* tokens;
  uint32_t* starts;
  uint32_t* added_starts;  // null: no child has added leaves

  // Room for one beam's children before they are merged, and for a level's logits.
  Children base, added;
  float* level;

  StepBatch(size_t columns, bool edited) {
    const size_t own = std::max<size_t>(columns, kFewLeaves) + 2 * kChildPadding;
    const size_t all = kFull + own;
    float* memory =
        thread_scratch(3 * kBeams + 4 * (kBeams + kSegment) + kMostGroups + 6 * all + 5 * own);
    const auto floats = [&](size_t count) { return std::exchange(memory, memory + count); };
    const auto numbers = [&](size_t count) { return reinterpret_cast<uint32_t*>(floats(count)); };
    beams = numbers(kBeams);
    listed = numbers(kBeams);
    scores = floats(kBeams);
    totals = floats(2 * (kBeams + kSegment));
    begins = numbers(kBeams + kSegment);
    groups = floats(kMostGroups);
    x = floats(all);
    found = numbers(all);
    owners = numbers(all / kSegment);
    tokens = numbers(all);
    starts = numbers(all);
    added_starts = numbers(all);
    base = {numbers(own), numbers(own)};
    added = {numbers(own), numbers(own)};
    level = floats(own);
    if (!edited) added_starts = nullptr;
    clear();
  }

  void clear() {
    segments = 0;
    begins[0] = 0;
  }
  size_t size() const { return begins[segments]; }
  bool full() const { return segments == kBeams || size() >= kFull; }

  // The segment that is to be filled next, and its arrays.
  float* next_x() const { return x + size(); }
  // `used` entries of it are taken.
  void append(uint32_t beam, float score, bool are_children, size_t used) {
    beams[segments] = beam;
    scores[segments] = score;
    listed[segments] = are_children;
    const size_t end = size() + (used + kSegment - 1) / kSegment * kSegment;
    for (size_t unit = size() / kSegment; unit < end / kSegment; ++unit)
      owners[unit] = static_cast<uint32_t>(segments);
    begins[++segments] = static_cast<uint32_t>(end);
  }
};

}  // namespace mmgrec
