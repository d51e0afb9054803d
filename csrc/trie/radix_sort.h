// Sorting of (key, row) entries by key: least significant digit first, in parallel.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/buffer.h"
#include "parallel/pool.h"

namespace mmgrec {

using Key128 = unsigned __int128;

// Key and row in one word, the key above. Rows need no sorting: they come in ascending order, and
// every pass is stable.
struct OneWord {
  using Entry = uint64_t;
  using Key = uint64_t;
  unsigned row_bits;

  Entry make(Key key, uint32_t row) const { return key << row_bits | row; }
  Key key(Entry entry) const { return entry >> row_bits; }
  uint32_t row(Entry entry) const {
    return static_cast<uint32_t>(entry & ((uint64_t{1} << row_bits) - 1));
  }
  uint32_t digit(Entry entry, unsigned shift) const {
    return static_cast<uint32_t>(entry >> (row_bits + shift)) & 0xff;
  }
};

// Keys that leave no room for the row; in 32-bit words, so that an entry has no padding.
template <class KeyType>
struct KeyAndRow {
  using Key = KeyType;
  static constexpr size_t kWords = sizeof(Key) / 4;
  struct Entry {
    std::array<uint32_t, kWords> words;  // low word first
    uint32_t row;
  };

  Entry make(Key key, uint32_t row) const {
    Entry entry{{}, row};
    for (size_t i = 0; i < kWords; ++i) entry.words[i] = static_cast<uint32_t>(key >> (32 * i));
    return entry;
  }
  Key key(const Entry& entry) const {
    Key key = 0;
    for (size_t i = 0; i < kWords; ++i) key |= Key{entry.words[i]} << (32 * i);
    return key;
  }
  uint32_t row(const Entry& entry) const { return entry.row; }
  // `shift` is a multiple of 8, so that no digit lies in two words.
  uint32_t digit(const Entry& entry, unsigned shift) const {
    return entry.words[shift / 32] >> (shift % 32) & 0xff;
  }
};

// Equal parts of [0, count), none smaller than `least` but for the only one.
struct Slices {
  Slices(size_t count, size_t least, size_t most)
      : count(count), parts(std::clamp<size_t>(count / least, 1, std::max<size_t>(most, 1))) {}
  size_t begin(size_t part) const { return count * part / parts; }

  size_t count;
  size_t parts;
};

namespace radix {

constexpr unsigned kDigitBits = 8;
using Counts = std::array<uint32_t, 1 << kDigitBits>;

// One pass: counts per slice, then where each slice's share of each digit begins, then the scatter.
template <class Form>
void sort_by_digit(const Form& form, const typename Form::Entry* from, typename Form::Entry* to,
                   size_t count, unsigned shift, unsigned threads) {
  const Slices slices(count, 1 << 15, size_t{4} * threads);
  std::vector<Counts> counts(slices.parts, Counts{});
  parallel_for(slices.parts, threads, [&](size_t part) {
    Counts mine{};
    for (size_t i = slices.begin(part); i < slices.begin(part + 1); ++i) {
      ++mine[form.digit(from[i], shift)];
    }
    counts[part] = mine;
  });
  uint32_t next = 0;
  for (size_t digit = 0; digit < Counts{}.size(); ++digit) {
    for (Counts& slice : counts) {
      const uint32_t here = slice[digit];
      slice[digit] = next;
      next += here;
    }
  }
  parallel_for(slices.parts, threads, [&](size_t part) {
    Counts at = counts[part];
    for (size_t i = slices.begin(part); i < slices.begin(part + 1); ++i) {
      to[at[form.digit(from[i], shift)]++] = from[i];
    }
  });
}

}  // namespace radix

// Sorts by key; entries with equal keys keep their order. Digits in which no two keys differ
// (`varying` has the bits in which some do) cost nothing.
template <class Form>
void radix_sort(const Form& form, Buffer<typename Form::Entry>& entries, size_t count,
                typename Form::Key varying, unsigned threads) {
  Buffer<typename Form::Entry> other;
  for (unsigned shift = 0; shift < 8 * sizeof(varying); shift += radix::kDigitBits) {
    if ((varying >> shift & 0xff) == 0) continue;
    if (other.data() == nullptr) other = Buffer<typename Form::Entry>(count);
    radix::sort_by_digit(form, entries.data(), other.data(), count, shift, threads);
    std::swap(entries, other);
  }
}

}  // namespace mmgrec
