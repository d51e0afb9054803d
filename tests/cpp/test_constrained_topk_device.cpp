// The device step's body with 1 lane and with 32 emulated lanes, some warps per block, against
// brute force (added and removed leaves, every kind of filter) and against the step of the CPU.
#include <limits>
#include <stdexcept>

#include "device_world.h"
#include "ops/constrained_topk.h"
#include "ops/filter_pack.h"
#include "trie/trie.h"

namespace device_test {
namespace {

// Searches all levels; one in eight beams dies on the way, and beams come in no order, so that ties
// are not settled by it.
void walk(const Case& c, unsigned seed) {
  World world(c, seed);
  Output beams = root(world);
  uint32_t beam_count = 1;
  for (uint32_t level = 0; level < c.sizes.size(); ++level) {
    const Step step(world, level, beams, beam_count);
    const Output one = run_device<HostGroup<1>>(step.step, 1);
    step.check(one);
    step.check(run_device<HostGroup<1>>(step.step, 5));
    for (const uint32_t warps : {1u, 3u, 16u})
      step.check(run_device<HostGroup<32>>(step.step, warps));
    beams = one;
    beam_count = c.keep;
    for (size_t at = 0; at < beams.scores.size(); ++at) {
      if (world.random() % 8 == 0) beams.scores[at] = kDeadScore;
    }
    std::ranges::reverse(beams.scores);
    for (auto* ends : {&beams.lo, &beams.hi, &beams.added_lo, &beams.added_hi}) {
      std::ranges::reverse(*ends);
    }
  }
}

void walks() {
  const std::vector<Case> catalogues{
      {.sizes = {1, 1}, .items = 1},
      {.sizes = {7, 9}, .items = 40},
      {.sizes = {16, 16, 16}, .items = 300, .power = 4},
      {.sizes = {300, 5, 4000}, .items = 200},
      {.sizes = {2, 2, 100}, .items = 350, .power = 2},
      {.sizes = {2, 3, 2, 3, 2, 3, 2, 3}, .items = 150},
  };
  unsigned seed = 0;
  for (Case c : catalogues) {
    for (const uint32_t keep : {1u, 2u, 7u, 33u, 70u}) {
      for (c.dense_levels = 0; c.dense_levels <= 2; ++c.dense_levels) {
        for (unsigned mode = 0; mode < 6; ++mode) {
          c.keep = keep;
          c.nodes = mode % 2 == 1;
          c.node_sums = mode >= 3;
          c.node_scratch = keep % 2 == 1;
          c.full = mode >= 3;
          c.ties = mode == 0 || mode == 5;
          c.filters = mode != 1;
          c.added = c.items / (mode + 1);
          c.added_dense_levels = mode % 3;
          c.removed = mode == 2 ? 0 : 0.2 * mode;
          walk(c, ++seed);
        }
      }
    }
  }
}

void nothing_built_but_added() {
  Case c{.sizes = {9, 9, 9}, .items = 0, .added = 60, .keep = 5, .filters = true};
  for (c.dense_levels = 1; c.dense_levels <= 2; ++c.dense_levels) walk(c, 7);
  c.dense_levels = 2;
  c.items = 80;
  c.removed = 1;  // only added leaves are left
  walk(c, 8);
  c.nodes = c.node_sums = true;
  walk(c, 10);
  c.added = 0;  // nothing is left
  walk(c, 9);
}

void no_users() {
  World world({.sizes = {4, 4}, .items = 9}, 1);
  world.users = 0;
  const Step step(world, 0, Output(0, 1), 1);
  CHECK(run_device<HostGroup<32>>(step.step, 4).scores.empty());
}

// The same search by the step of the CPU: base leaves, lists of denied ranks.
void same_as_on_the_cpu() {
  World world({.sizes = {20, 30, 300}, .items = 3000, .power = 2, .keep = 40}, 3);
  std::vector<int32_t> flat;
  for (const auto& code : world.base) flat.insert(flat.end(), code.begin(), code.end());
  std::vector<uint32_t> order;
  const Trie trie = Trie::build(flat, world.spec.sizes, order);
  std::vector<UserFilter> prepared(world.users);
  std::vector<OwnedRankSet> sets;
  for (size_t user = 0; user < world.users; ++user) {
    std::vector<uint32_t> denied;
    for (uint32_t rank = 0; rank < world.base.size(); ++rank) {
      if (world.random() % 2 == 0) denied.push_back(rank);
    }
    sets.emplace_back(denied, uint32_t(world.base.size()));
    prepared[user].base.denied = sets.back().view();
  }
  Output beams = root(world);
  uint32_t beam_count = 1;
  for (uint32_t level = 0; level < 3; ++level) {
    Step step(world, level, beams, beam_count);
    step.step.catalog = trie.view();
    step.step.filters = prepared.data();
    Output scalar(world.users, world.spec.keep);
    std::vector<Beam> from(world.users * beam_count), best(world.users * world.spec.keep);
    for (size_t i = 0; i < from.size(); ++i) {
      from[i].base = {uint32_t(step.in.lo[i]), uint32_t(step.in.hi[i])};
      from[i].score = step.in.scores[i];
    }
    ConstrainedTopk op;
    op.catalog = trie.view();
    op.level = level;
    op.users = world.users;
    op.beams = beam_count;
    op.keep = world.spec.keep;
    op.from = from.data();
    op.logits = step.logits.data();
    op.filters = prepared.data();
    op.out = best.data();
    op.best_pruned = scalar.best_pruned.data();
    constrained_topk(op);
    for (size_t i = 0; i < best.size(); ++i) {
      scalar.scores[i] = best[i].score;
      scalar.parents[i] = best[i].parent;
      scalar.tokens[i] = best[i].token;
      scalar.lo[i] = best[i].base.lo;
      scalar.hi[i] = best[i].base.hi;
    }
    beams = run_device<HostGroup<32>>(step.step, 4);
    CHECK(beams.tokens == scalar.tokens && beams.parents == scalar.parents);
    CHECK(beams.lo == scalar.lo && beams.hi == scalar.hi);
    for (size_t at = 0; at < beams.scores.size(); ++at) {
      CHECK(beams.scores[at] == scalar.scores[at] ||
            std::abs(beams.scores[at] - scalar.scores[at]) < kTolerance);
    }
    beam_count = world.spec.keep;
  }
}

// Filters and catalogue copied elsewhere as for a device, the originals overwritten.
void moved_to_other_memory() {
  World world(
      {.sizes = {9, 300, 5}, .items = 400, .added = 70, .removed = 0.2, .keep = 9, .filters = true},
      21);
  Step step(world, 0, root(world), 1);
  CatalogView view = step.step.catalog;
  Relocation plan;
  for_each_array(view, [&](auto& array, size_t bytes) { plan.add(array, bytes); });
  const auto block = std::make_unique<std::byte[]>(plan.bytes());
  plan.for_each([&](const void* array, size_t bytes, size_t offset) {
    std::memcpy(block.get() + offset, array, bytes);
  });
  for_each_array(view, [&](auto& array, size_t) {
    plan.move(array, reinterpret_cast<uintptr_t>(block.get()));
  });
  // Shared by all users: copied once.
  const OwnedRankSet shared({3, 5}, view.base.items);
  for (UserFilter& user : world.prepared) user.base.gone = shared.view();
  const FilterPack pack(world.prepared, view.base.items, view.added.items);
  const auto filters = std::make_unique<std::byte[]>(pack.bytes());
  pack.write(filters.get(), reinterpret_cast<uintptr_t>(filters.get()));
  const Output before = run_device<HostGroup<32>>(step.step, 3);
  step.step.catalog = view;
  step.step.filters = reinterpret_cast<const UserFilter*>(filters.get());
  CHECK(step.step.filters[0].base.gone.ranks == step.step.filters[1].base.gone.ranks);
  CHECK(step.step.filters[0].base.gone.ranks != shared.view().ranks);
  for (auto& table : world.base_tables->words_) std::ranges::fill(table, 0);
  std::ranges::fill(world.base_tables->first_, 0);
  std::ranges::fill(world.base_tables->second_, 0);
  std::ranges::fill(world.prepared, UserFilter{});
  // Ids would need the bit of every leaf over there.
  const uint64_t word = 1;
  world.prepared[0].base.denied_ids.words = &word;
  CHECK_THROWS(FilterPack(world.prepared, view.base.items, view.added.items),
               std::invalid_argument);
  world.prepared[0] = {};
  world.filters.clear();
  const Output after = run_device<HostGroup<32>>(step.step, 3);
  CHECK(before.scores == after.scores && before.tokens == after.tokens);
  CHECK(before.lo == after.lo && before.added_hi == after.added_hi);
}

// Wide beams over the widest level, at the limits of a block.
void large() {
  walk({.sizes = {65536, 2}, .items = 5000, .dense_levels = 1, .keep = 512}, 11);
  walk({.sizes = {40, 40, 40}, .items = 20000, .keep = 512, .filters = true}, 12);
  CHECK(BlockShape::of(512, 512).warps == 8);
  CHECK(BlockShape::of(512, 8159).warps == 1 && BlockShape::of(512, 8160).warps == 0);
  CHECK(BlockShape::of(8193, 10).warps == 0);
  CHECK(BlockShape::of(8192, 8159).shared_bytes() <= 163 * 1024);
}

void what_cannot_be_thrown_is_in_the_status() {
  World world({.sizes = {4, 4}, .items = 16, .keep = 3}, 5);
  Step step(world, 0, root(world), 1);
  step.logits[0] = NAN;                                         // of user 0
  step.in.hi[1] = int64_t(world.base.size()) + 1;               // of user 1
  step.logits[8 + 1] = std::numeric_limits<float>::infinity();  // of user 2
  for (const Output& out :
       {run_device<HostGroup<1>>(step.step, 2), run_device<HostGroup<32>>(step.step, 2)}) {
    CHECK(out.status[0] == kStatusNan && out.tokens[0] != 0 && out.scores[0] > kDeadScore);
    CHECK(out.status[1] == kStatusOutside && out.scores[3] == kDeadScore);
    CHECK(out.status[2] == kStatusNan && out.scores[6] == kDeadScore);
  }
  // Logits of -inf are nothing wrong: a mask, whose children are dead.
  std::ranges::fill(step.logits, kDeadScore);
  step.in.hi[1] = step.in.hi[0];
  const Output masked = run_device<HostGroup<32>>(step.step, 2);
  CHECK(masked.status == std::vector<uint32_t>(3, 0));
  CHECK(std::ranges::count(masked.scores, kDeadScore) == 9 && masked.best_pruned[0] == kDeadScore);
  // NaN where no item is counts in the sum over the level.
  World sparse({.sizes = {50, 4}, .items = 5, .keep = 3, .full = true}, 6);
  Step full(sparse, 0, root(sparse), 1);
  size_t empty = 0;
  while (full.children(0).contains(uint32_t(empty))) ++empty;
  full.logits[empty] = NAN;
  CHECK(run_device<HostGroup<32>>(full.step, 2).status[0] == kStatusNan);
  World nodes({.sizes = {4, 4}, .items = 16, .keep = 3, .nodes = true}, 7);
  Step shifted(nodes, 0, root(nodes), 1);
  for (int64_t& start : shifted.starts) ++start;
  CHECK(run_device<HostGroup<32>>(shifted.step, 2).status[0] == kStatusNodeMismatch);
}

// Whatever the tables hold, nothing outside them is read (the sanitizer watches) and every child
// lies inside its parent.
void damaged_tables() {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Case c{.sizes = {9, 300, 5, 7}, .items = 400, .keep = 20, .nodes = true, .full = seed % 2 == 0};
    c.node_scratch = seed % 3 == 0;
    c.dense_levels = seed % 3;
    c.added = 50;
    c.removed = 0.1;
    World world(c, seed);
    Tables& tables = *world.base_tables;
    const auto damage = [&](auto& table) {
      for (auto& entry : table) {
        if (world.random() % 4 == 0)
          entry = static_cast<std::decay_t<decltype(entry)>>(world.random());
      }
    };
    damage(tables.first_);
    damage(tables.second_);
    for (auto& level : tables.bytes_) damage(level);
    for (auto& level : tables.words_) damage(level);
    Output beams = root(world);
    uint32_t beam_count = 1;
    for (uint32_t level = 0; level < c.sizes.size(); ++level) {
      const Step step(world, level, beams, beam_count);
      beams = seed % 4 < 2 ? run_device<HostGroup<32>>(step.step, 3)
                           : run_device<HostGroup<1>>(step.step, 3);
      for (size_t at = 0; at < beams.lo.size(); ++at) {
        if (beams.scores[at] == kDeadScore) continue;
        const size_t parent = at / c.keep * beam_count + size_t(beams.parents[at]);
        CHECK(step.in.lo[parent] <= beams.lo[at] && beams.hi[at] <= step.in.hi[parent]);
        CHECK(beams.tokens[at] < int32_t(c.sizes[level]));
      }
      beam_count = c.keep;
    }
  }
}

}  // namespace
}  // namespace device_test

int main() {
  device_test::walks();
  device_test::nothing_built_but_added();
  device_test::no_users();
  device_test::same_as_on_the_cpu();
  device_test::moved_to_other_memory();
  device_test::large();
  device_test::what_cannot_be_thrown_is_in_the_status();
  device_test::damaged_tables();
}
