// What node vectors add to the logits of a beam's children on a device: query . mean item vector.
#pragma once

#include "ops/constrained_topk_device.h"
#include "trie/child_cursor.h"

namespace mmgrec {

// Made per beam. All lanes of a group work on one child.
template <class Group>
class NodeTerms {
 public:
  static constexpr uint32_t kNoTerm = UINT32_MAX;      // nothing is added to the logit
  static constexpr uint32_t kNoNode = UINT32_MAX - 1;  // added leaves alone

  MMGREC_HOST_DEVICE NodeTerms(const DeviceStep& step, const float* query)
      : step_(step), query_(query) {}

  // The term of the child that the lane `source` has in hand; `node` is its row in the tables.
  MMGREC_HOST_DEVICE float of(uint32_t node, const PerLane<Group, ChildRanges>& children,
                              unsigned source) const {
    const bool sums = step_.added_sums != nullptr || step_.removed_sums != nullptr;
    const Edits edits = sums ? edits_of(children, source) : Edits{};
    return edits.any() ? edited_dot(node, edits) : plain_dot(node);
  }

 private:
  MMGREC_HOST_DEVICE float plain_dot(uint32_t node) const {
    const float* vector = step_.node_vectors + size_t{node} * step_.node_width;
    PerLane<Group, float> dots;
    Group::for_each_lane([&](unsigned lane) {
      dots[lane] = 0;
      for (uint32_t i = lane; i < step_.node_width; i += Group::lanes) {
        dots[lane] += query_[i] * vector[i];
      }
    });
    return Group::reduce_add(dots);
  }

  // What was changed below a child: how many base leaves, which of the removed ones and of the
  // added ones.
  struct Edits {
    uint32_t base = 0;
    Range gone;
    Range added;

    MMGREC_HOST_DEVICE bool any() const { return !gone.empty() || !added.empty(); }
    MMGREC_HOST_DEVICE uint32_t live() const {
      return base - (gone.hi - gone.lo) + (added.hi - added.lo);
    }
  };

  template <class Field>
  MMGREC_HOST_DEVICE static uint32_t of_lane(const PerLane<Group, ChildRanges>& children,
                                             unsigned source, Field field) {
    PerLane<Group, uint32_t> values;
    Group::for_each_lane([&](unsigned lane) { values[lane] = field(children[lane]); });
    return Group::broadcast(values, source);
  }

  MMGREC_HOST_DEVICE Edits edits_of(const PerLane<Group, ChildRanges>& children,
                                    unsigned source) const {
    using Child = const ChildRanges&;
    const Range base{of_lane(children, source, [](Child child) { return child.base.lo; }),
                     of_lane(children, source, [](Child child) { return child.base.hi; })};
    Edits edits{base.hi - base.lo, {}, {}};
    if (step_.added_sums != nullptr) {
      edits.added = {of_lane(children, source, [](Child child) { return child.added.lo; }),
                     of_lane(children, source, [](Child child) { return child.added.hi; })};
    }
    if (step_.removed_sums != nullptr) {
      const RankSet& removed = step_.catalog.removed;
      edits.gone = {removed.below(base.lo), removed.below(base.hi)};
    }
    return edits;
  }

  // Query . (sum of base leaves - sum of gone ones + sum of added ones) / number of those left.
  MMGREC_HOST_DEVICE float edited_dot(uint32_t node, const Edits& edits) const {
    const size_t width = step_.node_width;
    const float* vector = node == kNoNode ? nullptr : step_.node_vectors + node * width;
    PerLane<Group, double> dots;
    Group::for_each_lane([&](unsigned lane) {
      dots[lane] = 0;
      for (size_t i = lane; i < width; i += Group::lanes) {
        double sum = vector == nullptr ? 0 : double{vector[i]} * edits.base;
        sum += difference(step_.added_sums, edits.added, i);
        sum -= difference(step_.removed_sums, edits.gone, i);
        dots[lane] += query_[i] * sum;
      }
    });
    return static_cast<float>(Group::reduce_add(dots) / edits.live());
  }

  MMGREC_HOST_DEVICE double difference(const double* sums, Range range, size_t i) const {
    if (range.empty()) return 0;
    const size_t width = step_.node_width;
    return sums[range.hi * width + i] - sums[range.lo * width + i];
  }

  const DeviceStep& step_;
  const float* query_;
};

}  // namespace mmgrec
