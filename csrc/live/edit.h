// Edits of a live catalogue, and the error that says why one cannot be made.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "trie/trie_view.h"

namespace mmgrec {

// A full Rec-ID. Tokens past the last level are 0, so that arrays compare as tuples do.
using Tuple = std::array<uint16_t, kMaxLevels>;

enum class EditKind : uint8_t { kInsert = 0, kDelete = 1, kReplace = 2 };

struct Edit {
  EditKind kind = EditKind::kInsert;
  uint32_t id = 0;  // of the item; deletes and replaces have it filled in by LiveCatalog::prepare
  Tuple tuple{};    // a replace's new Rec-ID
  Tuple old{};      // a replace's old Rec-ID
};

// Edits that are made together or not at all.
struct Batch {
  uint64_t sequence = 0;  // given by the journal
  std::vector<Edit> edits;
  std::vector<std::string> payloads;  // opaque bytes per edit, or none at all
};

// An edit that contradicts the catalogue; nothing of its batch was made.
struct EditError : std::invalid_argument {
  EditError(std::string what_, std::string value_, std::string allowed_, std::string remedy_)
      : std::invalid_argument(what_ + " (" + value_ + ")"),
        what_is_wrong(std::move(what_)),
        value(std::move(value_)),
        allowed(std::move(allowed_)),
        remedy(std::move(remedy_)) {}
  std::string what_is_wrong, value, allowed, remedy;
};

// Throws EditError for a token outside its level; `edit` is the edit's place in its batch.
Tuple checked_tuple(std::span<const int32_t> tokens, std::span<const uint32_t> level_sizes,
                    size_t edit);
void check_tuple(const Tuple& tuple, std::span<const uint32_t> level_sizes, size_t edit);

}  // namespace mmgrec
