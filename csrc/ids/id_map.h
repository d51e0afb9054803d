// External integer ids to internal rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mmgrec {

//   ids that fill at least a quarter of their range:  rows = direct[id - first]
//   others, and those that come later:                a hash table with linear probing
//
// Ids mostly are numbered through, and then a lookup is one access to 4 bytes. Not for several
// threads: callers hold a lock.
class IdMap {
 public:
  static constexpr int64_t kNone = -1;

  // Row = place. Of an id that stands there twice the last place counts.
  explicit IdMap(std::span<const int64_t> ids);

  // Gives an id a row, in place of the one that it may have had; 0 <= row < 2^31.
  void set(int64_t id, int64_t row);

  // Replaces ids by their rows, kNone where unknown.
  void find(std::span<int64_t> ids) const;

 private:
  struct Slot {
    int64_t id = 0;
    int64_t row = kNone;  // kNone: the slot is free
  };

  bool is_direct(int64_t id) const {
    return static_cast<uint64_t>(id) - static_cast<uint64_t>(first_) < direct_.size();
  }
  size_t home(int64_t id) const {
    // Fibonacci hashing: the upper bits of the product depend on all bits of the id.
    return static_cast<size_t>((static_cast<uint64_t>(id) * 0x9E3779B97F4A7C15u) >> shift_);
  }
  int64_t find_hashed(int64_t id) const;
  void grow();

  int64_t first_ = 0;
  std::vector<int32_t> direct_;
  std::vector<Slot> slots_;  // a power of two of them, at most half in use
  size_t used_ = 0;
  unsigned shift_ = 63;
};

}  // namespace mmgrec
