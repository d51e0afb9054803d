#include "search/beams.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace mmgrec {

Beams::Beams(const Catalog& catalog, size_t users, size_t width)
    : catalog_(catalog.view()),
      users_(users),
      width_(width),
      reached_(catalog_.base.levels + 1),
      best_pruned_(users),
      pruned_(users) {
  if (width == 0) throw std::invalid_argument("a search needs at least one beam");
  reached_[0].resize(users);
  for (size_t level = 1; level < reached_.size(); ++level) reached_[level].resize(users * width);
  begin(nullptr);
}

void Beams::begin(const UserFilter* filters) {
  filters_ = filters;
  level_ = 0;
  const Beam all{{0, catalog_.base.items}, {0, catalog_.added.items}};
  std::ranges::fill(reached_[0], all);
  std::ranges::fill(best_pruned_, -std::numeric_limits<float>::infinity());
}

void Beams::step(const float* logits, bool softmax_over_level, const NodeTables& nodes,
                 unsigned threads) {
  if (level_ == catalog_.base.levels) throw std::invalid_argument("the search is at its end");
  ConstrainedTopk step;
  step.catalog = catalog_;
  step.level = level_;
  step.users = users_;
  step.beams = beams();
  step.keep = width_;
  step.from = reached_[level_].data();
  step.logits = logits;
  step.softmax_over_level = softmax_over_level;
  step.nodes = nodes;
  step.filters = filters_;
  step.out = reached_[level_ + 1].data();
  step.best_pruned = pruned_.data();
  constrained_topk(step, threads);
  ++level_;
  for (size_t b = 0; b < users_; ++b) best_pruned_[b] = std::max(best_pruned_[b], pruned_[b]);
}

std::vector<int64_t> Beams::prefixes() const {
  std::vector<int64_t> tokens(users_ * beams() * level_);
  int64_t* to = tokens.data();
  for (size_t i = 0; i < users_ * beams(); ++i, to += level_) {
    size_t at = i;
    for (size_t level = level_; level > 0; --level) {
      const Beam& beam = reached_[level][at];
      to[level - 1] = beam.token;
      at = i / width_ * width_ + static_cast<size_t>(beam.parent);
    }
  }
  return tokens;
}

}  // namespace mmgrec
