// A random recommender, and its formulas written out in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "recommender/recommender.h"

namespace mmgrec {

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;

class NaiveRecommender {
 public:
  NaiveRecommender(RecommenderShape shape, size_t items, size_t users, unsigned seed)
      : shape_(std::move(shape)), random_(seed) {
    const size_t e = shape_.width, d = shape_.item_width, inner = shape_.inner();
    item_vectors_ = numbers(items * d, 1.0);
    linear("user_map", d, d, true);
    if (d != e) linear("encoder.input", d, e, true);
    for (size_t i = 0; i < shape_.encoder_layers; ++i) {
      const std::string layer = "encoder.layers." + std::to_string(i) + ".";
      linear(layer + "qkv", e, 3 * inner, false);
      linear(layer + "relation", e, 3 * shape_.head_width, false);
      for (const char* gate : {"0", "1", "2"}) {
        linear(layer + "gates.mlps." + gate + ".0", d, d, true);
        linear(layer + "gates.mlps." + gate + ".2", d, 1, true);
      }
      linear(layer + "out", inner, e, false);
      norm(layer + "norm_attention");
      feed_forward(layer);
    }
    add("decoder.start", {e}, 1.0);
    for (size_t t = 0; t + 1 < shape_.levels(); ++t)
      add("decoder.embeddings." + std::to_string(t) + ".weight", {shape_.level_sizes[t], e}, 1.0);
    for (size_t i = 0; i < shape_.decoder_layers; ++i) {
      const std::string layer = "decoder.layers." + std::to_string(i) + ".";
      linear(layer + "self_qkv", e, 3 * inner, false);
      linear(layer + "self_out", inner, e, false);
      norm(layer + "norm_self");
      linear(layer + "cross_q", e, inner, false);
      linear(layer + "cross_kv", e, 2 * inner, false);
      linear(layer + "cross_out", inner, e, false);
      norm(layer + "norm_cross");
      feed_forward(layer);
    }
    for (size_t t = 0; t < shape_.levels(); ++t) {
      linear("head.columns." + std::to_string(t), e, shape_.level_sizes[t], true);
      if (!shape_.node_vectors) continue;
      linear("head.query_hidden." + std::to_string(t), e, d, false);
      linear("head.query_user." + std::to_string(t), d, d, false);
    }
    add("user_vectors", {users, d}, 1.0);
  }

  const RecommenderShape& shape() const { return shape_; }
  const std::vector<float>& item_vectors() const { return item_vectors_; }
  Weights weights() const {
    std::map<std::string, NamedArray> named;
    for (const auto& [name, array] : arrays_) named[name] = {array.data.data(), array.shape};
    return Weights(std::move(named));
  }

  struct Encoded {
    Vector user;
    Matrix rows;
  };

  Encoded encode(const History& history) const {
    Matrix x;
    for (const int64_t item : history.items)
      x.push_back(row(item_vectors_, item, shape_.item_width));
    Vector mean(shape_.item_width);
    double total = 0;
    for (const Vector& each : x) {
      for (double& value : mean) value *= shape_.history_decay;
      for (size_t d = 0; d < mean.size(); ++d) mean[d] += each[d];
      total = total * shape_.history_decay + 1;
    }
    for (double& value : mean) value /= total;
    Encoded encoded;
    encoded.user = shape_.graph_users && history.user_row >= 0
                       ? row(arrays_.at("user_vectors").data, history.user_row, shape_.item_width)
                       : apply("user_map", mean);
    if (shape_.item_width != shape_.width)
      for (Vector& each : x) each = apply("encoder.input", each);
    for (size_t i = 0; i < shape_.encoder_layers; ++i) x = encoder_layer(i, x, encoded.user);
    encoded.rows = std::move(x);
    return encoded;
  }

  struct Output {
    Vector logits, query;
  };

  Output decode(const Encoded& encoded, const std::vector<int64_t>& prefix) const {
    Matrix x{row(arrays_.at("decoder.start").data, 0, shape_.width)};
    for (size_t t = 0; t < prefix.size(); ++t)
      x.push_back(row(arrays_.at("decoder.embeddings." + std::to_string(t) + ".weight").data,
                      prefix[t], shape_.width));
    for (size_t i = 0; i < shape_.decoder_layers; ++i) x = decoder_layer(i, x, encoded.rows);
    const std::string level = std::to_string(prefix.size());
    Output out{apply("head.columns." + level, x.back()), {}};
    if (shape_.node_vectors) {
      out.query = apply("head.query_hidden." + level, x.back());
      const Vector user = apply("head.query_user." + level, encoded.user);
      for (size_t d = 0; d < user.size(); ++d) out.query[d] += user[d];
    }
    return out;
  }

 private:
  struct Array {
    std::vector<float> data;
    std::vector<size_t> shape;
  };

  std::vector<float> numbers(size_t count, double scale) {
    std::normal_distribution<double> normal(0, scale);
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(normal(random_));
    return values;
  }
  void add(const std::string& name, std::vector<size_t> shape, double scale) {
    size_t count = 1;
    for (const size_t size : shape) count *= size;
    arrays_[name] = {numbers(count, scale), std::move(shape)};
  }
  void linear(const std::string& name, size_t in, size_t out, bool bias) {
    add(name + ".weight", {out, in}, 1 / std::sqrt(static_cast<double>(in)));
    if (bias) add(name + ".bias", {out}, 0.3);
  }
  void norm(const std::string& name) {
    add(name + ".weight", {shape_.width}, 1.0);
    add(name + ".bias", {shape_.width}, 0.3);
  }
  void feed_forward(const std::string& layer) {
    linear(layer + "feed_forward.0", shape_.width, shape_.feed_forward, true);
    linear(layer + "feed_forward.2", shape_.feed_forward, shape_.width, true);
    norm(layer + "norm_feed_forward");
  }

  static Vector row(const std::vector<float>& from, int64_t index, size_t width) {
    const auto first = from.begin() + index * static_cast<int64_t>(width);
    return Vector(first, first + static_cast<int64_t>(width));
  }
  Vector apply(const std::string& name, const Vector& x) const {
    const Array& weight = arrays_.at(name + ".weight");
    Vector y(weight.shape[0]);
    const auto bias = arrays_.find(name + ".bias");
    for (size_t o = 0; o < y.size(); ++o) {
      y[o] = bias == arrays_.end() ? 0 : bias->second.data[o];
      for (size_t i = 0; i < x.size(); ++i) y[o] += weight.data[o * x.size() + i] * x[i];
    }
    return y;
  }
  // norm(x + y)
  Vector add_norm(const std::string& name, Vector x, const Vector& y) const {
    double mean = 0, variance = 0;
    const auto width = static_cast<double>(x.size());
    for (size_t i = 0; i < x.size(); ++i) mean += (x[i] += y[i]) / width;
    for (const double value : x) variance += (value - mean) * (value - mean) / width;
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * arrays_.at(name + ".weight").data[i] +
             arrays_.at(name + ".bias").data[i];
    return x;
  }
  Vector after_feed_forward(const std::string& layer, const Vector& x) const {
    Vector hidden = apply(layer + "feed_forward.0", x);
    for (double& value : hidden) value = std::max(value, 0.0);
    return add_norm(layer + "norm_feed_forward", x, apply(layer + "feed_forward.2", hidden));
  }
  static double dot(const Vector& a, size_t a_at, const Vector& b, size_t b_at, size_t width) {
    double sum = 0;
    for (size_t i = 0; i < width; ++i) sum += a[a_at + i] * b[b_at + i];
    return sum;
  }
  static void softmax(Vector& x) {
    const double top = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double& value : x) sum += value = std::exp(value - top);
    for (double& value : x) value /= sum;
  }
  // One query over rows K | V from `key` and `value` on, plus a bias per row.
  Vector attend(const Vector& q, const Matrix& rows, size_t key, size_t value,
                const Vector& bias) const {
    const size_t width = shape_.head_width;
    Vector out(shape_.inner());
    for (size_t h = 0; h < shape_.heads; ++h) {
      Vector weights;
      for (size_t j = 0; j < rows.size(); ++j)
        weights.push_back((dot(q, h * width, rows[j], key + h * width, width) + bias[j]) /
                          std::sqrt(static_cast<double>(width)));
      softmax(weights);
      for (size_t j = 0; j < rows.size(); ++j)
        for (size_t i = 0; i < width; ++i)
          out[h * width + i] += weights[j] * rows[j][value + h * width + i];
    }
    return out;
  }

  Matrix encoder_layer(size_t index, const Matrix& x, const Vector& user) const {
    const std::string layer = "encoder.layers." + std::to_string(index) + ".";
    const size_t width = shape_.head_width, inner = shape_.inner();
    double gates[3];
    for (size_t which = 0; which < 3; ++which) {
      const std::string gate = layer + "gates.mlps." + std::to_string(which);
      Vector hidden = apply(gate + ".0", user);
      for (double& value : hidden) value = std::max(value, 0.0);
      gates[which] = apply(gate + ".2", hidden)[0];
    }
    Matrix qkv, relation, out;
    for (const Vector& each : x) {
      qkv.push_back(apply(layer + "qkv", each));
      relation.push_back(apply(layer + "relation", each));
      for (size_t h = 0; h < shape_.heads; ++h)
        for (size_t i = 0; i < width; ++i)
          qkv.back()[2 * inner + h * width + i] += gates[2] * relation.back()[2 * width + i];
    }
    for (size_t i = 0; i < x.size(); ++i) {
      Vector bias;
      for (size_t j = 0; j < x.size(); ++j)
        bias.push_back(gates[0] * gates[1] * dot(relation[i], 0, relation[j], width, width));
      const Vector attended = attend(qkv[i], qkv, inner, 2 * inner, bias);
      out.push_back(after_feed_forward(
          layer, add_norm(layer + "norm_attention", x[i], apply(layer + "out", attended))));
    }
    return out;
  }

  Matrix decoder_layer(size_t index, const Matrix& x, const Matrix& memory) const {
    const std::string layer = "decoder.layers." + std::to_string(index) + ".";
    const size_t inner = shape_.inner();
    Matrix keys_values, qkv, out;
    for (const Vector& each : memory) keys_values.push_back(apply(layer + "cross_kv", each));
    for (const Vector& each : x) {
      qkv.push_back(apply(layer + "self_qkv", each));
      Vector y = attend(qkv.back(), qkv, inner, 2 * inner, Vector(qkv.size()));
      y = add_norm(layer + "norm_self", each, apply(layer + "self_out", y));
      const Vector query = apply(layer + "cross_q", y);
      const Vector seen = attend(query, keys_values, 0, inner, Vector(memory.size()));
      y = add_norm(layer + "norm_cross", y, apply(layer + "cross_out", seen));
      out.push_back(after_feed_forward(layer, y));
    }
    return out;
  }

  RecommenderShape shape_;
  std::mt19937 random_;
  std::map<std::string, Array> arrays_;
  std::vector<float> item_vectors_;
};

}  // namespace mmgrec
