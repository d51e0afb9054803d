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
  test_no_allocation();
  return 0;
}
