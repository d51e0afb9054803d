// Binding of the constrained step.
#include "ops/constrained_topk.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <optional>
#include <utility>

#include "bindings/arrays.h"
#include "ops/constrained_topk_device.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

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

void constrained_step(
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

// In every build, so that the resource report can be made where no GPU is.
std::pair<uint32_t, size_t> block(uint32_t beams, uint32_t keep) {
  const BlockShape shape = BlockShape::of(beams, keep);
  return {shape.warps, shape.shared_bytes()};
}

}  // namespace

void bind_constrained_topk(nb::module_& module) {
  // No conversions: a converted output would be a copy that nobody reads.
  module.def("constrained_topk", &constrained_step, "trie"_a, "level"_a, "lo"_a.noconvert(),
             "hi"_a.noconvert(), "scores"_a.noconvert(), "logits"_a.noconvert(),
             "softmax_over_level"_a, "node_query"_a.none().noconvert(),
             "node_vectors"_a.none().noconvert(), "node_starts"_a.none().noconvert(),
             "deny_offsets"_a.none().noconvert(), "deny_ranks"_a.none().noconvert(),
             "allow_offsets"_a.none().noconvert(), "allow_ranks"_a.none().noconvert(),
             "allow_all"_a.none().noconvert(), "out_scores"_a.noconvert(),
             "out_parents"_a.noconvert(), "out_tokens"_a.noconvert(), "out_lo"_a.noconvert(),
             "out_hi"_a.noconvert(), "out_best_pruned"_a.noconvert());
  module.def("constrained_topk_block", &block, "beams"_a, "keep"_a,
             "Warps and bytes of shared memory of a block of the CUDA kernel.");
}

}  // namespace mmgrec
