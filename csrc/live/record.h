// One batch as the bytes of a journal record, and back.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "live/journal.h"

namespace mmgrec {

// Appends the record of a batch that will stand at `offset`.
void encode_record(const JournalHeader& header, uint64_t sequence, uint64_t offset,
                   std::span<const Edit> edits, std::span<const std::string> payloads,
                   std::vector<std::byte>& out);

// The header of the whole, undamaged record at `offset` of a journal, if there is one; `bytes` are
// those from `begin` on.
std::optional<RecordHeader> record_at(const JournalHeader& header, std::span<const std::byte> bytes,
                                      uint64_t offset, uint64_t begin = 0);

// The batch of a record that record_at accepted. Throws DamagedFile when its fields contradict each
// other.
Batch decode_record(const JournalHeader& header, std::span<const std::byte> record);

}  // namespace mmgrec
