// All CPU kernels of one instruction set. CMake compiles this file once per set, with its flags,
// its namespace MMGREC_ISA and its MMGREC_LANES and MMGREC_TILE_ROWS.
#include "ops/constrained_topk.simd.h"
#include "ops/rank_sort.simd.h"
#include "ops/relation_attention.simd.h"
#include "ops/rq_assign.simd.h"
#include "ops/step_leaves.simd.h"
#include "ops/step_scores.simd.h"
#include "recommender/beam_attention.simd.h"
#include "recommender/layers.simd.h"

#define MMGREC_NAME_OF(isa) #isa
#define MMGREC_NAME(isa) MMGREC_NAME_OF(isa)

namespace mmgrec::MMGREC_ISA {

extern const Kernels kernels = {
    MMGREC_NAME(MMGREC_ISA),
    W,
    attention_scratch,
    attend,
    packed_codebooks,
    pack_codebooks,
    assign_scratch,
    assign,
    {list_children, gather, gather_leaves, add_dots, add_log_counts, log_sum_exp, log_totals, score,
     threshold, survivors, ranks, list_bits, count_bits},
    {{linear_packed_bytes, linear_pack, linear},
     norm,
     prefix_attention,
     packed_keys,
     pack_memory_keys,
     memory_scores,
     memory_attention},
};

}  // namespace mmgrec::MMGREC_ISA
