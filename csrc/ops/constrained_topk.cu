// The device build of the constrained step: one block per user.
#include <cuda_runtime.h>

#include "ops/constrained_topk_body.h"
#include "ops/constrained_topk_device.h"

namespace mmgrec {

// One block per processor is asked for, or ptxas would rather spill than use the registers that two
// do not leave.
__global__ void __launch_bounds__(BlockShape::kMostWarps* WarpGroup::lanes, 1)
    constrained_topk_kernel(const __grid_constant__ DeviceStep step,
                            const __grid_constant__ BlockShape shape) {
  extern __shared__ double shared[];  // double: as aligned as anything in it
  const ConstrainedTopkBody<WarpGroup> body(step, shape, shared, blockIdx.x,
                                            threadIdx.x / WarpGroup::lanes);
  body.sum_children();
  __syncthreads();
  body.collect();
  __syncthreads();
  body.write_best();
}

int launch_constrained_topk(const DeviceStep& step, const BlockShape& shape, void* stream) {
  if (step.users == 0) return cudaSuccess;
  // Above 48 KiB a kernel must be told; this queues nothing, so that a capture does not mind.
  const auto bytes = static_cast<int>(shape.shared_bytes());
  const cudaError_t told = cudaFuncSetAttribute(constrained_topk_kernel,
                                                cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (told != cudaSuccess) return told;
  const unsigned threads = shape.warps * WarpGroup::lanes;
  constrained_topk_kernel<<<step.users, threads, bytes, static_cast<cudaStream_t>(stream)>>>(step,
                                                                                             shape);
  return cudaGetLastError();
}

}  // namespace mmgrec
