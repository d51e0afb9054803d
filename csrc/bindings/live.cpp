// Bindings of the live catalogue and its journal. The caller sees to one writer at a time.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "live/journal.h"
#include "live/live_catalog.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

using Leaves = NumpyVector<int64_t>;
using Ids = NumpyVector<uint32_t>;

template <class Array, class T>
Array vector_to_numpy(std::vector<T>&& values) {
  const size_t count = values.size();
  return to_numpy<Array>(std::move(values), {count});
}

uint32_t checked_leaf(const Snapshot& snapshot, int64_t leaf) {
  require(leaf >= 0 && leaf < int64_t{snapshot.num_leaves()}, "no such leaf");
  return static_cast<uint32_t>(leaf);
}

int64_t leaf_or_none(std::optional<uint32_t> leaf) { return leaf ? int64_t{*leaf} : -1; }

// Tuples with a token out of range are no items.
Leaves lookup(const Snapshot& snapshot, In<int32_t, 2> codes) {
  const std::vector<uint32_t> sizes = snapshot.base()->level_sizes();
  require(codes.shape(1) == sizes.size(), "codes need one column per level");
  std::vector<int64_t> leaves(codes.shape(0), -1);
  for (size_t i = 0; i < leaves.size(); ++i) {
    Tuple tuple{};
    bool sound = true;
    for (size_t level = 0; level < sizes.size(); ++level) {
      const int32_t token = codes(i, level);
      sound = sound && token >= 0 && static_cast<uint32_t>(token) < sizes[level];
      tuple[level] = static_cast<uint16_t>(token);
    }
    if (sound) leaves[i] = leaf_or_none(snapshot.find(tuple));
  }
  return vector_to_numpy<Leaves>(std::move(leaves));
}

Leaves lookup_ids(const Snapshot& snapshot, In<uint32_t, 1> ids) {
  std::vector<int64_t> leaves(ids.size());
  for (size_t i = 0; i < leaves.size(); ++i) leaves[i] = leaf_or_none(snapshot.find_id(ids(i)));
  return vector_to_numpy<Leaves>(std::move(leaves));
}

NumpyCodes codes_of(const Snapshot& snapshot, In<int64_t, 1> leaves) {
  const size_t levels = snapshot.base()->trie().num_levels();
  LeafCursor base(snapshot.view().base);  // leaves mostly ascend
  std::vector<int32_t> codes;
  codes.reserve(leaves.size() * levels);
  for (size_t i = 0; i < leaves.size(); ++i) {
    const uint32_t leaf = checked_leaf(snapshot, leaves(i));
    const bool in_base = leaf < snapshot.base()->items();
    if (in_base) base.move_to(leaf);
    const Tuple tuple = in_base ? tuple_at(base) : snapshot.codes(leaf);
    codes.insert(codes.end(), tuple.begin(), tuple.begin() + static_cast<ptrdiff_t>(levels));
  }
  return to_numpy<NumpyCodes>(std::move(codes), {leaves.size(), levels});
}

Ids ids_of(const Snapshot& snapshot, In<int64_t, 1> leaves) {
  std::vector<uint32_t> ids(leaves.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = snapshot.id(checked_leaf(snapshot, leaves(i)));
  return vector_to_numpy<Ids>(std::move(ids));
}

Leaves live_leaves(const Snapshot& snapshot) {
  std::vector<int64_t> leaves;
  leaves.reserve(snapshot.num_items());
  snapshot.for_each_live([&](uint32_t leaf, const Tuple&) { leaves.push_back(leaf); });
  return vector_to_numpy<Leaves>(std::move(leaves));
}

void bind_snapshot(nb::module_& module) {
  nb::class_<Snapshot, Catalog>(module, "Snapshot")
      .def("lookup", &lookup, "codes"_a)
      .def("lookup_ids", &lookup_ids, "ids"_a)
      .def("codes", &codes_of, "leaves"_a)
      .def("ids", &ids_of, "leaves"_a)
      .def("live_leaves", &live_leaves)
      .def_prop_ro("num_items", &Snapshot::num_items)
      // Which built trie it stands on: another number after a compaction, while one of both lives.
      .def_prop_ro("base_key",
                   [](const Snapshot& snapshot) {
                     return reinterpret_cast<uintptr_t>(snapshot.base().get());
                   })
      .def_prop_ro("num_leaves", &Snapshot::num_leaves)
      .def_prop_ro("num_added", &Snapshot::num_added)
      .def_prop_ro("num_removed", &Snapshot::num_removed)
      .def_prop_ro("num_levels",
                   [](const Snapshot& snapshot) { return snapshot.base()->trie().num_levels(); })
      .def_prop_ro("level_sizes",
                   [](const Snapshot& snapshot) { return snapshot.base()->level_sizes(); });
}

std::vector<Tuple> tuples_of(In<int32_t, 2> codes, const std::vector<uint32_t>& sizes) {
  require(codes.shape(1) == sizes.size(), "codes need one column per level");
  std::vector<Tuple> tuples;
  for (size_t i = 0; i < codes.shape(0); ++i) {
    tuples.push_back(checked_tuple({codes.data() + i * sizes.size(), sizes.size()}, sizes, i));
  }
  return tuples;
}

std::vector<std::string> strings_of(const std::vector<nb::bytes>& payloads) {
  std::vector<std::string> strings;
  for (const nb::bytes& each : payloads) strings.emplace_back(each.c_str(), each.size());
  return strings;
}

// `kind` 0: inserts of `ids` at `codes`; 1: deletes of `codes`; 2: replaces of `old` by `codes`.
// The last two have no ids, the first two have no `old`.
Batch make_batch(unsigned kind, In<int32_t, 2> codes, In<int32_t, 2> old, In<uint32_t, 1> ids,
                 const std::vector<nb::bytes>& payloads, const std::vector<uint32_t>& sizes) {
  require(kind <= 2, "no such kind of edit");
  const std::vector<Tuple> tuples = tuples_of(codes, sizes);
  const std::vector<Tuple> old_tuples = tuples_of(old, sizes);
  require(ids.size() == (kind == 0 ? tuples.size() : 0), "inserts need one id per Rec-ID");
  require(old_tuples.size() == (kind == 2 ? tuples.size() : 0), "old and new differ in number");
  require(payloads.empty() || payloads.size() == tuples.size(), "payloads differ in number");
  Batch batch;
  batch.payloads = strings_of(payloads);
  for (size_t i = 0; i < tuples.size(); ++i) {
    const Edit edit{static_cast<EditKind>(kind), kind == 0 ? ids(i) : 0, tuples[i],
                    kind == 2 ? old_tuples[i] : Tuple{}};
    batch.edits.push_back(edit);
  }
  return batch;
}

Ids edit_ids(const std::vector<Edit>& edits) {
  std::vector<uint32_t> ids;
  for (const Edit& edit : edits) ids.push_back(edit.id);
  return vector_to_numpy<Ids>(std::move(ids));
}

NumpyVector<uint8_t> edit_kinds(const Batch& batch) {
  std::vector<uint8_t> kinds;
  for (const Edit& edit : batch.edits) kinds.push_back(static_cast<uint8_t>(edit.kind));
  return vector_to_numpy<NumpyVector<uint8_t>>(std::move(kinds));
}

std::vector<nb::bytes> payload_bytes(const Batch& batch) {
  std::vector<nb::bytes> payloads;
  for (const std::string& each : batch.payloads) payloads.emplace_back(each.data(), each.size());
  return payloads;
}

// All batches as one: the cost of a copy of the additions is paid once.
Prepared prepare_replay(LiveCatalog& live, const JournalContents& contents) {
  std::vector<Edit> edits;
  for (const Batch& batch : contents.batches) {
    edits.insert(edits.end(), batch.edits.begin(), batch.edits.end());
  }
  return live.prepare(edits);
}

// The state goes out of the Python object, which would keep it alive.
void publish(LiveCatalog& live, Prepared& prepared) {
  require(prepared.before != nullptr, "it is published already");
  live.publish(std::exchange(prepared, {}));
}

// No ids: an item's id is its leaf rank.
std::shared_ptr<LiveCatalog> open_live(const std::string& trie, In<uint32_t, 1> ids) {
  std::vector<uint32_t> own(ids.data(), ids.data() + ids.size());
  nb::gil_scoped_release release;
  auto base = std::make_shared<const Base>(Trie::open(trie), std::move(own));
  return std::make_shared<LiveCatalog>(std::move(base));
}

void bind_live_catalog(nb::module_& module) {
  nb::class_<Batch>(module, "EditBatch")
      .def_static("make", &make_batch, "kind"_a, "codes"_a, "old"_a, "ids"_a, "payloads"_a,
                  "level_sizes"_a)
      .def_ro("sequence", &Batch::sequence)
      .def_prop_ro("kinds", &edit_kinds, nb::rv_policy::automatic)
      .def_prop_ro(
          "ids", [](const Batch& batch) { return edit_ids(batch.edits); }, nb::rv_policy::automatic)
      .def_prop_ro("payloads", &payload_bytes, nb::rv_policy::automatic);
  nb::class_<Prepared>(module, "Prepared")
      .def_prop_ro(
          "ids", [](const Prepared& prepared) { return edit_ids(prepared.edits); },
          nb::rv_policy::automatic);
  nb::class_<CompactionJob>(module, "CompactionJob")
      .def("run", &CompactionJob::run, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "save_trie",
          [](const CompactionJob& job, const std::string& path) { job.base()->trie().save(path); },
          "path"_a, nb::call_guard<nb::gil_scoped_release>())
      .def("ids", [](const CompactionJob& job) {
        const auto ids = job.base()->ids();
        return vector_to_numpy<Ids>(std::vector<uint32_t>(ids.begin(), ids.end()));
      });
  // The mutex is only ever held with the GIL, so a fork cannot leave it locked in the child.
  nb::class_<LiveCatalog>(module, "LiveCatalog")
      .def_static("open", &open_live, "trie"_a, "ids"_a)
      .def("snapshot", &LiveCatalog::snapshot)
      .def(
          "prepare",
          [](LiveCatalog& live, const Batch& batch) { return live.prepare(batch.edits); },
          "batch"_a)
      .def("prepare_replay", &prepare_replay, "contents"_a)
      .def("publish", &publish, "prepared"_a)
      .def("begin_compaction", &LiveCatalog::begin_compaction)
      .def("prepare_compacted", &LiveCatalog::prepare_compacted, "job"_a)
      .def("abandon_compaction", &LiveCatalog::abandon_compaction);
}

uint64_t append(Journal& journal, const Prepared& prepared, const Batch& batch) {
  nb::gil_scoped_release release;
  return journal.append(prepared.edits, batch.payloads);
}

// A journal that starts with what another holds after a batch.
Journal continue_journal(const Journal& journal, const std::string& path, uint64_t after) {
  nb::gil_scoped_release release;
  const JournalContents contents = read_journal(journal.path());
  std::vector<Batch> later;
  for (const Batch& batch : contents.batches) {
    if (batch.sequence > after) later.push_back(batch);
  }
  const std::vector<uint32_t> sizes(contents.header.level_sizes.begin(),
                                    contents.header.level_sizes.begin() + contents.header.levels);
  return Journal::create(path, journal.generation() + 1, sizes, after, later);
}

void bind_journal(nb::module_& module) {
  nb::class_<JournalContents>(module, "JournalContents")
      .def_static(
          "read", [](const std::string& path) { return read_journal(path); }, "path"_a,
          nb::call_guard<nb::gil_scoped_release>())
      .def_static(
          "read_after",
          [](const std::string& path, const JournalContents& earlier) {
            return read_journal_after(path, earlier);
          },
          "path"_a, "earlier"_a, nb::call_guard<nb::gil_scoped_release>())
      .def_ro("batches", &JournalContents::batches)
      .def_ro("cut_bytes", &JournalContents::cut_bytes)
      .def_prop_ro("generation",
                   [](const JournalContents& contents) { return contents.header.generation; })
      .def_ro("sequence", &JournalContents::sequence)
      .def_prop_ro("level_sizes", [](const JournalContents& contents) {
        const auto& sizes = contents.header.level_sizes;
        return std::vector<uint32_t>(sizes.begin(), sizes.begin() + contents.header.levels);
      });
  nb::class_<Journal>(module, "Journal")
      .def_static(
          "create",
          [](const std::string& path, const std::vector<uint32_t>& level_sizes) {
            return Journal::create(path, 0, level_sizes, 0, {});
          },
          "path"_a, "level_sizes"_a)
      .def_static(
          "open",
          [](const std::string& path, const JournalContents& contents) {
            return Journal::open(path, contents);
          },
          "path"_a, "contents"_a)
      .def("append", &append, "prepared"_a, "batch"_a)
      .def("continued", &continue_journal, "path"_a, "after"_a)
      .def_prop_ro("sequence", &Journal::sequence)
      .def_prop_ro("bytes", &Journal::bytes)
      .def_prop_ro("generation", &Journal::generation);
}

// Python's EditError carries (what, value, allowed, remedy); the translator that comes last is
// asked first.
void bind_edit_error(nb::module_& module) {
  static PyObject* type = nb::exception<EditError>(module, "EditError", PyExc_ValueError).ptr();
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const EditError& error) {
      nb::tuple arguments =
          nb::make_tuple(error.what_is_wrong, error.value, error.allowed, error.remedy);
      PyErr_SetObject(type, arguments.ptr());
    }
  });
}

}  // namespace

void bind_live(nb::module_& module) {
  bind_edit_error(module);
  bind_snapshot(module);
  bind_live_catalog(module);
  bind_journal(module);
}

}  // namespace mmgrec
