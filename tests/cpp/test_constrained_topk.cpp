// One step on a catalogue small enough to work out by hand; the Python tests hold it against the
// reference.
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "ops/constrained_topk.h"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Result {
  std::vector<float> scores, best_pruned;
  std::vector<int32_t> parents, tokens;
  std::vector<int64_t> lo, hi;
};

Result run(mmgrec::ConstrainedTopk step, size_t keep) {
  const size_t count = step.users * keep;
  Result result{std::vector<float>(count),   std::vector<float>(step.users),
                std::vector<int32_t>(count), std::vector<int32_t>(count),
                std::vector<int64_t>(count), std::vector<int64_t>(count)};
  step.keep = keep;
  step.out_scores = result.scores.data();
  step.out_best_pruned = result.best_pruned.data();
  step.out_parents = result.parents.data();
  step.out_tokens = result.tokens.data();
  step.out_lo = result.lo.data();
  step.out_hi = result.hi.data();
  mmgrec::constrained_topk(step);
  return result;
}

bool close(float a, double b) { return std::abs(a - b) < 1e-6; }

}  // namespace

int main() {
  // Items (0,0) (0,2) (2,1): tokens 0 and 2 exist on level 0, two leaves and one leaf below them.
  const std::vector<int32_t> codes{0, 0, 0, 2, 2, 1};
  const std::vector<uint32_t> sizes{3, 3};
  std::vector<uint32_t> order;
  const mmgrec::Trie trie = mmgrec::Trie::build(codes, sizes, order);

  const std::vector<int64_t> lo{0}, hi{3};
  const std::vector<float> scores{-1}, logits{0, 5, 0};
  mmgrec::ConstrainedTopk step;
  step.trie = &trie;
  step.users = step.beams = 1;
  step.lo = lo.data();
  step.hi = hi.data();
  step.scores = scores.data();
  step.logits = logits.data();

  // Token 1 leads to no item, so both others get 1/2; the tie goes to the smaller leaf rank.
  Result best = run(step, 1);
  CHECK(best.tokens[0] == 0 && best.lo[0] == 0 && best.hi[0] == 2);
  CHECK(close(best.scores[0], -1 + std::log(0.5)) && close(best.best_pruned[0], best.scores[0]));

  // Over the whole level, token 1 takes its share although it leads nowhere.
  step.softmax_over_level = true;
  best = run(step, 3);
  CHECK(close(best.scores[0], -1 - std::log(2 + std::exp(5.0))));
  CHECK(best.tokens[1] == 2 && best.scores[2] == -kInfinity && best.lo[2] == best.hi[2]);
  CHECK(best.best_pruned[0] == -kInfinity);
  step.softmax_over_level = false;

  // Both leaves below token 0 denied: it goes, and the other's probability does not change.
  const std::vector<int64_t> deny_offsets{0, 2}, denied{0, 1};
  step.deny = {deny_offsets.data(), denied.data()};
  best = run(step, 2);
  CHECK(best.tokens[0] == 2 && close(best.scores[0], -1 + std::log(0.5)));
  CHECK(best.scores[1] == -kInfinity);

  // Allowed and denied at once: deny wins.
  const std::vector<int64_t> allow_offsets{0, 1}, allowed{1};
  const std::vector<uint8_t> restricted{0};
  step.allow = {allow_offsets.data(), allowed.data()};
  step.allow_all = restricted.data();
  CHECK(run(step, 1).scores[0] == -kInfinity);
  step.deny = {};
  CHECK(run(step, 2).tokens[0] == 0);

  const std::vector<int64_t> beyond{4};
  step.hi = beyond.data();
  CHECK_THROWS(run(step, 1), std::invalid_argument);
  step.hi = hi.data();
  const std::vector<float> nan{NAN, 0, 0};
  step.logits = nan.data();
  CHECK_THROWS(run(step, 1), std::invalid_argument);
}
