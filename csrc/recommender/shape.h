// The shape of a recommender, and how its rows lie in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mmgrec {

// Rows of activations begin on whole cache lines, so that every instruction set may read and write
// whole vectors; what lies behind a row's last number is never looked at.
constexpr size_t kRowUnit = 16;
constexpr size_t padded(size_t floats) { return (floats + kRowUnit - 1) / kRowUnit * kRowUnit; }

// The kernels read whole vectors, some of them beyond a row's end: so many floats behind the last
// row are there.
constexpr size_t kOverhang = 64;

// mmgrec_engine/models/config.py has the meaning of the options.
struct RecommenderShape {
  size_t width = 0;       // E of the model
  size_t item_width = 0;  // D of item vectors and of h_u
  size_t heads = 0;
  size_t head_width = 0;
  size_t feed_forward = 0;
  size_t encoder_layers = 0;
  size_t decoder_layers = 0;
  std::vector<uint32_t> level_sizes;  // K_t, T of them
  bool node_vectors = false;
  bool softmax_over_level = false;  // normalise == "full"
  bool graph_users = false;         // user_vector == "graph"
  float history_decay = 1;          // what an item of a history weighs beside the next newer one

  size_t levels() const { return level_sizes.size(); }
  size_t inner() const { return heads * head_width; }
  // Columns of an encoder layer's one projection: Q, K, V of all heads, then U_Q, U_K, U_V.
  size_t encoder_projection() const { return 3 * inner() + 3 * head_width; }
  // Throws std::invalid_argument on a shape that no model has.
  void check() const;
};

}  // namespace mmgrec
