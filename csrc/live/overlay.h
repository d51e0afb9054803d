// What a batch of edits changes, edit by edit, on top of a snapshot.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "live/edit.h"
#include "live/snapshot.h"

namespace mmgrec {

class Overlay {
 public:
  // `edits` is about how many will come.
  Overlay(std::shared_ptr<const Snapshot> before, size_t edits);

  // Makes one edit and fills in its id, or throws EditError; `index` is its place in its batch.
  void make(Edit& edit, size_t index);
  // The snapshot with all edits made.
  std::shared_ptr<const Snapshot> snapshot() const;

 private:
  std::optional<uint32_t> id_at(const Tuple& tuple) const;
  std::optional<Tuple> tuple_of(uint32_t id) const;
  bool added_has(uint32_t id) const;
  void put(const Tuple& tuple, uint32_t id, const std::string& edit);
  uint32_t take(const Tuple& tuple, const std::string& edit);

  std::shared_ptr<const Snapshot> before_;
  size_t levels_;
  std::vector<uint32_t> level_sizes_;
  std::map<Tuple, std::optional<uint32_t>> items_;  // the item at a tuple, none: gone
  std::unordered_map<uint32_t, std::optional<Tuple>> ids_;
  std::vector<uint32_t> sorted_added_ids_;  // of a large batch only
};

}  // namespace mmgrec
