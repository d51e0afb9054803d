// relation_attention for one instruction set; part of simd/kernels.simd.cpp (see simd/vec.h).
//
// A call handles up to kQueryRows query rows of one user:
//
//   bias block [rows, keys]          once, for all heads
//   for every head
//     pack K^T / sqrt(d) and V + a_v x U_V into panels of two vectors
//     for blocks of 32 rows: scores = bias + Q K^T; softmax by rows; out = weights V'
//
// Scratch memory is linear in the history's length: no [L, L] matrix is ever stored.
#pragma once

#include "ops/relation_attention.h"
#include "simd/dispatch.h"
#include "simd/tile.h"

namespace mmgrec::MMGREC_ISA {
namespace {

constexpr size_t kPanel = kTileVecs * W;
constexpr size_t kBlockRows = 32;
constexpr float kLog2E = 1.44269504f;

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

// Where the parts of a call's scratch memory begin, in floats.
struct Layout {
  size_t keys;  // history length, whole vectors
  size_t k, v, weights, reciprocal, floats;

  Layout(size_t length, size_t width) : keys(round_up(length, W)) {
    const size_t rows = length < kQueryRows ? length : kQueryRows;
    k = rows * keys;
    v = k + keys * width;
    weights = v + length * round_up(width, W);
    reciprocal = weights + kBlockRows * keys;
    floats = reciprocal + kBlockRows;
  }
};

struct Scratch {
  size_t keys;
  float* bias;        // [rows, keys]
  float* k;           // panels of K^T
  float* v;           // panels of V'
  float* weights;     // [kBlockRows, keys]
  float* reciprocal;  // [kBlockRows] of the weights' sums

  Scratch(const Layout& at, float* base)
      : keys(at.keys),
        bias(base),
        k(base + at.k),
        v(base + at.v),
        weights(base + at.weights),
        reciprocal(base + at.reciprocal) {}
};

// Rows [0, rows) of `from`, `depth` wide, become columns: to[k * columns + r] = from[r, k] *
// factor. Columns from `rows` on are zeros.
void pack_columns(const float* from, ptrdiff_t stride, size_t rows, size_t depth, float factor,
                  size_t columns, float* to) {
  for (size_t first = 0; first < columns; first += W) {
    size_t k = 0;
    for (; k + W <= depth; k += W) {
      Vec block[W];
#pragma GCC unroll 16
      for (size_t i = 0; i < W; ++i) {
        const ptrdiff_t row = static_cast<ptrdiff_t>(first + i);
        block[i] = first + i < rows ? load(from + row * stride + k) * factor : Vec{};
      }
      transpose(block);
#pragma GCC unroll 16
      for (size_t i = 0; i < W; ++i) store(to + (k + i) * columns + first, block[i]);
    }
    for (; k < depth; ++k) {
      for (size_t i = first; i < first + W; ++i) {
        to[k * columns + i] = i < rows ? from[static_cast<ptrdiff_t>(i) * stride + k] * factor : 0;
      }
    }
  }
}

// K^T in panels [d, kPanel]; the last panel may be one vector wide.
void pack_keys(const float* from, ptrdiff_t stride, size_t length, size_t width, float factor,
               float* to) {
  for (size_t key = 0; key < length; key += kPanel) {
    const size_t rows = length - key < kPanel ? length - key : kPanel;
    pack_columns(from + static_cast<ptrdiff_t>(key) * stride, stride, rows, width, factor,
                 round_up(rows, W), to + key * width);
  }
}

Vec load_some(const float* from, size_t count) {
  if (count >= W) return load(from);
  Vec v{};
  for (size_t i = 0; i < count; ++i) v[i] = from[i];
  return v;
}

void store_some(float* to, Vec v, size_t count) {
  if (count >= W) return store(to, v);
  for (size_t i = 0; i < count; ++i) to[i] = v[i];
}

// V + gate * relation in panels [length, kPanel]; the last panel may be one vector wide.
void pack_values(const float* v, ptrdiff_t v_stride, const float* relation, ptrdiff_t r_stride,
                 size_t length, size_t width, float gate, float* to) {
  for (size_t column = 0; column < width; column += kPanel) {
    const size_t left = width - column;
    const size_t wide = left < kPanel ? round_up(left, W) : kPanel;
    float* panel = to + column * length;
    for (size_t row = 0; row < length; ++row) {
      const float* a = v + static_cast<ptrdiff_t>(row) * v_stride + column;
      const float* b = relation + static_cast<ptrdiff_t>(row) * r_stride + column;
      for (size_t i = 0; i < wide; i += W) {
        store(panel + row * wide + i,
              load_some(a + i, left - i) + gate * load_some(b + i, left - i));
      }
    }
  }
}

// out[rows, panel] = bias + A B, with B one packed panel.
struct ScoreTiles {
  const float* a;
  size_t a_stride;
  const float* panel;
  size_t depth;
  const float* bias;  // null: zeros
  float* out;
  size_t out_stride;  // of bias and out

  template <size_t MR, size_t NV>
  void run(size_t first) {
    Tile<MR, NV> tile;
    if (bias == nullptr) {
      tile.clear();
    } else {
#pragma GCC unroll 16
      for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (size_t v = 0; v < NV; ++v)
          tile.sum[r][v] = load(bias + (first + r) * out_stride + v * W);
    }
    tile.multiply(a + first * a_stride, a_stride, panel, NV * W, depth);
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
      for (size_t v = 0; v < NV; ++v) store(out + (first + r) * out_stride + v * W, tile.sum[r][v]);
  }
};

// scores[rows, keys] = bias + A B over all panels of B.
void score_block(const float* a, ptrdiff_t a_stride, size_t rows, const float* panels, size_t width,
                 size_t keys, const float* bias, float* scores) {
  for (size_t key = 0; key < keys; key += kPanel) {
    ScoreTiles tiles{a,     static_cast<size_t>(a_stride), panels + key * width,
                     width, bias ? bias + key : nullptr,   scores + key,
                     keys};
    if (keys - key >= kPanel) {
      for_row_tiles<2>(rows, tiles);
    } else {
      for_row_tiles<1>(rows, tiles);
    }
  }
}

// Turns N vectors of base-2 logits into unnormalised weights and adds them up.
template <size_t N>
inline void weigh(float* logits, Vec shift, Vec& sum) {
  // What is 2^-126 of the largest weight or less counts as that. In this order NaN stays NaN.
  const Vec least = shift - splat(126.0f);
  Vec x[N];
#pragma GCC unroll 8
  for (size_t i = 0; i < N; ++i) x[i] = max(least, load(logits + i * W)) - shift;
  exp2_bounded(x);
#pragma GCC unroll 8
  for (size_t i = 0; i < N; ++i) {
    store(logits + i * W, x[i]);
    sum += x[i];
  }
}

// Turns a row of base-2 logits into unnormalised weights and returns their sum. A NaN among the
// logits makes the sum NaN. The row is whole vectors long; what lies behind its length becomes 0.
float softmax_row(float* row, size_t length) {
  constexpr size_t kStep = 4;
  const size_t whole = length / W * W;
  const IVec inside = lane_numbers() < static_cast<int32_t>(length - whole);
  const Vec none = splat(-__builtin_inff());
  if (whole < length) store(row + whole, inside ? load(row + whole) : none);
  const size_t end = round_up(length, W);
  Vec top = none;
  for (size_t i = 0; i < end; i += W) top = max(top, load(row + i));
  const Vec shift = splat(reduce_max(top));
  Vec sum{};
  size_t i = 0;
  for (; i + kStep * W <= end; i += kStep * W) weigh<kStep>(row + i, shift, sum);
  for (; i < end; i += W) weigh<1>(row + i, shift, sum);
  if (whole < length) {
    const Vec last = load(row + whole);
    sum -= inside ? Vec{} : last;
    store(row + whole, inside ? last : Vec{});
  }
  return reduce_add(sum);
}

// out[rows, columns] = (weights V') / sums, with V' one packed panel.
struct ValueTiles {
  const float* weights;
  size_t stride;
  const float* panel;
  size_t length;
  const float* reciprocal;
  float* out;
  ptrdiff_t out_stride;
  size_t columns;           // of out, from this panel on
  size_t panel_stride = 0;  // of V' where it is not packed

  template <size_t MR, size_t NV>
  void run(size_t first) {
    Tile<MR, NV> tile;
    tile.clear();
    tile.multiply(weights + first * stride, stride, panel, panel_stride ? panel_stride : NV * W,
                  length);
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r) {
      float* row = out + static_cast<ptrdiff_t>(first + r) * out_stride;
#pragma GCC unroll 2
      for (size_t v = 0; v < NV; ++v)
        store_some(row + v * W, tile.sum[r][v] * reciprocal[first + r], columns - v * W);
    }
  }
};

void value_block(const Scratch& s, size_t rows, size_t length, size_t width, float* out,
                 ptrdiff_t out_stride) {
  for (size_t column = 0; column < width; column += kPanel) {
    ValueTiles tiles{s.weights,    s.keys,     s.v + column * length, length, s.reciprocal,
                     out + column, out_stride, width - column};
    if (width - column > W) {
      for_row_tiles<2>(rows, tiles);
    } else {
      for_row_tiles<1>(rows, tiles);
    }
  }
}

void zero_rows(const RelationAttention& op, size_t user, size_t from, size_t to) {
  for (size_t head = 0; head < op.heads; ++head) {
    for (size_t row = from; row < to; ++row) {
      float* out = op.out + op.at(op.out_rows, user, head, row);
      for (size_t i = 0; i < op.width; ++i) out[i] = 0;
    }
  }
}

void attend_head(const RelationAttention& op, size_t user, size_t head, size_t first, size_t last,
                 float factor, const Scratch& s) {
  const size_t length = op.length_of(user), width = op.width;
  const auto at = [&](const HeadRows& x, size_t row) { return x.data + op.at(x, user, head, row); };
  pack_keys(at(op.k, 0), op.k.row, length, width, factor, s.k);
  pack_values(at(op.v, 0), op.v.row, at(op.relation_v, 0), op.relation_v.row, length, width,
              op.gates[user * 3 + 2], s.v);
  for (size_t row = first; row < last; row += kBlockRows) {
    const size_t rows = last - row < kBlockRows ? last - row : kBlockRows;
    score_block(at(op.q, row), op.q.row, rows, s.k, width, s.keys, s.bias + (row - first) * s.keys,
                s.weights);
    for (size_t i = 0; i < rows; ++i)
      s.reciprocal[i] = 1.0f / softmax_row(s.weights + i * s.keys, length);
    value_block(s, rows, length, width, op.out + op.at(op.out_rows, user, head, row),
                op.out_rows.row);
  }
}

void attend(const RelationAttention& op, size_t user, size_t first, float* scratch) {
  const size_t length = op.length_of(user);
  const size_t end = first + kQueryRows < op.length ? first + kQueryRows : op.length;
  const size_t last = length < end ? length : end;
  if (op.offsets == nullptr) zero_rows(op, user, last > first ? last : first, end);
  if (first >= last) return;
  const Scratch s(Layout(length, op.width), scratch);
  // Base-2 logits: the factor of exp(x) = 2^(x log2 e) goes where 1 / sqrt(d) goes anyway.
  const float factor = kLog2E / __builtin_sqrtf(static_cast<float>(op.width));
  const float gate = op.gates[user * 3] * op.gates[user * 3 + 1];
  pack_keys(op.relation_k.data + op.at(op.relation_k, user, 0, 0), op.relation_k.row, length,
            op.width, factor * gate, s.k);
  score_block(op.relation_q.data + op.at(op.relation_q, user, 0, first), op.relation_q.row,
              last - first, s.k, op.width, s.keys, nullptr, s.bias);
  for (size_t head = 0; head < op.heads; ++head)
    attend_head(op, user, head, first, last, factor, s);
}

size_t attention_scratch(const RelationAttention& op) { return Layout(op.length, op.width).floats; }

}  // namespace
}  // namespace mmgrec::MMGREC_ISA
