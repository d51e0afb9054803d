#include "live/base.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace mmgrec {

Base::Base(Trie trie, std::vector<uint32_t> ids) : trie_(std::move(trie)), ids_(std::move(ids)) {
  if (ids_.empty()) return;
  if (ids_.size() != items()) {
    throw std::invalid_argument(std::to_string(ids_.size()) + " ids for " +
                                std::to_string(items()) + " items");
  }
  // Pairs packed into one word sort much faster than ranks with a look at their ids.
  std::vector<uint64_t> pairs(ids_.size());
  for (size_t rank = 0; rank < pairs.size(); ++rank)
    pairs[rank] = uint64_t{ids_[rank]} << 32 | rank;
  std::ranges::sort(pairs);
  by_id_.resize(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) {
    by_id_[i] = static_cast<uint32_t>(pairs[i]);
    if (i > 0 && pairs[i] >> 32 == pairs[i - 1] >> 32) {
      throw std::invalid_argument("two items have the id " + std::to_string(pairs[i] >> 32));
    }
  }
}

std::optional<uint32_t> Base::rank_of(uint32_t id) const {
  if (ids_.empty()) return id < items() ? std::optional(id) : std::nullopt;
  const auto id_of = [this](uint32_t rank) { return ids_[rank]; };
  const auto at = std::ranges::lower_bound(by_id_, id, {}, id_of);
  return at != by_id_.end() && ids_[*at] == id ? std::optional(*at) : std::nullopt;
}

}  // namespace mmgrec
