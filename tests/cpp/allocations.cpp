// In a file of its own: inlined into its callers, the compiler takes free() for a mistake.
#include "allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace mmgrec {
namespace {
std::atomic<size_t> count{0};
}  // namespace

size_t allocations() { return count; }

}  // namespace mmgrec

void* operator new(size_t bytes) {
  ++mmgrec::count;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}

void* operator new(size_t bytes, std::align_val_t alignment) {
  ++mmgrec::count;
  const auto unit = static_cast<size_t>(alignment);
  if (void* memory = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit)) return memory;
  throw std::bad_alloc();
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
