// What node vectors add to the logits of a beam's children on a device: query . mean item vector.
#pragma once

#include "ops/constrained_topk_device.h"
#include "trie/child_cursor.h"

namespace mmgrec {

// Made per beam. Several children are taken at a time, a part of the group's lanes on each: lanes
// of a part read neighbouring numbers, and the reads of all parts are on their way together.
template <class Group>
class NodeTerms {
 public:
  static constexpr uint32_t kNoTerm = UINT32_MAX;      // nothing is added to the logit
  static constexpr uint32_t kNoNode = UINT32_MAX - 1;  // added leaves alone

  MMGREC_HOST_DEVICE NodeTerms(const DeviceStep& step, const float* query)
      : step_(step), query_(query) {}

  // Adds the terms of the children that lanes have in hand; `nodes`: their rows in the tables.
  MMGREC_HOST_DEVICE void add(const PerLane<Group, uint32_t>& nodes,
                              const PerLane<Group, ChildRanges>& children,
                              PerLane<Group, float>& logits) const {
    PerLane<Group, float> terms;
    Group::for_each_lane([&](unsigned lane) { terms[lane] = 0; });
    uint32_t left = Group::ballot([&](unsigned lane) { return nodes[lane] < kNoNode; });
    while (left != 0) left = base_terms(left, nodes, terms);
    if (step_.added_sums != nullptr || step_.removed_sums != nullptr) {
      correct(nodes, children, terms);
    }
    Group::for_each_lane([&](unsigned lane) { logits[lane] += terms[lane]; });
  }

 private:
  static constexpr unsigned kPartLanes = Group::lanes < 8 ? Group::lanes : 8;
  static constexpr unsigned kParts = Group::lanes / kPartLanes;

  // Sets the terms of the first few lanes in `left`, as if nothing was edited; returns the others.
  MMGREC_HOST_DEVICE uint32_t base_terms(uint32_t left, const PerLane<Group, uint32_t>& nodes,
                                         PerLane<Group, float>& terms) const {
    PerLane<Group, unsigned> source;  // whose child a lane works on
    Group::for_each_lane([&](unsigned lane) { source[lane] = Group::lanes; });
    uint32_t rest = left;
    for (unsigned part = 0; part < kParts && rest != 0; ++part, rest &= rest - 1) {
      const unsigned first = first_lane(rest);
      Group::for_each_lane([&](unsigned lane) {
        if (lane / kPartLanes == part) source[lane] = first;
      });
    }
    PerLane<Group, unsigned> from;
    Group::for_each_lane([&](unsigned lane) { from[lane] = source[lane] % Group::lanes; });
    const PerLane<Group, uint32_t> rows = Group::permute(nodes, from);
    PerLane<Group, float> dots;
    Group::for_each_lane([&](unsigned lane) {
      dots[lane] = 0;
      if (source[lane] == Group::lanes) return;
      const float* vector = step_.node_vectors + size_t{rows[lane]} * step_.node_width;
      for (uint32_t i = lane % kPartLanes; i < step_.node_width; i += kPartLanes) {
        dots[lane] += query_[i] * vector[i];
      }
    });
    dots = Group::template reduce_add_parts<kPartLanes>(dots);
    for (unsigned part = 0; part < kParts && left != 0; ++part, left &= left - 1) {
      const unsigned first = first_lane(left);
      const float dot = Group::broadcast(dots, part * kPartLanes);
      Group::for_each_lane([&](unsigned lane) {
        if (lane == first) terms[lane] = dot;
      });
    }
    return left;
  }

  // With edits below: query . (sum of base leaves - sum of gone ones + sum of added ones) / number
  // of those left. Edits are few: one child after the other, all lanes on its sums.
  MMGREC_HOST_DEVICE void correct(const PerLane<Group, uint32_t>& nodes,
                                  const PerLane<Group, ChildRanges>& children,
                                  PerLane<Group, float>& terms) const {
    PerLane<Group, Range> gone;
    uint32_t left = Group::ballot([&](unsigned lane) {
      gone[lane] = {};
      if (nodes[lane] == kNoTerm) return false;
      gone[lane] = gone_below(children[lane].base);
      return !gone[lane].empty() || !added_below(children[lane]).empty();
    });
    for (; left != 0; left &= left - 1) {
      const unsigned source = first_lane(left);
      double change = range_dot(step_.added_sums, source,
                                [&](unsigned lane) { return added_below(children[lane]); });
      change -= range_dot(step_.removed_sums, source, [&](unsigned lane) { return gone[lane]; });
      Group::for_each_lane([&](unsigned lane) {
        if (lane != source) return;
        const float base = static_cast<float>(size(children[lane].base));
        const float live = base - static_cast<float>(size(gone[lane])) +
                           static_cast<float>(size(added_below(children[lane])));
        terms[lane] = (terms[lane] * base + static_cast<float>(change)) / live;
      });
    }
  }

  MMGREC_HOST_DEVICE static uint32_t size(Range range) { return range.hi - range.lo; }
  MMGREC_HOST_DEVICE Range gone_below(Range base) const {
    if (step_.removed_sums == nullptr) return {};
    const RankSet& removed = step_.catalog.removed;
    return {removed.below(base.lo), removed.below(base.hi)};
  }
  MMGREC_HOST_DEVICE Range added_below(const ChildRanges& child) const {
    return step_.added_sums == nullptr ? Range{} : child.added;
  }

  // Query . sum of the vectors in the range that a lane has; the same in all lanes.
  template <class RangeOf>
  MMGREC_HOST_DEVICE double range_dot(const double* sums, unsigned source, RangeOf range_of) const {
    PerLane<Group, uint32_t> ends[2];
    Group::for_each_lane([&](unsigned lane) {
      const Range range = range_of(lane);
      ends[0][lane] = range.lo;
      ends[1][lane] = range.hi;
    });
    const size_t width = step_.node_width;
    const size_t lo = Group::broadcast(ends[0], source) * width;
    const size_t hi = Group::broadcast(ends[1], source) * width;
    if (lo == hi) return 0;
    PerLane<Group, double> dots;
    Group::for_each_lane([&](unsigned lane) {
      dots[lane] = 0;
      for (size_t i = lane; i < width; i += Group::lanes) {
        dots[lane] += query_[i] * (sums[hi + i] - sums[lo + i]);
      }
    });
    return Group::reduce_add(dots);
  }

  const DeviceStep& step_;
  const float* query_;
};

}  // namespace mmgrec
