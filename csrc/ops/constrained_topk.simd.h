// The inner loops of the constrained step: listing children, scoring them, finding survivors.
//
// Included by simd/kernels.simd.cpp only; see simd/vec.h. Arrays of one beam's children have room
// for kChildPadding entries more than the level has tokens.
#pragma once

#include "ops/constrained_topk_kernels.h"
#include "simd/vec.h"
#include "trie/trie_view.h"

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

// Children from packed tokens: a child starts wherever a token differs from the one before.
//
//   eight bytes (four half-words) are compared with their neighbours at a time
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
    if (quiet == 4) {
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
  bool ascends = count <= size && out.tokens[count - 1] < size;
  for (size_t i = 1; i < count; ++i) ascends &= out.tokens[i - 1] < out.tokens[i];
  return ascends ? count : kDamaged;
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

void gather(const float* logits, const uint32_t* tokens, size_t count, float* x) {
  // Tokens ascend, so that this one says that all from 0 on are there.
  if (count > 0 && tokens[count - 1] == count - 1) {
    __builtin_memcpy(x, logits, count * sizeof(float));
    return;
  }
  for (size_t i = 0; i < count; ++i) x[i] = logits[tokens[i]];
}

template <class Token>
inline bool gather_tokens(const Token* tokens, uint32_t size, uint32_t count, const float* logits,
                          float* x) {
  uint32_t before = tokens[0];
  bool bad = before >= size;
  x[0] = logits[bad ? 0 : before];
  for (uint32_t i = 1; i < count; ++i) {
    const uint32_t token = tokens[i];
    const float logit = logits[token < size ? token : 0];
    x[i] = token == before ? -__builtin_inff() : logit;
    bad |= token < before;
    before = token;
  }
  return !bad && before < size;
}

// Logits of the leaves of a short range instead of its children: where a child has several leaves
// the first one counts and the others are -inf. Saves listing where most have one.
bool gather_leaves(const TrieView& trie, size_t level, Range range, const float* logits, float* x) {
  const uint32_t size = trie.level_sizes[level], count = range.hi - range.lo;
  const void* tokens = trie.tokens[level];
  return size > 256 ? gather_tokens(static_cast<const uint16_t*>(tokens) + range.lo, size, count,
                                    logits, x)
                    : gather_tokens(static_cast<const uint8_t*>(tokens) + range.lo, size, count,
                                    logits, x);
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

// Lane sums of exp(x - most) over N vectors; exp through 2^y, whose argument never rises above 0.
template <size_t N>
inline Vec exp_sum(const float* x, float most) {
  constexpr float kLog2E = 1.44269504f;
  Vec y[N], sum{};
#pragma GCC unroll 4
  // In this order NaN stays: both comparisons with it are false.
  for (size_t v = 0; v < N; ++v) y[v] = max(splat(-126.0f), (load(x + v * W) - most) * kLog2E);
  exp2_nonpositive(y);
#pragma GCC unroll 4
  for (size_t v = 0; v < N; ++v) sum += y[v];
  return sum;
}

// log(sum(exp(x))), NaN if any is; x has room for W - 1 more entries, which are overwritten.
//
//   -inf where all are
float log_sum_exp(float* x, size_t count) {
  if (count == 0) return -__builtin_inff();
  if (count == 1) return x[0];
  for (size_t i = count; i % W != 0; ++i) x[i] = -__builtin_inff();
  Vec top = load(x);
  for (size_t i = W; i < count; i += W) top = max(load(x + i), top);
  const float most = reduce_max(top);
  if (most == -__builtin_inff()) {
    // Comparisons pass NaN over where nothing else is finite.
    for (size_t i = 0; i < count; ++i) {
      if (x[i] != x[i]) return x[i];
    }
    return most;
  }
  Vec sum{};
  size_t i = 0;
  for (; i + 4 * W <= count; i += 4 * W) sum += exp_sum<4>(x + i, most);
  if (i + W < count) sum += exp_sum<2>(x + i, most), i += 2 * W;
  for (; i < count; i += W) sum += exp_sum<1>(x + i, most);
  return most + __builtin_logf(reduce_add(sum));
}

// x[i] = score + min(0, x[i] - log_total); lists the i whose result is at least `least`.
size_t survivors(float* x, size_t count, float score, float log_total, float least,
                 uint32_t* found) {
  constexpr size_t kBlock = 4 * W;  // looked at together: mostly nothing in them survives
  for (size_t i = count; i % W != 0; ++i) x[i] = -__builtin_inff();
  size_t kept = 0;
  for (size_t block = 0; block < count; block += kBlock) {
    const size_t end = count - block < kBlock ? count : block + kBlock;
    Vec best = splat(-__builtin_inff());
    for (size_t i = block; i < end; i += W) {
      const Vec log_p = load(x + i) - log_total;
      const Vec value = score + (log_p < 0.0f ? log_p : Vec{});
      store(x + i, value);
      best = max(value, best);
    }
    if (!(reduce_max(best) >= least)) continue;
    for (size_t i = block; i < end; ++i) {
      found[kept] = static_cast<uint32_t>(i);
      kept += x[i] >= least;
    }
  }
  return kept;
}

}  // namespace mmgrec::MMGREC_ISA
