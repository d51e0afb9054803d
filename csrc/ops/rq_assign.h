// Residual quantisation: the nearest codeword on every level, residual by residual.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mmgrec {

struct Kernels;

// Shapes: N rows, D width, S levels, K codewords.
//
//   r = x
//   for every level:  code = argmin_k ||r - C[level, k]||^2     ties to the lowest index
//                     r   -= C[level, code]
struct RqAssign {
  size_t rows = 0;    // N
  size_t width = 0;   // D
  size_t levels = 0;  // S
  size_t size = 0;    // K
  const float* x = nullptr;
  ptrdiff_t x_stride = 0;            // floats between rows
  const float* codebooks = nullptr;  // [S, K, D] contiguous
  int64_t* codes = nullptr;          // [N, S]; -1 where NaN or infinity leave no nearest codeword
  float* residual_norms = nullptr;   // [N] squared norm of what is left
  float* top2 = nullptr;             // [N, S, 2] squared distances of the two nearest, or null
};

// Uses up to `threads` threads. `kernels` is an instruction set of simd/dispatch.h; null takes the
// best one.
void rq_assign(const RqAssign& op, unsigned threads, const Kernels* kernels = nullptr);

}  // namespace mmgrec
