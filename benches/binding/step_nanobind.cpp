// The argument list of mmgrec_engine._native.constrained_topk, through nanobind.
#include <nanobind/stl/optional.h>

#include <optional>

#include "bindings/arrays.h"
#include "step_call.h"

namespace nb = nanobind;
using namespace nanobind::literals;
using mmgrec::In;
using mmgrec::Out;

namespace binding_bench {
namespace {

void step(size_t level, In<int64_t, 3> ranges, In<float, 2> scores, In<float, 3> logits,
          bool softmax_over_level, std::optional<In<float, 3>> node_query,
          std::optional<In<float, 2>> node_vectors, std::optional<In<int64_t, 1>> node_starts,
          std::optional<In<double, 2>> added_sums, std::optional<In<double, 2>> removed_sums,
          Out<float, 2> out_scores, Out<int32_t, 3> out_origin, Out<int64_t, 3> out_ranges,
          Out<float, 1> out_best_pruned, unsigned threads) {
  StepCall call{};
  call.users = ranges.shape(0), call.beams = ranges.shape(1), call.tokens = logits.shape(2);
  call.keep = out_scores.shape(1);
  const auto per_beam = [&](const auto& a) {
    return a.shape(0) == call.users && a.shape(1) == call.beams;
  };
  const auto per_kept = [&](const auto& a) {
    return a.shape(0) == call.users && a.shape(1) == call.keep;
  };
  require(level < 8 && threads > 0 && !softmax_over_level && per_beam(scores) && per_beam(logits));
  require(ranges.shape(2) == 4 && per_kept(out_scores) && per_kept(out_origin) &&
          per_kept(out_ranges) && out_best_pruned.shape(0) == call.users);
  require(!node_query && !node_vectors && !node_starts && !added_sums && !removed_sums);
  call.ranges = ranges.data(), call.scores = scores.data(), call.logits = logits.data();
  call.out_scores = out_scores.data(), call.out_origin = out_origin.data();
  call.out_ranges = out_ranges.data(), call.out_best_pruned = out_best_pruned.data();
  touch(call);
}

float one(In<float, 2> x) { return x.data()[0]; }

}  // namespace

NB_MODULE(step_nanobind, module) {
  module.def("one", &one, "x"_a.noconvert());
  module.def("step", &step, "level"_a, "ranges"_a.noconvert(), "scores"_a.noconvert(),
             "logits"_a.noconvert(), "softmax_over_level"_a, "node_query"_a.none().noconvert(),
             "node_vectors"_a.none().noconvert(), "node_starts"_a.none().noconvert(),
             "added_sums"_a.none().noconvert(), "removed_sums"_a.none().noconvert(),
             "out_scores"_a.noconvert(), "out_origin"_a.noconvert(), "out_ranges"_a.noconvert(),
             "out_best_pruned"_a.noconvert(), "threads"_a);
}

}  // namespace binding_bench
