#include "trie/device_catalog.h"

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "trie/relocation.h"

namespace mmgrec {

void check_cuda(int code, const char* doing) {
  if (code == cudaSuccess) return;
  const auto error = static_cast<cudaError_t>(code);
  throw std::runtime_error(std::string("CUDA failed ") + doing + ": " + cudaGetErrorString(error) +
                           " (" + cudaGetErrorName(error) + ")");
}

DeviceCatalog::DeviceCatalog(const CatalogView& host, void* stream) : view_(host) {
  Relocation plan;
  for_each_array(view_, [&](auto& array, size_t bytes) { plan.add(array, bytes); });
  num_bytes_ = plan.bytes();
  check_cuda(cudaGetDevice(&device_), "asking for the current device");
  check_cuda(cudaMalloc(&block_, num_bytes_), "allocating memory for a catalogue");
  try {
    plan.for_each([&](const void* array, size_t bytes, size_t offset) {
      check_cuda(cudaMemcpyAsync(block_ + offset, array, bytes, cudaMemcpyHostToDevice,
                                 static_cast<cudaStream_t>(stream)),
                 "copying a catalogue to the device");
    });
  } catch (...) {
    cudaFree(block_);
    throw;
  }
  for_each_array(
      view_, [&](auto& array, size_t) { plan.move(array, reinterpret_cast<uintptr_t>(block_)); });
}

// Waits for steps in flight, so that none loses its catalogue: cudaFree does. An error is of no use
// here; at the end of the process the context may be gone already.
DeviceCatalog::~DeviceCatalog() { cudaFree(block_); }

}  // namespace mmgrec
