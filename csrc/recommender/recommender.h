// The whole recommender as one call: histories in, items, scores and certificates out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "recommender/model.h"
#include "recommender/prefixes.h"
#include "recommender/search.h"
#include "recommender/stages.h"

namespace mmgrec {

// Histories of a batch, one after the other.
struct HistoryBatch {
  const float* item_vectors = nullptr;  // [S, D]
  size_t item_rows = 0;                 // S
  std::span<const int64_t> items;
  std::span<const int64_t> offsets;    // [B + 1]
  const int64_t* user_rows = nullptr;  // [B] rows of the model's user vectors, -1 for none; or null

  size_t users() const { return offsets.size() - 1; }
  History of(size_t user) const;
  size_t longest() const;
};

// Histories encoded for `decode`.
class EncodedUsers {
 public:
  EncodedUsers(const Model& model, const HistoryBatch& histories);
  size_t users() const { return memories_.size(); }
  const UserMemory& of(size_t user) const { return memories_[user]; }
  const Model& model() const { return *model_; }  // that encoded them

 private:
  const Model* model_;
  Slab slab_;
  std::vector<UserMemory> memories_;
};

class Recommender {
 public:
  Recommender(RecommenderShape shape, const Weights& weights,
              const Kernels& kernels = best_kernels(), const std::string& precision = "fp32");
  Recommender(RecommenderShape shape, const Weights& weights, const Kernels& kernels,
              Precision precision);

  // Users side by side on up to `threads` threads. Throws std::invalid_argument on histories that
  // are empty or name no item or user, and on a catalogue or node tables of another shape; and what
  // constrained_topk throws. `stages`, for one thread, collects where the time goes.
  void recommend(const SearchPlan& plan, const HistoryBatch& histories, const UserFilter* filters,
                 std::span<const UserResult> results, unsigned threads,
                 Stages* stages = nullptr) const;

  std::unique_ptr<EncodedUsers> encode(const HistoryBatch& histories, unsigned threads) const;

  // Logits [P, K_t] of the level after t tokens and, where the head has node vectors, queries
  // [P, D] (else null). Throws std::invalid_argument on users or tokens out of range.
  void decode(const EncodedUsers& memory, const PrefixBatch& batch, float* logits, float* query,
              unsigned threads) const;

  const Model& model() const { return model_; }

 private:
  void check(const HistoryBatch& histories) const;
  void check(const SearchPlan& plan) const;
  void check(const PrefixBatch& batch, size_t users) const;

  Model model_;
};

}  // namespace mmgrec
