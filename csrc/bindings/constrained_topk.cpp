// Bindings of the constrained step, of filters, and of the beams that a search carries on.
#include "ops/constrained_topk.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/filters.h"
#include "ops/constrained_topk_device.h"
#include "search/beams.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

LeafLists lists_of(size_t users, const In<int64_t, 1>& offsets, const In<int64_t, 1>& leaves) {
  require(offsets.size() == users + 1, "filter offsets need one entry per user and one more");
  const int64_t* at = offsets.data();
  require(at[0] == 0 && at[users] == static_cast<int64_t>(leaves.size()),
          "filter offsets must run from 0 to the number of leaves");
  for (size_t b = 0; b < users; ++b) require(at[b] <= at[b + 1], "filter offsets must ascend");
  return {at, leaves.data()};
}

Bitmap bitmap_of(const nb::handle& words, const nb::handle& counts, uint32_t leaves) {
  const auto bits = nb::cast<In<uint64_t, 1>>(words);
  const auto sums = nb::cast<In<uint32_t, 1>>(counts);
  require(bits.size() >= size_t{leaves} / 64 + 1 && sums.size() > size_t{leaves} / 512,
          "a bitmap is shorter than the catalogue");
  return {bits.data(), sums.data()};
}

DeniedIds denied_ids(const In<uint64_t, 1>& words, const In<uint32_t, 1>& of_leaf,
                     uint32_t leaves) {
  require(of_leaf.size() == leaves, "denied ids need a bit for every leaf");
  const size_t most = std::numeric_limits<uint32_t>::max();
  return {words.data(), static_cast<uint32_t>(std::min(64 * words.size(), most)), of_leaf.data()};
}

using BitmapArrays = nb::typed<nb::tuple, nb::object, nb::object, nb::object, nb::object>;
using IdArrays = std::tuple<In<uint64_t, 1>, In<uint32_t, 1>, In<uint32_t, 1>>;

// bitmaps: per named set the tuple (base words, base counts, added words, added counts).
// deny_ids: the tuple (words, bit per base leaf, bit per added leaf).
Filters* make_filters(const Catalog& catalog, size_t users, In<int64_t, 1> deny_offsets,
                      In<int64_t, 1> deny_leaves, std::optional<In<int64_t, 1>> allow_offsets,
                      std::optional<In<int64_t, 1>> allow_leaves,
                      std::optional<In<uint8_t, 1>> allow_all,
                      const std::vector<BitmapArrays>& bitmaps,
                      std::optional<In<int32_t, 1>> bitmap_of_user,
                      std::optional<In<int64_t, 1>> deny_all,
                      const std::optional<IdArrays>& deny_ids, unsigned threads) {
  const CatalogView view = catalog.view();
  FilterRequest request;
  request.users = users;
  request.deny = lists_of(users, deny_offsets, deny_leaves);
  if (deny_all) request.deny_all = {deny_all->data(), deny_all->size()};
  if (allow_offsets) {
    require(allow_leaves && allow_all && allow_all->size() == users,
            "allow_offsets needs allow_leaves and allow_all [B]");
    request.allow = lists_of(users, *allow_offsets, *allow_leaves);
    request.allow_all = allow_all->data();
  }
  std::vector<LeafBits> bits;
  std::vector<nb::object> kept;
  for (const BitmapArrays& set : bitmaps) {
    require(set.size() == 4, "a bitmap is a tuple of four arrays");
    bits.push_back(
        {bitmap_of(set[0], set[1], view.base.items), bitmap_of(set[2], set[3], view.added.items)});
    kept.emplace_back(set);
  }
  request.bitmaps = bits;
  if (bitmap_of_user) {
    require(bitmap_of_user->size() == users, "bitmap_of_user needs one entry per user");
    for (size_t b = 0; b < users; ++b) {
      require(bitmap_of_user->data()[b] < static_cast<int32_t>(bits.size()),
              "bitmap_of_user names a bitmap that is not there");
    }
    request.bitmap_of_user = bitmap_of_user->data();
  }
  if (deny_ids) {
    const auto& [words, of_base, of_added] = *deny_ids;
    request.base_ids = denied_ids(words, of_base, view.base.items);
    request.added_ids = denied_ids(words, of_added, view.added.items);
    kept.emplace_back(nb::cast(*deny_ids));
  }
  return new Filters(view, request, std::move(kept), threads);
}

NumpyVector<uint8_t> pack_filters(const Filters& filters, uintptr_t address) {
  const FilterPack pack = filters.pack();
  std::vector<uint8_t> bytes(pack.bytes());
  pack.write(reinterpret_cast<std::byte*>(bytes.data()), address);
  const size_t count = bytes.size();
  return to_numpy<NumpyVector<uint8_t>>(std::move(bytes), {count});
}

struct NodeArrays {
  std::optional<In<float, 3>> query;
  std::optional<In<float, 2>> vectors;
  std::optional<In<int64_t, 1>> starts;
  std::optional<In<double, 2>> added_sums;
  std::optional<In<double, 2>> removed_sums;

  NodeTables tables(const CatalogView& catalog, size_t users, size_t beams) const {
    NodeTables nodes;
    if (!query) return nodes;
    require(vectors && starts, "node_query needs node_vectors and node_starts");
    const size_t width = vectors->shape(1);
    require(query->shape(0) == users && query->shape(1) == beams && query->shape(2) == width &&
                starts->shape(0) == vectors->shape(0) + 1,
            "node_query [B, M, D], node_vectors [n, D], node_starts [n + 1] do not fit together");
    const auto fits = [&](const auto& sums, uint32_t count) {
      return count == 0 || (sums && sums->shape(0) == size_t{count} + 1 && sums->shape(1) == width);
    };
    require(
        fits(added_sums, catalog.added.items) && fits(removed_sums, catalog.removed.count),
        "an edited catalogue needs added_sums [added + 1, D] and removed_sums [removed + 1, D]");
    nodes = {query->data(), vectors->data(), starts->data(), vectors->shape(0),
             width,         nullptr,         nullptr};
    if (catalog.added.items > 0) nodes.added_sums = added_sums->data();
    if (catalog.removed.count > 0) nodes.removed_sums = removed_sums->data();
    return nodes;
  }
};

Range range_of(int64_t lo, int64_t hi) {
  require(lo >= 0 && lo <= hi && hi <= UINT32_MAX, "a beam's range lies outside the catalogue");
  return {static_cast<uint32_t>(lo), static_cast<uint32_t>(hi)};
}

void constrained_step(const Catalog& catalog, size_t level, In<int64_t, 3> ranges,
                      In<float, 2> scores, In<float, 3> logits, bool softmax_over_level,
                      std::optional<In<float, 3>> node_query,
                      std::optional<In<float, 2>> node_vectors,
                      std::optional<In<int64_t, 1>> node_starts,
                      std::optional<In<double, 2>> added_sums,
                      std::optional<In<double, 2>> removed_sums, const Filters* filters,
                      Out<float, 2> out_scores, Out<int32_t, 3> out_origin,
                      Out<int64_t, 3> out_ranges, Out<float, 1> out_best_pruned, unsigned threads) {
  ConstrainedTopk step;
  step.catalog = catalog.view();
  require(level < step.catalog.base.levels, "the trie has no such level");
  step.level = level;
  step.users = ranges.shape(0);
  step.beams = ranges.shape(1);
  step.keep = out_scores.shape(1);
  const auto per_beam = [&](const auto& a) {
    return a.shape(0) == step.users && a.shape(1) == step.beams;
  };
  const auto per_kept = [&](const auto& a) {
    return a.shape(0) == step.users && a.shape(1) == step.keep;
  };
  require(ranges.shape(2) == 4 && per_beam(scores) && per_beam(logits) &&
              logits.shape(2) == step.catalog.base.level_sizes[level],
          "ranges [B, M, 4], scores [B, M] and logits [B, M, K] do not fit together");
  require(per_kept(out_scores) && per_kept(out_origin) && out_origin.shape(2) == 2 &&
              per_kept(out_ranges) && out_ranges.shape(2) == 4 &&
              out_best_pruned.shape(0) == step.users,
          "outputs do not fit together");
  std::vector<Beam> from(step.users * step.beams), out(step.users * step.keep);
  for (size_t i = 0; i < from.size(); ++i) {
    const int64_t* r = ranges.data() + 4 * i;
    from[i] = {range_of(r[0], r[1]), range_of(r[2], r[3]), scores.data()[i], 0, 0};
  }
  step.from = from.data();
  step.logits = logits.data();
  step.softmax_over_level = softmax_over_level;
  const NodeArrays nodes{node_query, node_vectors, node_starts, added_sums, removed_sums};
  step.nodes = nodes.tables(step.catalog, step.users, step.beams);
  step.filters = filters_of(filters, step.users);
  step.out = out.data();
  step.best_pruned = out_best_pruned.data();
  {
    nb::gil_scoped_release release;
    constrained_topk(step, threads);
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out_scores.data()[i] = out[i].score;
    out_origin.data()[2 * i] = out[i].parent;
    out_origin.data()[2 * i + 1] = out[i].token;
    int64_t* r = out_ranges.data() + 4 * i;
    r[0] = out[i].base.lo, r[1] = out[i].base.hi, r[2] = out[i].added.lo, r[3] = out[i].added.hi;
  }
}

void step_beams(Beams& beams, In<float, 3> logits, bool softmax_over_level,
                std::optional<In<float, 3>> node_query, std::optional<In<float, 2>> node_vectors,
                std::optional<In<int64_t, 1>> node_starts, std::optional<In<double, 2>> added_sums,
                std::optional<In<double, 2>> removed_sums, unsigned threads) {
  require(beams.level() < beams.catalog().base.levels, "the search is at its end");
  require(logits.shape(0) == beams.users() && logits.shape(1) == beams.beams() &&
              logits.shape(2) == beams.catalog().base.level_sizes[beams.level()],
          "logits need the shape [B, M, K] of the level");
  const NodeArrays nodes{node_query, node_vectors, node_starts, added_sums, removed_sums};
  const NodeTables tables = nodes.tables(beams.catalog(), beams.users(), beams.beams());
  nb::gil_scoped_release release;
  beams.step(logits.data(), softmax_over_level, tables, threads);
}

// [B, M, level] tokens of the prefixes.
auto prefixes_of(const Beams& beams) {
  return to_numpy<nb::ndarray<nb::numpy, int64_t, nb::ndim<3>>>(
      beams.prefixes(), {beams.users(), beams.beams(), beams.level()});
}

template <class T, class Get>
auto per_beam(const Beams& beams, Get get) {
  std::vector<T> values;
  values.reserve(beams.now().size());
  for (const Beam& beam : beams.now()) values.push_back(get(beam));
  return to_numpy<nb::ndarray<nb::numpy, T, nb::ndim<2>>>(std::move(values),
                                                          {beams.users(), beams.beams()});
}

// [B, M] a leaf of every beam, added ones numbered after the base; -1 for a dead beam. Where a
// single item has a leaf in both segments, the one in the base is gone.
auto leaves_of(const Beams& beams) {
  const uint32_t base = beams.catalog().base.items;
  return per_beam<int64_t>(beams, [base](const Beam& beam) -> int64_t {
    if (beam.dead()) return -1;
    return beam.added.empty() ? int64_t{beam.base.lo} : int64_t{base} + beam.added.lo;
  });
}

auto scores_of(const Beams& beams) {
  return per_beam<float>(beams, [](const Beam& beam) { return beam.score; });
}

auto best_pruned_of(const Beams& beams) {
  const auto best = beams.best_pruned();
  return to_numpy<NumpyVector<float>>(std::vector<float>(best.begin(), best.end()), {best.size()});
}

void bind_beams(nb::module_& module) {
  nb::class_<Beams>(module, "Beams")
      .def(nb::init<const Catalog&, size_t, size_t>(), "catalog"_a, "users"_a, "width"_a,
           nb::keep_alive<1, 2>())
      .def(
          "begin",
          [](Beams& beams, const Filters* filters) {
            beams.begin(filters_of(filters, beams.users()));
          },
          "filters"_a.none() = nb::none(), nb::keep_alive<1, 2>())
      .def("step", &step_beams, "logits"_a.noconvert(), "softmax_over_level"_a,
           "node_query"_a.none().noconvert() = nb::none(),
           "node_vectors"_a.none().noconvert() = nb::none(),
           "node_starts"_a.none().noconvert() = nb::none(),
           "added_sums"_a.none().noconvert() = nb::none(),
           "removed_sums"_a.none().noconvert() = nb::none(), "threads"_a = 1)
      .def(
          "copy", [](const Beams& beams) { return Beams(beams); }, nb::keep_alive<0, 1>(),
          "The same search once more, to go on from here several times.")
      .def("prefixes", &prefixes_of)
      .def("leaves", &leaves_of)
      .def("scores", &scores_of)
      .def("best_pruned", &best_pruned_of);
}

// In every build, so that the resource report can be made where no GPU is.
std::pair<uint32_t, size_t> block(uint32_t beams, uint32_t keep) {
  const BlockShape shape = BlockShape::of(beams, keep);
  return {shape.warps, shape.shared_bytes()};
}

}  // namespace

void bind_constrained_topk(nb::module_& module) {
  nb::class_<Filters>(module, "Filters")
      .def_static("make", &make_filters, "catalog"_a, "users"_a, "deny_offsets"_a.noconvert(),
                  "deny_leaves"_a.noconvert(), "allow_offsets"_a.none().noconvert(),
                  "allow_leaves"_a.none().noconvert(), "allow_all"_a.none().noconvert(),
                  "bitmaps"_a, "bitmap_of_user"_a.none().noconvert(),
                  "deny_all"_a.none().noconvert(), "deny_ids"_a.none(), "threads"_a,
                  nb::keep_alive<0, 1>())
      .def("pack", &pack_filters, "address"_a,
           "Bytes [n] of the filters as they must lie at an address of another memory.")
      .def_prop_ro("packed_bytes", [](const Filters& filters) { return filters.pack().bytes(); });
  // No conversions: a converted output would be a copy that nobody reads.
  module.def("constrained_topk", &constrained_step, "catalog"_a, "level"_a, "ranges"_a.noconvert(),
             "scores"_a.noconvert(), "logits"_a.noconvert(), "softmax_over_level"_a,
             "node_query"_a.none().noconvert(), "node_vectors"_a.none().noconvert(),
             "node_starts"_a.none().noconvert(), "added_sums"_a.none().noconvert(),
             "removed_sums"_a.none().noconvert(), "filters"_a.none(), "out_scores"_a.noconvert(),
             "out_origin"_a.noconvert(), "out_ranges"_a.noconvert(),
             "out_best_pruned"_a.noconvert(), "threads"_a);
  module.def("constrained_topk_block", &block, "beams"_a, "keep"_a,
             "Warps and bytes of shared memory of a block of the CUDA kernel.");
  bind_beams(module);
}

}  // namespace mmgrec
