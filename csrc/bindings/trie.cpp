// Bindings of the prefix trie and its builder.
#include "trie/trie.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "trie/builder.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

using TrieAndOrder = std::pair<Trie, NumpyVector<uint32_t>>;

// What is added and finished without the interpreter's lock.
void add(TrieBuilder& builder, In<int32_t, 2> codes) {
  require(codes.shape(1) == builder.level_sizes().size(), "codes need one column per level");
  nb::gil_scoped_release release;
  builder.add({codes.data(), codes.size()});
}

TrieAndOrder finish(TrieBuilder& builder, unsigned threads, std::optional<uint32_t> dense_levels) {
  require(threads > 0, "threads is at least 1");
  BuiltTrie built = [&] {
    nb::gil_scoped_release release;
    return builder.finish(threads, dense_levels);
  }();
  const size_t items = built.order.size();
  return {std::move(built.trie), to_numpy<NumpyVector<uint32_t>>(std::move(built.order), {items})};
}

NumpyVector<int64_t> lookup(const Trie& trie, In<int32_t, 2> codes) {
  require(codes.shape(1) == trie.num_levels(), "codes need one column per level");
  std::vector<int64_t> ranks(codes.shape(0));
  for (size_t i = 0; i < ranks.size(); ++i) {
    const size_t rank = trie.lookup(codes.data() + i * trie.num_levels());
    ranks[i] = rank == trie.num_items() ? -1 : static_cast<int64_t>(rank);
  }
  const size_t count = ranks.size();
  return to_numpy<NumpyVector<int64_t>>(std::move(ranks), {count});
}

NumpyCodes codes_of(const Trie& trie, In<int64_t, 1> ranks) {
  std::vector<int32_t> codes(ranks.size() * trie.num_levels());
  for (size_t i = 0; i < ranks.size(); ++i) {
    const int64_t rank = ranks.data()[i];
    require(rank >= 0 && rank < static_cast<int64_t>(trie.num_items()), "a rank is no leaf");
    trie.codes(static_cast<uint32_t>(rank), codes.data() + i * trie.num_levels());
  }
  return to_numpy<NumpyCodes>(std::move(codes), {ranks.size(), trie.num_levels()});
}

// The range of base leaves and the range of added leaves that a search begins with.
std::vector<uint32_t> whole(const Catalog& catalog) {
  const CatalogView view = catalog.view();
  return {0, view.base.items, 0, view.added.items};
}

// Ranks of the base leaves that are gone, ascending.
NumpyVector<uint32_t> removed(const Catalog& catalog) {
  const RankSet gone = catalog.view().removed;
  return to_numpy<NumpyVector<uint32_t>>(std::vector<uint32_t>(gone.ranks, gone.ranks + gone.count),
                                         {gone.count});
}

}  // namespace

void bind_trie(nb::module_& module) {
  nb::class_<Catalog>(module, "Catalog")
      .def_prop_ro("whole", &whole)
      .def_prop_ro("removed", &removed, nb::rv_policy::move);
  nb::class_<Trie, Catalog>(module, "Trie")
      .def_static(
          "open", [](const std::string& path) { return Trie::open(path); }, "path"_a,
          nb::call_guard<nb::gil_scoped_release>())
      .def(
          "verify", [](const Trie& trie, unsigned threads) { trie.verify(threads); }, "threads"_a,
          nb::call_guard<nb::gil_scoped_release>())
      .def(
          "save",
          [](const Trie& trie, const std::string& path, unsigned threads) {
            trie.save(path, threads);
          },
          "path"_a, "threads"_a, nb::call_guard<nb::gil_scoped_release>())
      .def("lookup", &lookup, "codes"_a)
      .def("codes", &codes_of, "ranks"_a)
      .def_prop_ro("num_items", &Trie::num_items)
      .def_prop_ro("num_levels", &Trie::num_levels)
      .def_prop_ro("num_bytes", &Trie::num_bytes)
      .def_prop_ro("dense_levels", [](const Trie& trie) { return trie.view().base.dense_levels; })
      .def_prop_ro("level_sizes", &Trie::level_sizes);
  nb::class_<TrieBuilder>(module, "TrieBuilder")
      .def(
          "__init__",
          [](TrieBuilder* builder, const std::vector<uint32_t>& sizes) {
            new (builder) TrieBuilder(sizes);
          },
          "level_sizes"_a)
      .def("add", &add, "codes"_a)
      .def("finish", &finish, "threads"_a, "dense_levels"_a = nb::none())
      .def_prop_ro("num_rows", &TrieBuilder::num_rows);
}

}  // namespace mmgrec
