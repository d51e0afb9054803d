// One step of constrained beam search on a device: what the kernel is given and how it is launched.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "ops/candidate_pool.h"
#include "ops/filters.h"
#include "trie/catalog.h"

namespace mmgrec {

// Why results of a user are not what was asked for; bits of its status word.
enum StepStatus : uint32_t {
  kStatusNan = 1,           // NaN among scores, logits or node vectors: those children are dead
  kStatusOutside = 2,       // a beam's range lies outside the catalogue: that beam is dead
  kStatusNodeMismatch = 4,  // a child has no row in the node tables: its logit stands alone
};

// Shapes as in constrained_topk.h: B users, M beams, K columns, W beams kept, n nodes, D width.
// Every pointer is one of the device that runs the step. Plain, so that a kernel takes it by value.
struct DeviceStep {
  CatalogView catalog;
  uint32_t level = 0;
  uint32_t users = 0;  // B
  uint32_t beams = 0;  // M
  uint32_t keep = 0;   // W
  bool softmax_over_level = false;
  // Inputs. A beam with neither base nor added leaves is dead, and so is one with score -inf.
  const int64_t* lo = nullptr;  // [B, M]
  const int64_t* hi = nullptr;
  const int64_t* added_lo = nullptr;  // [B, M]; null where nothing was added
  const int64_t* added_hi = nullptr;
  const float* scores = nullptr;  // [B, M]
  const float* logits = nullptr;  // [B, M, K]
  // Node vectors, means of base leaves; or null. Sums are running ones over the added leaves and
  // over the removed base leaves, so that the mean of what is left below a child can be had; where
  // they are null, edits do not count (a child with added leaves alone has no vector).
  const float* node_query = nullptr;     // [B, M, D]
  const float* node_vectors = nullptr;   // [n, D]
  const int64_t* node_starts = nullptr;  // [n + 1]
  const double* added_sums = nullptr;    // [added + 1, D]
  const double* removed_sums = nullptr;  // [removed + 1, D]
  uint32_t nodes = 0;
  uint32_t node_width = 0;
  float* node_logits = nullptr;  // [B, M, K] scratch, so that terms are computed once; or null
  const UserFilter* filters = nullptr;  // [B], or null
  // Outputs, best first, padded with dead beams.
  float* out_scores = nullptr;  // [B, W]
  int32_t* out_parents = nullptr;
  int32_t* out_tokens = nullptr;
  int64_t* out_lo = nullptr;
  int64_t* out_hi = nullptr;
  int64_t* out_added_lo = nullptr;  // null where nothing was added
  int64_t* out_added_hi = nullptr;
  float* out_best_pruned = nullptr;  // [B]
  uint32_t* out_status = nullptr;    // [B], or null
};

// log(sum exp) of some logits in two numbers that can be joined: sum is relative to exp(top).
struct PartialSum {
  float top = kDeadScore;
  float sum = 0;

  MMGREC_HOST_DEVICE void add(float logit) { add(PartialSum{logit, 1}); }
  MMGREC_HOST_DEVICE void add(const PartialSum& other) {
    if (other.top == kDeadScore) return;
    if (other.top > top) {
      sum = sum * std::exp(top - other.top) + other.sum;
      top = other.top;
    } else {
      sum += other.sum * std::exp(other.top - top);
    }
  }
};

// How the warps of a block, which serves one user, share beams and shared memory.
//
//   unit u = beam u / parts, part u % parts;   warp w takes units w, w + warps, ...
struct BlockShape {
  static constexpr uint32_t kMostWarps = 16;
  static constexpr uint32_t kMostBeams = 8192;
  static constexpr uint32_t kMostPoolBytes = 96 * 1024;

  uint32_t warps = 0;
  uint32_t parts = 0;     // of a beam, so that few beams occupy all warps
  uint32_t units = 0;     // beams * parts
  uint32_t capacity = 0;  // candidates of a warp

  // The shape for M beams of which W are kept; no warps when either is too large for a block.
  static BlockShape of(uint32_t beams, uint32_t keep, uint32_t most_warps = kMostWarps) {
    BlockShape shape;
    if (beams > kMostBeams || keep + 1 + 32 > kMostPoolBytes / sizeof(Candidate)) return shape;
    shape.capacity = 64;
    while (shape.capacity < keep + 1 + 32) shape.capacity *= 2;
    const auto fit = static_cast<uint32_t>(kMostPoolBytes / (shape.capacity * sizeof(Candidate)));
    shape.warps = fit < most_warps ? fit : most_warps;
    if (shape.warps == 0) return shape;
    shape.parts = beams == 0 || beams >= shape.warps ? 1 : (shape.warps + beams - 1) / beams;
    shape.units = beams * shape.parts;
    return shape;
  }
  size_t shared_bytes() const {
    return units * sizeof(PartialSum) + 2 * warps * sizeof(uint32_t) +
           size_t{warps} * capacity * sizeof(Candidate);
  }
};

// Shared memory of a block.
struct BlockMemory {
  PartialSum* partial;    // [units]
  uint32_t* counts;       // [warps] candidates in each pool
  uint32_t* status;       // [warps]
  Candidate* candidates;  // [warps, capacity]

  MMGREC_HOST_DEVICE BlockMemory(const BlockShape& shape, void* shared)
      : partial(static_cast<PartialSum*>(shared)),
        counts(reinterpret_cast<uint32_t*>(partial + shape.units)),
        status(counts + shape.warps),
        candidates(reinterpret_cast<Candidate*>(status + shape.warps)) {}
};

// Queues the step on a CUDA stream of the current device: one launch, no allocation, no waiting, so
// that it can be captured in a graph. Returns a CUDA error code, 0 for success. The shape must have
// warps.
int launch_constrained_topk(const DeviceStep& step, const BlockShape& shape, void* stream);

}  // namespace mmgrec
