// What the recommender asks of an instruction set: linear maps, norms and the decoder's attention.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mmgrec {

// A weight matrix [out, in] and its bias, packed for one instruction set and one precision.
struct PackedLinear {
  const std::byte* data = nullptr;
  size_t in = 0;
  size_t out = 0;
};

// y = x W^T + bias + residual, then ReLU where asked. Rows of x, residual and y are padded to whole
// vectors, but for y where `exact` says that its rows follow each other without a gap.
struct LinearOp {
  PackedLinear map;
  size_t rows = 0;
  const float* x = nullptr;
  size_t x_stride = 0;
  const float* residual = nullptr;  // null: none
  size_t residual_stride = 0;       // 0: the same for all rows
  bool relu = false;
  bool exact = false;
  float* y = nullptr;
  size_t y_stride = 0;
};

struct LinearKernels {
  size_t (*packed_bytes)(size_t in, size_t out);
  // `weight` [out, in], `bias` [out] or null.
  void (*pack)(const float* weight, const float* bias, size_t in, size_t out, std::byte* to);
  void (*run)(const LinearOp&);
  // Called on a thread before and after it runs maps, where the processor must be set up for them.
  void (*enter)() = nullptr;
  void (*leave)() = nullptr;
};

// Lives as long as a thread runs maps.
class LinearScope {
 public:
  explicit LinearScope(const LinearKernels& kernels) : leave_(kernels.leave) {
    if (kernels.enter != nullptr) kernels.enter();
  }
  ~LinearScope() {
    if (leave_ != nullptr) leave_();
  }
  LinearScope(const LinearScope&) = delete;
  LinearScope& operator=(const LinearScope&) = delete;

 private:
  void (*leave_)();
};

// Rows in place: (x - mean) / sqrt(variance + 1e-5) * weight + bias.
struct NormOp {
  const float* weight = nullptr;
  const float* bias = nullptr;
  size_t width = 0;
  size_t rows = 0;
  float* x = nullptr;
  size_t stride = 0;
};

// Attention of the newest position of each beam over the positions of its prefix.
//
//   at[row * positions + p]   the row Q | K | V (heads * width floats each) of position p; a vector
//                             may be read beyond its end
struct PrefixAttention {
  size_t rows = 0;
  size_t positions = 0;
  size_t heads = 0;
  size_t width = 0;  // of a head
  const float* const* at = nullptr;
  float* scores = nullptr;  // scratch: prefix_scores() floats
  float* out = nullptr;     // [rows, heads * width]
  size_t out_stride = 0;
};

// Attention of all beams of a user over that user's history.
struct MemoryAttention {
  size_t rows = 0;
  size_t heads = 0;
  size_t width = 0;
  size_t length = 0;         // of the history
  const float* q = nullptr;  // [rows, heads * width]
  size_t q_stride = 0;
  const float* keys = nullptr;  // per head K^T / sqrt(d) in panels, as pack_keys leaves it
  const float* v = nullptr;     // [length, heads * width]
  size_t v_stride = 0;
  float* scores = nullptr;  // scratch: memory_scores(length) floats
  float* out = nullptr;     // [rows, heads * width]
  size_t out_stride = 0;
};

struct LayerKernels {
  LinearKernels fp32;
  void (*norm)(const NormOp&);
  void (*prefix_attention)(const PrefixAttention&);
  // Per head: floats of packed keys of a history, and packing them from rows of K.
  size_t (*packed_keys)(size_t length, size_t width);
  void (*pack_memory_keys)(const float* k, size_t stride, size_t length, size_t heads, size_t width,
                           float* to);
  size_t (*memory_scores)(size_t length);
  void (*memory_attention)(const MemoryAttention&);
};

// Scratch of prefix attention, with lanes of any instruction set.
constexpr size_t prefix_scores(size_t positions, size_t heads) { return positions * heads * 16; }

}  // namespace mmgrec
