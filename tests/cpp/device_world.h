// Random catalogues with what was added and removed, filters, and what a step must give, by brute
// force over lists of tuples.
#pragma once

#include <map>
#include <set>

#include "device_step.h"

namespace device_test {

constexpr float kTolerance = 3e-5f;
constexpr float kItemScale = 0.3f;  // larger logits would round off more than the tolerance

struct Case {
  std::vector<uint32_t> sizes;
  size_t items;
  double power = 1;  // above 1: low tokens are crowded
  uint32_t dense_levels = 2;
  size_t added = 0;
  uint32_t added_dense_levels = 0;
  double removed = 0;  // share
  uint32_t keep = 4;
  bool nodes = false;
  bool node_scratch = false;
  bool node_sums = false;  // node vectors follow the edits
  bool full = false;
  bool filters = false;
  bool ties = false;
};

inline Codes draw_codes(const Case& c, size_t count, const std::set<std::vector<uint32_t>>& taken,
                        std::mt19937& random) {
  std::uniform_real_distribution<double> uniform;
  std::set<std::vector<uint32_t>> codes;
  for (size_t i = 0; i < count; ++i) {
    std::vector<uint32_t> code;
    for (const uint32_t size : c.sizes) {
      code.push_back(static_cast<uint32_t>(std::pow(uniform(random), c.power) * size));
    }
    if (!taken.contains(code)) codes.insert(code);
  }
  return {codes.begin(), codes.end()};
}

// The filter of one user, as sets and in its prepared form.
class User {
 public:
  User(const std::vector<bool>& gone, size_t added, std::mt19937& random) {
    prepare(filter.base, allowed_base, gone, random);
    prepare(filter.added, allowed_added, std::vector<bool>(added), random);
  }
  UserFilter filter;
  std::vector<bool> allowed_base, allowed_added;

 private:
  RankSet keep_set(const std::vector<bool>& members) {
    std::vector<uint32_t> ranks;
    for (uint32_t i = 0; i < members.size(); ++i) {
      if (members[i]) ranks.push_back(i);
    }
    sets_.push_back(
        std::make_unique<OwnedRankSet>(std::move(ranks), static_cast<uint32_t>(members.size())));
    return sets_.back()->view();
  }

  void prepare(SegmentFilter& segment, std::vector<bool>& allowed, const std::vector<bool>& gone,
               std::mt19937& random) {
    const size_t leaves = gone.size();
    segment.kind = static_cast<SegmentFilter::Kind>(random() % 3);
    const uint32_t share = random() % 5;  // of denied leaves: none to all
    std::vector<bool> named(leaves, true), denied(leaves), left(leaves);
    for (size_t i = 0; i < leaves; ++i) {
      if (segment.kind != SegmentFilter::Kind::all) named[i] = random() % 3 == 0;
      denied[i] = random() % 4 < share && named[i] && !gone[i];
      left[i] = named[i] && !denied[i] && !gone[i];
    }
    allowed = left;
    if (segment.kind == SegmentFilter::Kind::list) {
      segment.listed = keep_set(left);
      return;
    }
    std::vector<bool> lost(leaves);
    for (size_t i = 0; i < leaves; ++i) lost[i] = gone[i] && named[i];
    segment.gone = keep_set(lost);
    segment.denied = keep_set(denied);
    if (segment.kind == SegmentFilter::Kind::bitmap) {
      bitmaps_.push_back(std::make_unique<OwnedBitmap>(named));
      segment.bits = bitmaps_.back()->view();
    }
  }

  std::vector<std::unique_ptr<OwnedRankSet>> sets_;
  std::vector<std::unique_ptr<OwnedBitmap>> bitmaps_;
};

struct Expected {
  float score;
  int32_t parent;
  ChildRanges child;
};

struct World {
  World(const Case& c, unsigned seed) : spec(c), random(seed) {
    base = draw_codes(c, c.items, {}, random);
    added = draw_codes(c, c.added, {base.begin(), base.end()}, random);
    gone.resize(base.size());
    std::vector<uint32_t> ranks;
    for (uint32_t i = 0; i < base.size(); ++i) {
      if (random() % 1000 >= 1000 * c.removed) continue;
      gone[i] = true;
      ranks.push_back(i);
    }
    removed = OwnedRankSet(std::move(ranks), static_cast<uint32_t>(base.size()));
    base_tables = std::make_unique<Tables>(base, c.sizes, c.dense_levels);
    added_tables = std::make_unique<Tables>(added, c.sizes, c.added_dense_levels);
    for (size_t user = 0; user < users; ++user) filters.emplace_back(gone, added.size(), random);
    for (const User& user : filters) prepared.push_back(user.filter);
  }

  Case spec;
  std::mt19937 random;
  size_t users = 3;
  Codes base, added;
  std::vector<bool> gone;
  OwnedRankSet removed;
  std::unique_ptr<Tables> base_tables, added_tables;
  std::vector<User> filters;
  std::vector<UserFilter> prepared;
};

// The inputs of a step, and what it must give.
struct Step {
  Step(World& world, uint32_t level, const Output& beams, uint32_t beam_count)
      : world(world), in(beams), level(level) {
    std::normal_distribution<float> normal;
    const size_t columns = world.spec.sizes[level];
    logits.resize(world.users * beam_count * columns);
    for (float& x : logits) x = world.spec.ties ? float(world.random() % 3) : normal(world.random);
    step.catalog = {world.base_tables->view, world.added_tables->view, world.removed.view()};
    step.level = level;
    step.users = static_cast<uint32_t>(world.users);
    step.beams = beam_count;
    step.keep = world.spec.keep;
    step.softmax_over_level = world.spec.full;
    step.lo = in.lo.data();
    step.hi = in.hi.data();
    step.added_lo = in.added_lo.data();
    step.added_hi = in.added_hi.data();
    step.scores = in.scores.data();
    step.logits = logits.data();
    if (world.spec.filters) step.filters = world.prepared.data();
    if (world.spec.nodes) make_nodes(normal);
  }

  void make_nodes(std::normal_distribution<float>& normal) {
    const auto prefix = [&](size_t rank) {
      const auto& code = world.base[rank];
      return std::vector<uint32_t>(code.begin(), code.begin() + level + 1);
    };
    for (size_t rank = 0; rank < world.base.size(); ++rank) {
      if (rank == 0 || prefix(rank) != prefix(rank - 1)) starts.push_back(int64_t(rank));
    }
    step.nodes = static_cast<uint32_t>(starts.size());
    starts.push_back(static_cast<int64_t>(world.base.size()));
    step.node_width = 5;
    query.resize(world.users * step.beams * 5);
    vectors.resize(size_t{step.nodes} * 5);
    for (float& x : query) x = normal(world.random);
    for (float& x : vectors) x = normal(world.random);
    if (world.spec.node_sums) make_sums(normal);
    if (world.spec.node_scratch) {
      node_logits.assign(logits.size(), NAN);
      step.node_logits = node_logits.data();
    }
    step.node_query = query.data();
    step.node_vectors = vectors.data();
    step.node_starts = starts.data();
  }

  // Means of drawn item vectors, and running sums of those that edits concern.
  void make_sums(std::normal_distribution<float>& normal) {
    std::ranges::fill(vectors, 0);
    removed_sums.assign(5, 0);
    added_sums.assign(5, 0);
    size_t row = 0;
    for (size_t leaf = 0; leaf < world.base.size(); ++leaf) {
      row += leaf == size_t(starts[row + 1]);
      const auto count = float(starts[row + 1] - starts[row]);
      for (size_t i = 0; i < 5; ++i) {
        const float x = kItemScale * normal(world.random);
        vectors[row * 5 + i] += x / count;
        if (world.gone[leaf]) removed_sums.push_back(removed_sums[removed_sums.size() - 5] + x);
      }
    }
    for (size_t i = 0; i < 5 * world.added.size(); ++i) {
      added_sums.push_back(added_sums[i] + kItemScale * normal(world.random));
    }
    // Null where there are no such edits, as callers may give it.
    if (added_sums.size() > 5) step.added_sums = added_sums.data();
    if (removed_sums.size() > 5) step.removed_sums = removed_sums.data();
  }

  // Children by token, those without leaves left out.
  std::map<uint32_t, ChildRanges> children(size_t at) const {
    std::map<uint32_t, ChildRanges> found;
    const auto collect = [&](const Codes& codes, int64_t lo, int64_t hi,
                             Range ChildRanges::* range) {
      for (auto leaf = uint32_t(lo); leaf < hi; ++leaf) {
        ChildRanges& child = found[codes[leaf][level]];
        child.token = codes[leaf][level];
        if ((child.*range).empty()) child.*range = {leaf, leaf};
        (child.*range).hi = leaf + 1;
      }
    };
    collect(world.base, in.lo[at], in.hi[at], &ChildRanges::base);
    collect(world.added, in.added_lo[at], in.added_hi[at], &ChildRanges::added);
    auto base = uint32_t(in.lo[at]);
    auto added = uint32_t(in.added_lo[at]);
    for (auto& [token, child] : found) {
      if (child.base.empty()) child.base = {base, base};
      if (child.added.empty()) child.added = {added, added};
      base = child.base.hi;
      added = child.added.hi;
    }
    std::erase_if(found, [&](const auto& entry) {
      const ChildRanges& child = entry.second;
      const auto gone = world.gone.begin();
      return child.added.empty() &&
             std::count(gone + child.base.lo, gone + child.base.hi, false) == 0;
    });
    return found;
  }

  std::vector<Expected> expected(size_t user) const {
    std::vector<Expected> all;
    const size_t columns = world.spec.sizes[level];
    for (uint32_t beam = 0; beam < step.beams; ++beam) {
      const size_t at = user * step.beams + beam;
      if (in.scores[at] == kDeadScore) continue;
      const auto found = children(at);
      std::vector<double> x(logits.begin() + long(at * columns),
                            logits.begin() + long((at + 1) * columns));
      double total = 0;
      for (const auto& [token, child] : found) {
        if (world.spec.nodes) x[token] += node_term(at, child);
        if (!world.spec.full) total += std::exp(x[token]);
      }
      for (const double logit : x) total += world.spec.full ? std::exp(logit) : 0;
      for (const auto& [token, child] : found) {
        if (!allowed(user, child)) continue;
        const double score = in.scores[at] + std::min(0.0, x[token] - std::log(total));
        all.push_back({float(score), int32_t(beam), child});
      }
    }
    std::ranges::sort(all, [](const Expected& a, const Expected& b) {
      return a.score != b.score ? a.score > b.score : a.child.place() < b.child.place();
    });
    return all;
  }

  double node_term(size_t at, const ChildRanges& child) const {
    const double base = child.base.empty() ? 0 : dot(at, child.base.lo);
    const auto gone = world.gone.begin();
    const auto rank = [&](uint32_t leaf) { return std::count(gone, gone + leaf, true); };
    const Range lost{uint32_t(rank(child.base.lo)), uint32_t(rank(child.base.hi))};
    const auto leaves = [](Range range) { return double(range.hi) - range.lo; };
    const double live = leaves(child.base) - leaves(lost) + leaves(child.added);
    if (!world.spec.node_sums) return base + std::log(live);
    const double sum = base * leaves(child.base) + range_dot(at, added_sums, child.added) -
                       range_dot(at, removed_sums, lost);
    return sum / live + std::log(live);
  }

  double range_dot(size_t at, const std::vector<double>& sums, Range range) const {
    double dot = 0;
    for (size_t i = 0; i < 5; ++i) {
      dot += query[at * 5 + i] * (sums[range.hi * 5 + i] - sums[range.lo * 5 + i]);
    }
    return dot;
  }

  double dot(size_t at, uint32_t leaf) const {
    const auto row = std::ranges::lower_bound(starts, int64_t{leaf}) - starts.begin();
    double sum = 0;
    for (size_t i = 0; i < 5; ++i) sum += double{query[at * 5 + i]} * vectors[size_t(row) * 5 + i];
    return sum;
  }

  bool allowed(size_t user, const ChildRanges& child) const {
    if (!world.spec.filters) return true;
    const auto any = [](const std::vector<bool>& allowed, Range range) {
      return std::count(allowed.begin() + range.lo, allowed.begin() + range.hi, true) > 0;
    };
    return any(world.filters[user].allowed_base, child.base) ||
           any(world.filters[user].allowed_added, child.added);
  }

  void check(const Output& out) const {
    for (size_t user = 0; user < world.users; ++user) {
      const std::vector<Expected> all = expected(user);
      const size_t keep = step.keep;
      CHECK(out.status[user] == 0);
      for (size_t i = 0; i < keep; ++i) check_rank(out, user * keep + i, i, all);
      const float pruned = all.size() > keep ? all[keep].score : kDeadScore;
      CHECK(out.best_pruned[user] == pruned ||
            std::abs(out.best_pruned[user] - pruned) < kTolerance);
    }
  }

  void check_rank(const Output& out, size_t at, size_t rank,
                  const std::vector<Expected>& all) const {
    if (rank >= all.size()) {
      CHECK(out.scores[at] == kDeadScore && out.lo[at] == out.hi[at]);
      CHECK(out.added_lo[at] == out.added_hi[at]);
      return;
    }
    CHECK(std::abs(out.scores[at] - all[rank].score) < kTolerance);
    const auto same = [&](const Expected& entry) {
      return entry.parent == out.parents[at] && int32_t(entry.child.token) == out.tokens[at];
    };
    const auto found = std::ranges::find_if(all, same);
    CHECK(found != all.end());
    const Range base{uint32_t(out.lo[at]), uint32_t(out.hi[at])};
    const Range added{uint32_t(out.added_lo[at]), uint32_t(out.added_hi[at])};
    CHECK(base.lo == found->child.base.lo && base.hi == found->child.base.hi);
    CHECK(added.lo == found->child.added.lo && added.hi == found->child.added.hi);
    // Another child than expected may stand here only where the two score the same.
    CHECK(found == all.begin() + long(rank) ||
          std::abs(found->score - all[rank].score) < kTolerance);
    if (rank == 0) return;
    CHECK(out.scores[at - 1] >= out.scores[at]);
    const uint64_t before = uint64_t(out.lo[at - 1]) + uint64_t(out.added_lo[at - 1]);
    CHECK(out.scores[at - 1] > out.scores[at] || before < base.lo + added.lo);
  }

  World& world;
  Output in;
  uint32_t level;
  std::vector<float> logits, query, vectors, node_logits;
  std::vector<double> added_sums, removed_sums;
  std::vector<int64_t> starts;
  DeviceStep step;
};

inline Output root(const World& world) {
  Output beams(world.users, 1);
  std::ranges::fill(beams.scores, 0.f);
  std::ranges::fill(beams.lo, 0);
  std::ranges::fill(beams.hi, int64_t(world.base.size()));
  std::ranges::fill(beams.added_lo, 0);
  std::ranges::fill(beams.added_hi, int64_t(world.added.size()));
  return beams;
}

}  // namespace device_test
