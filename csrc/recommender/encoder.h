// A history to what the decoder reads: once per user.
#pragma once

#include <cstdint>
#include <span>

#include "recommender/arena.h"
#include "recommender/context.h"

namespace mmgrec {

// What a user's history leaves behind.
struct UserMemory {
  size_t length = 0;             // of the history
  float* user = nullptr;         // h_u [padded D]
  float* queries = nullptr;      // P_t h_u [T, padded D], where there are node vectors
  float* keys_values = nullptr;  // rows K | V: [layers, length, padded 2 inner]
  float* keys = nullptr;         // K packed for the kernels: [layers, heads, packed_keys]
  size_t keys_floats = 0;        // of a layer

  UserMemory() = default;
  UserMemory(Carver& cut, const Model& model, size_t length);
  const float* keys_of(size_t layer) const { return keys + layer * keys_floats; }
  Rows keys_values_of(size_t layer, const RecommenderShape& shape) const;
};

// One user's history: rows of the item vectors, and the row of the user's own vector or -1.
struct History {
  const float* item_vectors = nullptr;  // [S, D]
  std::span<const int64_t> items;
  int64_t user_row = -1;
};

// Scratch of histories of up to so many items.
class Encoder {
 public:
  Encoder(Carver& cut, const Model& model, size_t longest);

  // item vectors, their mean, h_u; for every layer attention and feed-forward; K and V of every
  // decoder layer.
  void encode(const Context& context, const History& history, const UserMemory& memory) const;

 private:
  void gather(const RecommenderShape& shape, const History& history) const;
  void user(const Context& context, const History& history, const UserMemory& memory) const;
  void layer(const Context& context, size_t index, size_t length) const;
  void attend(const Context& context, size_t length, const float* gates) const;
  void remember(const Context& context, const UserMemory& memory) const;

  Rows items_;      // [L, padded D]; x itself where no input map is
  Rows x_;          // [L, padded E]
  Rows projected_;  // [L, padded 3 inner + 3 d]
  Rows attended_;   // [L, padded inner]
  Rows hidden_;     // [kForwardRows, padded F]
  float* gates_;    // [layers, 3]
  float* gate_hidden_;
};

}  // namespace mmgrec
