#include "recommender/recommender.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "parallel/pool.h"

namespace mmgrec {
namespace {

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
  parallel_for(histories.users(), stages != nullptr ? 1 : threads, [&](size_t user) {
    Carver cut(thread_arena(count.bytes()));
    UserSearch search(cut, model_, sized);
    const LinearScope scope(model_.linear());
    search.run(context, sized, histories.of(user), filters != nullptr ? filters + user : nullptr,
               results[user]);
  });
}

EncodedUsers::EncodedUsers(const Model& model, const HistoryBatch& histories) : model_(&model) {
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
  parallel_for(histories.users(), threads, [&](size_t user) {
    Carver cut(thread_arena(count.bytes()));
    const LinearScope scope(model_.linear());
    Encoder(cut, model_, longest).encode({model_}, histories.of(user), encoded->of(user));
  });
  return encoded;
}

void Recommender::decode(const EncodedUsers& memory, const PrefixBatch& batch, float* logits,
                         float* query, unsigned threads) const {
  if (&memory.model() != &model_) refuse("the memory is another recommender's");
  check(batch, memory.users());
  const std::vector<size_t> starts = prefix_runs(batch);
  const size_t columns = model_.shape().level_sizes[batch.tokens];
  const size_t width = model_.shape().item_width;
  parallel_for(starts.size() - 1, threads, [&](size_t run) {
    const size_t first = starts[run];
    const UserMemory& user = memory.of(static_cast<size_t>(batch.users[first]));
    const LinearScope scope(model_.linear());
    decode_prefixes(model_, user, batch, first, starts[run + 1], logits + first * columns,
                    query != nullptr ? query + first * width : nullptr);
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
