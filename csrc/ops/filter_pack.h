// The prepared filters of a batch as one block of bytes that one copy brings to a device.
//
//   [UserFilter of every user | the arrays they point to, shared ones once]
#pragma once

#include <cstring>
#include <span>
#include <stdexcept>
#include <vector>

#include "ops/filters.h"
#include "trie/relocation.h"

namespace mmgrec {

template <class Visit>
void for_each_array(SegmentFilter& filter, uint32_t leaves, Visit visit) {
  if (filter.denied_ids.words != nullptr)
    throw std::invalid_argument("a device takes denied leaves, not the bits of ids");
  const size_t words = (size_t{leaves} + 63) / 64;
  visit(filter.bits.words, words * sizeof(uint64_t));
  visit(filter.bits.counts, ((words + 7) / 8 + 1) * sizeof(uint32_t));
  for_each_array(filter.listed, leaves, visit);
  for_each_array(filter.gone, leaves, visit);
  for_each_array(filter.denied, leaves, visit);
}

class FilterPack {
 public:
  // The arrays must outlive the pack. Leaves are those of the catalogue's two segments.
  FilterPack(std::span<const UserFilter> users, uint32_t base_leaves, uint32_t added_leaves)
      : users_(users.begin(), users.end()), base_leaves_(base_leaves), added_leaves_(added_leaves) {
    for (UserFilter& user : users_) {
      visit(user, [&](auto& array, size_t bytes) { plan_.add(array, bytes); });
    }
  }

  size_t bytes() const { return filter_bytes() + plan_.bytes(); }

  // Writes `bytes()` bytes that are right where they will lie: at `address`, aligned to 16.
  void write(std::byte* block, uintptr_t address) const {
    std::vector<UserFilter> moved = users_;
    for (UserFilter& user : moved) {
      visit(user, [&](auto& array, size_t) { plan_.move(array, address + filter_bytes()); });
    }
    std::memcpy(block, moved.data(), moved.size() * sizeof(UserFilter));
    plan_.for_each([&](const void* array, size_t bytes, size_t offset) {
      std::memcpy(block + filter_bytes() + offset, array, bytes);
    });
  }

 private:
  size_t filter_bytes() const { return (users_.size() * sizeof(UserFilter) + 15) / 16 * 16; }
  template <class Visit>
  void visit(UserFilter& user, Visit visit_array) const {
    for_each_array(user.base, base_leaves_, visit_array);
    for_each_array(user.added, added_leaves_, visit_array);
  }

  std::vector<UserFilter> users_;
  uint32_t base_leaves_;
  uint32_t added_leaves_;
  Relocation plan_;
};

}  // namespace mmgrec
