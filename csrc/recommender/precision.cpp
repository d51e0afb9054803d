#include "recommender/precision.h"

#include <stdexcept>

#ifdef MMGREC_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mmgrec {
namespace {

#ifdef MMGREC_X86

bool has_avx512() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

bool has_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

// Tile registers are large, so Linux gives them to a process that asks. It is asked once.
bool has_amx() {
  static const bool granted = [] {
    unsigned a, b, c, d;
    if (!has_avx512() || !__builtin_cpu_supports("avx512bf16") ||
        __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0)
      return false;
    constexpr unsigned kTile = 1u << 24, kBf16 = 1u << 22;
    if ((d & kTile) == 0 || (d & kBf16) == 0) return false;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return granted;
}

#endif

}  // namespace

std::vector<Precision> runnable_precisions(const LinearKernels& fp32) {
  std::vector<Precision> found{{"fp32", "as the other kernels", fp32}};
#ifdef MMGREC_X86
  if (has_amx()) found.push_back({"bf16", "amx", bf16_amx});
  if (has_vnni()) found.push_back({"int8", "avx512_vnni", int8_vnni});
#endif
  return found;
}

Precision precision_named(const std::string& name, const LinearKernels& fp32) {
  for (const Precision& each : runnable_precisions(fp32))
    if (each.name == name) return each;
  if (name == "bf16")
    throw std::invalid_argument("bf16 needs a processor with AMX_BF16; fp32 runs everywhere");
  if (name == "int8")
    throw std::invalid_argument("int8 needs a processor with AVX512_VNNI; fp32 runs everywhere");
  throw std::invalid_argument("no such precision: " + name + "; there are fp32, bf16, int8");
}

}  // namespace mmgrec
