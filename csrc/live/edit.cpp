#include "live/edit.h"

namespace mmgrec {
namespace {

void check_token(int64_t token, size_t level, uint32_t size, size_t edit) {
  if (token >= 0 && token < size) return;
  throw EditError("edit " + std::to_string(edit) + ": a token of level " + std::to_string(level) +
                      " is out of range",
                  std::to_string(token), "0 to " + std::to_string(size - 1),
                  "give Rec-IDs of the catalogue's level sizes");
}

}  // namespace

Tuple checked_tuple(std::span<const int32_t> tokens, std::span<const uint32_t> level_sizes,
                    size_t edit) {
  Tuple tuple{};
  for (size_t level = 0; level < level_sizes.size(); ++level) {
    check_token(tokens[level], level, level_sizes[level], edit);
    tuple[level] = static_cast<uint16_t>(tokens[level]);
  }
  return tuple;
}

void check_tuple(const Tuple& tuple, std::span<const uint32_t> level_sizes, size_t edit) {
  for (size_t level = 0; level < level_sizes.size(); ++level) {
    check_token(tuple[level], level, level_sizes[level], edit);
  }
}

}  // namespace mmgrec
