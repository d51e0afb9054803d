// A live catalogue against a std::map: random edits, compactions with edits meanwhile, errors; and
// readers in other threads while a writer edits and compacts (for the thread sanitizer).
#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "live/live_catalog.h"

namespace {

using mmgrec::Base;
using mmgrec::Edit;
using mmgrec::EditKind;
using mmgrec::LiveCatalog;
using mmgrec::Snapshot;
using mmgrec::Trie;
using mmgrec::Tuple;
using Model = std::map<Tuple, uint32_t>;
using Sizes = std::vector<uint32_t>;

Tuple random_tuple(const Sizes& sizes, std::mt19937& random) {
  Tuple tuple{};
  for (size_t level = 0; level < sizes.size(); ++level) {
    tuple[level] = static_cast<uint16_t>(random() % sizes[level]);
  }
  return tuple;
}

std::shared_ptr<const Base> make_base(const Model& model, const Sizes& sizes, bool explicit_ids) {
  std::vector<int32_t> codes;
  std::vector<uint32_t> ids;
  std::vector<uint32_t> order;
  for (const auto& [tuple, id] : model) {
    codes.insert(codes.end(), tuple.begin(), tuple.begin() + static_cast<int>(sizes.size()));
    if (explicit_ids) ids.push_back(id);
  }
  return std::make_shared<const Base>(Trie::build(codes, sizes, order), std::move(ids));
}

Model random_model(size_t count, const Sizes& sizes, std::mt19937& random, bool explicit_ids) {
  Model model;
  for (size_t i = 0; i < count; ++i) model[random_tuple(sizes, random)] = 0;
  uint32_t rank = 0;
  for (auto& [tuple, id] : model) id = explicit_ids ? 1000 + 7 * rank++ % 911 : rank++;
  return model;
}

void check_search_view(const Snapshot& snapshot, const Model& model) {
  const mmgrec::CatalogView view = snapshot.view();
  CHECK(view.added.dense_levels == 0 && view.leaves() == snapshot.num_leaves());
  for (uint32_t rank = 1; rank < view.removed.count; ++rank) {
    CHECK(view.removed.ranks[rank - 1] < view.removed.ranks[rank]);
  }
  for (const auto& [tuple, id] : model) {
    // Places of base and added leaves add up to an order of all tuples.
    const auto base = mmgrec::place(view.base, tuple);
    const auto added = mmgrec::place(view.added, tuple);
    CHECK((base.found && !view.removed.contains(base.rank)) != added.found);
  }
}

void check_equal(const Snapshot& snapshot, const Model& model) {
  CHECK(snapshot.num_items() == model.size());
  auto expected = model.begin();
  snapshot.for_each_live([&](uint32_t leaf, const Tuple& tuple) {
    CHECK(expected != model.end() && expected->first == tuple);
    CHECK(snapshot.is_live(leaf) && snapshot.codes(leaf) == tuple);
    CHECK(snapshot.id(leaf) == expected->second);
    CHECK(snapshot.find(tuple) == leaf && snapshot.find_id(expected->second) == leaf);
    ++expected;
  });
  CHECK(expected == model.end());
  check_search_view(snapshot, model);
}

// A valid edit of the model, made there too; some edits undo others of their batch.
Edit random_edit(Model& model, const Sizes& sizes, uint32_t& next_id, std::mt19937& random) {
  const auto any_item = [&] {
    return std::next(model.begin(), static_cast<int>(random() % model.size()));
  };
  Edit edit;
  edit.tuple = random_tuple(sizes, random);
  const auto at = model.find(edit.tuple);
  if (at == model.end() && (model.empty() || random() % 2 == 0)) {
    edit.id = next_id++;
    model[edit.tuple] = edit.id;
  } else if (at == model.end()) {
    const auto from = any_item();
    edit.kind = EditKind::kReplace;
    edit.old = from->first;
    const uint32_t id = from->second;
    model.erase(from);
    model[edit.tuple] = id;
  } else {
    const auto gone = any_item();
    edit.kind = EditKind::kDelete;
    edit.tuple = gone->first;
    model.erase(gone);
  }
  return edit;
}

std::vector<Edit> random_batch(Model& model, const Sizes& sizes, uint32_t& next_id,
                               std::mt19937& random) {
  std::vector<Edit> edits;
  const size_t count = random() % 8 == 0 ? random() % 60 : 1 + random() % 4;
  for (size_t i = 0; i < count; ++i) edits.push_back(random_edit(model, sizes, next_id, random));
  return edits;
}

void check_random(const Sizes& sizes, size_t items, bool explicit_ids, unsigned seed) {
  std::mt19937 random(seed);
  Model model = random_model(items, sizes, random, explicit_ids);
  LiveCatalog live(make_base(model, sizes, explicit_ids));
  check_equal(*live.snapshot(), model);
  uint32_t next_id = 100000;
  std::shared_ptr<mmgrec::CompactionJob> job;
  for (int step = 0; step < 200; ++step) {
    const Model old_model = model;
    const auto old = live.snapshot();
    live.apply(random_batch(model, sizes, next_id, random));
    check_equal(*live.snapshot(), model);
    check_equal(*old, old_model);  // a reader's snapshot does not change
    const auto dice = random() % 10;
    if (!job && dice == 0) {
      job = live.begin_compaction();
    } else if (job && dice == 1) {
      job->run();
      live.finish_compaction(*job);
      job.reset();
      check_equal(*live.snapshot(), model);
    } else if (job && dice == 2) {
      live.abandon_compaction();
      job.reset();
    }
  }
}

Edit insert(Tuple tuple, uint32_t id) { return {EditKind::kInsert, id, tuple, {}}; }
Edit erase(Tuple tuple) { return {EditKind::kDelete, 0, tuple, {}}; }
Edit replace(Tuple old, Tuple tuple) { return {EditKind::kReplace, 0, tuple, old}; }

void check_errors() {
  const Sizes sizes{4, 4};
  Model model{{Tuple{0, 1}, 0}, {Tuple{2, 2}, 1}};
  LiveCatalog live(make_base(model, sizes, false));
  const auto fails = [&](const std::vector<Edit>& edits, const std::string& with) {
    const auto before = live.snapshot();
    bool thrown = false;
    try {
      live.apply(edits);
    } catch (const mmgrec::EditError& error) {
      thrown = std::string(error.what()).find(with) != std::string::npos;
    }
    CHECK(thrown && live.snapshot() == before);
  };
  fails({insert({0, 1}, 9)}, "item 9 at (0, 1) is taken (item 0 is there)");
  fails({insert({0, 2}, 1)}, "item 1 at (0, 2) is taken (item 1 is at (2, 2))");
  fails({insert({0, 2}, 9), insert({0, 3}, 9)}, "edit 1");
  fails({insert({0, 2}, 9), insert({0, 2}, 8)}, "item 9 is there");
  fails({erase({0, 0})}, "edit 0: no item has this Rec-ID ((0, 0))");
  fails({erase({0, 1}), erase({0, 1})}, "edit 1");
  fails({replace({0, 0}, {1, 1})}, "no item");
  fails({replace({0, 1}, {2, 2})}, "taken");
  fails({insert({0, 4}, 9)}, "level 1 is out of range (4)");
  fails({replace({0, 1}, {5, 0})}, "level 0 is out of range");
  fails({replace({9, 1}, {1, 0})}, "level 0 is out of range");
  const auto stale = live.prepare({});
  live.apply(std::vector{insert({0, 2}, 9)});
  CHECK_THROWS(live.publish(stale), std::logic_error);
  std::vector<uint32_t> order;
  const std::vector<int32_t> codes{0, 1, 2, 2};
  CHECK_THROWS(Base(Trie::build(codes, sizes, order), {1}), std::invalid_argument);
  CHECK_THROWS(Base(Trie::build(codes, sizes, order), {7, 7}), std::invalid_argument);
}

// Deleted and inserted again, in one batch and in several, at a base leaf and at an added one.
void check_there_and_back() {
  const Sizes sizes{4, 4};
  LiveCatalog live(make_base({{Tuple{0, 1}, 0}, {Tuple{2, 2}, 1}}, sizes, false));
  live.apply(std::vector{erase({0, 1}), insert({0, 1}, 5)});
  check_equal(*live.snapshot(), {{Tuple{0, 1}, 5}, {Tuple{2, 2}, 1}});
  CHECK(live.snapshot()->num_added() == 1 && live.snapshot()->num_removed() == 1);
  live.apply(std::vector{erase({0, 1})});
  live.apply(std::vector{insert({0, 1}, 0)});  // the item itself: its base leaf lives again
  CHECK(live.snapshot()->num_added() == 0 && live.snapshot()->num_removed() == 0);
  live.apply(std::vector{replace({0, 1}, {0, 1}), insert({3, 3}, 7), erase({3, 3})});
  check_equal(*live.snapshot(), {{Tuple{0, 1}, 0}, {Tuple{2, 2}, 1}});
  live.apply(std::vector{replace({0, 1}, {1, 1}), replace({2, 2}, {0, 1})});
  check_equal(*live.snapshot(), {{Tuple{0, 1}, 1}, {Tuple{1, 1}, 0}});
  auto job = live.begin_compaction();
  CHECK_THROWS(live.begin_compaction(), std::logic_error);
  CHECK_THROWS(live.finish_compaction(*job), std::logic_error);
  live.apply(std::vector{erase({0, 1}), erase({1, 1})});
  job->run();
  live.finish_compaction(*job);
  check_equal(*live.snapshot(), {});
  job = live.begin_compaction();
  job->run();
  live.finish_compaction(*job);
  check_equal(*live.snapshot(), {});
  CHECK(live.snapshot()->num_leaves() == 0);
}

// Whatever state a reader sees, its sums are those of a whole batch: every batch leaves the number
// of items as it was, and all ids distinct.
void read_until(const LiveCatalog& live, const std::atomic<bool>& stop, size_t items) {
  while (!stop) {
    const auto snapshot = live.snapshot();
    size_t count = 0;
    Tuple last{};
    snapshot->for_each_live([&](uint32_t leaf, const Tuple& tuple) {
      CHECK(count == 0 || last < tuple);
      CHECK(snapshot->find(tuple) == leaf);
      last = tuple;
      ++count;
    });
    CHECK(count == items);
  }
}

void check_threads() {
  const Sizes sizes{16, 16, 16};
  std::mt19937 random(3);
  Model model = random_model(300, sizes, random, true);
  LiveCatalog live(make_base(model, sizes, true));
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&, items = model.size()] { read_until(live, stop, items); });
  }
  uint32_t next_id = 100000;
  for (int round = 0; round < 20; ++round) {
    const auto job = live.begin_compaction();
    std::thread compaction([&] { job->run(); });
    for (int step = 0; step < 20; ++step) {
      Tuple tuple = random_tuple(sizes, random);
      while (model.contains(tuple)) tuple = random_tuple(sizes, random);
      const Tuple gone = std::next(model.begin(), static_cast<int>(random() % model.size()))->first;
      model.erase(gone);
      model[tuple] = next_id;
      live.apply(std::vector{erase(gone), insert(tuple, next_id++)});
    }
    compaction.join();
    live.finish_compaction(*job);
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  check_equal(*live.snapshot(), model);
}

}  // namespace

int main() {
  check_errors();
  check_there_and_back();
  unsigned seed = 0;
  for (const Sizes& sizes : {Sizes{6, 6}, Sizes{2, 3, 2, 3}, Sizes{300, 2, 257}, Sizes{65536, 40},
                             Sizes{65536, 65536, 3}, Sizes{2, 2, 2, 2, 2, 2, 2, 2}}) {
    for (const size_t items : {0, 1, 30}) {
      check_random(sizes, items, true, ++seed);
      check_random(sizes, items, false, ++seed);
    }
  }
  check_threads();
}
