// External integer ids to internal rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace mmgrec {

//   ids that fill at least a quarter of their range:  rows = direct[id - first]
//   others, and those that come later:                a hash table with linear probing
//
// Ids mostly are numbered through, and then a lookup is one access to 4 bytes. Not for several
// threads: callers hold a lock.
//
// An id of the direct table also has a bit, id - first. A set of thousands of ids is made of their
// bits in a fraction of the time of as many lookups, each of which waits for memory.
class IdMap {
 public:
  static constexpr int64_t kNone = -1;
  static constexpr uint32_t kNoBit = std::numeric_limits<uint32_t>::max();

  // Row = place. Of an id that stands there twice the last place counts.
  explicit IdMap(std::span<const int64_t> ids);

  // Gives an id a row, in place of the one that it may have had; 0 <= row < 2^31.
  void set(int64_t id, int64_t row);

  // Replaces ids by their rows, kNone where unknown.
  void find(std::span<int64_t> ids) const;

  // kNoBit outside the direct table.
  uint32_t bit(int64_t id) const {
    return is_direct(id) ? static_cast<uint32_t>(offset(id)) : kNoBit;
  }

  // Whether a set of so many ids is made of bits: not of few ids, for which there would be many
  // words to clear, nor of so many that it takes long to come across one that is not in the set.
  bool bits_suit(size_t count) const {
    constexpr size_t kMost = 128, kLeast = 8;  // bits per id
    const size_t bits = direct_.size();
    return bits > 0 && bits <= kMost * count && bits >= kLeast * count && bits < kNoBit;
  }
  std::vector<uint64_t> no_bits() const { return std::vector<uint64_t>(direct_.size() / 64 + 1); }
  // Sets one bit after the other, with nothing to read from memory but the word.
  class BitSetter {
   public:
    BitSetter(const IdMap& map, std::vector<uint64_t>& words)
        : first_(static_cast<uint64_t>(map.first_)),
          bits_(map.direct_.size()),
          words_(words.data()) {}
    // False where the id has no bit.
    bool set(int64_t id) const {
      const uint64_t bit = static_cast<uint64_t>(id) - first_;
      if (bit >= bits_) return false;
      words_[bit / 64] |= uint64_t{1} << (bit % 64);
      return true;
    }

   private:
    uint64_t first_, bits_;
    uint64_t* words_;
  };
  // Whether the map began with all ids of a set.
  bool began_with(std::span<const uint64_t> words) const;

 private:
  struct Slot {
    int64_t id = 0;
    int64_t row = kNone;  // kNone: the slot is free
  };

  uint64_t offset(int64_t id) const {
    return static_cast<uint64_t>(id) - static_cast<uint64_t>(first_);
  }
  bool is_direct(int64_t id) const { return offset(id) < direct_.size(); }
  size_t home(int64_t id) const {
    // Fibonacci hashing: the upper bits of the product depend on all bits of the id.
    return static_cast<size_t>((static_cast<uint64_t>(id) * 0x9E3779B97F4A7C15u) >> shift_);
  }
  int64_t find_hashed(int64_t id) const;
  void grow();

  int64_t first_ = 0;
  std::vector<int32_t> direct_;
  std::vector<uint64_t> known_;  // bits of the first ids; none where the direct table had no gap
  std::vector<Slot> slots_;      // a power of two of them, at most half in use
  size_t used_ = 0;
  unsigned shift_ = 63;
};

}  // namespace mmgrec
