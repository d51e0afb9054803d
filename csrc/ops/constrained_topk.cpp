#include "ops/constrained_topk.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "io/file.h"
#include "ops/beam_children.h"
#include "ops/beam_selection.h"
#include "ops/step_batch.h"
#include "parallel/pool.h"
#include "simd/dispatch.h"

namespace mmgrec {
namespace {

constexpr float kDead = -std::numeric_limits<float>::infinity();
// Candidates kept beyond those asked for, so that a few denied ones at the top need no second look.
constexpr size_t kSpare = 16;

// What went wrong, kept until all threads are done: a body of `parallel_for` must not throw.
enum class Problem { none, range, nan, nodes, damaged };

// One user's step.
class UserStep {
 public:
  UserStep(const ConstrainedTopk& step, const StepKernels& kernels, size_t user)
      : step_(step),
        kernels_(kernels),
        terms_(step, kernels),
        user_(user),
        columns_(step.catalog.base.level_sizes[step.level]),
        batch_(columns_, step.catalog.added.items > 0) {
    const CatalogView& catalog = step.catalog;
    leaf_by_leaf_ = step.level >= catalog.base.dense_levels && catalog.added.items == 0 &&
                    catalog.removed.count == 0 && step.nodes.query == nullptr;
  }

  Problem run() {
    for (size_t m = 0; m < step_.beams; ++m) {
      if (const Problem problem = check(beam(m)); problem != Problem::none) return problem;
    }
    prefetch_tokens(user_ + 1);
    const UserFilter* filter = step_.filters != nullptr ? step_.filters + user_ : nullptr;
    const bool listed = filter != nullptr && filter->base.kind == SegmentFilter::Kind::list;
    // Looking only at the best candidates is enough unless most of them are not allowed.
    BeamSelection& best = thread_selection();
    if (!listed) {
      best.reset(step_.keep + 1 + (filter != nullptr ? kSpare : 0), kernels_);
      if (const Problem problem = expand_all(best, nullptr); problem != Problem::none)
        return problem;
      if (filter == nullptr || best.drop_denied(*filter, step_.keep + 1)) return write(best);
    }
    best.reset(step_.keep + 1, kernels_);
    const Problem problem = expand_all(best, filter);
    return problem != Problem::none ? problem : write(best);
  }

 private:
  const Beam& beam(size_t m) const { return step_.from[user_ * step_.beams + m]; }
  const float* logits(size_t m) const {
    return step_.logits + (user_ * step_.beams + m) * columns_;
  }

  Problem check(const Beam& from) const {
    const CatalogView& catalog = step_.catalog;
    if (from.base.lo > from.base.hi || from.base.hi > catalog.base.items ||
        from.added.lo > from.added.hi || from.added.hi > catalog.added.items) {
      return Problem::range;
    }
    return std::isnan(from.score) ? Problem::nan : Problem::none;
  }

  // Tokens of the next user's beams; this user's were fetched a user ago. And while this user's
  // candidates are scored, the cache lines of the next one's logits come in.
  void prefetch_tokens(size_t user) const {
    const TrieView& base = step_.catalog.base;
    if (user >= step_.users || step_.level < base.dense_levels) return;
    const auto* tokens = static_cast<const char*>(base.tokens[step_.level]);
    const size_t bytes = base.wide(step_.level) ? 2 : 1;
    const Beam* beams = step_.from + user * step_.beams;
    for (size_t m = 0; m < step_.beams; ++m) __builtin_prefetch(tokens + beams[m].base.lo * bytes);
  }
  template <class Token>
  void prefetch_logits(size_t user, const Token* tokens) const {
    if (user >= step_.users || !leaf_by_leaf_) return;
    const Beam* beams = step_.from + user * step_.beams;
    const float* row = step_.logits + user * step_.beams * columns_;
    for (size_t m = 0; m < step_.beams; ++m, row += columns_) {
      const Range range = beams[m].base;
      if (range.hi > step_.catalog.base.items || range.hi - range.lo > kFewLeaves) continue;
      for (uint32_t leaf = range.lo; leaf < range.hi; ++leaf)
        __builtin_prefetch(row + tokens[leaf]);
    }
  }

  void prefetch_next() const {
    const TrieView& base = step_.catalog.base;
    base.wide(step_.level) ? prefetch_logits(user_ + 1, base.words(step_.level))
                           : prefetch_logits(user_ + 1, base.bytes(step_.level));
  }

  // Everything below a beam scores at most as much as the beam itself.
  static bool matters(const Beam& from, const BeamSelection& best) {
    return !from.dead() && from.score != kDead && from.score >= best.least();
  }

  // Batch by batch, so that later ones know what still matters.
  Problem expand_all(BeamSelection& best, const UserFilter* filter) {
    Problem problem = Problem::none;
    for (size_t m = 0; m < step_.beams;) {
      batch_.clear();
      for (; m < step_.beams && !batch_.full(); ++m) {
        if (!matters(beam(m), best)) continue;
        if (problem = append(m); problem != Problem::none) return problem;
      }
      if (batch_.segments == 0) continue;
      if (m == step_.beams) prefetch_next();
      if (problem = score(best, filter); problem != Problem::none) return problem;
    }
    return Problem::none;
  }

  Problem append(size_t m) {
    const Beam& from = beam(m);
    const Range range = from.base;
    if (!leaf_by_leaf_ || range.hi - range.lo > kFewLeaves) return append_children(m);
    float* x = batch_.next_x();
    if (!kernels_.gather_leaves(step_.catalog.base, step_.level, range, logits(m), x))
      return Problem::damaged;
    if (step_.softmax_over_level) batch_.totals[batch_.segments] = level_total(m, {}, x);
    batch_.append(static_cast<uint32_t>(m), from.score, false, range.hi - range.lo);
    return Problem::none;
  }

  Problem append_children(size_t m) {
    const Beam& from = beam(m);
    Siblings children;
    if (!list(from, children)) return Problem::damaged;
    float* x = batch_.next_x();
    kernels_.gather(logits(m), children.tokens, children.count, x);
    const NodeTables& nodes = step_.nodes;
    if (nodes.query != nullptr &&
        !terms_.add_nodes(nodes.query + (user_ * step_.beams + m) * nodes.width, from, children, x))
      return Problem::nodes;
    terms_.bury(children, x);
    if (step_.softmax_over_level) batch_.totals[batch_.segments] = level_total(m, children, x);
    // One start more than there are children.
    const size_t used = children.count + 1;
    for (size_t i = children.count; i % kSegment != 0 || i < used; ++i) x[i] = kDead;
    batch_.append(static_cast<uint32_t>(m), from.score, true, used);
    return Problem::none;
  }

  bool list(const Beam& from, Siblings& children) const {
    const CatalogView& catalog = step_.catalog;
    const size_t at = batch_.size();
    const Children out{batch_.tokens + at, batch_.starts + at};
    children = {0, out.tokens, out.starts, nullptr};
    if (catalog.added.items == 0) {
      children.count = kernels_.list_children(catalog.base, step_.level, from.base, out);
      return children.count != kDamaged;
    }
    const size_t count = kernels_.list_children(catalog.base, step_.level, from.base, batch_.base);
    const size_t more =
        kernels_.list_children(catalog.added, step_.level, from.added, batch_.added);
    if (count == kDamaged || more == kDamaged) return false;
    uint32_t* added_starts = batch_.added_starts + at;
    children.count = merge(batch_.base, count, batch_.added, more, out, added_starts);
    children.added_starts = added_starts;
    return true;
  }

  // Over the whole level, in which children count with all that was added to their logits.
  float level_total(size_t m, const Siblings& children, const float* x) const {
    std::copy(logits(m), logits(m) + columns_, batch_.level);
    for (size_t i = 0; i < children.count; ++i) {
      if (x[i] != kDead) batch_.level[children.tokens[i]] = x[i];
    }
    return kernels_.log_sum_exp(batch_.level, columns_);
  }

  // From logits to survivors.
  //
  //   the best of each of many groups of candidates are candidates too, so the `wanted`-th best of
  //   them is a threshold before a single candidate has been looked at
  Problem score(BeamSelection& best, const UserFilter* filter) {
    const StepBatch& b = batch_;
    if (!step_.softmax_over_level) kernels_.log_totals(b.x, b.begins, b.segments, b.totals);
    bool finite = true;
    for (size_t s = 0; s < b.segments; ++s) {
      // Infinite logits would make a difference of infinities, and so would children all gone.
      finite &= b.totals[s] < std::numeric_limits<float>::infinity();
      if (b.totals[s] == kDead) b.totals[s] = 0;
    }
    if (!finite) return Problem::nan;
    const size_t groups =
        std::clamp(std::bit_ceil(2 * best.wanted()), kSegment, StepBatch::kMostGroups);
    kernels_.score(b.x, b.begins, b.segments, b.scores, b.totals, b.groups, groups);
    // With the filter asked first, a group's best may be nobody's.
    if (filter == nullptr && best.wanted() <= groups) {
      const float least = kernels_.threshold(b.groups, groups, best.wanted());
      if (least > kDead) best.raise_least(least);
    }
    return collect(best, filter);
  }

  Problem collect(BeamSelection& best, const UserFilter* filter) const {
    const StepBatch& b = batch_;
    const size_t kept = kernels_.survivors(b.x, b.size(), best.least(), b.found);
    for (size_t k = 0; k < kept; ++k) {
      const uint32_t at = b.found[k];
      if (b.x[at] == kDead || b.x[at] < best.least()) continue;
      const size_t s = b.owners[at / kSegment];
      Beam& child = best.slot();
      child.score = b.x[at];
      child.parent = static_cast<int32_t>(b.beams[s]);
      b.listed[s] != 0 ? put_child(at, child) : put_leaf(s, at, child);
      if (filter == nullptr || filter->allows_any(child.base, child.added)) best.take();
    }
    return Problem::none;
  }

  void put_child(uint32_t at, Beam& child) const {
    const StepBatch& b = batch_;
    child.base = {b.starts[at], b.starts[at + 1]};
    child.added = {};
    if (b.added_starts != nullptr) child.added = {b.added_starts[at], b.added_starts[at + 1]};
    child.token = static_cast<int32_t>(b.tokens[at]);
  }

  // The child that begins at a leaf.
  void put_leaf(size_t s, uint32_t at, Beam& child) const {
    const TrieView& base = step_.catalog.base;
    const Range range = beam(batch_.beams[s]).base;
    const uint32_t lo = range.lo + (at - batch_.begins[s]);
    base.wide(step_.level) ? put_run(base.words(step_.level), lo, range.hi, child)
                           : put_run(base.bytes(step_.level), lo, range.hi, child);
  }
  template <class Token>
  static void put_run(const Token* tokens, uint32_t lo, uint32_t end, Beam& child) {
    uint32_t hi = lo + 1;
    while (hi < end && tokens[hi] == tokens[lo]) ++hi;
    child.base = {lo, hi};
    child.added = {};
    child.token = tokens[lo];
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
  const ChildTerms terms_;
  size_t user_;
  size_t columns_;
  StepBatch batch_;
  bool leaf_by_leaf_ = false;
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
  // Some users at a time: one prefetches for the next.
  const size_t block = std::clamp<size_t>(step.users / (4 * std::max(threads, 1u)), 1, 16);
  parallel_for((step.users + block - 1) / block, threads, [&](size_t b) {
    for (size_t user = b * block; user < std::min((b + 1) * block, step.users); ++user) {
      const Problem found = UserStep(step, inner, user).run();
      if (found != Problem::none) problem = found;
    }
  });
  if (problem != Problem::none) raise(problem);
}

}  // namespace mmgrec
