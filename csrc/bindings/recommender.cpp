// Binding of the native recommender.
#include "recommender/recommender.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/filters.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

using FloatArray = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Ids = In<int64_t, 1>;
using Vectors = In<float, 2>;
// Per level mean vectors [n, D] and first leaves [n + 1]; running sums of an edited catalogue.
using NodeArguments = std::tuple<std::vector<Vectors>, std::vector<Ids>,
                                 std::optional<In<double, 2>>, std::optional<In<double, 2>>>;
using Found = std::tuple<nb::ndarray<nb::numpy, int64_t, nb::ndim<2>>,
                         nb::ndarray<nb::numpy, float, nb::ndim<2>>, NumpyVector<bool>>;
using StageRow = std::tuple<std::string, double, double, double>;

template <class T>
T setting(const nb::dict& shape, const char* name) {
  require(shape.contains(name), (std::string("the shape lacks ") + name).c_str());
  return nb::cast<T>(shape[name]);
}

RecommenderShape shape_of(const nb::dict& from) {
  RecommenderShape shape;
  shape.width = setting<size_t>(from, "width");
  shape.item_width = setting<size_t>(from, "item_width");
  shape.heads = setting<size_t>(from, "heads");
  shape.head_width = setting<size_t>(from, "head_width");
  shape.feed_forward = setting<size_t>(from, "feed_forward");
  shape.encoder_layers = setting<size_t>(from, "encoder_layers");
  shape.decoder_layers = setting<size_t>(from, "decoder_layers");
  shape.level_sizes = setting<std::vector<uint32_t>>(from, "level_sizes");
  shape.node_vectors = setting<bool>(from, "node_vectors");
  shape.softmax_over_level = setting<bool>(from, "softmax_over_level");
  shape.graph_users = setting<bool>(from, "graph_users");
  shape.history_decay = setting<float>(from, "history_decay");
  return shape;
}

using Settings = nb::typed<nb::dict, nb::str, nb::object>;

std::unique_ptr<Recommender> make_recommender(const Settings& shape,
                                              const std::map<std::string, FloatArray>& arrays,
                                              const Vectors& item_vectors,
                                              const std::string& precision) {
  std::map<std::string, NamedArray> named;
  for (const auto& [name, array] : arrays) {
    NamedArray& to = named[name];
    to.data = array.data();
    for (size_t i = 0; i < array.ndim(); ++i) to.shape.push_back(array.shape(i));
  }
  const RecommenderShape read = shape_of(shape);
  require(item_vectors.shape(1) == read.item_width, "item_vectors need rows of item_width");
  // Packing takes as long as the weights and user vectors are many; a server answers meanwhile.
  nb::gil_scoped_release release;
  return std::make_unique<Recommender>(read, Weights(std::move(named)), best_kernels(), precision);
}

HistoryBatch histories_of(const Recommender& model, const Vectors& item_vectors, const Ids& items,
                          const Ids& offsets, const std::optional<Ids>& user_rows) {
  require(item_vectors.shape(1) == model.model().shape().item_width,
          "item_vectors need rows of the model's item_width");
  require(offsets.size() > 0, "offsets need one entry per user and one more");
  require(!user_rows || user_rows->size() + 1 == offsets.size(),
          "user_rows need one entry per user");
  HistoryBatch batch;
  batch.item_vectors = item_vectors.data();
  batch.item_rows = item_vectors.shape(0);
  batch.items = {items.data(), items.size()};
  batch.offsets = {offsets.data(), offsets.size()};
  if (user_rows) batch.user_rows = user_rows->data();
  return batch;
}

std::vector<LevelNodes> nodes_of(const NodeArguments& nodes, size_t width) {
  const auto& [vectors, starts, added, removed] = nodes;
  require(vectors.size() == starts.size(), "node vectors and starts need one entry per level each");
  std::vector<LevelNodes> levels;
  for (size_t t = 0; t < vectors.size(); ++t) {
    require(vectors[t].shape(1) == width && starts[t].size() == vectors[t].shape(0) + 1,
            "node vectors [n, D] and starts [n + 1] do not fit together");
    levels.push_back({vectors[t].data(), starts[t].data(), vectors[t].shape(0)});
  }
  return levels;
}

SearchPlan plan_of(const Catalog& catalog, const std::optional<NodeArguments>& nodes,
                   const std::vector<LevelNodes>& levels, size_t keep, size_t width) {
  SearchPlan plan;
  plan.catalog = catalog.view();
  plan.keep = keep;
  plan.width = width;
  plan.nodes = levels;
  if (!nodes) return plan;
  const auto sums = [](const std::optional<In<double, 2>>& given, uint32_t count, size_t columns) {
    if (count == 0) return static_cast<const double*>(nullptr);
    require(
        given && given->shape(0) == size_t{count} + 1 && given->shape(1) == columns,
        "an edited catalogue needs added_sums [added + 1, D] and removed_sums [removed + 1, D]");
    return given->data();
  };
  const auto& [vectors, starts, added, removed] = *nodes;
  const size_t columns = vectors.empty() ? 0 : vectors[0].shape(1);
  plan.added_sums = sums(added, plan.catalog.added.items, columns);
  plan.removed_sums = sums(removed, plan.catalog.removed.count, columns);
  return plan;
}

// Results in arrays that NumPy takes over.
struct Results {
  std::vector<int64_t> leaves;
  std::vector<float> scores;
  std::unique_ptr<bool[]> certified;
  std::vector<UserResult> per_user;

  Results(size_t users, size_t keep)
      : leaves(users * keep), scores(users * keep), certified(new bool[users]) {
    for (size_t b = 0; b < users; ++b)
      per_user.push_back({leaves.data() + b * keep, scores.data() + b * keep, &certified[b]});
  }
  Found to_python(size_t users, size_t keep) {
    bool* flags = certified.release();
    nb::capsule free(flags, [](void* p) noexcept { delete[] static_cast<bool*>(p); });
    return {
        to_numpy<nb::ndarray<nb::numpy, int64_t, nb::ndim<2>>>(std::move(leaves), {users, keep}),
        to_numpy<nb::ndarray<nb::numpy, float, nb::ndim<2>>>(std::move(scores), {users, keep}),
        NumpyVector<bool>(flags, {users}, free)};
  }
};

Found run(const Recommender& model, const Catalog& catalog, const Vectors& item_vectors,
          const Ids& items, const Ids& offsets, const std::optional<Ids>& user_rows,
          const std::optional<NodeArguments>& nodes, const Filters* filters, size_t keep,
          size_t width, unsigned threads, Stages* stages) {
  const HistoryBatch histories = histories_of(model, item_vectors, items, offsets, user_rows);
  std::vector<LevelNodes> levels;
  if (nodes) levels = nodes_of(*nodes, model.model().shape().item_width);
  const SearchPlan plan = plan_of(catalog, nodes, levels, keep, width);
  const UserFilter* filter = filters_of(filters, histories.users());
  Results results(histories.users(), keep);
  {
    nb::gil_scoped_release release;
    model.recommend(plan, histories, filter, results.per_user, threads, stages);
  }
  return results.to_python(histories.users(), keep);
}

Found recommend(const Recommender& model, const Catalog& catalog, Vectors item_vectors, Ids items,
                Ids offsets, std::optional<Ids> user_rows, std::optional<NodeArguments> nodes,
                const Filters* filters, size_t keep, size_t width, unsigned threads) {
  return run(model, catalog, item_vectors, items, offsets, user_rows, nodes, filters, keep, width,
             threads, nullptr);
}

std::vector<StageRow> stages(const Recommender& model, const Catalog& catalog, Vectors item_vectors,
                             Ids items, Ids offsets, std::optional<Ids> user_rows,
                             std::optional<NodeArguments> nodes, const Filters* filters,
                             size_t keep, size_t width, unsigned threads) {
  Stages stages(model.model().shape().levels());
  run(model, catalog, item_vectors, items, offsets, user_rows, nodes, filters, keep, width, threads,
      &stages);
  std::vector<StageRow> rows;
  for (const Stage& each : stages.all())
    rows.emplace_back(each.name, each.seconds, each.flops, each.bytes);
  return rows;
}

std::unique_ptr<EncodedUsers> encode(const Recommender& model, Vectors item_vectors, Ids items,
                                     Ids offsets, std::optional<Ids> user_rows, unsigned threads) {
  const HistoryBatch histories = histories_of(model, item_vectors, items, offsets, user_rows);
  nb::gil_scoped_release release;
  return model.encode(histories, threads);
}

using Matrix = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

std::pair<Matrix, std::optional<Matrix>> decode(const Recommender& model,
                                                const EncodedUsers& memory, Ids users,
                                                In<int64_t, 2> prefixes, unsigned threads) {
  const RecommenderShape& shape = model.model().shape();
  const size_t count = users.size(), tokens = prefixes.shape(1);
  require(prefixes.shape(0) == count, "prefixes need one row per user row");
  require(tokens < shape.levels(), "prefixes must be shorter than a Rec-ID");
  const PrefixBatch batch{{users.data(), count}, {prefixes.data(), prefixes.size()}, tokens};
  const size_t columns = shape.level_sizes[tokens];
  std::vector<float> logits(count * columns);
  std::vector<float> query(shape.node_vectors ? count * shape.item_width : 0);
  {
    nb::gil_scoped_release release;
    model.decode(memory, batch, logits.data(), shape.node_vectors ? query.data() : nullptr,
                 threads);
  }
  std::optional<Matrix> queries;
  if (shape.node_vectors) queries = to_numpy<Matrix>(std::move(query), {count, shape.item_width});
  return {to_numpy<Matrix>(std::move(logits), {count, columns}), std::move(queries)};
}

}  // namespace

void bind_recommender(nb::module_& module) {
  nb::class_<EncodedUsers>(module, "Memory", "Encoded histories.")
      .def_prop_ro("users", &EncodedUsers::users);
  // No conversions: a float64 array would be copied with every call.
  nb::class_<Recommender>(module, "Recommender")
      .def(nb::new_(&make_recommender), "shape"_a, "weights"_a, "item_vectors"_a.noconvert(),
           "precision"_a = "fp32")
      .def("recommend", &recommend, "catalog"_a, "item_vectors"_a.noconvert(),
           "items"_a.noconvert(), "offsets"_a.noconvert(), "user_rows"_a.none().noconvert(),
           "nodes"_a.none(), "filters"_a.none(), "keep"_a, "width"_a, "threads"_a)
      .def("stages", &stages, "catalog"_a, "item_vectors"_a.noconvert(), "items"_a.noconvert(),
           "offsets"_a.noconvert(), "user_rows"_a.none().noconvert(), "nodes"_a.none(),
           "filters"_a.none(), "keep"_a, "width"_a, "threads"_a)
      .def("encode", &encode, "item_vectors"_a.noconvert(), "items"_a.noconvert(),
           "offsets"_a.noconvert(), "user_rows"_a.none().noconvert(), "threads"_a,
           nb::keep_alive<0, 1>())
      .def("decode", &decode, "memory"_a, "users"_a.noconvert(), "prefixes"_a.noconvert(),
           "threads"_a)
      .def_prop_ro("precision", [](const Recommender& m) { return m.model().precision().name; })
      .def_prop_ro("packed_bytes", [](const Recommender& m) { return m.model().packed_bytes(); });
}

}  // namespace mmgrec
