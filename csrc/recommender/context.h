// A model at work: its kernels, and the clock where somebody asked for one.
#pragma once

#include "recommender/model.h"
#include "recommender/stages.h"

namespace mmgrec {

struct Rows {
  float* data = nullptr;
  size_t stride = 0;
  float* row(size_t i) const { return data + i * stride; }
};

inline Rows take_rows(Carver& cut, size_t rows, size_t width) {
  return {cut.take<float>(rows * padded(width)), padded(width)};
}

struct Context {
  const Model& model;
  Stages* stages = nullptr;

  const RecommenderShape& shape() const { return model.shape(); }
  const LayerKernels& kernels() const { return model.kernels().layer; }

  void count(double flops, double bytes) const {
    if (stages != nullptr) stages->add(flops, bytes);
  }
  // Between two users: checks, memory.
  void begin() const {
    if (stages != nullptr) stages->lap(stages->rest());
  }
  void lap(size_t stage) const {
    if (stages != nullptr) stages->lap(stage);
  }

  void linear(const LinearOp& op) const {
    if (stages != nullptr) {
      const auto products = static_cast<double>(op.map.in * op.map.out * op.rows);
      const size_t weights = model.linear().packed_bytes(op.map.in, op.map.out);
      const size_t rows = op.rows * (op.map.in + op.map.out) * sizeof(float);
      stages->add(2 * products, static_cast<double>(weights + rows));
    }
    model.linear().run(op);
  }
  void linear(const PackedLinear& map, size_t rows, const Rows& x, const Rows& y) const {
    linear({map, rows, x.data, x.stride, nullptr, 0, false, false, y.data, y.stride});
  }
  void linear_add(const PackedLinear& map, size_t rows, const Rows& x, const Rows& residual,
                  const Rows& y) const {
    linear({map, rows, x.data, x.stride, residual.data, residual.stride, false, false, y.data,
            y.stride});
  }
  void norm(const Norm& norm, size_t rows, const Rows& x) const {
    kernels().norm({norm.weight, norm.bias, shape().width, rows, x.data, x.stride});
  }

  // x = norm(x + outer(relu(inner(x)))); `hidden` holds kForwardRows rows.
  void feed_forward(const FeedForward& maps, size_t rows, const Rows& x, const Rows& hidden) const;
};

// Rows of a feed-forward net at a time, so that what lies between its maps stays in a near cache.
// Five whole tiles of the widest kernel.
constexpr size_t kForwardRows = 60;

inline void Context::feed_forward(const FeedForward& maps, size_t rows, const Rows& x,
                                  const Rows& hidden) const {
  for (size_t first = 0; first < rows; first += kForwardRows) {
    const size_t count = rows - first < kForwardRows ? rows - first : kForwardRows;
    const Rows part{x.row(first), x.stride};
    linear({maps.inner, count, part.data, part.stride, nullptr, 0, true, false, hidden.data,
            hidden.stride});
    linear_add(maps.outer, count, hidden, part, part);
  }
  norm(maps.norm, rows, x);
}

}  // namespace mmgrec
