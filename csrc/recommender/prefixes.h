// Decoding any prefixes of any users, for exact search.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "recommender/encoder.h"

namespace mmgrec {

struct PrefixBatch {
  std::span<const int64_t> users;     // [P] rows of the memory
  std::span<const int64_t> prefixes;  // [P, t] tokens
  size_t tokens = 0;                  // t
};

// Where each run of prefixes of the same user, as many as are decoded together, begins; and the
// end.
std::vector<size_t> prefix_runs(const PrefixBatch& batch);

// One run: logits [last - first, K_t], and queries [last - first, D] or null.
void decode_prefixes(const Model& model, const UserMemory& memory, const PrefixBatch& batch,
                     size_t first, size_t last, float* logits, float* query);

}  // namespace mmgrec
