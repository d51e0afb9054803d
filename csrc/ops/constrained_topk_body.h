// The kernel body of a constrained step: one block per user, in three phases with a barrier
// between.
//
//   sum_children   every warp: partial log-sum-exp of its units (parts of beams)
//   collect        every warp: score the children of its units, keep the best W + 1 in its pool
//   write_best     every warp: rank its candidates among all pools, write those below W
//
// A driver runs each phase with every warp before the next: the kernel with __syncthreads()
// between, the tests with a loop. Results do not depend on how warps are timed: candidates are
// totally ordered, and a pool drops only what W + 1 of its own are better than.
#pragma once

#include "ops/constrained_topk_device.h"
#include "ops/node_terms_device.h"
#include "trie/child_cursor.h"

namespace mmgrec {

template <class Group>
class ConstrainedTopkBody {
 public:
  MMGREC_HOST_DEVICE ConstrainedTopkBody(const DeviceStep& step, const BlockShape& shape,
                                         void* shared, uint32_t user, uint32_t warp)
      : step_(step), shape_(shape), memory_(shape, shared), user_(user), warp_(warp) {}

  MMGREC_HOST_DEVICE void sum_children() const {
    PerLane<Group, uint32_t> status;
    Group::for_each_lane([&](unsigned lane) { status[lane] = 0; });
    for (uint32_t unit = warp_; unit < shape_.units; unit += shape_.warps) {
      Beam beam;
      PartialSum sum;
      if (open(unit / shape_.parts, false, beam)) sum = sum_unit(beam, unit % shape_.parts, status);
      Group::once([&] { memory_.partial[unit] = sum; });
    }
    const uint32_t word = any_status(status);
    Group::once([&] { memory_.status[warp_] = word; });
  }

  MMGREC_HOST_DEVICE void collect() const {
    CandidatePool<Group> pool(pool_of(warp_), shape_.capacity, step_.keep + 1);
    PerLane<Group, uint32_t> status;
    Group::for_each_lane([&](unsigned lane) { status[lane] = 0; });
    uint32_t outside = 0;
    for (uint32_t unit = warp_; unit < shape_.units; unit += shape_.warps) {
      Beam beam;
      if (open(unit / shape_.parts, true, beam)) collect_unit(beam, unit, pool, status);
      outside |= beam.status;
    }
    const uint32_t count = pool.sort_and_cut();
    const uint32_t word = any_status(status) | outside;
    Group::once([&] {
      memory_.counts[warp_] = count;
      memory_.status[warp_] |= word;
    });
  }

  MMGREC_HOST_DEVICE void write_best() const {
    uint32_t total = 0;
    uint32_t status = 0;
    for (uint32_t warp = 0; warp < shape_.warps; ++warp) {
      total += memory_.counts[warp];
      status |= memory_.status[warp];
    }
    Group::for_each_lane([&](unsigned lane) {
      for (uint32_t i = lane; i < memory_.counts[warp_]; i += Group::lanes) {
        const Candidate& candidate = pool_of(warp_)[i];
        write(i + better_in_other_pools(candidate), candidate);
      }
      const uint32_t stride = shape_.warps * Group::lanes;
      uint32_t dead = total + warp_ * Group::lanes + lane;
      for (; dead < step_.keep; dead += stride) put(dead, kDeadScore, 0, {});
    });
    if (warp_ > 0) return;
    Group::once([&] {
      if (total <= step_.keep) step_.out_best_pruned[user_] = kDeadScore;
      if (step_.out_status != nullptr) step_.out_status[user_] = status;
    });
  }

 private:
  // The same in all lanes.
  struct Beam {
    BeamSegments leaves;
    uint32_t index = 0;
    float score = kDeadScore;
    const float* logits = nullptr;
    const float* query = nullptr;  // null as well once the logits hold the terms of the nodes
    float* node_logits = nullptr;  // where to keep them then, or null
    // The children's nodes are among these rows.
    uint32_t first_node = 0;
    uint32_t end_node = 0;
    uint32_t status = 0;
  };

  MMGREC_HOST_DEVICE Candidate* pool_of(uint32_t warp) const {
    return memory_.candidates + size_t{warp} * shape_.capacity;
  }
  MMGREC_HOST_DEVICE uint32_t columns() const {
    return step_.catalog.base.level_sizes[step_.level];
  }
  MMGREC_HOST_DEVICE size_t place_of(uint32_t beam) const {
    return size_t{user_} * step_.beams + beam;
  }

  MMGREC_HOST_DEVICE static uint32_t any_status(const PerLane<Group, uint32_t>& status) {
    uint32_t word = 0;
    for (uint32_t bit = kStatusNan; bit <= kStatusNodeMismatch; bit *= 2) {
      const auto has = [&](unsigned lane) { return (status[lane] & bit) != 0; };
      if (Group::ballot(has) != 0) word |= bit;
    }
    return word;
  }

  MMGREC_HOST_DEVICE static bool read_range(const int64_t* lo, const int64_t* hi, size_t at,
                                            uint32_t items, Range& range) {
    if (lo == nullptr) return true;
    if (lo[at] < 0 || hi[at] < lo[at] || hi[at] > int64_t{items}) return false;
    range = {static_cast<uint32_t>(lo[at]), static_cast<uint32_t>(hi[at])};
    return true;
  }

  // Where a beam's leaves are; false when it lies outside the catalogue.
  template <class Lanes>
  MMGREC_HOST_DEVICE bool find_leaves(uint32_t index, BeamSegments& leaves) const {
    const CatalogView& catalog = step_.catalog;
    Range base;
    Range added;
    const size_t at = place_of(index);
    if (!read_range(step_.lo, step_.hi, at, catalog.base.items, base)) return false;
    if (!read_range(step_.added_lo, step_.added_hi, at, catalog.added.items, added)) return false;
    leaves.base = segment_of<Lanes>(catalog.base, step_.level, base);
    leaves.added = segment_of<Lanes>(catalog.added, step_.level, added);
    return true;
  }

  // False for a dead beam. `summed`: its children have been walked before.
  MMGREC_HOST_DEVICE bool open(uint32_t index, bool summed, Beam& beam) const {
    beam.index = index;
    const size_t at = place_of(index);
    beam.score = step_.scores[at];
    if (!find_leaves<Group>(index, beam.leaves)) {
      beam.status = kStatusOutside;
      return false;
    }
    const Range base = beam.leaves.base.range;
    if (beam.score == kDeadScore || (base.empty() && beam.leaves.added.range.empty())) return false;
    beam.logits = step_.logits + at * columns();
    if (step_.node_logits != nullptr) beam.node_logits = step_.node_logits + at * columns();
    if (summed && beam.node_logits != nullptr) {
      beam.logits = beam.node_logits;
    } else if (step_.node_vectors != nullptr) {
      beam.query = step_.node_query + at * step_.node_width;
      beam.first_node = first_not_less<Group>(step_.node_starts, 0, step_.nodes, base.lo);
      const uint32_t left = step_.nodes - beam.first_node;
      const uint32_t most = columns() < base.hi - base.lo ? columns() : base.hi - base.lo;
      beam.end_node = beam.first_node + (most < left ? most : left);
    }
    return true;
  }

  MMGREC_HOST_DEVICE static float not_nan(float logit, uint32_t& status) {
    if (logit == logit) return logit;
    status |= kStatusNan;
    return kDeadScore;
  }

  // The children that the lanes of a group have in hand.
  struct Round {
    PerLane<Group, ChildRanges> children;
    PerLane<Group, float> logits;  // dead where there is no child
    PerLane<Group, bool> more;
  };

  // Calls visit(round) until every lane has had all its children of the part. With `every_token`
  // tokens without a child come as well, with their plain logits.
  template <class Visit>
  MMGREC_HOST_DEVICE void walk(const Beam& beam, uint32_t part, bool every_token,
                               PerLane<Group, uint32_t>& status, Visit visit) const {
    PerLane<Group, ChildCursor> cursors;
    Group::for_each_lane([&](unsigned lane) {
      cursors[lane] = ChildCursor(beam.leaves, part * Group::lanes + lane,
                                  shape_.parts * Group::lanes, every_token);
    });
    Round round;
    PerLane<Group, uint32_t> nodes;
    uint32_t alive = 1;
    while (alive != 0) {
      Group::for_each_lane([&](unsigned lane) {
        ChildRanges& child = round.children[lane];
        round.more[lane] = cursors[lane].next(beam.leaves, child);
        round.logits[lane] = kDeadScore;
        nodes[lane] = NodeTerms<Group>::kNoTerm;
        if (!round.more[lane]) return;
        const uint32_t leaves = child.leaves(step_.catalog.removed);
        const bool exists = leaves > 0;
        if (exists || every_token) round.logits[lane] = beam.logits[child.token];
        if (exists && beam.query != nullptr) {
          nodes[lane] = node_of(beam, child, status[lane]);
          round.logits[lane] += std::log(static_cast<float>(leaves));
        }
      });
      alive = Group::ballot([&](unsigned lane) { return round.more[lane]; });
      if (beam.query != nullptr) {
        NodeTerms<Group>(step_, beam.query).add(nodes, round.children, round.logits);
      }
      Group::for_each_lane([&](unsigned lane) {
        round.logits[lane] = not_nan(round.logits[lane], status[lane]);
        if (beam.query != nullptr && beam.node_logits != nullptr && round.more[lane]) {
          beam.node_logits[round.children[lane].token] = round.logits[lane];
        }
      });
      visit(round);
    }
  }

  MMGREC_HOST_DEVICE uint32_t node_of(const Beam& beam, const ChildRanges& child,
                                      uint32_t& status) const {
    if (child.base.empty())
      return step_.added_sums == nullptr ? NodeTerms<Group>::kNoTerm : NodeTerms<Group>::kNoNode;
    const uint32_t node = first_not_less<SingleLane>(step_.node_starts, beam.first_node,
                                                     beam.end_node, child.base.lo);
    if (node < beam.end_node && step_.node_starts[node] == int64_t{child.base.lo}) return node;
    status |= kStatusNodeMismatch;
    return NodeTerms<Group>::kNoTerm;
  }

  MMGREC_HOST_DEVICE PartialSum sum_unit(const Beam& beam, uint32_t part,
                                         PerLane<Group, uint32_t>& status) const {
    PerLane<Group, PartialSum> sums;
    Group::for_each_lane([&](unsigned lane) { sums[lane] = PartialSum{}; });
    if (step_.softmax_over_level && beam.query == nullptr) {
      Group::for_each_lane([&](unsigned lane) {
        uint32_t token = part * Group::lanes + lane;
        for (; token < columns(); token += shape_.parts * Group::lanes) {
          sums[lane].add(not_nan(beam.logits[token], status[lane]));
        }
      });
    } else {
      walk(beam, part, step_.softmax_over_level, status, [&](const Round& round) {
        Group::for_each_lane([&](unsigned lane) { sums[lane].add(round.logits[lane]); });
      });
    }
    return join(sums);
  }

  MMGREC_HOST_DEVICE static PartialSum join(const PerLane<Group, PartialSum>& sums) {
    PerLane<Group, float> x;
    Group::for_each_lane([&](unsigned lane) { x[lane] = sums[lane].top; });
    const float top = Group::reduce_max(x);
    if (top == kDeadScore) return {};
    Group::for_each_lane(
        [&](unsigned lane) { x[lane] = sums[lane].sum * std::exp(sums[lane].top - top); });
    return {top, Group::reduce_add(x)};
  }

  // The logarithm of a beam's sum over its parts.
  MMGREC_HOST_DEVICE float log_total(uint32_t beam) const {
    const PartialSum* partial = memory_.partial + size_t{beam} * shape_.parts;
    PartialSum all;
    for (uint32_t part = 0; part < shape_.parts; ++part) all.add(partial[part]);
    return all.top + std::log(all.sum);
  }

  MMGREC_HOST_DEVICE void collect_unit(const Beam& beam, uint32_t unit, CandidatePool<Group>& pool,
                                       PerLane<Group, uint32_t>& status) const {
    const float total = log_total(beam.index);
    PerLane<Group, Candidate> candidates;
    PerLane<Group, bool> chosen;
    walk(beam, unit % shape_.parts, false, status, [&](const Round& round) {
      Group::for_each_lane([&](unsigned lane) {
        chosen[lane] = score(beam, round.children[lane], round.logits[lane], total,
                             candidates[lane], status[lane]) &&
                       pool.wants(candidates[lane]) && allowed(round.children[lane]);
      });
      pool.push(candidates, Group::ballot([&](unsigned lane) { return chosen[lane]; }));
    });
  }

  MMGREC_HOST_DEVICE bool allowed(const ChildRanges& child) const {
    return step_.filters == nullptr || step_.filters[user_].allows_any(child.base, child.added);
  }

  // False for a dead child.
  MMGREC_HOST_DEVICE bool score(const Beam& beam, const ChildRanges& child, float logit,
                                float total, Candidate& candidate, uint32_t& status) const {
    if (logit == kDeadScore) return false;
    const float log_probability = logit - total;
    // Rounding must not make a child better than its beam: certificates rest on that.
    const float score = beam.score + (log_probability > 0 ? 0 : log_probability);
    candidate = {not_nan(score, status), child.place(), static_cast<uint16_t>(beam.index),
                 static_cast<uint16_t>(child.token)};
    return candidate.score > kDeadScore;
  }

  // Pools are sorted. Equal candidates (of beams that overlap) count in the order of pools.
  MMGREC_HOST_DEVICE uint32_t better_in_other_pools(const Candidate& candidate) const {
    uint32_t better = 0;
    for (uint32_t warp = 0; warp < shape_.warps; ++warp) {
      if (warp == warp_) continue;
      const Candidate* pool = pool_of(warp);
      uint32_t lo = 0;
      uint32_t hi = memory_.counts[warp];
      while (lo < hi) {
        const uint32_t middle = (lo + hi) / 2;
        const bool ahead = warp < warp_ ? !candidate.better_than(pool[middle])
                                        : pool[middle].better_than(candidate);
        if (ahead) {
          lo = middle + 1;
        } else {
          hi = middle;
        }
      }
      better += lo;
    }
    return better;
  }

  MMGREC_HOST_DEVICE void write(uint32_t rank, const Candidate& candidate) const {
    if (rank == step_.keep) step_.out_best_pruned[user_] = candidate.score;
    if (rank >= step_.keep) return;
    BeamSegments leaves;
    find_leaves<SingleLane>(candidate.parent, leaves);
    put(rank, candidate.score, candidate.parent, leaves.child(candidate.token));
  }

  MMGREC_HOST_DEVICE void put(uint32_t rank, float score, uint32_t parent,
                              const ChildRanges& child) const {
    const size_t at = size_t{user_} * step_.keep + rank;
    step_.out_scores[at] = score;
    step_.out_parents[at] = static_cast<int32_t>(parent);
    step_.out_tokens[at] = static_cast<int32_t>(child.token);
    step_.out_lo[at] = child.base.lo;
    step_.out_hi[at] = child.base.hi;
    if (step_.out_added_lo == nullptr) return;
    step_.out_added_lo[at] = child.added.lo;
    step_.out_added_hi[at] = child.added.hi;
  }

  const DeviceStep& step_;
  const BlockShape& shape_;
  BlockMemory memory_;
  uint32_t user_;
  uint32_t warp_;
};

}  // namespace mmgrec
