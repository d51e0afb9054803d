// Every instruction set that can be tested here: those that run, and the emulated 16 lanes.
#pragma once

#include <cstdio>

#include "simd/dispatch.h"

namespace mmgrec::MMGREC_EMULATED {
extern const Kernels kernels;
}

namespace mmgrec {

template <class Test>
void for_all_kernels(Test test) {
  for (const Kernels* each : runnable_kernels()) {
    std::printf("%s, %zu lanes\n", each->name, each->lanes);
    test(*each);
  }
  std::printf("emulated, %zu lanes\n", MMGREC_EMULATED::kernels.lanes);
  test(MMGREC_EMULATED::kernels);
}

}  // namespace mmgrec
