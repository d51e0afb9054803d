// Bindings of the ops that are compiled per instruction set.
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <optional>

#include "bindings/arrays.h"
#include "ops/relation_attention.h"
#include "ops/rq_assign.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

using Heads = Strided<const float, 4>;
using Shared = Strided<const float, 3>;

template <class Array>
HeadRows rows_of(const Array& x) {
  const size_t last = x.ndim() - 1;
  require(x.stride(last) == 1 || x.shape(last) <= 1 || x.size() == 0,
          "the last dimension must be contiguous");
  return {x.data(), x.stride(0), x.ndim() == 4 ? x.stride(1) : 0, x.stride(last - 1)};
}

// Users of packed tensors follow each other along the rows.
void set_offsets(RelationAttention& op, const In<int64_t, 1>& offsets, size_t rows) {
  require(offsets.size() > 0, "offsets need one entry per user and one more");
  op.users = offsets.size() - 1;
  op.offsets = offsets.data();
  op.length = 0;
  for (size_t b = 0; b < op.users; ++b) {
    require(op.offsets[b] <= op.offsets[b + 1], "offsets must ascend");
    op.length = std::max(op.length, op.length_of(b));
  }
  require(op.offsets[0] == 0 && op.offsets[op.users] == static_cast<int64_t>(rows),
          "offsets must run from 0 to the number of rows");
}

void bind_relation_attention(Heads q, Heads k, Heads v, Shared relation_q, Shared relation_k,
                             Shared relation_v, In<float, 2> gates, In<int64_t, 1> lengths,
                             bool packed, Strided<float, 4> out, unsigned threads) {
  RelationAttention op;
  op.users = q.shape(0);
  op.heads = q.shape(1);
  op.length = q.shape(2);
  op.width = q.shape(3);
  const auto like_q = [&](const auto& x) {
    return x.shape(0) == q.shape(0) && x.shape(1) == q.shape(1) && x.shape(2) == q.shape(2) &&
           x.shape(3) == q.shape(3);
  };
  const auto shared = [&](const auto& x) {
    return x.shape(0) == q.shape(0) && x.shape(1) == q.shape(2) && x.shape(2) == q.shape(3);
  };
  require(like_q(k) && like_q(v) && like_q(out), "q, k, v and out differ in shape");
  require(shared(relation_q) && shared(relation_k) && shared(relation_v),
          "relations need the shape of q without its heads");
  op.q = rows_of(q);
  op.k = rows_of(k);
  op.v = rows_of(v);
  op.relation_q = rows_of(relation_q);
  op.relation_k = rows_of(relation_k);
  op.relation_v = rows_of(relation_v);
  op.out = out.data();
  op.out_rows = rows_of(out);
  if (packed) {
    require(q.shape(0) == 1, "packed tensors have one row dimension for all users");
    set_offsets(op, lengths, q.shape(2));
  } else {
    require(lengths.size() == op.users, "lengths need one entry per user");
    op.lengths = lengths.data();
  }
  require(gates.shape(0) == op.users && gates.shape(1) == 3, "gates need three numbers per user");
  op.gates = gates.data();
  nb::gil_scoped_release release;
  relation_attention(op, threads);
}

void bind_rq_assign(Strided<const float, 2> x, In<float, 3> codebooks, Out<int64_t, 2> codes,
                    Out<float, 1> residual_norms, std::optional<Out<float, 3>> top2,
                    unsigned threads) {
  RqAssign op;
  op.rows = x.shape(0);
  op.width = x.shape(1);
  op.levels = codebooks.shape(0);
  op.size = codebooks.shape(1);
  require(codebooks.shape(2) == op.width, "rows and codewords differ in width");
  require(x.stride(1) == 1 || x.shape(1) <= 1 || x.size() == 0,
          "the last dimension must be contiguous");
  require(codes.shape(0) == op.rows && codes.shape(1) == op.levels, "codes need the shape [N, S]");
  require(residual_norms.shape(0) == op.rows, "residual_norms need the shape [N]");
  op.x = x.data();
  op.x_stride = x.stride(0);
  op.codebooks = codebooks.data();
  op.codes = codes.data();
  op.residual_norms = residual_norms.data();
  if (top2) {
    require(top2->shape(0) == op.rows && top2->shape(1) == op.levels && top2->shape(2) == 2,
            "top2 needs the shape [N, S, 2]");
    op.top2 = top2->data();
  }
  nb::gil_scoped_release release;
  rq_assign(op, threads);
}

}  // namespace

void bind_kernels(nb::module_& module) {
  // No conversions: a converted output would be a copy that nobody reads.
  module.def("relation_attention", &bind_relation_attention, "q"_a.noconvert(), "k"_a.noconvert(),
             "v"_a.noconvert(), "relation_q"_a.noconvert(), "relation_k"_a.noconvert(),
             "relation_v"_a.noconvert(), "gates"_a.noconvert(), "lengths"_a.noconvert(), "packed"_a,
             "out"_a.noconvert(), "threads"_a);
  module.def("rq_assign", &bind_rq_assign, "x"_a.noconvert(), "codebooks"_a.noconvert(),
             "codes"_a.noconvert(), "residual_norms"_a.noconvert(), "top2"_a.none().noconvert(),
             "threads"_a);
}

}  // namespace mmgrec
