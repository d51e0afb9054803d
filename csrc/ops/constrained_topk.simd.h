// The inner loops of the constrained step that list children and fetch their logits.
//
// Included by simd/kernels.simd.cpp only; see simd/vec.h. Arrays of one beam's children have room
// for kChildPadding entries more than the level has tokens.
#pragma once

#include "ops/constrained_topk_kernels.h"
#include "simd/vec.h"
#include "trie/trie_view.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace mmgrec::MMGREC_ISA {

static_assert(W <= kChildPadding);

// How the entries of an offset table follow each other.
enum class Order { strict, ascending, none };

inline Order order_of(const uint32_t* table, uint32_t size) {
  UVec equal{}, falling{};
  uint32_t i = 0;
  for (; i + W <= size; i += W) {
    const UVec lo = load(table + i), hi = load(table + i + 1);
    equal |= static_cast<UVec>(lo == hi);
    falling |= static_cast<UVec>(lo > hi);
  }
  uint32_t any_equal = 0, any_falling = 0;
  for (size_t lane = 0; lane < W; ++lane) {
    any_equal |= equal[lane];
    any_falling |= falling[lane];
  }
  for (; i < size; ++i) {
    any_equal |= table[i] == table[i + 1];
    any_falling |= table[i] > table[i + 1];
  }
  return any_falling ? Order::none : any_equal ? Order::ascending : Order::strict;
}

// Children from an offset table. Its entries may be damaged: then they are clamped into the range
// and made to ascend, so that a search stays inside its parent whatever a file holds.
inline size_t list_from_offsets(const uint32_t* table, uint32_t size, Range range, Children out) {
  const bool inside = table[0] >= range.lo && table[size] <= range.hi;
  const Order order = inside ? order_of(table, size) : Order::none;
  size_t count = 0;
  if (order == Order::strict) {  // every token leads on
    for (uint32_t token = 0; token < size; ++token) out.tokens[token] = token;
    __builtin_memcpy(out.starts, table, size_t{size} * sizeof(uint32_t));
    count = size;
    out.starts[count] = table[size];
  } else if (order == Order::ascending) {
    for (uint32_t token = 0; token < size; ++token) {
      out.tokens[count] = token;
      out.starts[count] = table[token];
      count += table[token] < table[token + 1];
    }
    out.starts[count] = table[size];
  } else {
    uint32_t lo = table[0] < range.lo ? range.lo : table[0] > range.hi ? range.hi : table[0];
    for (uint32_t token = 0; token < size; ++token) {
      uint32_t hi = table[token + 1];
      hi = hi < lo ? lo : hi > range.hi ? range.hi : hi;
      out.tokens[count] = token;
      out.starts[count] = lo;
      count += lo < hi;
      lo = hi;
    }
    out.starts[count] = lo;
  }
  return count;
}

// Bit 7 of every byte (bit 15 of every half-word) that is not zero.
constexpr uint64_t nonzero(uint64_t x, uint8_t) {
  constexpr uint64_t low = 0x7f7f7f7f7f7f7f7f;
  return (((x & low) + low) | x) & ~low;
}
constexpr uint64_t nonzero(uint64_t x, uint16_t) {
  constexpr uint64_t low = 0x7fff7fff7fff7fff;
  return (((x & low) + low) | x) & ~low;
}

template <class Token>
inline uint64_t load_word(const Token* tokens, uint32_t at) {
  uint64_t word;
  __builtin_memcpy(&word, tokens + at, 8);
  return word;
}

// First position in [lo, hi) of the ascending values that is above `value`, or hi.
template <class T>
inline uint32_t first_above(const T* values, uint32_t lo, uint32_t hi, uint32_t value) {
  while (lo < hi) {
    const uint32_t middle = lo + (hi - lo) / 2;
    const bool above = values[middle] > value;
    hi = above ? middle : hi;
    lo = above ? lo : middle + 1;
  }
  return lo;
}

// End of the run that `at` lies in, by doubling steps.
template <class Token>
inline uint32_t run_end(const Token* tokens, uint32_t at, uint32_t hi) {
  const Token token = tokens[at];
  uint32_t step = 1;
  while (step < hi - at && tokens[at + step] == token) step *= 2;
  const uint32_t bound = step < hi - at ? at + step : hi;
  return first_above(tokens, at + step / 2, bound, token);
}

// Tokens of one word that all begin a child.
template <class Token>
inline void list_word(const Token* tokens, uint32_t at, Children out, size_t count) {
  for (uint32_t i = 0; i < 8 / sizeof(Token); ++i) {
    out.tokens[count + i] = tokens[at + i];
    out.starts[count + i] = at + i;
  }
}

// W tokens as numbers. (The intrinsics here are masked ones without need: GCC 12 warns that the
// others use a variable before it has a value.)
template <class Token>
inline IVec widen(const Token* tokens) {
#if defined(__AVX512F__) && MMGREC_LANES == 16
  if constexpr (sizeof(Token) == 1)
    return reinterpret_cast<IVec>(_mm512_maskz_cvtepu8_epi32(
        0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(tokens))));
#elif defined(__AVX2__) && MMGREC_LANES == 8
  if constexpr (sizeof(Token) == 1)
    return reinterpret_cast<IVec>(
        _mm256_cvtepu8_epi32(_mm_loadu_si64(reinterpret_cast<const void*>(tokens))));
#endif
  IVec wide;
  for (size_t lane = 0; lane < W; ++lane) wide[lane] = tokens[lane];
  return wide;
}

// Whether tokens ascend strictly.
inline bool ascend(const uint32_t* tokens, size_t count) {
  IVec falling{};
  size_t i = 1;
  for (; i + W <= count; i += W)
    falling |= static_cast<IVec>(load(tokens + i - 1) >= load(tokens + i));
  bool found = reduce(falling, [](IVec a, IVec b) { return a | b; }) == 0;
  for (; i < count; ++i) found &= tokens[i - 1] < tokens[i];
  return found;
}

#if defined(__AVX512F__) && MMGREC_LANES == 16
// Lists the starts among the W leaves from `at` on; returns how many there are.
template <class Token>
inline size_t list_vector(const Token* tokens, uint32_t at, uint32_t* out_tokens,
                          uint32_t* out_starts) {
  const IVec token = widen(tokens + at), before = widen(tokens + at - 1);
  const __mmask16 starts =
      _mm512_cmpneq_epi32_mask(reinterpret_cast<__m512i>(token), reinterpret_cast<__m512i>(before));
  const IVec place = lane_numbers() + static_cast<int32_t>(at);
  _mm512_storeu_si512(out_tokens,
                      _mm512_maskz_compress_epi32(starts, reinterpret_cast<__m512i>(token)));
  _mm512_storeu_si512(out_starts,
                      _mm512_maskz_compress_epi32(starts, reinterpret_cast<__m512i>(place)));
  return static_cast<size_t>(__builtin_popcount(starts));
}
#define MMGREC_LIST_VECTOR 1
#else
#define MMGREC_LIST_VECTOR 0
#endif

// Children from packed tokens: a child starts wherever a token differs from the one before.
//
//   eight bytes (four half-words) are compared with their neighbours at a time, or W of them where
//   the processor can pick the starts out of a vector
//   after four words without a start the run is long: leap to its end
// Returns kDamaged where tokens do not ascend below `size`.
template <class Token>
inline size_t list_runs(const Token* tokens, uint32_t size, Range range, Children out) {
  constexpr uint32_t kPerWord = 8 / sizeof(Token);
  constexpr uint32_t kBits = 8 * sizeof(Token);
  constexpr uint64_t kAll = nonzero(~uint64_t{0}, Token{});
  size_t count = 0;
  const auto emit = [&](uint32_t at) {
    out.tokens[count] = tokens[at];
    out.starts[count++] = at;
  };
  emit(range.lo);
  uint32_t at = range.lo + 1, quiet = 0;
  // More children than tokens means damage; a word adds no more than the padding holds.
  while (at < range.hi && count <= size) {
    if (MMGREC_LIST_VECTOR && quiet < 4 && range.hi - at >= W) {
#if MMGREC_LIST_VECTOR
      const size_t found = list_vector(tokens, at, out.tokens + count, out.starts + count);
      quiet = found == 0 ? quiet + 1 : 0;
      count += found;
      at += W;
#endif
    } else if (quiet == 4) {
      at = run_end(tokens, at - 1, range.hi);
      if (at < range.hi) emit(at++);
      quiet = 0;
    } else if (range.hi - at >= kPerWord) {
      uint64_t starts = nonzero(load_word(tokens, at) ^ load_word(tokens, at - 1), Token{});
      quiet = starts == 0 ? quiet + 1 : 0;
      if (starts == kAll) {
        list_word(tokens, at, out, count);
        count += kPerWord;
      } else {
        for (; starts != 0; starts &= starts - 1)
          emit(at + static_cast<uint32_t>(__builtin_ctzll(starts)) / kBits);
      }
      at += kPerWord;
    } else {
      if (tokens[at] != tokens[at - 1]) emit(at);
      ++at;
    }
  }
  out.starts[count] = range.hi;
  const bool whole = count <= size && out.tokens[count - 1] < size && ascend(out.tokens, count);
  return whole ? count : kDamaged;
}

size_t list_children(const TrieView& trie, size_t level, Range range, Children out) {
  const uint32_t size = trie.level_sizes[level];
  if (range.lo >= range.hi) {
    out.starts[0] = range.lo;
    return 0;
  }
  if (level >= trie.dense_levels) {
    const void* tokens = trie.tokens[level];
    return size > 256 ? list_runs(static_cast<const uint16_t*>(tokens), size, range, out)
                      : list_runs(static_cast<const uint8_t*>(tokens), size, range, out);
  }
  const uint32_t* table = trie.first;
  if (level == 1) {
    const uint32_t after = first_above(trie.first, 0, trie.level_sizes[0] + 1, range.lo);
    if (after == 0 || after > trie.level_sizes[0]) return kDamaged;
    table = trie.second + size_t{after - 1} * size;
  }
  return list_from_offsets(table, size, range, out);
}

inline Vec gather(const float* from, IVec at) {
#if defined(__AVX512F__) && MMGREC_LANES == 16
  return _mm512_mask_i32gather_ps(Vec{}, 0xffff, reinterpret_cast<__m512i>(at), from, 4);
#elif defined(__AVX2__) && MMGREC_LANES == 8
  return _mm256_i32gather_ps(from, reinterpret_cast<__m256i>(at), 4);
#else
  Vec found;
  for (size_t lane = 0; lane < W; ++lane) found[lane] = from[at[lane]];
  return found;
#endif
}

void gather(const float* logits, const uint32_t* tokens, size_t count, float* x) {
  // Tokens ascend, so that this one says that all from 0 on are there.
  if (count > 0 && tokens[count - 1] == count - 1) {
    __builtin_memcpy(x, logits, count * sizeof(float));
    return;
  }
  size_t i = 0;
  for (; i + W <= count; i += W)
    store(x + i, gather(logits, reinterpret_cast<IVec>(load(tokens + i))));
  for (; i < count; ++i) x[i] = logits[tokens[i]];
}

// x[i] += query . rows[i]
void add_dots(const float* query, const float* rows, size_t count, size_t width, float* x) {
  for (size_t i = 0; i < count; ++i, rows += width) {
    Vec sum{}, sum2{};
    size_t d = 0;
    for (; d + 2 * W <= width; d += 2 * W) {
      sum += load(query + d) * load(rows + d);
      sum2 += load(query + d + W) * load(rows + d + W);
    }
    for (; d + W <= width; d += W) sum += load(query + d) * load(rows + d);
    float total = reduce_add(sum + sum2);
    for (; d < width; ++d) total += query[d] * rows[d];
    x[i] += total;
  }
}

}  // namespace mmgrec::MMGREC_ISA
