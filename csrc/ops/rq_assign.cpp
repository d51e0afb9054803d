#include "ops/rq_assign.h"

#include <algorithm>
#include <vector>

#include "parallel/pool.h"
#include "simd/dispatch.h"

namespace mmgrec {
namespace {

// Rows of one draw from the pool: small enough to balance, large enough that drawing costs nothing.
constexpr size_t kRowsPerPart = 768;

// The packed codebooks of a call; kept by the calling thread beside its workers' scratch.
float* packed_memory(size_t floats) {
  thread_local std::vector<float> memory;
  if (memory.size() < floats) memory.resize(floats);
  return memory.data();
}

}  // namespace

void rq_assign(const RqAssign& op, unsigned threads, const Kernels* kernels) {
  const Kernels& chosen = kernels ? *kernels : best_kernels();
  if (op.rows == 0) return;
  float* packed = packed_memory(chosen.packed_codebooks(op));
  chosen.pack_codebooks(op, packed);
  const size_t floats = chosen.assign_scratch(op);
  const size_t parts = (op.rows + kRowsPerPart - 1) / kRowsPerPart;
  parallel_for(parts, threads, [&](size_t part) {
    const size_t first = part * kRowsPerPart;
    const size_t count = std::min(kRowsPerPart, op.rows - first);
    chosen.assign(op, packed, first, count, thread_scratch(floats));
  });
}

}  // namespace mmgrec
