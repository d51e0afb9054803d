#include "ops/constrained_topk.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

namespace mmgrec {
namespace {

constexpr float kDead = -std::numeric_limits<float>::infinity();

struct Child {
  float score;
  int32_t parent;
  int32_t token;
  Range range;
};

// Best first; equal scores in leaf order, so that results do not depend on the order of expansion.
bool better(const Child& a, const Child& b) {
  return a.score != b.score ? a.score > b.score : a.range.lo < b.range.lo;
}

size_t count_inside(const RankLists& lists, size_t user, Range range) {
  const int64_t* begin = lists.ranks + lists.offsets[user];
  const int64_t* end = lists.ranks + lists.offsets[user + 1];
  const int64_t* lo = std::lower_bound(begin, end, int64_t{range.lo});
  return static_cast<size_t>(std::lower_bound(lo, end, int64_t{range.hi}) - lo);
}

bool denied(const RankLists& deny, size_t user, int64_t rank) {
  const int64_t* end = deny.ranks + deny.offsets[user + 1];
  return std::binary_search(deny.ranks + deny.offsets[user], end, rank);
}

// Is any leaf of the range allowed?
bool allowed(const ConstrainedTopk& step, size_t user, Range range) {
  const bool listed = step.allow.ranks != nullptr && step.allow_all[user] == 0;
  if (!listed) {
    return step.deny.ranks == nullptr || count_inside(step.deny, user, range) < range.hi - range.lo;
  }
  const int64_t* end = step.allow.ranks + step.allow.offsets[user + 1];
  const int64_t* at =
      std::lower_bound(step.allow.ranks + step.allow.offsets[user], end, int64_t{range.lo});
  for (; at != end && *at < range.hi; ++at) {
    if (step.deny.ranks == nullptr || !denied(step.deny, user, *at)) return true;
  }
  return false;
}

float dot(const float* a, const float* b, size_t n) {
  float sum = 0;
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// Scratch of one call, reused over all beams of all users.
struct Workspace {
  std::vector<Child> siblings;    // children of the beam in hand; score holds the logit
  std::vector<Child> candidates;  // allowed children of all beams of the user in hand
  std::vector<float> level;       // logits of the whole level, node terms added
};

template <class Values, class ValueOf>
float log_sum_exp(const Values& values, ValueOf value_of) {
  float top = kDead;
  for (const auto& entry : values) top = std::max(top, value_of(entry));
  if (top == kDead) return kDead;
  double sum = 0;
  for (const auto& entry : values) sum += std::exp(value_of(entry) - top);
  return top + static_cast<float>(std::log(sum));
}

void list_children(const ConstrainedTopk& step, size_t user, size_t beam, Workspace& work) {
  const size_t at = user * step.beams + beam;
  const Range range{static_cast<uint32_t>(step.lo[at]), static_cast<uint32_t>(step.hi[at])};
  const size_t columns = step.trie->level_size(step.level);
  const float* logits = step.logits + at * columns;
  const int64_t* node = nullptr;
  if (step.node_vectors != nullptr) {
    const int64_t* end = step.node_starts + step.nodes;
    node = std::lower_bound(step.node_starts, end, int64_t{range.lo});
  }
  work.siblings.clear();
  step.trie->for_each_child(range, step.level, [&](uint32_t token, Range child) {
    float logit = logits[token];
    if (node != nullptr) {
      // Children are consecutive nodes of their level.
      const size_t row = static_cast<size_t>(node++ - step.node_starts);
      if (row >= step.nodes) throw std::invalid_argument("node tables do not fit the trie");
      logit += dot(step.node_query + at * step.node_width,
                   step.node_vectors + row * step.node_width, step.node_width);
    }
    if (std::isnan(logit)) throw std::invalid_argument("logits or node vectors hold NaN");
    work.siblings.push_back(
        {logit, static_cast<int32_t>(beam), static_cast<int32_t>(token), child});
  });
}

float normaliser(const ConstrainedTopk& step, size_t user, size_t beam, Workspace& work) {
  if (!step.softmax_over_level) {
    return log_sum_exp(work.siblings, [](const Child& child) { return child.score; });
  }
  const size_t columns = step.trie->level_size(step.level);
  const float* logits = step.logits + (user * step.beams + beam) * columns;
  work.level.assign(logits, logits + columns);
  for (const Child& child : work.siblings) work.level[child.token] = child.score;
  return log_sum_exp(work.level, [](float logit) { return logit; });
}

void expand(const ConstrainedTopk& step, size_t user, size_t beam, Workspace& work) {
  const size_t at = user * step.beams + beam;
  const int64_t items = static_cast<int64_t>(step.trie->num_items());
  if (step.lo[at] < 0 || step.hi[at] < step.lo[at] || step.hi[at] > items) {
    throw std::invalid_argument("a beam's range lies outside the catalogue");
  }
  if (step.lo[at] == step.hi[at] || step.scores[at] == kDead) return;
  list_children(step, user, beam, work);
  const float log_total = normaliser(step, user, beam, work);
  for (Child child : work.siblings) {
    child.score = step.scores[at] + std::min(child.score - log_total, 0.0f);  // keeps a NaN
    if (std::isnan(child.score)) throw std::invalid_argument("beam scores or logits hold NaN");
    if (child.score > kDead && allowed(step, user, child.range)) work.candidates.push_back(child);
  }
}

void write_best(const ConstrainedTopk& step, size_t user, std::vector<Child>& candidates) {
  const size_t kept = std::min(step.keep, candidates.size());
  const auto middle = candidates.begin() + static_cast<std::ptrdiff_t>(kept);
  std::partial_sort(candidates.begin(), middle, candidates.end(), better);
  float best_pruned = kDead;
  for (auto it = middle; it != candidates.end(); ++it)
    best_pruned = std::max(best_pruned, it->score);
  step.out_best_pruned[user] = best_pruned;
  for (size_t i = 0; i < step.keep; ++i) {
    const Child child = i < kept ? candidates[i] : Child{kDead, 0, 0, {}};
    const size_t at = user * step.keep + i;
    step.out_scores[at] = child.score;
    step.out_parents[at] = child.parent;
    step.out_tokens[at] = child.token;
    step.out_lo[at] = child.range.lo;
    step.out_hi[at] = child.range.hi;
  }
}

}  // namespace

void constrained_topk(const ConstrainedTopk& step) {
  Workspace work;
  for (size_t user = 0; user < step.users; ++user) {
    work.candidates.clear();
    for (size_t beam = 0; beam < step.beams; ++beam) expand(step, user, beam, work);
    write_best(step, user, work.candidates);
  }
}

}  // namespace mmgrec
