// relation_attention of every instruction set against the formula in double precision.
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "allocations.h"
#include "check.h"
#include "kernels.h"
#include "ops/relation_attention.h"

using namespace mmgrec;

namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// Tensors laid out as views of one fused projection: rows [q | k | v | uq uk uv], with a gap.
struct Problem {
  size_t users, heads, length, width, row;
  std::vector<float> fused, gates, out;
  std::vector<int64_t> lengths, offsets;

  Problem(size_t b, size_t h, size_t l, size_t d, std::vector<int64_t> n)
      : users(b), heads(h), length(l), width(d), row(3 * h * d + 3 * d + 3), lengths(n) {
    std::mt19937 random(static_cast<unsigned>(b * 31 + h * 7 + l * 3 + d));
    std::normal_distribution<float> normal;
    fused.resize(users * length * row);
    for (float& x : fused) x = normal(random);
    for (size_t i = 0; i < users * 3; ++i) gates.push_back(normal(random));
    // What lies beyond a history must not matter.
    for (size_t u = 0; u < users; ++u)
      for (size_t i = static_cast<size_t>(lengths[u]) * row; i < length * row; ++i)
        fused[u * length * row + i] = kPoison;
    out.assign(users * length * heads * width, kPoison);
  }

  HeadRows view(size_t first, bool per_head) const {
    return {fused.data() + first, static_cast<ptrdiff_t>(length * row),
            per_head ? static_cast<ptrdiff_t>(width) : 0, static_cast<ptrdiff_t>(row)};
  }

  RelationAttention op() {
    const size_t inner = heads * width;
    RelationAttention op;
    op.users = users;
    op.heads = heads;
    op.length = length;
    op.width = width;
    op.q = view(0, true);
    op.k = view(inner, true);
    op.v = view(2 * inner, true);
    op.relation_q = view(3 * inner, false);
    op.relation_k = view(3 * inner + width, false);
    op.relation_v = view(3 * inner + 2 * width, false);
    op.gates = gates.data();
    op.lengths = lengths.data();
    op.out = out.data();
    op.out_rows = {nullptr, static_cast<ptrdiff_t>(length * inner), static_cast<ptrdiff_t>(width),
                   static_cast<ptrdiff_t>(inner)};
    return op;
  }
};

double dot(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return sum;
}

std::vector<double> expected_row(const RelationAttention& op, size_t b, size_t h, size_t i) {
  const size_t n = op.length_of(b);
  const float* gates = op.gates + b * 3;
  const auto at = [&](const HeadRows& x, size_t row) { return x.data + op.at(x, b, h, row); };
  std::vector<double> weights(n), out(op.width, 0.0);
  double top = -1e300, sum = 0;
  for (size_t j = 0; j < n; ++j) {
    const double bias =
        double{gates[0]} * gates[1] * dot(at(op.relation_q, i), at(op.relation_k, j), op.width);
    weights[j] =
        (dot(at(op.q, i), at(op.k, j), op.width) + bias) / std::sqrt(static_cast<double>(op.width));
    top = std::max(top, weights[j]);
  }
  for (double& w : weights) sum += w = std::exp(w - top);
  for (size_t j = 0; j < n; ++j)
    for (size_t k = 0; k < op.width; ++k)
      out[k] += weights[j] / sum * (at(op.v, j)[k] + double{gates[2]} * at(op.relation_v, j)[k]);
  return out;
}

void check_values(const RelationAttention& op) {
  for (size_t b = 0; b < op.users; ++b) {
    for (size_t h = 0; h < op.heads; ++h) {
      const size_t rows = op.offsets ? op.length_of(b) : op.length;
      for (size_t i = 0; i < rows; ++i) {
        const float* found = op.out + op.at(op.out_rows, b, h, i);
        if (i >= op.length_of(b)) {
          for (size_t k = 0; k < op.width; ++k) CHECK(found[k] == 0);
          continue;
        }
        const std::vector<double> wanted = expected_row(op, b, h, i);
        // Logits of standard deviation about |a_q a_k| sqrt(d): exp magnifies their rounding.
        for (size_t k = 0; k < op.width; ++k) CHECK(std::abs(found[k] - wanted[k]) < 1e-4);
      }
    }
  }
}

void test_padded(const Kernels& kernels) {
  const auto check = [&](Problem problem, unsigned threads) {
    const RelationAttention op = problem.op();
    relation_attention(op, threads, &kernels);
    check_values(op);
  };
  check({1, 1, 1, 1, {1}}, 1);
  check({3, 2, 5, 3, {0, 5, 2}}, 1);
  check({2, 4, 33, 16, {33, 31}}, 2);
  check({2, 3, 40, 20, {40, 17}}, 2);
  check({1, 1, 129, 64, {129}}, 2);
  check({2, 1, 300, 33, {300, 128}}, 2);
  check({2, 2, 7, 8, {0, 0}}, 1);
  check({0, 2, 7, 8, {}}, 2);
  check({1, 1, 1024, 16, {1024}}, 2);
}

void test_packed(const Kernels& kernels) {
  Problem problem(1, 3, 50, 16, {50});
  RelationAttention op = problem.op();
  const std::vector<int64_t> offsets{0, 1, 1, 34, 50};
  std::vector<float> gates(12, 0.5f);
  op.users = 4;
  op.length = 33;
  op.lengths = nullptr;
  op.offsets = offsets.data();
  op.gates = gates.data();
  relation_attention(op, 2, &kernels);
  check_values(op);
}

void test_bad_lengths(const Kernels& kernels) {
  Problem problem(1, 1, 4, 4, {4});
  for (const int64_t wrong : {int64_t{5}, int64_t{-1}}) {
    problem.lengths[0] = wrong;
    CHECK_THROWS(relation_attention(problem.op(), 1, &kernels), std::invalid_argument);
  }
}

void test_nan_is_not_hidden(const Kernels& kernels) {
  Problem problem(1, 1, 20, 8, {20});
  problem.fused[8 + 3 * problem.row] = kPoison;  // in the key of item 3, which every query sees
  const RelationAttention op = problem.op();
  relation_attention(op, 1, &kernels);
  for (size_t i = 0; i < 20; ++i) CHECK(std::isnan(op.out[i * 8]));
}

void test_no_allocation_after_the_first_call(const Kernels& kernels) {
  Problem problem(8, 4, 64, 16, std::vector<int64_t>(8, 64));
  const RelationAttention op = problem.op();
  relation_attention(op, 1, &kernels);
  const size_t before = allocations();
  relation_attention(op, 1, &kernels);
  CHECK(allocations() == before);
}

}  // namespace

int main() {
  for_all_kernels([](const Kernels& kernels) {
    test_padded(kernels);
    test_packed(kernels);
    test_bad_lengths(kernels);
    test_nan_is_not_hidden(kernels);
    test_no_allocation_after_the_first_call(kernels);
  });
}
