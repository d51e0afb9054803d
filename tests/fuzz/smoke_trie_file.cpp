// The reader's fuzz target without libFuzzer: some thousand changed files, the same on every run.
#include <algorithm>
#include <cstdint>
#include <random>

#include "trie_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed);

namespace {

std::mt19937 generator(1);

size_t below(size_t bound) {
  return std::uniform_int_distribution<size_t>(0, bound - 1)(generator);
}

}  // namespace

// What libFuzzer brings otherwise: bytes are changed, numbers are put in, the end is cut or grows.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) {
  if (below(16) == 0) {
    const size_t next = below(std::min(max_size, 2 * size + 2));
    if (next > size) std::fill(data + size, data + next, uint8_t{0});
    size = next;
  }
  for (size_t changes = below(4); changes > 0 && size > 0; --changes) {
    // Half of them in the header, where there is most to break.
    const size_t at = below(2) == 0 ? below(size) : below(std::min<size_t>(size, 64));
    data[at] = below(3) == 0 ? static_cast<uint8_t>(below(256))
                             : static_cast<uint8_t>(data[at] + below(3) - 1);
  }
  return size;
}

int main() {
  constexpr size_t kMost = 4096;
  for (const mmgrec::Bytes& file : mmgrec::small_trie_files()) {
    LLVMFuzzerTestOneInput(file.data(), file.size());
    mmgrec::Bytes changed(kMost);
    for (unsigned round = 0; round < 400; ++round) {
      size_t size = std::min(file.size(), kMost);
      std::copy_n(file.begin(), size, changed.begin());
      for (size_t steps = 1 + below(3); steps > 0; --steps) {
        size = LLVMFuzzerCustomMutator(changed.data(), size, kMost,
                                       static_cast<unsigned>(generator()));
      }
      LLVMFuzzerTestOneInput(changed.data(), size);
    }
  }
}
