// A recommender's weights, packed once for the processor at hand, and what follows from them alone.
#pragma once

#include <cstddef>
#include <vector>

#include "recommender/arena.h"
#include "recommender/layer_kernels.h"
#include "recommender/precision.h"
#include "recommender/shape.h"
#include "recommender/weights.h"
#include "simd/dispatch.h"

namespace mmgrec {

struct Norm {
  const float* weight = nullptr;
  const float* bias = nullptr;
};

struct FeedForward {
  PackedLinear inner;
  PackedLinear outer;
  Norm norm;
};

struct EncoderLayer {
  PackedLinear projection;  // Q, K, V of all heads, then U_Q, U_K, U_V
  PackedLinear out;
  Norm norm;
  FeedForward feed_forward;
  // Of the three gates' second maps: [3, padded D], [3].
  const float* gate_weights = nullptr;
  const float* gate_biases = nullptr;
};

struct DecoderLayer {
  PackedLinear self_qkv;
  PackedLinear self_out;
  Norm norm_self;
  PackedLinear cross_q;
  PackedLinear cross_kv;
  PackedLinear cross_out;
  Norm norm_cross;
  FeedForward feed_forward;
};

struct HeadLevel {
  PackedLinear columns;       // hidden to logits
  PackedLinear query_hidden;  // hidden to the node vectors' query, where there are any
};

// An input token, or the start vector: its embedding, and Q | K | V of the first decoder layer, for
// which nothing but the token matters.
struct TokenTable {
  const float* embedding = nullptr;  // [tokens, padded E]
  const float* qkv = nullptr;        // [tokens, padded 3 inner]
};

// Copies and packs the weights; keeps no reference but to `kernels`.
class Model {
 public:
  // Throws std::invalid_argument on a missing weight or one of a wrong shape.
  Model(RecommenderShape shape, const Weights& weights, const Kernels& kernels,
        Precision precision);

  const RecommenderShape& shape() const { return shape_; }
  const Kernels& kernels() const { return *kernels_; }
  const LinearKernels& linear() const { return precision_.linear; }
  const Precision& precision() const { return precision_; }

  // Parts in the order of a request.
  const float* user_vector(size_t row) const {
    return user_vectors_.data() + row * shape_.item_width;
  }
  size_t user_vectors() const { return user_vectors_.size() / shape_.item_width; }
  PackedLinear user_map;
  PackedLinear gates;  // of all encoder layers' three gates, the first maps: [3 layers D, D]
  PackedLinear input;  // data == nullptr where item vectors have the model's width
  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;
  // [T]: what a position's input is: the start vector, then tokens of levels 0 to T - 2.
  std::vector<TokenTable> inputs;
  std::vector<HeadLevel> head;
  PackedLinear query_user;  // of all levels: [T padded D, D]
  // The start vector after the first layer's self-attention, and its query on the history.
  const float* start = nullptr;
  const float* start_query = nullptr;

  // Of the weights, without what follows from them (tables, the start vector).
  size_t packed_bytes() const { return slab_.bytes() - table_bytes_; }

 private:
  class Builder;

  RecommenderShape shape_;
  const Kernels* kernels_;
  Precision precision_;
  Slab slab_;
  std::vector<float> user_vectors_;
  size_t table_bytes_ = 0;
};

}  // namespace mmgrec
