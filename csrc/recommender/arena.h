// Memory of a request: one block per thread, cut up by whoever knows the shapes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mmgrec {

// Cuts a block into arrays that begin on cache lines. Over a null block it only counts, so that the
// code that cuts also says how much it will need:
//
//   Carver count; Workspace(count, ...);            count.bytes()
//   Carver cut(thread_arena(bytes)); Workspace(cut, ...)
class Carver {
 public:
  explicit Carver(std::byte* block = nullptr) : block_(block) {}

  template <class T>
  T* take(size_t count) {
    std::byte* at = block_ == nullptr ? nullptr : block_ + used_;
    used_ += (count * sizeof(T) + kLine - 1) / kLine * kLine;
    return reinterpret_cast<T*>(at);
  }
  size_t bytes() const { return used_; }

 private:
  static constexpr size_t kLine = 64;
  std::byte* block_;
  size_t used_ = 0;
};

// The calling thread's block, at least so large. It grows and is kept: no call allocates after the
// first of its size. Contents do not survive the next call.
std::byte* thread_arena(size_t bytes);

// Aligned memory for weights, in pages as large as the system has, so that a request's walk over
// all weights does not wait for address translations.
class Slab {
 public:
  Slab() = default;
  explicit Slab(size_t bytes);
  ~Slab();
  Slab(Slab&& other) noexcept;
  Slab& operator=(Slab&& other) noexcept;
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace mmgrec
