#include "ids/id_map.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <utility>

namespace mmgrec {
namespace {

constexpr uint64_t kSparsest = 4;  // numbers per id in a direct table
constexpr size_t kFewest = 16;     // slots
constexpr size_t kAhead = 16;      // lookups whose slots are on their way

}  // namespace

IdMap::IdMap(std::span<const int64_t> ids)
    : slots_(kFewest), shift_(64 - std::bit_width(kFewest - 1)) {
  if (ids.empty()) return;
  const auto [least, most] = std::minmax_element(ids.begin(), ids.end());
  const uint64_t range = static_cast<uint64_t>(*most) - static_cast<uint64_t>(*least);
  first_ = *least;
  if (range / kSparsest < ids.size()) direct_.assign(range + 1, static_cast<int32_t>(kNone));
  for (size_t row = 0; row < ids.size(); ++row) set(ids[row], static_cast<int64_t>(row));
  if (std::ranges::find(direct_, kNone) == direct_.end()) return;
  known_ = no_bits();
  const BitSetter known(*this, known_);
  for (const int64_t id : ids) known.set(id);
}

void IdMap::set(int64_t id, int64_t row) {
  if (row < 0 || row > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("a row is out of range");
  if (is_direct(id)) {
    direct_[offset(id)] = static_cast<int32_t>(row);
    return;
  }
  if (2 * (used_ + 1) > slots_.size()) grow();
  size_t at = home(id);
  while (slots_[at].row != kNone && slots_[at].id != id) at = (at + 1) & (slots_.size() - 1);
  used_ += slots_[at].row == kNone;
  slots_[at] = {id, row};
}

void IdMap::find(std::span<int64_t> ids) const {
  // The processor overlaps independent accesses to the direct table by itself; probes have branches
  // behind them, so their slots are asked for early.
  const bool hashed = used_ > 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (hashed && i + kAhead < ids.size()) __builtin_prefetch(&slots_[home(ids[i + kAhead])]);
    ids[i] = is_direct(ids[i]) ? direct_[offset(ids[i])] : find_hashed(ids[i]);
  }
}

bool IdMap::began_with(std::span<const uint64_t> words) const {
  uint64_t unknown = 0;
  for (size_t w = 0; w < known_.size(); ++w) unknown |= words[w] & ~known_[w];
  return unknown == 0;
}

int64_t IdMap::find_hashed(int64_t id) const {
  for (size_t at = home(id); slots_[at].row != kNone; at = (at + 1) & (slots_.size() - 1))
    if (slots_[at].id == id) return slots_[at].row;
  return kNone;
}

void IdMap::grow() {
  const std::vector<Slot> before = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
  --shift_;
  for (const Slot& slot : before) {
    if (slot.row == kNone) continue;
    size_t at = home(slot.id);
    while (slots_[at].row != kNone) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = slot;
  }
}

}  // namespace mmgrec
