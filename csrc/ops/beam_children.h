// The children of one beam and their logits, in a catalogue that may have been edited.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/constrained_topk.h"
#include "ops/constrained_topk_kernels.h"

namespace mmgrec {

// Children in token order. `added_starts` is null where no child has added leaves.
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
inline size_t merge(const Children& a, size_t a_count, const Children& b, size_t b_count,
                    Children out, uint32_t* b_starts) {
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

inline float difference_dot(const float* query, const double* from, const double* to,
                            size_t width) {
  double sum = 0;
  for (size_t d = 0; d < width; ++d) sum += query[d] * (to[d] - from[d]);
  return static_cast<float>(sum);
}

// What a step adds to the plain logits of listed children: node terms, and -inf for those whose
// leaves are all gone.
class ChildTerms {
 public:
  ChildTerms(const ConstrainedTopk& step, const StepKernels& kernels)
      : step_(step), kernels_(kernels) {}

  // Turns children without a leaf left into dead ones.
  void bury(const Siblings& children, float* x) const {
    const RankSet& removed = step_.catalog.removed;
    const Range all{children.starts[0], children.starts[children.count]};
    if (removed.inside(all) == 0) return;
    for (size_t i = 0; i < children.count; ++i) {
      const Range base = children.base(i);
      if (children.added(i).empty() && removed.inside(base) == base.hi - base.lo)
        x[i] = -std::numeric_limits<float>::infinity();
    }
  }

  // Adds query . mean item vector + log(number of items) of every child: the first terms of what
  // its items' exp(query . item vector) add up to. Children with base leaves are consecutive nodes.
  // False where the node tables do not fit the trie.
  bool add_nodes(const float* query, const Beam& from, const Siblings& children, float* x) const {
    const NodeTables& nodes = step_.nodes;
    const int64_t* end = nodes.starts + nodes.nodes;
    const auto first = static_cast<size_t>(
        std::lower_bound(nodes.starts, end, int64_t{from.base.lo}) - nodes.starts);
    const bool changed = !from.added.empty() || step_.catalog.removed.inside(from.base) > 0;
    if (changed) return add_changed(query, first, children, x);
    if (first + children.count > nodes.nodes) return children.count == 0;
    kernels_.add_dots(query, nodes.vectors + first * nodes.width, children.count, nodes.width, x);
    kernels_.add_log_counts(children.starts, children.count, x);
    return true;
  }

 private:
  // With edits below: mean = (sum of base leaves - sum of gone ones + sum of added ones) / number.
  bool add_changed(const float* query, size_t node, const Siblings& children, float* x) const {
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
      if (live == 0) continue;  // `bury` makes it a dead one
      const auto count = static_cast<float>(live);
      x[i] += sum / count + std::log(count);
    }
    return true;
  }

  float range_dot(const float* query, const double* sums, Range range) const {
    const size_t width = step_.nodes.width;
    if (range.empty() || sums == nullptr) return 0;
    return difference_dot(query, sums + range.lo * width, sums + range.hi * width, width);
  }

  const ConstrainedTopk& step_;
  const StepKernels& kernels_;
};

}  // namespace mmgrec
