// The additions of a live catalogue: a small sorted set of tuples with their ids, every level
// packed. Immutable; an edit makes a copy, which costs a few bytes per addition.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "live/edit.h"

namespace mmgrec {

class AddedLeaves {
 public:
  explicit AddedLeaves(std::span<const uint32_t> level_sizes);

  // What stands at a tuple afterwards: this id, or nothing.
  struct Change {
    Tuple tuple;
    std::optional<uint32_t> id;
  };
  // A copy with `changes` made, whose tuples ascend and are unique.
  AddedLeaves with(std::span<const Change> changes) const;

  TrieView view() const;
  std::span<const uint32_t> ids() const { return ids_; }

 private:
  TrieView shape_;  // its pointers stay null
  std::vector<std::byte> tokens_[kMaxLevels];
  std::vector<uint32_t> ids_;
};

}  // namespace mmgrec
