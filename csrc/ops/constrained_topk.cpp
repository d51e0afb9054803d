#include "ops/constrained_topk.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "io/file.h"
#include "ops/beam_selection.h"
#include "parallel/pool.h"
#include "simd/dispatch.h"

namespace mmgrec {
namespace {

constexpr float kDead = -std::numeric_limits<float>::infinity();
// Candidates kept beyond those asked for, so that a few denied ones at the top need no second look.
constexpr size_t kSpare = 16;
// Beams of at most so many leaves each and together are scored leaf by leaf.
constexpr uint32_t kFewLeaves = 128;
constexpr size_t kFewLeavesTogether = 8192;

// What went wrong, kept until all threads are done: a body of `parallel_for` must not throw.
enum class Problem { none, range, nan, nodes, damaged };

// One thread's scratch: the children of the beam in hand.
struct Workspace {
  Children base;           // children in the base segment, or of both once merged
  Children added;          // children in the added segment
  Children merged;         // tokens and base starts of the union
  uint32_t* merged_added;  // added starts of the union
  float* x;                // logits, then scores
  float* level;            // all logits of a level
  uint32_t* found;
  float* leaves;  // logits of the leaves of all beams

  static size_t floats(size_t columns) {
    return 10 * (columns + kChildPadding) + kFewLeavesTogether;
  }
  explicit Workspace(size_t columns) {
    const size_t stride = columns + kChildPadding;
    float* memory = thread_scratch(floats(columns));
    const auto next = [&] { return std::exchange(memory, memory + stride); };
    const auto numbers = [&] { return reinterpret_cast<uint32_t*>(next()); };
    base = {numbers(), numbers()};
    added = {numbers(), numbers()};
    merged = {numbers(), numbers()};
    merged_added = numbers();
    x = next();
    level = next();
    found = numbers();
    leaves = memory;
  }
};

// The children of one beam. `added_starts` is null where no child has added leaves.
struct Siblings {
  size_t count = 0;
  const uint32_t* tokens = nullptr;
  const uint32_t* starts = nullptr;
  const uint32_t* added_starts = nullptr;

  Range base(size_t i) const { return {starts[i], starts[i + 1]}; }
  Range added(size_t i) const {
    return added_starts == nullptr ? Range{} : Range{added_starts[i], added_starts[i + 1]};
  }
};

// Union of two ascending lists of children; a child that one side lacks is an empty range there.
size_t merge(const Children& a, size_t a_count, const Children& b, size_t b_count, Children out,
             uint32_t* b_starts) {
  size_t i = 0, j = 0, count = 0;
  while (i < a_count || j < b_count) {
    const bool take_a = j == b_count || (i < a_count && a.tokens[i] <= b.tokens[j]);
    const bool take_b = i == a_count || (j < b_count && b.tokens[j] <= a.tokens[i]);
    out.tokens[count] = take_a ? a.tokens[i] : b.tokens[j];
    out.starts[count] = a.starts[i];
    b_starts[count++] = b.starts[j];
    i += take_a;
    j += take_b;
  }
  out.starts[count] = a.starts[a_count];
  b_starts[count] = b.starts[b_count];
  return count;
}

float difference_dot(const float* query, const double* from, const double* to, size_t width) {
  double sum = 0;
  for (size_t d = 0; d < width; ++d) sum += query[d] * (to[d] - from[d]);
  return static_cast<float>(sum);
}

// One user's step.
class UserStep {
 public:
  UserStep(const ConstrainedTopk& step, const StepKernels& kernels, size_t user)
      : step_(step),
        kernels_(kernels),
        user_(user),
        columns_(step.catalog.base.level_sizes[step.level]),
        work_(columns_) {}

  Problem run() {
    prefetch();
    const UserFilter* filter = step_.filters != nullptr ? step_.filters + user_ : nullptr;
    const bool listed = filter != nullptr && filter->base.kind == SegmentFilter::Kind::list;
    // Looking only at the best candidates is enough unless most of them are not allowed.
    BeamSelection& best = thread_selection();
    if (!listed) {
      best.reset(step_.keep + 1 + (filter != nullptr ? kSpare : 0));
      if (const Problem problem = expand_all(best, nullptr); problem != Problem::none)
        return problem;
      if (filter == nullptr || best.drop_denied(*filter, step_.keep + 1)) return write(best);
    }
    best.reset(step_.keep + 1);
    const Problem problem = expand_all(best, filter);
    return problem != Problem::none ? problem : write(best);
  }

 private:
  const Beam& beam(size_t m) const { return step_.from[user_ * step_.beams + m]; }

  void prefetch() const {
    const TrieView& base = step_.catalog.base;
    if (step_.level < base.dense_levels) return;
    const auto* tokens = static_cast<const char*>(base.tokens[step_.level]);
    const size_t bytes = base.level_sizes[step_.level] > 256 ? 2 : 1;
    for (size_t m = 0; m < step_.beams; ++m) __builtin_prefetch(tokens + beam(m).base.lo * bytes);
  }

  Problem expand_all(BeamSelection& best, const UserFilter* filter) {
    if (few_leaves()) return expand_leaves(best, filter);
    Problem problem = Problem::none;
    for (size_t m = 0; m < step_.beams && problem == Problem::none; ++m) {
      if (problem = check(beam(m)); problem == Problem::none && matters(beam(m), best)) {
        problem = expand(m, best, filter);
      }
    }
    return problem;
  }

  Problem check(const Beam& from) const {
    const CatalogView& catalog = step_.catalog;
    if (from.base.lo > from.base.hi || from.base.hi > catalog.base.items ||
        from.added.lo > from.added.hi || from.added.hi > catalog.added.items) {
      return Problem::range;
    }
    return std::isnan(from.score) ? Problem::nan : Problem::none;
  }

  // Everything below a beam scores at most as much as the beam itself.
  static bool matters(const Beam& from, const BeamSelection& best) {
    return !from.dead() && from.score != kDead && from.score >= best.least();
  }

  bool few_leaves() const {
    const CatalogView& catalog = step_.catalog;
    if (step_.level < catalog.base.dense_levels || catalog.added.items > 0 ||
        catalog.removed.count > 0 || step_.nodes.query != nullptr) {
      return false;
    }
    size_t together = 0;
    for (size_t m = 0; m < step_.beams; ++m) {
      const Range range = beam(m).base;
      if (range.lo > range.hi || range.hi > catalog.base.items) return false;
      if (range.hi - range.lo > kFewLeaves) return false;
      together += padded(range);
    }
    return together <= kFewLeavesTogether;
  }
  static size_t padded(Range range) { return (range.hi - range.lo + 15) / 16 * 16; }

  // Short ranges of packed tokens: leaves stand for children. All logits are fetched first, so that
  // the processor waits for many cache lines at a time.
  Problem expand_leaves(BeamSelection& best, const UserFilter* filter) {
    float* x = work_.leaves;
    for (size_t m = 0; m < step_.beams; ++m) {
      const Range range = beam(m).base;
      if (range.empty()) continue;
      if (!kernels_.gather_leaves(step_.catalog.base, step_.level, range, logits(m), x))
        return Problem::damaged;
      x += padded(range);
    }
    x = work_.leaves;
    for (size_t m = 0; m < step_.beams; ++m) {
      const Beam& from = beam(m);
      if (std::isnan(from.score)) return Problem::nan;
      const Range range = from.base;
      if (matters(from, best)) {
        const size_t count = range.hi - range.lo;
        const float log_total =
            step_.softmax_over_level ? level_total(logits(m)) : kernels_.log_sum_exp(x, count);
        if (!(log_total < std::numeric_limits<float>::infinity())) return Problem::nan;
        const size_t kept =
            kernels_.survivors(x, count, from.score, log_total, best.least(), work_.found);
        for (size_t k = 0; k < kept; ++k) {
          const uint32_t lo = range.lo + work_.found[k];
          offer(x[work_.found[k]], m, lo, best, filter);
        }
      }
      x += padded(range);
    }
    return Problem::none;
  }

  // The child that begins at the leaf `lo`.
  void offer(float score, size_t m, uint32_t lo, BeamSelection& best,
             const UserFilter* filter) const {
    if (score == kDead) return;
    const TrieView& base = step_.catalog.base;
    const auto token = [&](uint32_t leaf) {
      return base.wide(step_.level) ? uint32_t{base.words(step_.level)[leaf]}
                                    : uint32_t{base.bytes(step_.level)[leaf]};
    };
    uint32_t hi = lo + 1;
    while (hi < beam(m).base.hi && token(hi) == token(lo)) ++hi;
    offer({{lo, hi}, {}, score, static_cast<int32_t>(m), static_cast<int32_t>(token(lo))}, best,
          filter);
  }

  static void offer(const Beam& child, BeamSelection& best, const UserFilter* filter) {
    if (child.score == kDead || child.score < best.least()) return;
    if (filter != nullptr && !filter->allows_any(child.base, child.added)) return;
    best.push(child);
  }

  const float* logits(size_t m) const {
    return step_.logits + (user_ * step_.beams + m) * columns_;
  }

  float level_total(const float* logits) const {
    std::copy(logits, logits + columns_, work_.level);
    return kernels_.log_sum_exp(work_.level, columns_);
  }

  Problem expand(size_t m, BeamSelection& best, const UserFilter* filter) {
    const Beam& from = beam(m);
    Siblings children;
    if (!list(from, children)) return Problem::damaged;
    kernels_.gather(logits(m), children.tokens, children.count, work_.x);
    if (step_.nodes.query != nullptr && !add_node_terms(m, from, children)) return Problem::nodes;
    const float log_total = normaliser(logits(m), children);
    // Infinite logits would make a difference of infinities.
    if (!(log_total < std::numeric_limits<float>::infinity())) return Problem::nan;
    if (log_total == kDead) return Problem::none;
    const size_t kept = kernels_.survivors(work_.x, children.count, from.score, log_total,
                                           best.least(), work_.found);
    for (size_t k = 0; k < kept; ++k) {
      const uint32_t i = work_.found[k];
      offer({children.base(i), children.added(i), work_.x[i], static_cast<int32_t>(m),
             static_cast<int32_t>(children.tokens[i])},
            best, filter);
    }
    return Problem::none;
  }

  bool list(const Beam& from, Siblings& children) const {
    const CatalogView& catalog = step_.catalog;
    size_t count = kernels_.list_children(catalog.base, step_.level, from.base, work_.base);
    if (count == kDamaged) return false;
    children = {count, work_.base.tokens, work_.base.starts, nullptr};
    if (catalog.added.items == 0) return true;
    const size_t more = kernels_.list_children(catalog.added, step_.level, from.added, work_.added);
    if (more == kDamaged) return false;
    count = merge(work_.base, count, work_.added, more, work_.merged, work_.merged_added);
    children = {count, work_.merged.tokens, work_.merged.starts, work_.merged_added};
    return true;
  }

  // Turns children without a leaf left into dead ones. Called after the level's own logits of such
  // tokens are no longer needed.
  void bury(const Siblings& children) const {
    const RankSet& removed = step_.catalog.removed;
    const Range all{children.starts[0], children.starts[children.count]};
    if (removed.inside(all) == 0) return;
    for (size_t i = 0; i < children.count; ++i) {
      const Range base = children.base(i);
      if (children.added(i).empty() && removed.inside(base) == base.hi - base.lo)
        work_.x[i] = kDead;
    }
  }

  float normaliser(const float* logits, const Siblings& children) const {
    bury(children);
    if (!step_.softmax_over_level) {
      // The sum overwrites nothing but padding.
      return kernels_.log_sum_exp(work_.x, children.count);
    }
    std::copy(logits, logits + columns_, work_.level);
    for (size_t i = 0; i < children.count; ++i) {
      if (work_.x[i] != kDead) work_.level[children.tokens[i]] = work_.x[i];
    }
    return kernels_.log_sum_exp(work_.level, columns_);
  }

  // Adds query . mean item vector of every child. Children with base leaves are consecutive nodes.
  bool add_node_terms(size_t m, const Beam& from, const Siblings& children) const {
    const NodeTables& nodes = step_.nodes;
    const float* query = nodes.query + (user_ * step_.beams + m) * nodes.width;
    const int64_t* end = nodes.starts + nodes.nodes;
    const auto first = static_cast<size_t>(
        std::lower_bound(nodes.starts, end, int64_t{from.base.lo}) - nodes.starts);
    const bool changed = !from.added.empty() || step_.catalog.removed.inside(from.base) > 0;
    if (!changed) {
      if (first + children.count > nodes.nodes) return children.count == 0;
      kernels_.add_dots(query, nodes.vectors + first * nodes.width, children.count, nodes.width,
                        work_.x);
      return true;
    }
    return add_changed_terms(query, first, children);
  }

  // With edits below: mean = (sum of base leaves - sum of gone ones + sum of added ones) / number.
  bool add_changed_terms(const float* query, size_t node, const Siblings& children) const {
    const NodeTables& nodes = step_.nodes;
    const RankSet& removed = step_.catalog.removed;
    for (size_t i = 0; i < children.count; ++i) {
      const Range base = children.base(i), added = children.added(i);
      const Range gone{removed.below(base.lo), removed.below(base.hi)};
      float sum = 0;
      if (!base.empty()) {
        if (node >= nodes.nodes) return false;
        kernels_.add_dots(query, nodes.vectors + node++ * nodes.width, 1, nodes.width, &sum);
        sum *= static_cast<float>(base.hi - base.lo);
      }
      sum -= range_dot(query, nodes.removed_sums, gone);
      sum += range_dot(query, nodes.added_sums, added);
      const uint32_t live = base.hi - base.lo - (gone.hi - gone.lo) + (added.hi - added.lo);
      if (live > 0) work_.x[i] += sum / static_cast<float>(live);
    }
    return true;
  }

  float range_dot(const float* query, const double* sums, Range range) const {
    const size_t width = step_.nodes.width;
    if (range.empty() || sums == nullptr) return 0;
    return difference_dot(query, sums + range.lo * width, sums + range.hi * width, width);
  }

  Problem write(BeamSelection& best) const {
    best.sort();
    const size_t kept = std::min(step_.keep, best.size());
    Beam* out = step_.out + user_ * step_.keep;
    for (size_t i = 0; i < kept; ++i) out[i] = best[i];
    for (size_t i = kept; i < step_.keep; ++i) out[i] = Beam{{}, {}, kDead, 0, 0};
    step_.best_pruned[user_] = best.size() > step_.keep ? best[step_.keep].score : kDead;
    return Problem::none;
  }

  const ConstrainedTopk& step_;
  const StepKernels& kernels_;
  size_t user_;
  size_t columns_;
  Workspace work_;
};

[[noreturn]] void raise(Problem problem) {
  switch (problem) {
    case Problem::range:
      throw std::invalid_argument("a beam's range lies outside the catalogue");
    case Problem::nodes:
      throw std::invalid_argument("node tables do not fit the trie");
    case Problem::damaged:
      throw DamagedFile("the trie is damaged: its tokens do not ascend below their level's size");
    default:
      throw std::invalid_argument("beam scores, logits or node vectors hold NaN or infinity");
  }
}

}  // namespace

void constrained_topk(const ConstrainedTopk& step, unsigned threads, const Kernels* kernels) {
  const StepKernels& inner = (kernels != nullptr ? *kernels : best_kernels()).step;
  std::atomic<Problem> problem{Problem::none};
  parallel_for(step.users, threads, [&](size_t user) {
    const Problem found = UserStep(step, inner, user).run();
    if (found != Problem::none) problem = found;
  });
  if (problem != Problem::none) raise(problem);
}

}  // namespace mmgrec
