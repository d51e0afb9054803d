// rq_assign of every instruction set against distances in double precision.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "kernels.h"
#include "ops/rq_assign.h"

using namespace mmgrec;

namespace {

struct Problem {
  size_t rows, width, levels, size, stride;
  std::vector<float> x, codebooks, norms, top2;
  std::vector<int64_t> codes;

  Problem(size_t n, size_t d, size_t s, size_t k) : rows(n), width(d), levels(s), size(k) {
    std::mt19937 random(static_cast<unsigned>(n + 3 * d + 5 * s + 7 * k));
    std::normal_distribution<float> normal;
    stride = width + 3;
    x.resize(rows * stride);
    codebooks.resize(levels * size * width);
    for (float& v : x) v = normal(random);
    for (float& v : codebooks) v = normal(random);
    norms.resize(rows);
    top2.resize(rows * levels * 2);
    codes.resize(rows * levels);
  }

  RqAssign op(bool with_top2 = true) {
    return {rows,
            width,
            levels,
            size,
            x.data(),
            static_cast<ptrdiff_t>(stride),
            codebooks.data(),
            codes.data(),
            norms.data(),
            with_top2 ? top2.data() : nullptr};
  }
};

// Follows the codes that were found and checks that no codeword was nearer, by more than rounding.
void check_row(const Problem& p, size_t n) {
  std::vector<double> residual(p.x.begin() + static_cast<ptrdiff_t>(n * p.stride),
                               p.x.begin() + static_cast<ptrdiff_t>(n * p.stride + p.width));
  double left = 0;
  for (size_t s = 0; s < p.levels; ++s) {
    const float* codebook = p.codebooks.data() + s * p.size * p.width;
    std::vector<double> distance(p.size, 0.0);
    double best = INFINITY, second = INFINITY, scale = 1;
    for (size_t k = 0; k < p.size; ++k) {
      double norm = 0;
      for (size_t i = 0; i < p.width; ++i) {
        const double c = codebook[k * p.width + i];
        distance[k] += (residual[i] - c) * (residual[i] - c);
        norm += c * c + residual[i] * residual[i];
      }
      scale = std::max(scale, norm);
      second = std::min(second, std::max(best, distance[k]));
      best = std::min(best, distance[k]);
    }
    const int64_t code = p.codes[n * p.levels + s];
    CHECK(code >= 0 && code < static_cast<int64_t>(p.size));
    const double tolerance = 1e-6 * scale;
    CHECK(distance[static_cast<size_t>(code)] <= best + tolerance);
    const float* top2 = p.top2.data() + (n * p.levels + s) * 2;
    CHECK(std::abs(top2[0] - best) <= 2 * tolerance);
    CHECK(p.size == 1 ? std::isinf(top2[1]) : std::abs(top2[1] - second) <= 2 * tolerance);
    left = 0;
    for (size_t i = 0; i < p.width; ++i) {
      residual[i] -= codebook[static_cast<size_t>(code) * p.width + i];
      left += residual[i] * residual[i];
    }
  }
  CHECK(std::abs(p.norms[n] - left) <= 1e-5 * (1 + left));
}

void test_values(const Kernels& kernels) {
  const size_t shapes[][4] = {{0, 3, 1, 2},     {1, 1, 1, 1},    {17, 5, 3, 7},
                              {40, 16, 2, 33},  {2, 64, 3, 256}, {55, 100, 4, 100},
                              {1600, 8, 2, 65}, {13, 700, 2, 31}};
  for (const auto& [n, d, s, k] : shapes) {
    Problem problem(n, d, s, k);
    rq_assign(problem.op(), 2, &kernels);
    for (size_t row = 0; row < n; ++row) check_row(problem, row);
    const std::vector<int64_t> codes = problem.codes;
    rq_assign(problem.op(false), 1, &kernels);
    CHECK(problem.codes == codes);
  }
}

void test_ties_go_to_the_lowest_index(const Kernels& kernels) {
  // Every codeword twice, the copies at all distances and lanes from each other.
  Problem problem(64, 9, 1, 67);
  for (size_t k = 30; k < 60; ++k)
    for (size_t i = 0; i < 9; ++i)
      problem.codebooks[k * 9 + i] = problem.codebooks[(k - 30) * 9 + i];
  rq_assign(problem.op(), 1, &kernels);
  for (size_t row = 0; row < 64; ++row) {
    CHECK(problem.codes[row] < 30 || problem.codes[row] >= 60);
    if (problem.codes[row] < 30) CHECK(problem.top2[row * 2] == problem.top2[row * 2 + 1]);
  }
}

void test_no_number_gives_no_code(const Kernels& kernels, float bad) {
  Problem problem(9, 20, 3, 40);
  problem.x[4 * problem.stride + 11] = bad;
  rq_assign(problem.op(), 1, &kernels);
  for (size_t row = 0; row < 9; ++row) {
    if (row != 4) {
      check_row(problem, row);
      continue;
    }
    for (size_t s = 0; s < 3; ++s) CHECK(problem.codes[row * 3 + s] == -1);
    CHECK(std::isnan(problem.norms[row]));
    CHECK(std::isnan(problem.top2[row * 6]) && std::isnan(problem.top2[row * 6 + 1]));
  }
}

}  // namespace

int main() {
  for_all_kernels([](const Kernels& kernels) {
    test_values(kernels);
    test_ties_go_to_the_lowest_index(kernels);
    test_no_number_gives_no_code(kernels, std::numeric_limits<float>::quiet_NaN());
    test_no_number_gives_no_code(kernels, INFINITY);
    test_no_number_gives_no_code(kernels, -INFINITY);
  });
}
