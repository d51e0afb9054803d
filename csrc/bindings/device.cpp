// Bindings of what runs on a CUDA device. Tensors come by DLPack from any library, streams as
// integers; nothing here waits for the device.
#include <nanobind/stl/optional.h>

#include <optional>

#include "bindings/arrays.h"
#include "ops/constrained_topk_device.h"
#include "trie/device_catalog.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

template <class T, size_t Rank>
using DeviceIn = nb::ndarray<const T, nb::ndim<Rank>, nb::c_contig, nb::device::cuda>;
template <class T, size_t Rank>
using DeviceOut = nb::ndarray<T, nb::ndim<Rank>, nb::c_contig, nb::device::cuda>;
template <class T, size_t Rank>
using MaybeIn = std::optional<DeviceIn<T, Rank>>;
template <class T, size_t Rank>
using MaybeOut = std::optional<DeviceOut<T, Rank>>;

// Checks an array's place and shape, then gives its address; null for one that was not given.
class Arrays {
 public:
  explicit Arrays(int device) : device_(device) {}

  template <class Array>
  auto* of(const Array& array, std::initializer_list<size_t> shape, const char* complaint) const {
    require(array.device_id() == device_, "every tensor must be on the catalogue's device");
    size_t axis = 0;
    for (const size_t size : shape) require(array.shape(axis++) == size, complaint);
    return array.data();
  }
  template <class Array>
  auto* of(const std::optional<Array>& array, std::initializer_list<size_t> shape,
           const char* complaint) const {
    return array ? of(*array, shape, complaint) : nullptr;
  }

 private:
  int device_;
};

void set_nodes(DeviceStep& step, const Arrays& arrays, const MaybeIn<float, 3>& query,
               const MaybeIn<float, 2>& vectors, const MaybeIn<int64_t, 1>& starts,
               const MaybeIn<double, 2>& added_sums, const MaybeIn<double, 2>& removed_sums,
               const MaybeOut<float, 3>& logits) {
  if (!query) return;
  require(vectors && starts, "node_query needs node_vectors and node_starts");
  constexpr auto kComplaint =
      "node_query [B, M, D], node_vectors [n, D], node_starts [n + 1] do not fit together";
  const size_t nodes = vectors->shape(0);
  const size_t width = vectors->shape(1);
  step.node_query = arrays.of(*query, {step.users, step.beams, width}, kComplaint);
  step.node_vectors = arrays.of(*vectors, {nodes, width}, kComplaint);
  step.node_starts = arrays.of(*starts, {nodes + 1}, kComplaint);
  constexpr auto kSums = "added_sums [added + 1, D] and removed_sums [removed + 1, D] do not fit";
  step.added_sums = arrays.of(added_sums, {step.catalog.added.items + size_t{1}, width}, kSums);
  step.removed_sums =
      arrays.of(removed_sums, {step.catalog.removed.count + size_t{1}, width}, kSums);
  const size_t columns = step.catalog.base.level_sizes[step.level];
  step.node_logits = arrays.of(logits, {step.users, step.beams, columns},
                               "node_logits and logits [B, M, K] do not fit together");
  step.nodes = static_cast<uint32_t>(nodes);
  step.node_width = static_cast<uint32_t>(width);
}

void constrained_step(
    const DeviceCatalog& catalog, size_t level, DeviceIn<int64_t, 2> lo, DeviceIn<int64_t, 2> hi,
    MaybeIn<int64_t, 2> added_lo, MaybeIn<int64_t, 2> added_hi, DeviceIn<float, 2> scores,
    DeviceIn<float, 3> logits, bool softmax_over_level, MaybeIn<float, 3> node_query,
    MaybeIn<float, 2> node_vectors, MaybeIn<int64_t, 1> node_starts, MaybeIn<double, 2> added_sums,
    MaybeIn<double, 2> removed_sums, MaybeOut<float, 3> node_logits, MaybeIn<uint8_t, 1> filters,
    DeviceOut<float, 2> out_scores, DeviceOut<int32_t, 2> out_parents,
    DeviceOut<int32_t, 2> out_tokens, DeviceOut<int64_t, 2> out_lo, DeviceOut<int64_t, 2> out_hi,
    MaybeOut<int64_t, 2> out_added_lo, MaybeOut<int64_t, 2> out_added_hi,
    DeviceOut<float, 1> out_best_pruned, MaybeOut<int32_t, 1> out_status, uintptr_t stream) {
  constexpr auto kInputs = "lo, hi, scores [B, M] and logits [B, M, K] do not fit together";
  constexpr auto kOutputs = "outputs do not fit together";
  DeviceStep step;
  step.catalog = catalog.view();
  require(level < step.catalog.base.levels, "the trie has no such level");
  require(added_lo.has_value() == added_hi.has_value() &&
              out_added_lo.has_value() == out_added_hi.has_value(),
          "added_lo and added_hi go together");
  const Arrays arrays(catalog.device());
  const size_t users = lo.shape(0);
  const size_t beams = lo.shape(1);
  const size_t keep = out_scores.shape(1);
  const BlockShape shape = BlockShape::of(beams, keep);
  require(shape.warps > 0, "a block has no room for so many beams: at most 8192 in, 8159 out");
  step.level = static_cast<uint32_t>(level);
  step.users = static_cast<uint32_t>(users);
  step.beams = static_cast<uint32_t>(beams);
  step.keep = static_cast<uint32_t>(keep);
  step.softmax_over_level = softmax_over_level;
  step.lo = arrays.of(lo, {users, beams}, kInputs);
  step.hi = arrays.of(hi, {users, beams}, kInputs);
  step.added_lo = arrays.of(added_lo, {users, beams}, kInputs);
  step.added_hi = arrays.of(added_hi, {users, beams}, kInputs);
  step.scores = arrays.of(scores, {users, beams}, kInputs);
  step.logits = arrays.of(logits, {users, beams, step.catalog.base.level_sizes[level]}, kInputs);
  set_nodes(step, arrays, node_query, node_vectors, node_starts, added_sums, removed_sums,
            node_logits);
  if (filters) {
    require(filters->size() >= users * sizeof(UserFilter), "filters need one entry per user");
    step.filters = reinterpret_cast<const UserFilter*>(arrays.of(*filters, {}, ""));
  }
  step.out_scores = arrays.of(out_scores, {users, keep}, kOutputs);
  step.out_parents = arrays.of(out_parents, {users, keep}, kOutputs);
  step.out_tokens = arrays.of(out_tokens, {users, keep}, kOutputs);
  step.out_lo = arrays.of(out_lo, {users, keep}, kOutputs);
  step.out_hi = arrays.of(out_hi, {users, keep}, kOutputs);
  step.out_added_lo = arrays.of(out_added_lo, {users, keep}, kOutputs);
  step.out_added_hi = arrays.of(out_added_hi, {users, keep}, kOutputs);
  step.out_best_pruned = arrays.of(out_best_pruned, {users}, kOutputs);
  step.out_status = reinterpret_cast<uint32_t*>(arrays.of(out_status, {users}, kOutputs));
  check_cuda(launch_constrained_topk(step, shape, reinterpret_cast<void*>(stream)),
             "launching constrained_topk");
}

}  // namespace

void bind_device(nb::module_& module) {
  nb::class_<DeviceCatalog>(module, "DeviceCatalog")
      .def(
          "__init__",
          [](DeviceCatalog* self, const Catalog& catalog, uintptr_t stream) {
            new (self) DeviceCatalog(catalog.view(), reinterpret_cast<void*>(stream));
          },
          "catalog"_a, "stream"_a)
      .def_prop_ro("device", &DeviceCatalog::device)
      .def_prop_ro("num_bytes", &DeviceCatalog::num_bytes);
  // No conversions: a converted output would be a copy that nobody reads.
  module.def("constrained_topk_cuda", &constrained_step, "catalog"_a, "level"_a, "lo"_a.noconvert(),
             "hi"_a.noconvert(), "added_lo"_a.none().noconvert(), "added_hi"_a.none().noconvert(),
             "scores"_a.noconvert(), "logits"_a.noconvert(), "softmax_over_level"_a,
             "node_query"_a.none().noconvert(), "node_vectors"_a.none().noconvert(),
             "node_starts"_a.none().noconvert(), "added_sums"_a.none().noconvert(),
             "removed_sums"_a.none().noconvert(), "node_logits"_a.none().noconvert(),
             "filters"_a.none().noconvert(), "out_scores"_a.noconvert(),
             "out_parents"_a.noconvert(), "out_tokens"_a.noconvert(), "out_lo"_a.noconvert(),
             "out_hi"_a.noconvert(), "out_added_lo"_a.none().noconvert(),
             "out_added_hi"_a.none().noconvert(), "out_best_pruned"_a.noconvert(),
             "out_status"_a.none().noconvert(), "stream"_a);
}

}  // namespace mmgrec
