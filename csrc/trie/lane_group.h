// Lane groups: a kernel body is written once against these names and runs with 1 lane on the host,
// with 32 emulated lanes in the tests, and on the 32 lanes of a warp.
//
//   PerLane<Group, float> x;                        one value per lane; on a warp a register
//   Group::for_each_lane([&](unsigned lane) {       a loop on the host, once per thread on a warp
//     x[lane] = ...;
//   });
//   const float sum = Group::reduce_add(x);         the same in every lane
//
// Between two for_each_lane a lane sees what others wrote to memory only after Group::sync(). What
// is not PerLane has one value for the group and may be computed outside for_each_lane.
#pragma once

#include <bit>
#include <cstdint>

#ifdef __CUDACC__
#define MMGREC_HOST_DEVICE __host__ __device__
#else
#define MMGREC_HOST_DEVICE
#endif

namespace mmgrec {

MMGREC_HOST_DEVICE inline unsigned population(uint64_t bits) {
#ifdef __CUDA_ARCH__
  return static_cast<unsigned>(__popcll(bits));
#else
  return static_cast<unsigned>(std::popcount(bits));
#endif
}

template <class Group, class T>
class PerLane {
 public:
  MMGREC_HOST_DEVICE T& operator[](unsigned lane) { return values_[lane % Group::stored]; }
  MMGREC_HOST_DEVICE const T& operator[](unsigned lane) const {
    return values_[lane % Group::stored];
  }

 private:
  T values_[Group::stored];
};

// W lanes emulated by loops. W = 1 also serves single threads of a GPU.
template <unsigned W>
struct HostGroup {
  static constexpr unsigned lanes = W;
  static constexpr unsigned stored = W;  // values of a PerLane that one thread holds

  template <class Visit>
  MMGREC_HOST_DEVICE static void for_each_lane(Visit visit) {
    for (unsigned lane = 0; lane < W; ++lane) visit(lane);
  }
  // Runs once for the whole group.
  template <class Visit>
  MMGREC_HOST_DEVICE static void once(Visit visit) {
    visit();
  }
  // Bit i is the predicate of lane i.
  template <class Predicate>
  MMGREC_HOST_DEVICE static uint32_t ballot(Predicate predicate) {
    uint32_t bits = 0;
    for (unsigned lane = 0; lane < W; ++lane) bits |= uint32_t{predicate(lane)} << lane;
    return bits;
  }
  MMGREC_HOST_DEVICE static unsigned count(uint32_t bits) { return population(bits); }
  template <class T>
  MMGREC_HOST_DEVICE static T reduce_max(PerLane<HostGroup, T> x) {
    return butterfly(x, [](T a, T b) { return a > b ? a : b; });
  }
  template <class T>
  MMGREC_HOST_DEVICE static T reduce_add(PerLane<HostGroup, T> x) {
    return butterfly(x, [](T a, T b) { return a + b; });
  }
  // The same within each of the parts of `width` lanes, a power of two; every lane has its part's.
  template <unsigned width, class T>
  MMGREC_HOST_DEVICE static PerLane<HostGroup, T> reduce_add_parts(PerLane<HostGroup, T> x) {
    for (unsigned distance = width / 2; distance > 0; distance /= 2) {
      const PerLane<HostGroup, T> before = x;
      for (unsigned lane = 0; lane < W; ++lane) x[lane] = before[lane] + before[lane ^ distance];
    }
    return x;
  }
  template <class T>
  MMGREC_HOST_DEVICE static T broadcast(const PerLane<HostGroup, T>& x, unsigned source) {
    return x[source];
  }
  // Every lane gets the value of a lane of its choice.
  template <class T>
  MMGREC_HOST_DEVICE static PerLane<HostGroup, T> permute(
      const PerLane<HostGroup, T>& x, const PerLane<HostGroup, unsigned>& sources) {
    PerLane<HostGroup, T> moved;
    for (unsigned lane = 0; lane < W; ++lane) moved[lane] = x[sources[lane]];
    return moved;
  }
  MMGREC_HOST_DEVICE static void sync() {}

 private:
  // The exchange of a warp, so that floating-point sums are taken in the same order.
  template <class T, class Combine>
  MMGREC_HOST_DEVICE static T butterfly(PerLane<HostGroup, T>& x, Combine combine) {
    for (unsigned distance = W / 2; distance > 0; distance /= 2) {
      const PerLane<HostGroup, T> before = x;
      for (unsigned lane = 0; lane < W; ++lane) {
        x[lane] = combine(before[lane], before[lane ^ distance]);
      }
    }
    return x[0];
  }
};

// What one thread does on its own, on the host or inside a warp.
using SingleLane = HostGroup<1>;

#ifdef __CUDACC__
struct WarpGroup {
  static constexpr unsigned lanes = 32;
  static constexpr unsigned stored = 1;
  static constexpr unsigned everyone = 0xffffffffu;

  template <class Visit>
  __device__ static void for_each_lane(Visit visit) {
    visit(threadIdx.x % 32);
  }
  template <class Visit>
  __device__ static void once(Visit visit) {
    if (threadIdx.x % 32 == 0) visit();
  }
  template <class Predicate>
  __device__ static uint32_t ballot(Predicate predicate) {
    return __ballot_sync(everyone, predicate(threadIdx.x % 32));
  }
  __device__ static unsigned count(uint32_t bits) { return population(bits); }
  template <class T>
  __device__ static T reduce_max(PerLane<WarpGroup, T> x) {
    return butterfly(x[0], [](T a, T b) { return a > b ? a : b; });
  }
  template <class T>
  __device__ static T reduce_add(PerLane<WarpGroup, T> x) {
    return butterfly(x[0], [](T a, T b) { return a + b; });
  }
  template <unsigned width, class T>
  __device__ static PerLane<WarpGroup, T> reduce_add_parts(PerLane<WarpGroup, T> x) {
    for (unsigned distance = width / 2; distance > 0; distance /= 2) {
      x[0] += __shfl_xor_sync(everyone, x[0], distance);
    }
    return x;
  }
  template <class T>
  __device__ static T broadcast(const PerLane<WarpGroup, T>& x, unsigned source) {
    return __shfl_sync(everyone, x[0], static_cast<int>(source));
  }
  template <class T>
  __device__ static PerLane<WarpGroup, T> permute(const PerLane<WarpGroup, T>& x,
                                                  const PerLane<WarpGroup, unsigned>& sources) {
    PerLane<WarpGroup, T> moved;
    moved[0] = __shfl_sync(everyone, x[0], static_cast<int>(sources[0]));
    return moved;
  }
  __device__ static void sync() { __syncwarp(); }

 private:
  template <class T, class Combine>
  __device__ static T butterfly(T x, Combine combine) {
    for (unsigned distance = 16; distance > 0; distance /= 2) {
      x = combine(x, __shfl_xor_sync(everyone, x, distance));
    }
    return x;
  }
};
#endif

// How many lanes below `lane` have their bit set.
MMGREC_HOST_DEVICE inline unsigned lanes_before(uint32_t bits, unsigned lane) {
  return population(bits & ((uint64_t{1} << lane) - 1));
}

// The lowest lane whose bit is set; there must be one.
MMGREC_HOST_DEVICE inline unsigned first_lane(uint32_t bits) {
  return population((bits & (~bits + 1)) - 1);
}

}  // namespace mmgrec
