// rq_assign for one instruction set; part of simd/kernels.simd.cpp (see simd/vec.h).
//
// The nearest codeword has the highest score r . c - ||c||^2 / 2. Codebooks are packed once per
// call into panels of two vectors, each headed by its row of -||c||^2 / 2:
//
//   for blocks of rows, small enough for the first-level cache
//     residual = x
//     for every level
//       for every panel, for tiles of rows: scores = head + residual . panel, in registers;
//         per row and lane keep the best score and its panel        (the argmin epilogue)
//       per row: best over the lanes, ties to the lowest index; residual -= codeword
//
// The residual stays in the cache over all levels. Cross-product tables (scores of level s from
// x . c and inner products of codewords) would need the same products and s rows of K floats more
// per row of x.
#pragma once

#include "ops/rq_assign.h"
#include "simd/dispatch.h"
#include "simd/tile.h"

namespace mmgrec::MMGREC_ISA {
namespace {

constexpr size_t kCodes = kTileVecs * W;  // codewords of a panel
constexpr size_t kBlockBytes = 16384;     // of residuals: half of a first-level cache
constexpr float kWorst = -__builtin_inff();

size_t panels_of(const RqAssign& op) { return (op.size + kCodes - 1) / kCodes; }
size_t panel_floats(const RqAssign& op) { return (op.width + 1) * kCodes; }

size_t packed_codebooks(const RqAssign& op) { return op.levels * panels_of(op) * panel_floats(op); }

// Surplus codewords of the last panel get the worst score: they are zeros headed by -infinity.
void pack_codebooks(const RqAssign& op, float* packed) {
  for (size_t level = 0; level < op.levels; ++level) {
    const float* codebook = op.codebooks + level * op.size * op.width;
    for (size_t first = 0; first < op.size; first += kCodes) {
      const size_t count = op.size - first < kCodes ? op.size - first : kCodes;
      const float* codewords = codebook + first * op.width;
      for (size_t i = 0; i < kCodes; ++i) {
        float half = 0;
        for (size_t k = 0; k < op.width && i < count; ++k)
          half += codewords[i * op.width + k] * codewords[i * op.width + k];
        packed[i] = i < count ? -0.5f * half : kWorst;
      }
      pack_columns(codewords, static_cast<ptrdiff_t>(op.width), count, op.width, 1.0f, kCodes,
                   packed + kCodes);
      packed += panel_floats(op);
    }
  }
}

// Rows of a block: whole tiles, as many as keep the residuals in half of the cache.
size_t block_rows(const RqAssign& op) {
  const size_t tiles = kBlockBytes / (4 * op.width * kTileRows);
  return (tiles < 1 ? 1 : tiles > 8 ? 8 : tiles) * kTileRows;
}

// Scratch of one call: residuals and, per row, the best of every lane.
struct Block {
  float* residual;  // [rows, D]
  float* best;      // [rows, kCodes]
  float* second;    // [rows, kCodes], only for top2
  int32_t* panel;   // [rows, kCodes]

  Block(const RqAssign& op, float* base)
      : residual(base),
        best(base + block_rows(op) * op.width),
        second(best + block_rows(op) * kCodes),
        panel(reinterpret_cast<int32_t*>(second + block_rows(op) * kCodes)) {}
};

size_t assign_scratch(const RqAssign& op) { return block_rows(op) * (op.width + 3 * kCodes); }

template <bool TOP2>
struct AssignTiles {
  const Block& block;
  const float* panel;  // head and codewords
  size_t width;
  int32_t index;

  template <size_t MR, size_t NV>
  void run(size_t first) {
    Tile<MR, NV> tile;
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
      for (size_t v = 0; v < NV; ++v) tile.sum[r][v] = load(panel + v * W);
    tile.multiply(block.residual + first * width, width, panel + kCodes, kCodes, width);
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
      for (size_t v = 0; v < NV; ++v) keep_best((first + r) * kCodes + v * W, tile.sum[r][v]);
  }

  void keep_best(size_t at, Vec score) {
    const Vec best = load(block.best + at);
    const IVec better = score > best;  // never true for NaN, nor for a tie with a lower index
    store(block.best + at, better ? score : best);
    store(block.panel + at, better ? splat(index) : load(block.panel + at));
    if constexpr (TOP2) {
      const Vec second = load(block.second + at);
      store(block.second + at, better ? best : max(second, score));
    }
  }
};

void clear_best(const Block& block, size_t rows) {
  for (size_t i = 0; i < rows * kCodes; i += W) {
    store(block.best + i, splat(kWorst));
    store(block.second + i, splat(kWorst));
    store(block.panel + i, splat(int32_t{-1}));
  }
}

// The row's best codeword over all lanes, -1 if there is none; `best` gets its score.
int64_t best_of_lanes(const Block& block, size_t row, float& best) {
  const size_t at = row * kCodes;
  Vec top = load(block.best + at);
  for (size_t v = 1; v < kTileVecs; ++v) top = max(top, load(block.best + at + v * W));
  best = reduce_max(top);
  // Infinite: the row holds NaN or infinity, or its products overflow.
  if (best == kWorst || best == -kWorst) return -1;
  // The lowest index among the lanes that hold the best score.
  IVec lowest = splat(INT32_MAX);
  for (size_t v = 0; v < kTileVecs; ++v) {
    const IVec index = load(block.panel + at + v * W) * static_cast<int32_t>(kCodes) +
                       lane_numbers() + static_cast<int32_t>(v * W);
    const IVec candidate = load(block.best + at + v * W) == best ? index : splat(INT32_MAX);
    lowest = candidate < lowest ? candidate : lowest;
  }
  return reduce_min(lowest);
}

// The second best score of a row: the winner's lane offers its second, the others their best.
float second_of_lanes(const Block& block, size_t row, int64_t code) {
  const size_t at = row * kCodes;
  const auto winner = static_cast<int32_t>(code % static_cast<int64_t>(kCodes));
  Vec top = splat(kWorst);
  for (size_t v = 0; v < kTileVecs; ++v) {
    const IVec is_winner = lane_numbers() + static_cast<int32_t>(v * W) == winner;
    top = max(top, is_winner ? load(block.second + at + v * W) : load(block.best + at + v * W));
  }
  return reduce_max(top);
}

float squared_norm(const float* row, size_t width) {
  Vec sum{};
  size_t k = 0;
  for (; k + W <= width; k += W) sum += load(row + k) * load(row + k);
  float total = reduce_add(sum);
  for (; k < width; ++k) total += row[k] * row[k];
  return total;
}

// row -= codeword; without a codeword the row becomes NaN, so that no later level finds one.
void subtract(float* row, const float* codeword, size_t width) {
  size_t k = 0;
  if (codeword == nullptr) {
    for (; k < width; ++k) row[k] = __builtin_nanf("");
  }
  for (; k + W <= width; k += W) store(row + k, load(row + k) - load(codeword + k));
  for (; k < width; ++k) row[k] -= codeword[k];
}

void write_top2(const Block& block, size_t row, size_t width, int64_t code, float best, float* to) {
  to[0] = to[1] = __builtin_nanf("");
  if (code < 0) return;
  const float norm = squared_norm(block.residual + row * width, width);
  const float nearest = norm - 2 * best;
  const float next = norm - 2 * second_of_lanes(block, row, code);
  // Rounding may push the distance of a row that is a codeword below zero.
  to[0] = nearest < 0 ? 0 : nearest;
  to[1] = next < 0 ? 0 : next;
}

void finish_level(const RqAssign& op, const Block& block, size_t level, size_t first,
                  size_t count) {
  const float* codebook = op.codebooks + level * op.size * op.width;
  for (size_t row = 0; row < count; ++row) {
    float best;
    const int64_t code = best_of_lanes(block, row, best);
    const size_t at = (first + row) * op.levels + level;
    op.codes[at] = code;
    if (op.top2 != nullptr) write_top2(block, row, op.width, code, best, op.top2 + at * 2);
    subtract(block.residual + row * op.width,
             code < 0 ? nullptr : codebook + static_cast<size_t>(code) * op.width, op.width);
  }
}

template <bool TOP2>
void assign_level(const RqAssign& op, const Block& block, const float* packed, size_t rows) {
  clear_best(block, rows);
  for (size_t panel = 0; panel < panels_of(op); ++panel) {
    AssignTiles<TOP2> tiles{block, packed + panel * panel_floats(op), op.width,
                            static_cast<int32_t>(panel)};
    for_row_tiles<kTileVecs>(rows, tiles);
  }
}

// Rows [first, first + count), block by block.
void assign(const RqAssign& op, const float* packed, size_t first, size_t count, float* scratch) {
  const Block block(op, scratch);
  for (size_t done = 0; done < count;) {
    const size_t rows = count - done < block_rows(op) ? count - done : block_rows(op);
    for (size_t row = 0; row < rows; ++row) {
      const float* from = op.x + static_cast<ptrdiff_t>(first + done + row) * op.x_stride;
      for (size_t k = 0; k < op.width; ++k) block.residual[row * op.width + k] = from[k];
    }
    for (size_t level = 0; level < op.levels; ++level) {
      const float* codebook = packed + level * panels_of(op) * panel_floats(op);
      if (op.top2 != nullptr) {
        assign_level<true>(op, block, codebook, rows);
      } else {
        assign_level<false>(op, block, codebook, rows);
      }
      finish_level(op, block, level, first + done, rows);
    }
    for (size_t row = 0; row < rows; ++row)
      op.residual_norms[first + done + row] =
          squared_norm(block.residual + row * op.width, op.width);
    done += rows;
  }
}

}  // namespace
}  // namespace mmgrec::MMGREC_ISA
