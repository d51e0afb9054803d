// Linear maps on matrix tiles (AMX): 16 x 16 sums of products of 32 pairs at an instruction.
//
// A packed map is its bias, then for every 16 columns and every 32 inputs a tile of 1 KiB: rows of
// pairs of inputs, in each row the 16 columns' two weights.
#include "parallel/pool.h"
#include "recommender/narrow_maps.h"

namespace mmgrec {
extern const LinearKernels bf16_amx;
namespace {

constexpr size_t kDepth = 32;  // inputs of a tile
constexpr size_t kTileBytes = 1024;
constexpr size_t kTileNumbers = kTileBytes / sizeof(uint16_t);
constexpr size_t kRows = 16;

// Tiles 0 to 3: sums of up to four columns of tiles; 4: rows; 5 and 6: weights, in turn.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {kRows, kRows, kRows, kRows, kRows, kRows, kRows};
};

// In memory for good: GCC 12 believes that the instruction reads eight bytes of it.
constexpr TileShapes kShapes;

// Setting the tiles up takes longer than most maps of a request do, so it is done once for them
// all.
void enter() { _tile_loadconfig(&kShapes); }

void leave() { _tile_release(); }

// The nearest bfloat16, ties to the even one, by the bits of a float32.
uint16_t to_bf16(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Rows as bfloat16 [rows in whole tiles, in rounded up to kDepth], zeros behind a row's end.
const uint16_t* bf16_rows(const LinearOp& op) {
  const size_t stride = whole(op.map.in, kDepth);
  auto* to = reinterpret_cast<uint16_t*>(thread_scratch(whole(op.rows, kRows) * stride / 2));
  for (size_t row = 0; row < op.rows; ++row) {
    const float* from = op.x + row * op.x_stride;
    for (size_t k = 0; k < stride; k += kLanes) {
      const __mmask16 inside = k < op.map.in ? first_lanes(op.map.in - k) : __mmask16{0};
      const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(inside, from + k));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + row * stride + k), (__m256i)narrow);
    }
  }
  return to;
}

size_t packed_bytes(size_t in, size_t out) {
  return bias_bytes(out) + whole(out, kLanes) / kLanes * (whole(in, kDepth) / kDepth) * kTileBytes;
}

void pack(const float* weight, const float* bias, size_t in, size_t out, std::byte* to) {
  pack_bias(bias, out, to);
  auto* tile = reinterpret_cast<uint16_t*>(to + bias_bytes(out));
  for (size_t column = 0; column < out; column += kLanes) {
    for (size_t k = 0; k < whole(in, kDepth); ++k) {
      const size_t block = k / kDepth, pair = k % kDepth / 2;
      for (size_t c = 0; c < kLanes; ++c) {
        const bool inside = k < in && column + c < out;
        tile[block * kTileNumbers + (pair * kLanes + c) * 2 + k % 2] =
            inside ? to_bf16(weight[(column + c) * in + k]) : uint16_t{0};
      }
    }
    tile += whole(in, kDepth) / kDepth * kTileNumbers;
  }
}

struct Tiles {
  const Finish& finish;
  const uint16_t* x;
  size_t x_stride;  // in numbers
  size_t blocks;    // of kDepth inputs

  // Some rows by N tiles of columns.
  template <int N>
  void run(size_t first, size_t height, size_t column, const std::byte* weights) const {
    alignas(64) float sums[N][kRows * kLanes];
    const size_t stride = blocks * kTileBytes;  // from one column of tiles to the next
    zero<N>();
    for (size_t block = 0; block < blocks; ++block) {
      _tile_loadd(4, x + first * x_stride + block * kDepth, x_stride * 2);
      const std::byte* at = weights + block * kTileBytes;
      multiply<0>(at);
      if constexpr (N > 1) multiply<1>(at + stride);
      if constexpr (N > 2) multiply<2>(at + 2 * stride);
      if constexpr (N > 3) multiply<3>(at + 3 * stride);
    }
    _tile_stored(0, sums[0], 64);
    if constexpr (N > 1) _tile_stored(1, sums[1], 64);
    if constexpr (N > 2) _tile_stored(2, sums[2], 64);
    if constexpr (N > 3) _tile_stored(3, sums[3], 64);
    for (size_t row = 0; row < height; ++row)
      for (size_t n = 0; n < N; ++n)
        finish(first + row, column + n * kLanes, _mm512_load_ps(sums[n] + row * kLanes));
  }

  template <int N>
  static void zero() {
    _tile_zero(0);
    if constexpr (N > 1) _tile_zero(1);
    if constexpr (N > 2) _tile_zero(2);
    if constexpr (N > 3) _tile_zero(3);
  }
  template <int TILE>
  static void multiply(const std::byte* weights) {
    if constexpr (TILE % 2 == 0) _tile_loadd(5, weights, 64);
    if constexpr (TILE % 2 == 1) _tile_loadd(6, weights, 64);
    if constexpr (TILE == 0) _tile_dpbf16ps(0, 4, 5);
    if constexpr (TILE == 1) _tile_dpbf16ps(1, 4, 6);
    if constexpr (TILE == 2) _tile_dpbf16ps(2, 4, 5);
    if constexpr (TILE == 3) _tile_dpbf16ps(3, 4, 6);
  }
};

// What the rows' last tile holds beyond their end is computed, but not stored.
void run(const LinearOp& op) {
  const size_t blocks = whole(op.map.in, kDepth) / kDepth;
  const Finish finish{op, reinterpret_cast<const float*>(op.map.data)};
  const Tiles tiles{finish, bf16_rows(op), blocks * kDepth, blocks};
  const std::byte* weights = op.map.data + bias_bytes(op.map.out);
  const size_t columns = whole(op.map.out, kLanes);
  for (size_t column = 0; column < columns;) {
    const size_t wide = columns - column < 4 * kLanes ? (columns - column) / kLanes : 4;
    for (size_t first = 0; first < op.rows; first += kRows) {
      const size_t rows = op.rows - first < kRows ? op.rows - first : kRows;
      if (wide == 4) {
        tiles.run<4>(first, rows, column, weights);
      } else if (wide == 3) {
        tiles.run<3>(first, rows, column, weights);
      } else if (wide == 2) {
        tiles.run<2>(first, rows, column, weights);
      } else {
        tiles.run<1>(first, rows, column, weights);
      }
    }
    weights += wide * blocks * kTileBytes;
    column += wide * kLanes;
  }
}

}  // namespace

const LinearKernels bf16_amx{packed_bytes, pack, run, enter, leave};

}  // namespace mmgrec
