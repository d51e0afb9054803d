#include "recommender/search.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace mmgrec {
namespace {

std::byte* take_memory(Carver& cut, const Model& model, size_t longest) {
  Carver count;
  UserMemory(count, model, longest);
  return cut.take<std::byte>(count.bytes());
}

}  // namespace

UserSearch::UserSearch(Carver& cut, const Model& model, const SearchPlan& plan)
    : memory_(take_memory(cut, model, plan.longest)),
      encoder_(cut, model, plan.longest),
      decoder_(cut, model, plan.width, plan.longest) {
  const RecommenderShape& shape = model.shape();
  logits_ = cut.take<float>(plan.width * std::ranges::max(shape.level_sizes));
  query_ = plan.nodes.empty() ? nullptr : cut.take<float>(plan.width * shape.item_width);
  beams_ = cut.take<Beam>(plan.width);
  next_ = cut.take<Beam>(plan.width);
}

void UserSearch::run(const Context& context, const SearchPlan& plan, const History& history,
                     const UserFilter* filter, const UserResult& result) {
  context.begin();
  // Steps 4 and 5 of docs/architecture.md: the history, once.
  Carver cut(memory_);
  const UserMemory memory(cut, context.model, history.items.size());
  encoder_.encode(context, history, memory);

  // Step 6: one level per turn.
  decoder_.begin();
  beams_[0] = Beam{{0, plan.catalog.base.items}, {0, plan.catalog.added.items}};
  alive_ = beams_[0].dead() ? 0 : 1;
  best_pruned_ = -std::numeric_limits<float>::infinity();
  while (alive_ > 0) {
    decoder_.step(context, memory);
    decoder_.head(context, memory, logits_, query_);
    expand(context, plan, filter);
    if (decoder_.level() + 1 == context.shape().levels()) break;
    decoder_.grow(alive_, [&](size_t m) { return std::pair(beams_[m].parent, beams_[m].token); });
  }
  // Step 7: the certificate, and single leaves.
  write(plan, result);
  context.lap(Stages::at(decoder_.level(), Stages::kTrie));
}

// The best children of all beams become the beams. Those come first; dead ones fill up.
void UserSearch::expand(const Context& context, const SearchPlan& plan, const UserFilter* filter) {
  ConstrainedTopk step;
  step.catalog = plan.catalog;
  step.level = decoder_.level();
  step.users = 1;
  step.beams = alive_;
  step.keep = plan.width;
  step.from = beams_;
  step.logits = logits_;
  step.softmax_over_level = context.shape().softmax_over_level;
  if (query_ != nullptr) {
    const LevelNodes& level = plan.nodes[step.level];
    step.nodes = {
        query_,          level.vectors,    level.starts, level.nodes, context.shape().item_width,
        plan.added_sums, plan.removed_sums};
  }
  step.filters = filter;
  step.out = next_;
  float pruned;
  step.best_pruned = &pruned;
  constrained_topk(step, 1, &context.model.kernels());
  best_pruned_ = std::max(best_pruned_, pruned);
  std::swap(beams_, next_);
  const auto dead = [](const Beam& beam) { return beam.dead(); };
  alive_ = static_cast<size_t>(std::find_if(beams_, beams_ + plan.width, dead) - beams_);
  context.lap(Stages::at(step.level, Stages::kTrie));
}

// Where a single item has a leaf in both segments, the one in the base is gone.
void UserSearch::write(const SearchPlan& plan, const UserResult& result) const {
  for (size_t i = 0; i < plan.keep; ++i) {
    const bool found = i < alive_;
    const Beam& beam = beams_[i];
    result.leaves[i] = !found               ? -1
                       : beam.added.empty() ? int64_t{beam.base.lo}
                                            : int64_t{plan.catalog.base.items} + beam.added.lo;
    result.scores[i] = found ? beam.score : -std::numeric_limits<float>::infinity();
  }
  *result.certified = result.scores[plan.keep - 1] >= best_pruned_;
}

}  // namespace mmgrec
