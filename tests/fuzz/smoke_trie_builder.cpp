// The builder's fuzz target without libFuzzer: some thousand random inputs, the same on every run.
#include <cstdint>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main() {
  std::mt19937 generator(1);
  for (size_t round = 0; round < 4000; ++round) {
    std::vector<uint8_t> input(generator() % 512);
    // Small bytes make equal tuples likely.
    const uint32_t bound = round % 3 == 0 ? 8 : 256;
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(generator() % bound);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
}
