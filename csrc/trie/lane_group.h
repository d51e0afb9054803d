// Lane groups: kernel bodies are written once against `ballot` and run with 1 lane on the host,
// with 32 emulated lanes in the tests, and with the 32 lanes of a warp on a GPU.
#pragma once

#include <bit>
#include <cstdint>

#ifdef __CUDACC__
#define MMGREC_HOST_DEVICE __host__ __device__
#else
#define MMGREC_HOST_DEVICE
#endif

namespace mmgrec {

// W lanes emulated by a loop: bit i of the ballot is the predicate of lane i.
template <unsigned W>
struct HostGroup {
  static constexpr unsigned lanes = W;

  template <class Predicate>
  MMGREC_HOST_DEVICE static uint32_t ballot(Predicate predicate) {
    uint32_t bits = 0;
    for (unsigned lane = 0; lane < W; ++lane) bits |= uint32_t{predicate(lane)} << lane;
    return bits;
  }
  MMGREC_HOST_DEVICE static unsigned count(uint32_t bits) { return std::popcount(bits); }
};

#ifdef __CUDACC__
struct WarpGroup {
  static constexpr unsigned lanes = 32;

  template <class Predicate>
  __device__ static uint32_t ballot(Predicate predicate) {
    return __ballot_sync(0xffffffffu, predicate(threadIdx.x % 32));
  }
  __device__ static unsigned count(uint32_t bits) { return __popc(bits); }
};
#endif

}  // namespace mmgrec
