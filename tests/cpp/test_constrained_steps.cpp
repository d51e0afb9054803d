// Steps on random catalogues against a plain sort of all children, and prepared filters against
// bitmaps: every instruction set, beams of few and of many leaves mixed, all kinds of lists.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "kernels.h"
#include "ops/constrained_topk.h"
#include "ops/prepared_filters.h"
#include "ops/rank_sort.h"
#include "trie/trie.h"
#include "tries.h"

namespace {

using namespace mmgrec;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Lists = std::vector<std::vector<int64_t>>;

// Lists end to end, as a request takes them.
struct Flat {
  std::vector<int64_t> offsets{0}, leaves;
  explicit Flat(const Lists& lists) {
    for (const auto& list : lists) {
      leaves.insert(leaves.end(), list.begin(), list.end());
      offsets.push_back(static_cast<int64_t>(leaves.size()));
    }
  }
  LeafLists view() const { return {offsets.data(), leaves.data()}; }
};

std::vector<int64_t> draw(size_t count, size_t items, std::mt19937& random) {
  std::vector<int64_t> list(count);
  for (int64_t& leaf : list) leaf = static_cast<int64_t>(random() % items);
  return list;
}

// One level's step of some users, and what it should give.
struct World {
  Tuples tuples;
  std::vector<uint32_t> sizes;
  Trie trie;
  size_t level, users = 3, beams;
  std::vector<Beam> from;
  std::vector<float> logits;
  std::vector<std::vector<bool>> allowed;  // [B][leaf]

  World(size_t items, std::vector<uint32_t> level_sizes, size_t at, size_t width, std::mt19937& g,
        unsigned distinct)
      : tuples(random_tuples(items, level_sizes, 1)),
        sizes(std::move(level_sizes)),
        trie(build()),
        level(at),
        beams(width),
        allowed(users, std::vector<bool>(tuples.size(), true)) {
    std::vector<Range> prefixes = prefixes_of_level();
    for (size_t b = 0; b < users; ++b) {
      std::shuffle(prefixes.begin(), prefixes.end(), g);
      for (size_t m = 0; m < beams; ++m) {
        const Range range = m < prefixes.size() ? prefixes[m] : Range{};
        const bool dead = range.empty() || g() % 10 == 0;
        from.push_back({dead ? Range{} : range, {}, -static_cast<float>(m) / 8, 0, 0});
        if (dead) from.back().score = -kInfinity;
      }
    }
    for (size_t i = 0; i < users * beams * sizes[level]; ++i)
      logits.push_back(static_cast<float>(g() % distinct) / static_cast<float>(distinct) * 6);
    // Beams without a child that can be had, as where all items below were removed.
    for (size_t row = 0; row < users * beams; ++row) {
      if (g() % 8 == 0) std::fill_n(logits.data() + row * sizes[level], sizes[level], -kInfinity);
    }
  }

  ConstrainedTopk step() const {
    ConstrainedTopk step;
    step.catalog = trie.view();
    step.level = level;
    step.users = users;
    step.beams = beams;
    step.from = from.data();
    step.logits = logits.data();
    return step;
  }

  // All children of a user's beams with an allowed leaf, best first.
  std::vector<Beam> expected(size_t user) const {
    std::vector<Beam> all;
    for (size_t m = 0; m < beams; ++m) {
      const Beam& beam = from[user * beams + m];
      if (beam.dead()) continue;
      const float* row = logits.data() + (user * beams + m) * sizes[level];
      std::vector<Beam> children;
      double sum = 0;
      trie.for_each_child(beam.base, level, [&](uint32_t token, Range range) {
        sum += std::exp(double{row[token]});
        children.push_back(
            {range, {}, row[token], static_cast<int32_t>(m), static_cast<int32_t>(token)});
      });
      if (sum == 0) continue;
      for (Beam& child : children) {
        child.score += static_cast<float>(beam.score - std::log(sum));
        const auto begin = allowed[user].begin();
        if (std::find(begin + child.base.lo, begin + child.base.hi, true) != begin + child.base.hi)
          all.push_back(child);
      }
    }
    std::ranges::stable_sort(all, std::greater<>{}, &Beam::score);
    return all;
  }

 private:
  Trie build() const {
    std::vector<uint32_t> order;
    return Trie::build(flatten(tuples), sizes, order);
  }
  std::vector<Range> prefixes_of_level() const {
    std::vector<Range> ranges{{0, static_cast<uint32_t>(tuples.size())}};
    for (size_t t = 0; t < level; ++t) {
      std::vector<Range> next;
      for (const Range range : ranges)
        trie.for_each_child(range, t, [&](uint32_t, Range child) { next.push_back(child); });
      ranges = next;
    }
    return ranges;
  }
};

// Scores agree place by place; equal beams stand in the order of their leaves; what scores more
// than the last one kept is there.
void check_step(const World& world, const UserFilter* filters, size_t keep, const Kernels& kernels,
                unsigned threads) {
  std::vector<Beam> out(world.users * keep);
  std::vector<float> best_pruned(world.users);
  ConstrainedTopk step = world.step();
  step.keep = keep;
  step.filters = filters;
  step.out = out.data();
  step.best_pruned = best_pruned.data();
  constrained_topk(step, threads, &kernels);
  const auto near = [](float a, float b) { return a == b || std::abs(a - b) < 2e-5f; };
  for (size_t b = 0; b < world.users; ++b) {
    const std::vector<Beam> expected = world.expected(b);
    const auto score = [&](size_t i) {
      return i < expected.size() ? expected[i].score : -kInfinity;
    };
    for (size_t i = 0; i < keep; ++i) {
      const Beam& found = out[b * keep + i];
      CHECK(near(found.score, score(i)));
      if (found.dead()) continue;
      CHECK(std::ranges::any_of(expected, [&](const Beam& e) {
        return e.parent == found.parent && e.token == found.token && e.base.lo == found.base.lo &&
               e.base.hi == found.base.hi && near(e.score, found.score);
      }));
      if (i == 0) continue;
      const Beam& before = out[b * keep + i - 1];
      CHECK(before.score > found.score ||
            (before.score == found.score && before.base.lo < found.base.lo));
    }
    CHECK(near(best_pruned[b], score(keep)));
  }
}

// Leaves as the bits of ids that came in another order.
struct LeafIds {
  LeafIds(std::span<const int64_t> leaves, size_t items, std::mt19937& random)
      : of_leaf(items), words(items / 64 + 1) {
    std::iota(of_leaf.begin(), of_leaf.end(), 0u);
    std::ranges::shuffle(of_leaf, random);
    for (const int64_t leaf : leaves) {
      const uint32_t bit = of_leaf[static_cast<size_t>(leaf)];
      words[bit / 64] |= uint64_t{1} << (bit % 64);
    }
    // Some others have none.
    for (uint32_t& bit : of_leaf) {
      if (bit % 5 == 0 && (words[bit / 64] >> (bit % 64) & 1) == 0) bit = ~0u;
    }
  }
  DeniedIds view() const {
    return {words.data(), static_cast<uint32_t>(64 * words.size()), of_leaf.data()};
  }
  std::vector<uint32_t> of_leaf;
  std::vector<uint64_t> words;
};

// Everybody's denied items come as leaves or by id.
void check_filtered(World& world, size_t denied, size_t denied_to_all, bool sorted, bool allow,
                    bool by_id, const Kernels& kernels, std::mt19937& random) {
  const size_t items = world.tuples.size();
  Lists deny, allowed;
  std::vector<int64_t> everybody = draw(denied_to_all, items, random);
  for (size_t b = 0; b < world.users; ++b) {
    deny.push_back(draw(b * denied, items, random));
    if (sorted) std::ranges::sort(deny[b]);
    allowed.push_back(draw(items / 2, items, random));
    std::vector<bool> named(items, !allow || b == 0);
    if (allow && b > 0) {
      for (const int64_t leaf : allowed[b]) named[static_cast<size_t>(leaf)] = true;
    }
    for (const int64_t leaf : deny[b]) named[static_cast<size_t>(leaf)] = false;
    for (const int64_t leaf : everybody) named[static_cast<size_t>(leaf)] = false;
    world.allowed[b] = named;
  }
  const Flat flat_deny(deny), flat_allow(allowed);
  std::vector<uint8_t> allow_all(world.users);
  allow_all[0] = 1;
  FilterRequest request;
  request.users = world.users;
  request.deny = flat_deny.view();
  const LeafIds ids(everybody, items, random);
  if (by_id)
    request.base_ids = ids.view();
  else
    request.deny_all = everybody;
  if (allow) {
    request.allow = flat_allow.view();
    request.allow_all = allow_all.data();
  }
  const PreparedFilters filters(world.trie.view(), request, 2);
  for (size_t b = 0; b < world.users; ++b) {
    uint32_t count = 0;
    for (uint32_t leaf = 0; leaf < items; ++leaf) {
      CHECK(filters.data()[b].allows_any({leaf, leaf + 1}, {}) == world.allowed[b][leaf]);
      count += world.allowed[b][leaf];
    }
    const auto end = static_cast<uint32_t>(items);
    CHECK(by_id || filters.data()[b].base.allowed_inside({0, end}) == count);
    for (uint32_t lo = 0; lo < end; lo += 1 + lo / 9) {
      const auto from = world.allowed[b].begin() + lo;
      const auto to = std::min<uint32_t>(end, lo + 1 + lo % 300);
      const bool any = std::find(from, world.allowed[b].begin() + to, true) - from < to - lo;
      CHECK(filters.data()[b].allows_any({lo, to}, {}) == any);
    }
  }
  check_step(world, filters.data(), 20, kernels, 2);
}

void check_steps(const Kernels& kernels) {
  std::mt19937 random(7);
  const std::vector<std::vector<uint32_t>> shapes{{4, 6, 200, 40}, {3, 500, 300}, {2, 2, 2, 2, 2}};
  for (const auto& sizes : shapes) {
    for (size_t level = 0; level < sizes.size(); ++level) {
      for (const unsigned distinct : {4u, 1u << 20}) {
        World world(3000, sizes, level, 30, random, distinct);
        for (const size_t keep : {1, 10, 51, 300, 1200})
          check_step(world, nullptr, keep, kernels, 1);
        check_filtered(world, 5, 0, false, false, false, kernels, random);
        for (const bool by_id : {false, true}) {
          check_filtered(world, 400, 700, true, false, by_id, kernels, random);
          check_filtered(world, 3000, 3000, false, false, by_id, kernels, random);
          check_filtered(world, 100, 50, false, true, by_id, kernels, random);
        }
      }
    }
  }
}

void check_leaves_outside() {
  CatalogView catalog;
  catalog.base.items = 100;
  for (const int64_t bad : {int64_t{100}, int64_t{-1}, std::numeric_limits<int64_t>::min(),
                            std::numeric_limits<int64_t>::max(), int64_t{1} << 32}) {
    for (const bool to_all : {false, true}) {
      const Flat lists({{3, bad, 99}});
      FilterRequest request;
      request.users = 1;
      if (to_all) request.deny_all = lists.leaves;
      if (!to_all) request.deny = lists.view();
      CHECK_THROWS(PreparedFilters(catalog, request, 1), std::invalid_argument);
    }
  }
}

// Counts of all sizes, of whole vectors and less; what follows the last child stays as it is.
void check_log_counts(const StepKernels& kernels) {
  for (const size_t count : {0, 1, 2, 15, 16, 17, 33, 256}) {
    std::vector<uint32_t> starts(count + 1 + kChildPadding, 7);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t leaves = i % 3 == 0 ? 1 : static_cast<uint32_t>(i * i * 1000 + 1);
      starts[i + 1] = starts[i] + leaves;
    }
    std::vector<float> x(count + 1, 0.5f);
    kernels.add_log_counts(starts.data(), count, x.data());
    for (size_t i = 0; i < count; ++i) {
      const float wanted = 0.5f + std::log(static_cast<float>(starts[i + 1] - starts[i]));
      CHECK(std::abs(x[i] - wanted) <= 1e-5f * std::max(1.0f, wanted));
    }
    CHECK(x[count] == 0.5f);
  }
}

// All but the first 100 leaves, and some more: what one look does not tell is counted.
void check_bitmaps(const StepKernels& kernels) {
  for (const uint32_t bound : {101u, 127u, 128u, 129u, 512u, 1000u}) {
    std::vector<uint32_t> denied{bound - 1, 100};
    for (uint32_t rank = 0; rank < 100; ++rank) denied.push_back(rank);
    const OwnedBitmap bits = OwnedBitmap::all_but(denied, bound, kernels);
    const SegmentFilter filter{SegmentFilter::Kind::bitmap, bits.view(), {}, {}, {}};
    const auto left = [&](uint32_t lo, uint32_t hi) {
      uint32_t count = 0;
      for (uint32_t rank = lo; rank < hi; ++rank) count += rank > 100 && rank != bound - 1;
      return count;
    };
    for (uint32_t lo = 0; lo <= bound; lo += 1 + lo / 50) {
      for (uint32_t hi = lo; hi <= bound; hi += 1 + hi / 60) {
        CHECK(filter.allowed_inside({lo, hi}) == left(lo, hi));
        CHECK(filter.allows_any({lo, hi}) == (left(lo, hi) > 0));
      }
    }
  }
}

// Every way of sorting, by the number of ranks and by how they come.
void check_rank_sets(const StepKernels& kernels) {
  std::mt19937 random(9);
  for (const uint32_t bound : {1u, 63u, 64u, 65u, 1000u, 100'000u}) {
    for (const size_t count : {1, 5, 65, 100, 2000, 30000}) {
      for (const int order : {0, 1, 2}) {
        std::vector<uint32_t> ranks(count), sorted;
        for (uint32_t& rank : ranks) rank = static_cast<uint32_t>(random() % bound);
        sorted = ranks;
        std::ranges::sort(sorted);
        sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
        if (order == 1) std::ranges::sort(ranks);
        if (order == 2) ranks = sorted;
        const OwnedRankSet set = rank_set_of(ranks, bound, kernels);
        CHECK(std::ranges::equal(set.ranks(), sorted));
        for (uint32_t rank = 0; rank <= bound; rank += 1 + bound / 500) {
          const auto below = std::ranges::lower_bound(sorted, rank) - sorted.begin();
          CHECK(set.view().below(rank) == below);
        }
      }
    }
  }
  CHECK(rank_set_of({}, 10, kernels).view().count == 0);
}

}  // namespace

int main() {
  check_leaves_outside();
  for_all_kernels([](const Kernels& kernels) {
    check_steps(kernels);
    check_rank_sets(kernels.step);
    check_bitmaps(kernels.step);
    check_log_counts(kernels.step);
  });
}
