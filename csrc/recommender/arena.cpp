#include "recommender/arena.h"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace mmgrec {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

struct ThreadBlock {
  std::byte* data = nullptr;
  size_t bytes = 0;
  ~ThreadBlock() { ::operator delete[](data, std::align_val_t{64}); }
};

}  // namespace

std::byte* thread_arena(size_t bytes) {
  thread_local ThreadBlock block;
  if (block.bytes < bytes) {
    ::operator delete[](block.data, std::align_val_t{64});
    block.data = nullptr;
    block.bytes = 0;
    block.data = static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{64}));
    block.bytes = bytes;
  }
  return block.data;
}

Slab::Slab(size_t bytes)
    : data_(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kHugePage}))),
      bytes_(bytes) {
#ifdef MADV_HUGEPAGE
  // Only advice: where it is refused, the memory is as good and its pages are small.
  const size_t whole = bytes / kHugePage * kHugePage;
  if (whole > 0) (void)madvise(data_, whole, MADV_HUGEPAGE);
#endif
}

Slab::~Slab() { ::operator delete[](data_, std::align_val_t{kHugePage}); }

Slab::Slab(Slab&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Slab& Slab::operator=(Slab&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace mmgrec
