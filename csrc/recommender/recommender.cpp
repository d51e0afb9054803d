#include "recommender/recommender.h"

#include <algorithm>
#include <array>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "parallel/pool.h"

namespace mmgrec {
namespace {

// Prefixes of one user that are decoded together.
constexpr size_t kDecodeRows = 48;

// Runs body(index) in parallel; the first exception of any of them is thrown in the end.
template <class Body>
void parallel_try(size_t count, unsigned threads, Body&& body) {
  std::exception_ptr failure;
  std::once_flag failed;
  parallel_for(count, threads, [&](size_t index) {
    try {
      body(index);
    } catch (...) {
      std::call_once(failed, [&] { failure = std::current_exception(); });
    }
  });
  if (failure) std::rethrow_exception(failure);
}

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

}  // namespace

History HistoryBatch::of(size_t user) const {
  const auto first = static_cast<size_t>(offsets[user]);
  const auto last = static_cast<size_t>(offsets[user + 1]);
  return {item_vectors, items.subspan(first, last - first),
          user_rows != nullptr ? user_rows[user] : -1};
}

size_t HistoryBatch::longest() const {
  int64_t longest = 0;
  for (size_t b = 0; b < users(); ++b) longest = std::max(longest, offsets[b + 1] - offsets[b]);
  return static_cast<size_t>(longest);
}

Recommender::Recommender(RecommenderShape shape, const Weights& weights, const Kernels& kernels,
                         const std::string& precision)
    : Recommender(std::move(shape), weights, kernels,
                  precision_named(precision, kernels.layer.fp32)) {}

Recommender::Recommender(RecommenderShape shape, const Weights& weights, const Kernels& kernels,
                         Precision precision)
    : model_(std::move(shape), weights, kernels, std::move(precision)) {}

void Recommender::recommend(const SearchPlan& plan, const HistoryBatch& histories,
                            const UserFilter* filters, std::span<const UserResult> results,
                            unsigned threads, Stages* stages) const {
  check(histories);
  check(plan);
  if (results.size() != histories.users()) refuse("results need one entry per user");
  const Context context{model_, stages};
  SearchPlan sized = plan;
  sized.longest = histories.longest();
  Carver count;
  UserSearch(count, model_, sized);
  parallel_try(histories.users(), stages != nullptr ? 1 : threads, [&](size_t user) {
    Carver cut(thread_arena(count.bytes()));
    UserSearch search(cut, model_, sized);
    const LinearScope scope(model_.linear());
    search.run(context, sized, histories.of(user), filters != nullptr ? filters + user : nullptr,
               results[user]);
  });
}

EncodedUsers::EncodedUsers(const Model& model, const HistoryBatch& histories) {
  memories_.resize(histories.users());
  const auto cut_all = [&](Carver cut) {
    for (size_t user = 0; user < users(); ++user)
      memories_[user] = UserMemory(cut, model, histories.of(user).items.size());
    return cut.bytes();
  };
  slab_ = Slab(cut_all(Carver()));
  cut_all(Carver(slab_.data()));
}

std::unique_ptr<EncodedUsers> Recommender::encode(const HistoryBatch& histories,
                                                  unsigned threads) const {
  check(histories);
  auto encoded = std::make_unique<EncodedUsers>(model_, histories);
  const size_t longest = histories.longest();
  Carver count;
  Encoder(count, model_, longest);
  parallel_try(histories.users(), threads, [&](size_t user) {
    Carver cut(thread_arena(count.bytes()));
    const LinearScope scope(model_.linear());
    Encoder(cut, model_, longest).encode({model_}, histories.of(user), encoded->of(user));
  });
  return encoded;
}

namespace {

// Prefixes [first, last) of one user, level by level. Neighbours that begin with the same tokens
// share their rows of earlier levels.
class PrefixRun {
 public:
  PrefixRun(const PrefixBatch& batch, size_t first, size_t last)
      : batch_(batch), first_(first), count_(last - first) {}

  void decode(const Model& model, const UserMemory& memory, float* logits, float* query) const {
    Carver count;
    Decoder(count, model, count_, memory.length);
    count.take<size_t>(count_);
    count.take<size_t>(count_);
    Carver cut(thread_arena(count.bytes()));
    Decoder decoder(cut, model, count_, memory.length);
    size_t* row_of = cut.take<size_t>(count_);  // each prefix's row of the level
    size_t* parent = cut.take<size_t>(count_);  // each row's parent
    std::fill_n(row_of, count_, size_t{0});
    const Context context{model};
    const LinearScope scope(model.linear());
    decoder.begin();
    for (size_t t = 0; t < batch_.tokens; ++t) {
      decoder.step(context, memory);
      grow(decoder, t, row_of, parent);
    }
    decoder.step(context, memory);
    decoder.head(context, memory, logits, query);
    if (batch_.tokens > 0) return;
    // Empty prefixes share their one row.
    const RecommenderShape& shape = model.shape();
    for (size_t i = 1; i < count_; ++i) {
      std::copy_n(logits, shape.level_sizes[0], logits + i * shape.level_sizes[0]);
      if (query != nullptr) std::copy_n(query, shape.item_width, query + i * shape.item_width);
    }
  }

 private:
  int64_t token(size_t i, size_t t) const {
    return batch_.prefixes[(first_ + i) * batch_.tokens + t];
  }

  void grow(Decoder& decoder, size_t t, size_t* row_of, size_t* parent) const {
    const bool last = t + 1 == batch_.tokens;
    size_t rows = 0;
    size_t before = 0;
    std::array<size_t, kDecodeRows> example;
    for (size_t i = 0; i < count_; ++i) {
      const size_t from = row_of[i];
      // At the last level every prefix has its own row, so that results stand in order.
      if (last || i == 0 || from != before || token(i, t) != token(i - 1, t)) {
        parent[rows] = from;
        example[rows++] = i;
      }
      before = from;
      row_of[i] = rows - 1;
    }
    decoder.grow(rows, [&](size_t m) { return std::pair(parent[m], token(example[m], t)); });
  }

  const PrefixBatch& batch_;
  size_t first_, count_;
};

// Where each run of prefixes of the same user begins, and the end.
std::vector<size_t> runs_of(const PrefixBatch& batch) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < batch.users.size(); ++i) {
    if (i == 0 || batch.users[i] != batch.users[i - 1] || i - starts.back() == kDecodeRows)
      starts.push_back(i);
  }
  starts.push_back(batch.users.size());
  return starts;
}

}  // namespace

void Recommender::decode(const EncodedUsers& memory, const PrefixBatch& batch, float* logits,
                         float* query, unsigned threads) const {
  check(batch, memory.users());
  const std::vector<size_t> starts = runs_of(batch);
  const size_t columns = model_.shape().level_sizes[batch.tokens];
  const size_t width = model_.shape().item_width;
  parallel_try(starts.size() - 1, threads, [&](size_t run) {
    const size_t first = starts[run];
    PrefixRun(batch, first, starts[run + 1])
        .decode(model_, memory.of(static_cast<size_t>(batch.users[first])),
                logits + first * columns, query != nullptr ? query + first * width : nullptr);
  });
}

// Messages are put together only where they are needed: a request takes no memory.
void Recommender::check(const HistoryBatch& histories) const {
  const auto items = static_cast<int64_t>(histories.items.size());
  if (histories.offsets.empty() || histories.offsets.front() != 0 ||
      histories.offsets.back() != items)
    refuse("offsets must run from 0 to the number of items");
  for (size_t b = 0; b < histories.users(); ++b) {
    if (histories.offsets[b] > histories.offsets[b + 1]) refuse("offsets must ascend");
    if (histories.offsets[b] == histories.offsets[b + 1])
      refuse("the history of user " + std::to_string(b) + " is empty");
  }
  for (const int64_t item : histories.items) {
    if (item < 0 || item >= static_cast<int64_t>(histories.item_rows))
      refuse("item " + std::to_string(item) + " is not a row of the " +
             std::to_string(histories.item_rows) + " item vectors");
  }
  if (histories.user_rows == nullptr) return;
  const auto known = static_cast<int64_t>(model_.user_vectors());
  for (size_t b = 0; b < histories.users(); ++b) {
    const int64_t row = histories.user_rows[b];
    if (row < -1 || row >= known)
      refuse("user row " + std::to_string(row) + " is outside -1 to " + std::to_string(known - 1));
  }
}

void Recommender::check(const SearchPlan& plan) const {
  const RecommenderShape& shape = model_.shape();
  const TrieView& base = plan.catalog.base;
  if (base.levels != shape.levels() ||
      !std::ranges::equal(shape.level_sizes, std::span(base.level_sizes, base.levels)))
    refuse("the catalogue's levels are not the model's");
  if (plan.keep < 1 || plan.keep > plan.width) refuse("keep must be from 1 to width");
  if (!plan.nodes.empty() && (!shape.node_vectors || plan.nodes.size() != shape.levels()))
    refuse("node tables need a model with node vectors, and one table per level");
}

void Recommender::check(const PrefixBatch& batch, size_t users) const {
  const RecommenderShape& shape = model_.shape();
  if (batch.tokens >= shape.levels()) refuse("prefixes must be shorter than a Rec-ID");
  if (batch.prefixes.size() != batch.users.size() * batch.tokens)
    refuse("prefixes need one row per user row");
  for (const int64_t user : batch.users) {
    if (user < 0 || user >= static_cast<int64_t>(users))
      refuse("user " + std::to_string(user) + " is not a row of the memory");
  }
  for (size_t i = 0; i < batch.prefixes.size(); ++i) {
    const int64_t token = batch.prefixes[i];
    if (token < 0 || token >= int64_t{shape.level_sizes[i % batch.tokens]})
      refuse("token " + std::to_string(token) + " is outside its level");
  }
}

}  // namespace mmgrec
