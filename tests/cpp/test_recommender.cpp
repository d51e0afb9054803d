// The native recommender on every instruction set against its formulas in double precision.
#include <cmath>
#include <numeric>

#include "allocations.h"
#include "kernels.h"
#include "naive_recommender.h"
#include "recommender/recommender.h"
#include "tries.h"

namespace mmgrec {
namespace {

constexpr double kTolerance = 2e-4;

RecommenderShape shape_of(size_t width, size_t item_width, size_t heads, size_t head_width,
                          size_t feed_forward, std::vector<uint32_t> sizes) {
  RecommenderShape shape;
  shape.width = width;
  shape.item_width = item_width;
  shape.heads = heads;
  shape.head_width = head_width;
  shape.feed_forward = feed_forward;
  shape.encoder_layers = shape.decoder_layers = 2;
  shape.level_sizes = std::move(sizes);
  return shape;
}

// Histories of several lengths, the items of all users one after the other.
struct Histories {
  std::vector<int64_t> items, offsets{0}, rows;
  HistoryBatch batch;

  Histories(const NaiveRecommender& naive, std::vector<size_t> lengths, int64_t users) {
    std::mt19937 random(3);
    const size_t count = naive.item_vectors().size() / naive.shape().item_width;
    for (const size_t length : lengths) {
      for (size_t i = 0; i < length; ++i) items.push_back(static_cast<int64_t>(random() % count));
      offsets.push_back(static_cast<int64_t>(items.size()));
      rows.push_back(static_cast<int64_t>(random()) % (users + 1) - 1);
    }
    batch = {naive.item_vectors().data(), count, items, offsets, rows.data()};
  }
};

void check_close(const float* found, const Vector& expected) {
  for (size_t i = 0; i < expected.size(); ++i)
    CHECK(std::abs(found[i] - expected[i]) <= kTolerance * (1 + std::abs(expected[i])));
}

// Random prefixes of every length for every user.
void check_decode(const NaiveRecommender& naive, const Recommender& native,
                  const Histories& histories) {
  const RecommenderShape& shape = naive.shape();
  const auto memory = native.encode(histories.batch, 2);
  std::mt19937 random(1);
  for (size_t tokens = 0; tokens < shape.levels(); ++tokens) {
    std::vector<int64_t> users, prefixes;
    for (size_t i = 0; i < 60; ++i) {
      users.push_back(static_cast<int64_t>(i / 20 % histories.batch.users()));
      for (size_t t = 0; t < tokens; ++t)
        prefixes.push_back(static_cast<int64_t>(random() % std::min(shape.level_sizes[t], 3u)));
    }
    std::vector<float> logits(users.size() * shape.level_sizes[tokens]);
    std::vector<float> query(users.size() * shape.item_width);
    native.decode(*memory, {users, prefixes, tokens}, logits.data(),
                  shape.node_vectors ? query.data() : nullptr, 2);
    for (size_t i = 0; i < users.size(); i += 7) {
      const auto encoded = naive.encode(histories.batch.of(static_cast<size_t>(users[i])));
      const auto first = prefixes.begin() + static_cast<int64_t>(i * tokens);
      const auto expected = naive.decode(encoded, {first, first + static_cast<int64_t>(tokens)});
      check_close(logits.data() + i * shape.level_sizes[tokens], expected.logits);
      check_close(query.data() + i * shape.item_width, expected.query);
    }
  }
}

// log p of every item by its formula: a softmax over the tokens that lead on.
Vector scores_of(const NaiveRecommender& naive, const Tuples& sorted, const History& history) {
  const auto encoded = naive.encode(history);
  std::map<std::vector<int32_t>, Vector> children;  // of a prefix: log-probabilities by token
  Vector scores;
  for (const auto& tuple : sorted) {
    double score = 0;
    for (size_t t = 0; t < tuple.size(); ++t) {
      const std::vector<int32_t> prefix(tuple.begin(), tuple.begin() + static_cast<int64_t>(t));
      Vector& logs = children[prefix];
      if (logs.empty()) {
        logs = naive.decode(encoded, {prefix.begin(), prefix.end()}).logits;
        std::set<int32_t> there;
        for (const auto& other : sorted)
          if (std::equal(prefix.begin(), prefix.end(), other.begin())) there.insert(other[t]);
        double total = 0;
        for (const int32_t token : there) total += std::exp(logs[static_cast<size_t>(token)]);
        for (double& value : logs) value -= std::log(total);
      }
      score += logs[static_cast<size_t>(tuple[t])];
    }
    scores.push_back(score);
  }
  return scores;
}

struct Found {
  std::vector<int64_t> leaves;
  std::vector<float> scores;
  std::unique_ptr<bool[]> certified;
  std::vector<UserResult> results;

  Found(size_t users, size_t keep)
      : leaves(users * keep), scores(users * keep), certified(new bool[users]) {
    for (size_t b = 0; b < users; ++b)
      results.push_back({leaves.data() + b * keep, scores.data() + b * keep, &certified[b]});
  }
};

Trie trie_of(const Tuples& sorted, const std::vector<uint32_t>& sizes) {
  std::vector<uint32_t> order;
  return Trie::build(flatten(sorted), sizes, order);
}

// Beams wide enough for every item: the best items of all.
void check_search(const NaiveRecommender& naive, const Recommender& native, const Tuples& sorted,
                  const Trie& trie, const Histories& histories) {
  const size_t users = histories.batch.users(), keep = std::min<size_t>(10, sorted.size());
  SearchPlan plan;
  plan.catalog = trie.view();
  plan.keep = keep;
  plan.width = sorted.size();
  Found found(users, keep);
  native.recommend(plan, histories.batch, nullptr, found.results, 1);
  for (size_t user = 0; user < users; ++user) {
    const Vector scores = scores_of(naive, sorted, histories.batch.of(user));
    Vector best = scores;
    std::ranges::sort(best, std::greater());
    CHECK(found.certified[user]);
    for (size_t i = 0; i < keep; ++i) {
      const size_t at = user * keep + i;
      CHECK(std::abs(found.scores[at] - best[i]) <= kTolerance * (1 + std::abs(best[i])));
      const double score = scores[static_cast<size_t>(found.leaves[at])];
      CHECK(std::abs(score - best[i]) <= kTolerance * (1 + std::abs(best[i])));
    }
  }
}

void check_shape(const RecommenderShape& shape, const Kernels& kernels) {
  const NaiveRecommender naive(shape, 50, 4, 2);
  const Recommender native(shape, naive.weights(), kernels);
  const Histories histories(naive, {1, 7, 33}, 4);
  check_decode(naive, native, histories);
  if (shape.node_vectors) return;
  const Tuples sorted = random_tuples(40, shape.level_sizes, 4);
  check_search(naive, native, sorted, trie_of(sorted, shape.level_sizes), histories);
}

void test_formulas(const Kernels& kernels) {
  check_shape(shape_of(64, 64, 4, 16, 128, {9, 40, 5}), kernels);
  check_shape(shape_of(20, 11, 3, 5, 37, {6, 4}), kernels);
  check_shape(shape_of(1, 1, 1, 1, 1, {3, 3, 3, 3}), kernels);
  RecommenderShape shape = shape_of(33, 40, 2, 19, 50, {17, 5, 3});
  shape.node_vectors = shape.graph_users = true;
  check_shape(shape, kernels);
  shape.encoder_layers = 1;
  shape.decoder_layers = 3;
  check_shape(shape, kernels);
  shape.graph_users = false;
  for (const float decay : {0.9f, 0.3f}) {
    shape.history_decay = decay;
    check_shape(shape, kernels);
  }
}

// What rounding may do to a product of a row and a column, at most.
double allowed_error(const std::string& precision, const float* x, const float* w, size_t count) {
  double products = 0, x_sum = 0, w_sum = 0, x_top = 0, w_top = 0;
  for (size_t k = 0; k < count; ++k) {
    const double a = std::abs(x[k]), b = std::abs(w[k]);
    products += a * b;
    x_sum += a, w_sum += b;
    x_top = std::max(x_top, a), w_top = std::max(w_top, b);
  }
  const double in_float = 1e-6 * (1 + products);
  if (precision == "fp32") return in_float;
  if (precision == "bf16") return in_float + products * (2.0 / 256 + 1.0 / 65536);
  const double x_half = x_top / 254, w_half = w_top / 254;
  return in_float +
         1.001 * (w_sum * x_half + x_sum * w_half + static_cast<double>(count) * x_half * w_half);
}

// y = relu(x W^T + bias + residual) within what rounding of the factors allows.
void check_linear(const Precision& precision, size_t rows, size_t in, size_t out, bool plain) {
  std::mt19937 random(static_cast<unsigned>(rows + in + out));
  std::normal_distribution<float> normal;
  const auto numbers = [&](size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    return values;
  };
  const size_t stride = padded(in), y_stride = plain ? out : padded(out);
  const std::vector<float> weight = numbers(out * in), bias = numbers(out);
  const std::vector<float> x = numbers(rows * stride), residual = numbers(rows * padded(out));
  std::vector<float> y(rows * y_stride + 1, 7.0f);
  Slab packed(precision.linear.packed_bytes(in, out));
  precision.linear.pack(weight.data(), plain ? nullptr : bias.data(), in, out, packed.data());
  LinearOp op{{packed.data(), in, out}, rows, x.data(), stride};
  op.y = y.data();
  op.y_stride = y_stride;
  op.exact = plain;
  if (!plain) {
    op.residual = residual.data();
    op.residual_stride = padded(out);
    op.relu = rows % 2 == 0;
  }
  const LinearScope scope(precision.linear);
  precision.linear.run(op);
  CHECK(y.back() == 7.0f);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t o = 0; o < out; ++o) {
      const float* a = x.data() + row * stride;
      const float* w = weight.data() + o * in;
      double sum = plain ? 0.0 : double{bias[o]} + residual[row * padded(out) + o];
      for (size_t k = 0; k < in; ++k) sum += double{a[k]} * w[k];
      const double allowed = allowed_error(precision.name, a, w, in) + 1e-6 * std::abs(sum);
      if (op.relu) sum = std::max(sum, 0.0);
      CHECK(std::abs(y[row * y_stride + o] - sum) <= allowed);
    }
  }
}

void test_precisions(const Kernels& kernels) {
  for (const Precision& precision : runnable_precisions(kernels.layer.fp32)) {
    std::printf("  %s, %s\n", precision.name.c_str(), precision.means.c_str());
    for (const size_t rows : {1, 2, 3, 10, 16, 17, 33, 50})
      for (const size_t in : {1, 5, 64, 100, 256})
        for (const size_t out : {1, 16, 17, 48, 75, 240})
          for (const bool plain : {false, true}) check_linear(precision, rows, in, out, plain);
  }
  CHECK_THROWS(precision_named("fp64", kernels.layer.fp32), std::invalid_argument);
}

// After the first request of a size, a request on one thread takes no memory.
void test_no_allocation() {
  const RecommenderShape shape = shape_of(64, 64, 4, 16, 256, {16, 16, 16});
  const NaiveRecommender naive(shape, 500, 1, 5);
  const Recommender native(shape, naive.weights());
  const Tuples sorted = random_tuples(400, shape.level_sizes, 6);
  const Trie trie = trie_of(sorted, shape.level_sizes);
  const Histories histories(naive, {32, 1, 5}, 1);
  SearchPlan plan;
  plan.catalog = trie.view();
  plan.keep = 10;
  plan.width = 50;
  Found found(3, 10);
  native.recommend(plan, histories.batch, nullptr, found.results, 1);
  const size_t before = allocations();
  for (int i = 0; i < 3; ++i) native.recommend(plan, histories.batch, nullptr, found.results, 1);
  CHECK(allocations() == before);
}

}  // namespace
}  // namespace mmgrec

int main() {
  using namespace mmgrec;
  for_all_kernels(test_formulas);
  for_all_kernels(test_precisions);
  test_no_allocation();
  return 0;
}
