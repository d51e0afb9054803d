#include "live/compaction.h"

#include <utility>
#include <vector>

namespace mmgrec {

void CompactionJob::run() {
  const std::vector<uint32_t> sizes = snapshot_->base()->level_sizes();
  std::vector<int32_t> codes;
  std::vector<uint32_t> ids;
  codes.reserve(size_t{snapshot_->num_items()} * sizes.size());
  ids.reserve(snapshot_->num_items());
  snapshot_->for_each_live([&](uint32_t leaf, const Tuple& tuple) {
    codes.insert(codes.end(), tuple.begin(), tuple.begin() + static_cast<ptrdiff_t>(sizes.size()));
    ids.push_back(snapshot_->id(leaf));
  });
  std::vector<uint32_t> order;  // ascends: the walk is sorted already
  Trie trie = Trie::build(codes, sizes, order);
  base_ = std::make_shared<const Base>(std::move(trie), std::move(ids));
  snapshot_.reset();
}

}  // namespace mmgrec
