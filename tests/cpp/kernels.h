// Every instruction set that can be tested here: those that run, and the emulated 16 lanes.
#pragma once

#include <cstdio>

#include "simd/dispatch.h"

namespace mmgrec::emulated {
extern const Kernels kernels;
}

namespace mmgrec {

template <class Test>
void for_all_kernels(Test test) {
  for (const Kernels* each : runnable_kernels()) {
    std::printf("%s, %zu lanes\n", each->name, each->lanes);
    test(*each);
  }
  std::printf("emulated, %zu lanes\n", emulated::kernels.lanes);
  test(emulated::kernels);
}

}  // namespace mmgrec
