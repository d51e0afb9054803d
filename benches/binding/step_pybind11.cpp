// The argument list of mmgrec_engine._native.constrained_topk, through pybind11.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "step_call.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace binding_bench {
namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

void step(size_t level, const Array<int64_t>& ranges, const Array<float>& scores,
          const Array<float>& logits, bool softmax_over_level,
          const std::optional<Array<float>>& node_query,
          const std::optional<Array<float>>& node_vectors,
          const std::optional<Array<int64_t>>& node_starts,
          const std::optional<Array<double>>& added_sums,
          const std::optional<Array<double>>& removed_sums, Array<float>& out_scores,
          Array<int32_t>& out_origin, Array<int64_t>& out_ranges, Array<float>& out_best_pruned,
          unsigned threads) {
  // The rank is no part of pybind11's type: nanobind checks it while it converts.
  require(ranges.ndim() == 3 && scores.ndim() == 2 && logits.ndim() == 3 &&
          out_scores.ndim() == 2 && out_origin.ndim() == 3 && out_ranges.ndim() == 3 &&
          out_best_pruned.ndim() == 1);
  StepCall call{};
  call.users = ranges.shape(0), call.beams = ranges.shape(1), call.tokens = logits.shape(2);
  call.keep = out_scores.shape(1);
  const auto is = [](py::ssize_t found, size_t wanted) {
    return static_cast<size_t>(found) == wanted;
  };
  const auto per_beam = [&](const auto& a) {
    return is(a.shape(0), call.users) && is(a.shape(1), call.beams);
  };
  const auto per_kept = [&](const auto& a) {
    return is(a.shape(0), call.users) && is(a.shape(1), call.keep);
  };
  require(level < 8 && threads > 0 && !softmax_over_level && per_beam(scores) && per_beam(logits));
  require(ranges.shape(2) == 4 && per_kept(out_scores) && per_kept(out_origin) &&
          per_kept(out_ranges) && is(out_best_pruned.shape(0), call.users));
  require(!node_query && !node_vectors && !node_starts && !added_sums && !removed_sums);
  call.ranges = ranges.data(), call.scores = scores.data(), call.logits = logits.data();
  call.out_scores = out_scores.mutable_data(), call.out_origin = out_origin.mutable_data();
  call.out_ranges = out_ranges.mutable_data();
  call.out_best_pruned = out_best_pruned.mutable_data();
  touch(call);
}

float one(const Array<float>& x) {
  require(x.ndim() == 2);
  return x.data()[0];
}

}  // namespace

PYBIND11_MODULE(step_pybind11, module) {
  module.def("one", &one, "x"_a.noconvert());
  module.def("step", &step, "level"_a, "ranges"_a.noconvert(), "scores"_a.noconvert(),
             "logits"_a.noconvert(), "softmax_over_level"_a, "node_query"_a.noconvert().none(true),
             "node_vectors"_a.noconvert().none(true), "node_starts"_a.noconvert().none(true),
             "added_sums"_a.noconvert().none(true), "removed_sums"_a.noconvert().none(true),
             "out_scores"_a.noconvert(), "out_origin"_a.noconvert(), "out_ranges"_a.noconvert(),
             "out_best_pruned"_a.noconvert(), "threads"_a);
}

}  // namespace binding_bench
