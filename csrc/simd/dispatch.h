// The CPU kernels, compiled once per instruction set; the best that runs here is chosen at load.
#pragma once

#include <cstddef>
#include <vector>

#include "ops/constrained_topk_kernels.h"
#include "ops/relation_attention.h"
#include "ops/rq_assign.h"
#include "recommender/layer_kernels.h"

namespace mmgrec {

// One instruction set's kernels. Each op has the size of its scratch memory, in floats, and a body
// that works on a part of the problem.
struct Kernels {
  const char* name;
  size_t lanes;
  // relation_attention: query rows of one user, from `first` on, kQueryRows at most.
  size_t (*attention_scratch)(const RelationAttention&);
  void (*attend)(const RelationAttention&, size_t user, size_t first, float* scratch);
  // rq_assign: codebooks are packed once per call, then rows are quantised in blocks.
  size_t (*packed_codebooks)(const RqAssign&);
  void (*pack_codebooks)(const RqAssign&, float* packed);
  size_t (*assign_scratch)(const RqAssign&);
  void (*assign)(const RqAssign&, const float* packed, size_t first, size_t count, float* scratch);
  StepKernels step;    // constrained_topk
  LayerKernels layer;  // the recommender
};

// Query rows of one call of `attend`: the relation bias of so many rows is kept for all heads.
constexpr size_t kQueryRows = 128;

// The instruction sets that were compiled and run on this processor, best first; never empty.
const std::vector<const Kernels*>& runnable_kernels();

// The best of them.
const Kernels& best_kernels();

}  // namespace mmgrec
