// What a binding has to deliver for one constrained step: shapes and addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace binding_bench {

struct StepCall {
  size_t users, beams, tokens, keep;
  const int64_t* ranges;
  const float* scores;
  const float* logits;
  float* out_scores;
  int32_t* out_origin;
  int64_t* out_ranges;
  float* out_best_pruned;
};

inline void require(bool condition) {
  if (!condition) throw std::invalid_argument("the arrays do not fit together");
}

// Instead of the step: reads every input and writes every output once, so that none is left out.
inline void touch(const StepCall& call) {
  call.out_scores[0] = call.scores[0] + call.logits[0];
  call.out_origin[0] = static_cast<int32_t>(call.users * call.beams);
  call.out_ranges[0] = call.ranges[0];
  call.out_best_pruned[0] = static_cast<float>(call.keep);
}

}  // namespace binding_bench
