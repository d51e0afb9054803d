#include "live/compaction.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "trie/trie_layout.h"

namespace mmgrec {

// The walk is sorted already, so that leaves are written as they come, without a list of them.
void CompactionJob::run() {
  TrieStorage storage(snapshot_->base()->level_sizes(), snapshot_->num_items(), {});
  LeafWriter writer(storage, 0);
  std::vector<uint32_t> ids;
  ids.reserve(snapshot_->num_items());
  std::array<uint32_t, kMaxLevels> wide{};
  snapshot_->for_each_live([&](uint32_t leaf, const Tuple& tuple) {
    std::ranges::copy(tuple, wide.begin());
    writer.append(wide.data());
    ids.push_back(snapshot_->id(leaf));
  });
  writer.finish();
  base_ = std::make_shared<const Base>(Trie(std::move(storage)), std::move(ids));
  snapshot_.reset();
}

}  // namespace mmgrec
