#include "simd/dispatch.h"

namespace mmgrec {

namespace baseline {
extern const Kernels kernels;
}
#ifdef MMGREC_X86
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
#endif

namespace {

std::vector<const Kernels*> detect() {
  std::vector<const Kernels*> found;
#ifdef MMGREC_X86
  __builtin_cpu_init();
  // The builtin also asks the operating system whether it saves the wide registers.
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    found.push_back(&avx512::kernels);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    found.push_back(&avx2::kernels);
  }
#endif
  found.push_back(&baseline::kernels);
  return found;
}

}  // namespace

const std::vector<const Kernels*>& runnable_kernels() {
  static const std::vector<const Kernels*> found = detect();
  return found;
}

const Kernels& best_kernels() { return *runnable_kernels().front(); }

}  // namespace mmgrec
