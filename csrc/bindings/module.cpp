// The only place that knows Python: thin handles and argument checks around the core.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <system_error>

#include "bindings/arrays.h"
#include "ops/constrained_topk.h"
#include "simd/dispatch.h"
#include "trie/trie.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

template <class T>
using NumpyVector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
using NumpyCodes = nb::ndarray<nb::numpy, int32_t, nb::ndim<2>>;

// Hands a vector to NumPy without a copy.
template <class Array, class T>
Array to_numpy(std::vector<T>&& values, std::initializer_list<size_t> shape) {
  auto* owner = new std::vector<T>(std::move(values));
  nb::capsule free(owner, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return Array(owner->data(), shape, free);
}

std::pair<Trie, NumpyVector<uint32_t>> build(In<int32_t, 2> codes,
                                             const std::vector<uint32_t>& level_sizes) {
  require(codes.shape(1) == level_sizes.size(), "codes need one column per level");
  std::vector<uint32_t> order;
  Trie trie = [&] {
    nb::gil_scoped_release release;
    return Trie::build({codes.data(), codes.size()}, level_sizes, order);
  }();
  const size_t items = order.size();
  return {std::move(trie), to_numpy<NumpyVector<uint32_t>>(std::move(order), {items})};
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

std::vector<uint32_t> level_sizes(const Trie& trie) {
  std::vector<uint32_t> sizes;
  for (size_t level = 0; level < trie.num_levels(); ++level)
    sizes.push_back(trie.level_size(level));
  return sizes;
}

void set_nodes(ConstrainedTopk& step, const std::optional<In<float, 3>>& query,
               const std::optional<In<float, 2>>& vectors,
               const std::optional<In<int64_t, 1>>& starts) {
  if (!query) return;
  require(vectors && starts, "node_query needs node_vectors and node_starts");
  require(query->shape(0) == step.users && query->shape(1) == step.beams &&
              query->shape(2) == vectors->shape(1) && starts->shape(0) == vectors->shape(0) + 1,
          "node_query [B, M, D], node_vectors [n, D], node_starts [n + 1] do not fit together");
  step.node_query = query->data();
  step.node_vectors = vectors->data();
  step.node_starts = starts->data();
  step.nodes = vectors->shape(0);
  step.node_width = vectors->shape(1);
}

RankLists rank_lists(const ConstrainedTopk& step, const In<int64_t, 1>& offsets,
                     const In<int64_t, 1>& ranks) {
  require(offsets.shape(0) == step.users + 1,
          "filter offsets need one entry per user and one more");
  const int64_t* at = offsets.data();
  for (size_t user = 0; user < step.users; ++user) {
    require(at[user] >= 0 && at[user] <= at[user + 1], "filter offsets must ascend");
  }
  require(at[step.users] <= static_cast<int64_t>(ranks.size()), "filter offsets pass the ranks");
  // An empty list has no address; any other non-null one marks it as present.
  return {at, ranks.size() ? ranks.data() : at};
}

void bind_constrained_topk(
    const Trie& trie, size_t level, In<int64_t, 2> lo, In<int64_t, 2> hi, In<float, 2> scores,
    In<float, 3> logits, bool softmax_over_level, std::optional<In<float, 3>> node_query,
    std::optional<In<float, 2>> node_vectors, std::optional<In<int64_t, 1>> node_starts,
    std::optional<In<int64_t, 1>> deny_offsets, std::optional<In<int64_t, 1>> deny_ranks,
    std::optional<In<int64_t, 1>> allow_offsets, std::optional<In<int64_t, 1>> allow_ranks,
    std::optional<In<uint8_t, 1>> allow_all, Out<float, 2> out_scores, Out<int32_t, 2> out_parents,
    Out<int32_t, 2> out_tokens, Out<int64_t, 2> out_lo, Out<int64_t, 2> out_hi,
    Out<float, 1> out_best_pruned) {
  require(level < trie.num_levels(), "the trie has no such level");
  ConstrainedTopk step;
  step.trie = &trie;
  step.level = level;
  step.users = lo.shape(0);
  step.beams = lo.shape(1);
  step.keep = out_scores.shape(1);
  const auto per_beam = [&](const auto& a) {
    return a.shape(0) == step.users && a.shape(1) == step.beams;
  };
  const auto per_kept = [&](const auto& a) {
    return a.shape(0) == step.users && a.shape(1) == step.keep;
  };
  require(per_beam(hi) && per_beam(scores) && per_beam(logits) &&
              logits.shape(2) == trie.level_size(level),
          "lo, hi, scores [B, M] and logits [B, M, K] do not fit together");
  require(per_kept(out_scores) && per_kept(out_parents) && per_kept(out_tokens) &&
              per_kept(out_lo) && per_kept(out_hi) && out_best_pruned.shape(0) == step.users,
          "outputs do not fit together");
  step.lo = lo.data();
  step.hi = hi.data();
  step.scores = scores.data();
  step.logits = logits.data();
  step.softmax_over_level = softmax_over_level;
  set_nodes(step, node_query, node_vectors, node_starts);
  if (deny_offsets) {
    require(deny_ranks.has_value(), "deny_offsets needs deny_ranks");
    step.deny = rank_lists(step, *deny_offsets, *deny_ranks);
  }
  if (allow_offsets) {
    require(allow_ranks && allow_all && allow_all->shape(0) == step.users,
            "allow_offsets needs allow_ranks and allow_all [B]");
    step.allow = rank_lists(step, *allow_offsets, *allow_ranks);
    step.allow_all = allow_all->data();
  }
  step.out_scores = out_scores.data();
  step.out_parents = out_parents.data();
  step.out_tokens = out_tokens.data();
  step.out_lo = out_lo.data();
  step.out_hi = out_hi.data();
  step.out_best_pruned = out_best_pruned.data();
  nb::gil_scoped_release release;
  constrained_topk(step);
}

#ifdef MMGREC_CUDA
// Device addresses come as integers, so that any array library's memory and stream will do.
void bind_narrow_on_device(uintptr_t tokens, int token_bytes, uintptr_t ranges, uintptr_t wanted,
                           uintptr_t children, size_t count, uintptr_t stream) {
  require(token_bytes == 1 || token_bytes == 2, "token_bytes is 1 or 2");
  const int code = narrow_on_device(
      reinterpret_cast<const void*>(tokens), token_bytes, reinterpret_cast<const Range*>(ranges),
      reinterpret_cast<const uint32_t*>(wanted), reinterpret_cast<Range*>(children), count,
      reinterpret_cast<void*>(stream));
  if (code != 0) throw std::runtime_error("CUDA error " + std::to_string(code));
}
#endif

nb::typed<nb::dict, nb::str, nb::object> build_info() {
  nb::typed<nb::dict, nb::str, nb::object> info;
  info["version"] = MMGREC_VERSION;
  info["compiler"] = MMGREC_COMPILER;
  info["simd"] = best_kernels().name;
#ifdef MMGREC_CUDA
  info["cuda"] = MMGREC_CUDA_ARCHITECTURES;
#else
  info["cuda"] = nb::none();
#endif
  return info;
}

}  // namespace
}  // namespace mmgrec

NB_MODULE(_native, module) {
  using namespace mmgrec;
  module.doc() = "The C++ core of mmgrec_engine.";
  nb::exception<DamagedFile>(module, "DamagedFile");
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const std::system_error& error) {
      nb::object value =
          nb::module_::import_("builtins").attr("OSError")(error.code().value(), error.what());
      PyErr_SetObject(PyExc_OSError, value.ptr());
    }
  });
  module.def("build_info", &build_info);
  bind_kernels(module);
#ifdef MMGREC_CUDA
  module.def("narrow_on_device", &bind_narrow_on_device, "tokens"_a, "token_bytes"_a, "ranges"_a,
             "wanted"_a, "children"_a, "count"_a, "stream"_a);
#endif
  nb::class_<Trie>(module, "Trie")
      .def_static("build", &build, "codes"_a, "level_sizes"_a)
      .def_static(
          "open", [](const std::string& path) { return Trie::open(path); }, "path"_a,
          nb::call_guard<nb::gil_scoped_release>())
      .def(
          "save", [](const Trie& trie, const std::string& path) { trie.save(path); }, "path"_a,
          nb::call_guard<nb::gil_scoped_release>())
      .def("lookup", &lookup, "codes"_a)
      .def("codes", &codes_of, "ranks"_a)
      .def_prop_ro("num_items", &Trie::num_items)
      .def_prop_ro("num_levels", &Trie::num_levels)
      .def_prop_ro("num_bytes", &Trie::num_bytes)
      .def_prop_ro("level_sizes", &level_sizes);
  // No conversions: a converted output would be a copy that nobody reads.
  module.def("constrained_topk", &bind_constrained_topk, "trie"_a, "level"_a, "lo"_a.noconvert(),
             "hi"_a.noconvert(), "scores"_a.noconvert(), "logits"_a.noconvert(),
             "softmax_over_level"_a, "node_query"_a.none().noconvert(),
             "node_vectors"_a.none().noconvert(), "node_starts"_a.none().noconvert(),
             "deny_offsets"_a.none().noconvert(), "deny_ranks"_a.none().noconvert(),
             "allow_offsets"_a.none().noconvert(), "allow_ranks"_a.none().noconvert(),
             "allow_all"_a.none().noconvert(), "out_scores"_a.noconvert(),
             "out_parents"_a.noconvert(), "out_tokens"_a.noconvert(), "out_lo"_a.noconvert(),
             "out_hi"_a.noconvert(), "out_best_pruned"_a.noconvert());
}
