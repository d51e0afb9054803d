// The device build of `narrow`: one warp per (range, token) pair.
#include <cuda_runtime.h>

#include "trie/narrow.h"

namespace mmgrec {
namespace {

constexpr unsigned kThreads = 128;

template <class Token>
__global__ void narrow_kernel(const Token* tokens, const Range* ranges, const uint32_t* wanted,
                              Range* children, size_t count) {
  const size_t pair = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) / WarpGroup::lanes;
  // The whole warp leaves together: its 32 threads share one pair.
  if (pair >= count) return;
  const Range child = narrow<WarpGroup>(tokens, ranges[pair], wanted[pair]);
  if (threadIdx.x % WarpGroup::lanes == 0) children[pair] = child;
}

}  // namespace

int narrow_on_device(const void* tokens, int token_bytes, const Range* ranges,
                     const uint32_t* wanted, Range* children, size_t count, void* stream) {
  if (count == 0) return 0;
  const size_t blocks = (count * WarpGroup::lanes + kThreads - 1) / kThreads;
  const auto queue = static_cast<cudaStream_t>(stream);
  if (token_bytes == 1) {
    narrow_kernel<<<blocks, kThreads, 0, queue>>>(static_cast<const uint8_t*>(tokens), ranges,
                                                  wanted, children, count);
  } else {
    narrow_kernel<<<blocks, kThreads, 0, queue>>>(static_cast<const uint16_t*>(tokens), ranges,
                                                  wanted, children, count);
  }
  return static_cast<int>(cudaGetLastError());
}

}  // namespace mmgrec
