#include "ops/constrained_topk.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

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
constexpr size_t kSpare = 8;

// What went wrong with a user; thrown once the loop over users has ended.
enum class Problem { none, range, nan, nodes, damaged };

// One user's step.
class UserStep {
 public:
  UserStep(const ConstrainedTopk& step, const StepKernels& kernels, StepBatch& batch, size_t user)
      : step_(step),
        kernels_(kernels),
        terms_(step, kernels),
        user_(user),
        columns_(columns(step)),
        batch_(batch) {
    const CatalogView& catalog = step.catalog;
    leaf_by_leaf_ = step.level >= catalog.base.dense_levels && catalog.added.items == 0 &&
                    catalog.removed.count == 0 && step.nodes.query == nullptr;
  }

  static size_t columns(const ConstrainedTopk& step) {
    return step.catalog.base.level_sizes[step.level];
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

  // Tokens of the next user's beams; this user's were fetched a user ago.
  void prefetch_tokens(size_t user) const {
    const TrieView& base = step_.catalog.base;
    if (user >= step_.users || step_.level < base.dense_levels) return;
    const auto* tokens = static_cast<const char*>(base.tokens[step_.level]);
    const size_t bytes = base.wide(step_.level) ? 2 : 1;
    const Beam* beams = step_.from + user * step_.beams;
    for (size_t m = 0; m < step_.beams; ++m) __builtin_prefetch(tokens + beams[m].base.lo * bytes);
  }

  // Batch by batch, so that later ones know what still matters.
  Problem expand_all(BeamSelection& best, const UserFilter* filter) {
    Problem problem = Problem::none;
    for (size_t m = 0; m < step_.beams;) {
      batch_.clear();
      gathered_ = 0;
      while (m < step_.beams && !batch_.full()) {
        m = append_leaves(m, best.least());
        if (m == step_.beams || batch_.full()) break;
        if (problem = append_children(m++); problem != Problem::none) return problem;
      }
      if (batch_.segments == 0) continue;
      if (!gather()) return Problem::damaged;
      if (problem = score(best, filter); problem != Problem::none) return problem;
    }
    return Problem::none;
  }

  // Appends beams from m on, leaf by leaf, up to one whose children have to be listed. Everything
  // below a beam scores at most as much as the beam itself: those that score less than `least` are
  // passed over.
  size_t append_leaves(size_t m, float least) {
    const float lowest = std::max(least, std::numeric_limits<float>::lowest());
    for (; m < step_.beams && !batch_.full(); ++m) {
      const Beam& from = beam(m);
      if (from.dead() || from.score < lowest) continue;
      const Range range = from.base;
      if (!leaf_by_leaf_ || range.hi - range.lo > kFewLeaves) return m;
      batch_.append_leaves(static_cast<uint32_t>(m), from.score, logits(m), range);
    }
    return m;
  }

  // Leaves are gathered when listed children follow, or when the batch is complete.
  bool gather() {
    const size_t from = std::exchange(gathered_, batch_.num_units);
    return from == gathered_ ||
           kernels_.gather_leaves(step_.catalog.base, step_.level, batch_, from, gathered_);
  }

  Problem append_children(size_t m) {
    const Beam& from = beam(m);
    Siblings children;
    if (!gather() || !list(from, children)) return Problem::damaged;
    float* x = batch_.x + batch_.size();
    kernels_.gather(logits(m), children.tokens, children.count, x);
    const NodeTables& nodes = step_.nodes;
    if (nodes.query != nullptr &&
        !terms_.add_nodes(nodes.query + (user_ * step_.beams + m) * nodes.width, from, children, x))
      return Problem::nodes;
    terms_.bury(children, x);
    if (step_.softmax_over_level) batch_.totals[batch_.segments] = level_total(m, children, x);
    // One start more than there are children.
    const size_t used = children.count + 1;
    for (size_t i = children.count; i % kUnit != 0 || i < used; ++i) x[i] = kDead;
    batch_.append_children(static_cast<uint32_t>(m), from.score, used);
    gathered_ = batch_.num_units;
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

  // The totals of leaves over the whole level; those of listed children are there. False where one
  // is not a finite number.
  bool level_totals() const {
    const StepBatch& b = batch_;
    bool finite = true;
    for (size_t s = 0; s < b.segments; ++s) {
      if (!b.listed[s]) b.totals[s] = level_total(b.beams[s], {}, nullptr);
      finite &= b.totals[s] < -kDead;
    }
    return finite;
  }

  // Children count in it with all that was added to their logits; 0 where all are -inf.
  float level_total(size_t m, const Siblings& children, const float* x) const {
    std::copy(logits(m), logits(m) + columns_, batch_.level);
    for (size_t i = 0; i < children.count; ++i) {
      if (x[i] != kDead) batch_.level[children.tokens[i]] = x[i];
    }
    const float total = kernels_.log_sum_exp(batch_.level, columns_);
    return total == kDead ? 0 : total;
  }

  // From logits to survivors.
  //
  //   the best of each of many groups of candidates are candidates too, so the `wanted`-th best of
  //   them is a threshold before a single candidate has been looked at
  Problem score(BeamSelection& best, const UserFilter* filter) {
    const StepBatch& b = batch_;
    // Infinite logits would make a difference of infinities.
    const bool finite = step_.softmax_over_level ? level_totals() : kernels_.log_totals(b);
    if (!finite) return Problem::nan;
    const size_t groups =
        std::clamp(std::bit_ceil(4 * best.wanted()), kUnit, StepBatch::kMostGroups);
    kernels_.score(b, b.groups, groups);
    // With the filter asked first, a group's best may be nobody's.
    if (filter == nullptr && best.wanted() <= groups) {
      const float least = kernels_.threshold(b.groups, groups, best.wanted());
      if (least > kDead) best.raise_least(least);
    }
    const TrieView& base = step_.catalog.base;
    base.wide(step_.level) ? collect(base.words(step_.level), best, filter)
                           : collect(base.bytes(step_.level), best, filter);
    return Problem::none;
  }

  template <class Token>
  void collect(const Token* tokens, BeamSelection& best, const UserFilter* filter) const {
    const StepBatch& b = batch_;
    const size_t found = kernels_.survivors(b.x, b.size(), best.least(), b.found);
    for (size_t k = 0; k < found;) {
      const float least = std::max(best.least(), std::numeric_limits<float>::lowest());
      Beam* const slots = best.slots();
      size_t taken = 0;
      for (const size_t room = best.room(); k < found && taken < room; ++k) {
        const uint32_t at = b.found[k];
        if (b.x[at] < least) continue;
        const Unit unit = b.units[at / kUnit];
        Beam& child = slots[taken];
        child.score = b.x[at];
        child.parent = static_cast<int32_t>(b.beams[unit.segment]);
        b.listed[unit.segment] ? put_child(at, child)
                               : put_leaf(tokens, unit.leaf + at % kUnit, unit.end, child);
        taken += filter == nullptr || filter->allows_any(child.base, child.added);
      }
      best.take(taken);
    }
  }

  void put_child(uint32_t at, Beam& child) const {
    const StepBatch& b = batch_;
    child.base = {b.starts[at], b.starts[at + 1]};
    child.added = {};
    if (b.added_starts != nullptr) child.added = {b.added_starts[at], b.added_starts[at + 1]};
    child.token = static_cast<int32_t>(b.tokens[at]);
  }

  // The child that begins at a leaf.
  template <class Token>
  static void put_leaf(const Token* tokens, uint32_t lo, uint32_t end, Beam& child) {
    const Token token = tokens[lo];
    uint32_t hi = lo + 1;
    while (hi < end && tokens[hi] == token) ++hi;
    child.base = {lo, hi};
    child.added = {};
    child.token = token;
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
  StepBatch& batch_;
  bool leaf_by_leaf_ = false;
  size_t gathered_ = 0;  // units whose logits are there
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
    StepBatch batch(UserStep::columns(step), step.catalog.added.items > 0);
    for (size_t user = b * block; user < std::min((b + 1) * block, step.users); ++user) {
      const Problem found = UserStep(step, inner, batch, user).run();
      if (found != Problem::none) problem = found;
    }
  });
  if (problem != Problem::none) raise(problem);
}

}  // namespace mmgrec
