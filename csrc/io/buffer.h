// Uninitialised memory for large arrays.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

namespace mmgrec {

// An array of trivial values, aligned to a cache line, not initialised: what is written in parallel
// must not first be zeroed by one thread. Large ones ask for huge pages, because a scatter touches
// hundreds of pages at a time.
template <class T>
class Buffer {
 public:
  static_assert(std::is_trivially_copyable_v<T>);

  Buffer() = default;
  explicit Buffer(size_t count) {
    if (count == 0) return;
    const size_t bytes = count * sizeof(T);
    const size_t alignment = bytes < 8 * kHugePage ? kCacheLine : kHugePage;
    const size_t whole = (bytes + alignment - 1) / alignment * alignment;
    data_.reset(static_cast<T*>(std::aligned_alloc(alignment, whole)));
    if (data_ == nullptr) throw std::bad_alloc();
    // Only advice: without huge pages the same memory is a little slower.
    if (alignment == kHugePage) (void)::madvise(data_.get(), whole, MADV_HUGEPAGE);
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }

 private:
  static constexpr size_t kCacheLine = 64;
  static constexpr size_t kHugePage = size_t{2} << 20;
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
};

}  // namespace mmgrec
