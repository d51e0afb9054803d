// Prepared filters as a Python object, for every binding that takes them.
#pragma once

#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "ops/filter_pack.h"
#include "ops/prepared_filters.h"

namespace mmgrec {

// Prepared filters and the arrays that their bitmaps are.
class Filters {
 public:
  Filters(const CatalogView& catalog, const FilterRequest& request, std::vector<nb::object> kept,
          unsigned threads)
      : core_(catalog, request, threads),
        base_leaves_(catalog.base.items),
        added_leaves_(catalog.added.items),
        kept_(std::move(kept)) {}
  const PreparedFilters& core() const { return core_; }
  // For a device: see filter_pack.h.
  FilterPack pack() const { return {{core_.data(), core_.users()}, base_leaves_, added_leaves_}; }

 private:
  PreparedFilters core_;
  uint32_t base_leaves_, added_leaves_;
  std::vector<nb::object> kept_;
};

inline const UserFilter* filters_of(const Filters* filters, size_t users) {
  if (filters == nullptr) return nullptr;
  require(filters->core().users() == users, "filters were prepared for another number of users");
  return filters->core().data();
}

}  // namespace mmgrec
