// One step on a catalogue small enough to work out by hand, and every instruction set against plain
// loops; the Python tests hold the step against the reference.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "check.h"
#include "io/file.h"
#include "kernels.h"
#include "ops/beam_selection.h"
#include "ops/constrained_topk.h"
#include "ops/prepared_filters.h"
#include "ops/step_batch.h"
#include "trie/trie.h"

namespace {

using mmgrec::Beam;
using mmgrec::Kernels;
using mmgrec::Range;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Result {
  std::vector<Beam> beams;
  std::vector<float> best_pruned;
};

Result run(mmgrec::ConstrainedTopk step, size_t keep, const Kernels* kernels = nullptr) {
  Result result{std::vector<Beam>(step.users * keep), std::vector<float>(step.users)};
  step.keep = keep;
  step.out = result.beams.data();
  step.best_pruned = result.best_pruned.data();
  mmgrec::constrained_topk(step, 1, kernels);
  return result;
}

bool close(float a, double b) { return std::abs(a - b) < 1e-6; }

// Items (0,0) (0,2) (2,1): tokens 0 and 2 exist on level 0, two leaves and one leaf below them.
void check_by_hand() {
  const std::vector<int32_t> codes{0, 0, 0, 2, 2, 1};
  const std::vector<uint32_t> sizes{3, 3};
  std::vector<uint32_t> order;
  const mmgrec::Trie trie = mmgrec::Trie::build(codes, sizes, order);

  Beam root{{0, 3}, {}, -1, 0, 0};
  const std::vector<float> logits{0, 5, 0};
  mmgrec::ConstrainedTopk step;
  step.catalog = trie.view();
  step.users = step.beams = 1;
  step.from = &root;
  step.logits = logits.data();

  // Token 1 leads to no item, so both others get 1/2; the tie goes to the smaller leaf rank.
  Result best = run(step, 1);
  CHECK(best.beams[0].token == 0 && best.beams[0].base.lo == 0 && best.beams[0].base.hi == 2);
  CHECK(close(best.beams[0].score, -1 + std::log(0.5)));
  CHECK(best.best_pruned[0] == best.beams[0].score);

  // Over the whole level, token 1 takes its share although it leads nowhere.
  step.softmax_over_level = true;
  best = run(step, 3);
  CHECK(close(best.beams[0].score, -1 - std::log(2 + std::exp(5.0))));
  CHECK(best.beams[1].token == 2 && best.beams[2].score == -kInfinity && best.beams[2].dead());
  CHECK(best.best_pruned[0] == -kInfinity);
  step.softmax_over_level = false;

  // Both leaves below token 0 denied: it goes, and the other's probability does not change.
  const std::vector<int64_t> deny_offsets{0, 2}, denied{1, 0};
  mmgrec::FilterRequest request;
  request.users = 1;
  request.deny = {deny_offsets.data(), denied.data()};
  const mmgrec::PreparedFilters deny(step.catalog, request, 1);
  step.filters = deny.data();
  best = run(step, 2);
  CHECK(best.beams[0].token == 2 && close(best.beams[0].score, -1 + std::log(0.5)));
  CHECK(best.beams[1].score == -kInfinity);

  // Allowed and denied at once: deny wins.
  const std::vector<int64_t> allow_offsets{0, 1}, allowed{1};
  const std::vector<uint8_t> restricted{0};
  request.allow = {allow_offsets.data(), allowed.data()};
  request.allow_all = restricted.data();
  const mmgrec::PreparedFilters both(step.catalog, request, 1);
  step.filters = both.data();
  CHECK(run(step, 1).beams[0].score == -kInfinity);
  step.filters = nullptr;

  root.base.hi = 4;
  CHECK_THROWS(run(step, 1), std::invalid_argument);
  root.base.hi = 3;
  for (const float bad : {std::nanf(""), kInfinity}) {
    const std::vector<float> wrong{bad, 0, 0};
    step.logits = wrong.data();
    CHECK_THROWS(run(step, 1), std::invalid_argument);
  }
  const std::vector<int64_t> beyond{3};
  request.deny = {allow_offsets.data(), beyond.data()};
  CHECK_THROWS(mmgrec::PreparedFilters(step.catalog, request, 1), std::invalid_argument);
}

// Children listed by the kernels equal those that `for_each_child` visits.
void check_listing(const mmgrec::StepKernels& kernels, const std::vector<uint32_t>& sizes,
                   size_t items, double power, unsigned seed) {
  std::mt19937 random(seed);
  std::set<std::vector<int32_t>> tuples;
  for (size_t i = 0; i < items; ++i) {
    std::vector<int32_t> tuple;
    for (const uint32_t size : sizes) {
      const double u = std::uniform_real_distribution<>()(random);
      tuple.push_back(static_cast<int32_t>(std::pow(u, power) * size));
    }
    tuples.insert(tuple);
  }
  std::vector<int32_t> codes;
  for (const auto& tuple : tuples) codes.insert(codes.end(), tuple.begin(), tuple.end());
  std::vector<uint32_t> order;
  const mmgrec::Trie trie = mmgrec::Trie::build(codes, sizes, order);
  std::vector<uint32_t> tokens(70000), starts(70000);
  std::vector<Range> ranges{{0, static_cast<uint32_t>(trie.num_items())}};
  for (size_t level = 0; level < sizes.size(); ++level) {
    std::vector<Range> next;
    for (const Range range : ranges) {
      const size_t count =
          kernels.list_children(trie.view().base, level, range, {tokens.data(), starts.data()});
      size_t i = 0;
      trie.for_each_child(range, level, [&](uint32_t token, Range child) {
        CHECK(i < count && tokens[i] == token);
        CHECK(starts[i] == child.lo && starts[i + 1] == child.hi);
        next.push_back(child);
        ++i;
      });
      CHECK(i == count);
    }
    ranges = next;
  }
}

// Damaged tokens are found, and a damaged offset does not lead out of the parent's range.
void check_damage(const mmgrec::StepKernels& kernels) {
  std::vector<uint32_t> tokens(64), starts(64);
  mmgrec::TrieView view;
  view.items = 20;
  view.levels = 2;
  view.dense_levels = 1;
  view.level_sizes[0] = 3;
  view.level_sizes[1] = 9;
  std::vector<uint8_t> leaves(20);
  for (size_t i = 0; i < leaves.size(); ++i) leaves[i] = static_cast<uint8_t>(i / 4);
  view.tokens[1] = leaves.data();
  const std::vector<uint32_t> wild{7, 4000000000u, 3, 11};
  view.first = wild.data();
  const size_t count = kernels.list_children(view, 0, {2, 9}, {tokens.data(), starts.data()});
  for (size_t i = 0; i <= count; ++i) CHECK(starts[i] >= 2 && starts[i] <= 9);
  CHECK(kernels.list_children(view, 1, {0, 20}, {tokens.data(), starts.data()}) == 5);
  for (const uint8_t wrong : {9, 255, 0}) {
    leaves[13] = wrong;
    CHECK(kernels.list_children(view, 1, {0, 20}, {tokens.data(), starts.data()}) ==
          mmgrec::kDamaged);
  }
}

// Segments of all lengths side by side, scored together; `spread` is how far logits lie apart.
void check_arithmetic(const mmgrec::StepKernels& kernels, float spread) {
  using mmgrec::kUnit;
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, spread);
  const std::vector<size_t> counts{1, 2, 7, 8, 9, 16, 17, 32, 33, 64, 65, 130, 1000};
  mmgrec::StepBatch batch(1000, false);
  const auto add = [&](size_t count, auto logit) {
    float* x = batch.x + batch.size();
    for (size_t i = 0; i < (count + kUnit - 1) / kUnit * kUnit; ++i)
      x[i] = i < count ? logit(i) : -kInfinity;
    batch.append_children(0, normal(random), count);
  };
  for (const size_t count : counts)
    add(count, [&](size_t i) { return i == 2 ? -kInfinity : normal(random); });
  // The first candidate, which sums start from, is gone, or far below the others; none is left.
  add(20, [&](size_t i) { return i == 0 ? -kInfinity : normal(random); });
  add(20, [](size_t i) { return i == 0 ? -200.0f : static_cast<float>(i); });
  add(20, [](size_t) { return -kInfinity; });
  const size_t size = batch.size(), groups = 64;
  const std::vector<float> logits(batch.x, batch.x + size);
  std::vector<float> most(groups), expected_most(groups, -kInfinity);
  CHECK(kernels.log_totals(batch));
  kernels.score(batch, most.data(), groups);
  for (size_t s = 0; s < batch.segments; ++s) {
    const size_t begin = batch.begins[s] * kUnit, end = batch.begins[s + 1] * kUnit;
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += std::exp(double{logits[i]});
    const double total = sum > 0 ? std::log(sum) : 0;
    CHECK(std::abs(batch.totals[s] - total) < 1e-6 + 4e-7 * (std::abs(total) + spread));
    for (size_t i = begin; i < end; ++i) {
      CHECK(batch.x[i] == batch.scores[s] + std::min(0.0f, logits[i] - batch.totals[s]));
      expected_most[i % groups] = std::max(expected_most[i % groups], batch.x[i]);
    }
  }
  // One child alone has probability 1, to the last bit.
  CHECK(batch.totals[0] == logits[0]);
  CHECK(most == expected_most);
  const std::vector<float> x(batch.x, batch.x + size);
  for (const float least : {-3.0f, -8.0f, -kInfinity}) {
    std::vector<uint32_t> found(size + kUnit), expected;
    const size_t kept = kernels.survivors(x.data(), size, least, found.data());
    for (uint32_t i = 0; i < size; ++i) {
      if (x[i] >= least) expected.push_back(i);
    }
    found.resize(kept);
    CHECK(found == expected);
  }
  double sum = 0;
  std::vector<float> row(1000 + mmgrec::kChildPadding);
  for (size_t i = 0; i < 1000; ++i) sum += std::exp(double{row[i] = normal(random)});
  CHECK(std::abs(kernels.log_sum_exp(row.data(), 1000) - std::log(sum)) < 1e-6 * std::log(sum));
}

void check_bad_logits(const mmgrec::StepKernels& kernels) {
  for (const float bad : {std::nanf(""), kInfinity}) {
    for (const float other : {1.0f, -kInfinity}) {
      for (const size_t at : {0, 13, 19, 40}) {
        std::vector<float> x(48 + mmgrec::kChildPadding, other);
        x[at] = bad;
        CHECK(std::isnan(kernels.log_sum_exp(x.data(), 48)));
        mmgrec::StepBatch batch(1000, false);
        std::ranges::copy(x, batch.x);
        batch.append_children(0, 0, 48);
        CHECK(!kernels.log_totals(batch));
      }
    }
  }
  std::vector<float> dead(20 + mmgrec::kChildPadding, -kInfinity);
  CHECK(kernels.log_sum_exp(dead.data(), 20) == -kInfinity);
  CHECK(kernels.log_sum_exp(dead.data(), 0) == -kInfinity);
}

// The first leaf of every child has its logit, all else is -inf; damage is found.
void check_leaves(const mmgrec::StepKernels& kernels) {
  std::vector<uint16_t> tokens{5, 5, 0, 1, 1, 1, 4, 6, 8};
  for (uint16_t t = 0; t < 40; ++t) tokens.push_back(t / 2 * 2);
  std::vector<float> row(40);
  for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i) / 8;
  mmgrec::TrieView view;
  view.items = static_cast<uint32_t>(tokens.size());
  view.level_sizes[0] = 300;
  view.tokens[0] = tokens.data();
  const std::vector<Range> ranges{{0, 2}, {2, 9}, {9, 25}, {25, 49}, {9, 49}, {48, 49}};
  const auto gather = [&] {
    mmgrec::StepBatch batch(300, false);
    for (const Range range : ranges) batch.append_leaves(0, 0, row.data(), range);
    const bool sound = kernels.gather_leaves(view, 0, batch, 0, batch.num_units);
    for (size_t s = 0; sound && s < ranges.size(); ++s) {
      const float* x = batch.x + batch.begins[s] * mmgrec::kUnit;
      for (uint32_t leaf = ranges[s].lo; leaf < ranges[s].hi; ++leaf) {
        const bool begins = leaf == ranges[s].lo || tokens[leaf] != tokens[leaf - 1];
        CHECK(*x++ == (begins ? row[tokens[leaf]] : -kInfinity));
      }
      while (x < batch.x + batch.begins[s + 1] * mmgrec::kUnit) CHECK(*x++ == -kInfinity);
    }
    return sound;
  };
  CHECK(gather());
  for (const size_t at : {5, 12, 25, 30, 48}) {
    for (const uint16_t wrong : {300, 65535, 0}) {
      const uint16_t right = std::exchange(tokens[at], wrong);
      CHECK(!gather());
      tokens[at] = right;
    }
  }
}

void check_order(const mmgrec::StepKernels& kernels) {
  std::mt19937 random(4);
  for (const size_t count : {1, 2, 15, 16, 17, 64, 200}) {
    for (const unsigned distinct : {3u, 1000000u}) {
      std::vector<float> x(count + mmgrec::kUnit);
      for (size_t i = 0; i < count; ++i) x[i] = 5 - static_cast<float>(random() % distinct);
      std::vector<uint32_t> before(count + mmgrec::kUnit);
      const std::vector<float> whole(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(count));
      const bool all_differ = kernels.ranks(x.data(), count, before.data());
      CHECK(all_differ == (std::set<float>(whole.begin(), whole.end()).size() == count));
      for (size_t i = 0; i < count; ++i)
        CHECK(before[i] == std::ranges::count_if(whole, [&](float v) { return v > whole[i]; }));
      if (count % mmgrec::kUnit != 0) continue;
      for (size_t wanted = 1; wanted <= count; wanted += 7) {
        const float least = kernels.threshold(x.data(), count, wanted);
        const auto found =
            static_cast<size_t>(std::ranges::count_if(whole, [&](float v) { return v >= least; }));
        CHECK(found >= wanted);
        if (distinct > 3) CHECK(found <= wanted + wanted / 16 + 1);
      }
    }
  }
  std::vector<float> few(mmgrec::kUnit, -kInfinity);
  few[3] = -2;
  const float least = kernels.threshold(few.data(), few.size(), 1);
  CHECK(least > -kInfinity && least <= -2);
  CHECK(kernels.threshold(few.data(), few.size(), 2) == -kInfinity);
}

void check_dots(const mmgrec::StepKernels& kernels) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 4);
  for (const size_t width : {1, 4, 7, 8, 16, 31, 64, 100}) {
    std::vector<float> query(width), rows(3 * width), x{1, 2, 3};
    for (float& value : query) value = normal(random);
    for (float& value : rows) value = normal(random);
    kernels.add_dots(query.data(), rows.data(), 3, width, x.data());
    for (size_t i = 0; i < 3; ++i) {
      double dot = static_cast<double>(i) + 1;
      for (size_t d = 0; d < width; ++d) dot += double{query[d]} * rows[i * width + d];
      CHECK(std::abs(x[i] - dot) < 1e-3);
    }
  }
}

void check_selection(const mmgrec::StepKernels& kernels) {
  std::mt19937 random(5);
  for (const size_t wanted : {1, 2, 10, 300}) {
    std::vector<Beam> all;
    mmgrec::BeamSelection best;
    best.reset(wanted, kernels);
    for (uint32_t i = 0; i < 2000; ++i) {
      // Few distinct scores, so that ties are everywhere; 0 and -0 are one score.
      const float score = -static_cast<float>(random() % 50) * (i % 2 ? 1.0f : 0.5f);
      const Beam beam{{i, i + 1}, {}, score, 0, 0};
      all.push_back(beam);
      if (score < best.least()) continue;
      *best.slots() = beam;
      best.take(1);
    }
    std::ranges::sort(all, [](const Beam& a, const Beam& b) {
      return a.score != b.score ? a.score > b.score : a.base.lo < b.base.lo;
    });
    best.sort();
    CHECK(best.size() == wanted);
    for (size_t i = 0; i < wanted; ++i) CHECK(best[i].base.lo == all[i].base.lo);
  }
}

}  // namespace

int main() {
  check_by_hand();
  mmgrec::for_all_kernels([](const Kernels& kernels) {
    check_listing(kernels.step, {7, 5, 3}, 60, 1, 1);
    check_listing(kernels.step, {256, 256, 256}, 20000, 3, 2);
    check_listing(kernels.step, {16, 4, 300, 65536}, 5000, 4, 3);
    check_listing(kernels.step, {2, 2, 200, 9}, 3000, 8, 4);
    check_listing(kernels.step, {5000, 5000, 3}, 500, 2, 5);  // second level not dense
    check_listing(kernels.step, {1, 1}, 1, 1, 6);
    check_damage(kernels.step);
    check_arithmetic(kernels.step, 4);
    check_arithmetic(kernels.step, 60);
    check_leaves(kernels.step);
    check_bad_logits(kernels.step);
    check_order(kernels.step);
    check_dots(kernels.step);
    check_selection(kernels.step);
  });
}
