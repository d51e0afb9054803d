#include "ops/relation_attention.h"

#include <stdexcept>

#include "parallel/pool.h"
#include "simd/dispatch.h"

namespace mmgrec {

void relation_attention(const RelationAttention& op, unsigned threads, const Kernels* kernels) {
  const Kernels& chosen = kernels ? *kernels : best_kernels();
  for (size_t user = 0; user < op.users; ++user) {
    if (op.length_of(user) > op.length)
      throw std::invalid_argument("a length is below 0 or above L");
  }
  if (op.heads == 0 || op.width == 0) return;
  const size_t floats = chosen.attention_scratch(op);
  const size_t parts = (op.length + kQueryRows - 1) / kQueryRows;
  parallel_for(op.users * parts, threads, [&](size_t index) {
    chosen.attend(op, index / parts, index % parts * kQueryRows, thread_scratch(floats));
  });
}

}  // namespace mmgrec
