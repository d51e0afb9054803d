// Register tiles of matrix products: MR rows by NV vectors of accumulators.
//
// Included only by *.simd.cpp files; see simd/vec.h.
#pragma once

#include "simd/vec.h"

namespace mmgrec::MMGREC_ISA {

// With 16 vector registers 6 x 2 accumulators, two vectors of B and one broadcast of A fit; with 32
// (AVX-512, NEON) 12 x 2.
constexpr size_t kTileRows = MMGREC_TILE_ROWS;
constexpr size_t kTileVecs = 2;

template <size_t MR, size_t NV>
struct Tile {
  Vec sum[MR][NV];

  void clear() {
#pragma GCC unroll 16
    for (size_t r = 0; r < MR; ++r)
#pragma GCC unroll 2
      for (size_t v = 0; v < NV; ++v) sum[r][v] = Vec{};
  }

  // sum[r] += a[r, 0..depth) . b[0..depth, :]
  void multiply(const float* a, size_t a_stride, const float* b, size_t b_stride, size_t depth) {
    for (size_t k = 0; k < depth; ++k) {
      Vec row[NV];
#pragma GCC unroll 2
      for (size_t v = 0; v < NV; ++v) row[v] = load(b + k * b_stride + v * W);
#pragma GCC unroll 16
      for (size_t r = 0; r < MR; ++r) {
        const Vec x = splat(a[r * a_stride + k]);
#pragma GCC unroll 2
        for (size_t v = 0; v < NV; ++v) sum[r][v] += x * row[v];
      }
    }
  }
};

// Calls body.template run<MR, NV>(first_row) over `rows` in tiles of nearly equal height: 32 rows
// are 6+6+5+5+5+5, since a last tile of two rows would keep the multipliers waiting.
template <size_t NV, size_t MR = kTileRows, class Body>
inline void run_tile(size_t height, size_t first, Body& body) {
  if (height == MR) return body.template run<MR, NV>(first);
  if constexpr (MR > 1) run_tile<NV, MR - 1>(height, first, body);
}

template <size_t NV, class Body>
inline void for_row_tiles(size_t rows, Body& body) {
  const size_t tiles = (rows + kTileRows - 1) / kTileRows;
  size_t first = 0;
  for (size_t tile = 0; tile < tiles; ++tile) {
    const size_t height = (rows - first + tiles - tile - 1) / (tiles - tile);
    run_tile<NV>(height, first, body);
    first += height;
  }
}

}  // namespace mmgrec::MMGREC_ISA
