#include "search/beams.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace mmgrec {

Beams::Beams(const Catalog& catalog, size_t users, size_t width)
    : catalog_(catalog.view()),
      users_(users),
      width_(width),
      now_(users * width),
      next_(users * width),
      prefix_(users * width * catalog_.base.levels),
      next_prefix_(prefix_.size()),
      best_pruned_(users),
      pruned_(users) {
  if (width == 0) throw std::invalid_argument("a search needs at least one beam");
  begin(nullptr);
}

void Beams::begin(const UserFilter* filters) {
  filters_ = filters;
  level_ = 0;
  const Beam all{{0, catalog_.base.items}, {0, catalog_.added.items}};
  std::fill_n(now_.begin(), users_, all);
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
  step.from = now_.data();
  step.logits = logits;
  step.softmax_over_level = softmax_over_level;
  step.nodes = nodes;
  step.filters = filters_;
  step.out = next_.data();
  step.best_pruned = pruned_.data();
  constrained_topk(step, threads);
  now_.swap(next_);
  extend_prefixes(step.beams);
  for (size_t b = 0; b < users_; ++b) best_pruned_[b] = std::max(best_pruned_[b], pruned_[b]);
}

void Beams::extend_prefixes(size_t beams_before) {
  for (size_t b = 0; b < users_; ++b) {
    for (size_t m = 0; m < width_; ++m) {
      const Beam& beam = now_[b * width_ + m];
      const auto parent = static_cast<size_t>(beam.parent);
      const int64_t* from = prefix_.data() + (b * beams_before + parent) * level_;
      int64_t* to = next_prefix_.data() + (b * width_ + m) * (level_ + 1);
      // A few numbers: a call would take longer.
      for (size_t t = 0; t < level_; ++t) to[t] = from[t];
      to[level_] = beam.token;
    }
  }
  prefix_.swap(next_prefix_);
  ++level_;
}

}  // namespace mmgrec
