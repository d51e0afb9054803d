// The edits of a live catalogue on disk: append-only, one record per batch, durable when append()
// returns.
//
//   file    header, records
//   record  bytes, CRC, sequence, its own offset, generation; then the batch's edits with payloads
//
// The offset and the generation are under the CRC, so a record is valid at its own place of its own
// file only: neither an old block of the disk nor a payload that looks like a record is taken for
// one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"
#include "live/edit.h"

namespace mmgrec {

struct JournalHeader {
  std::array<char, 8> magic{};
  uint32_t version = 0;
  uint32_t levels = 0;
  uint64_t generation = 0;
  uint64_t before = 0;  // sequence of the last batch before the journal's first
  std::array<uint32_t, kMaxLevels> level_sizes{};
  uint32_t reserved = 0;
  uint32_t crc = 0;  // of all bytes before this one
};
static_assert(sizeof(JournalHeader) == 72);

struct RecordHeader {
  uint32_t bytes = 0;  // of the whole record
  uint32_t crc = 0;    // of all bytes of the record after this one
  uint64_t sequence = 0;
  uint64_t offset = 0;
  uint64_t generation = 0;
};
static_assert(sizeof(RecordHeader) == 32);

// What a journal's bytes hold.
struct JournalContents {
  JournalHeader header;
  std::vector<Batch> batches;
  uint64_t sequence = 0;     // of the last batch, here or before
  uint64_t good_bytes = 0;   // up to the end of the last whole record
  uint64_t cut_bytes = 0;    // what a crash left of a batch that was never acknowledged
  uint64_t last_offset = 0;  // of the last whole record; 0 where there is none
  RecordHeader last;
};

// Reads a journal. Throws DamagedFile for a bad header, or a bad record with a valid one after it.
JournalContents read_journal(const std::filesystem::path& path);

// Reads what was appended since `earlier` was read; `batches` are the later ones. A record that is
// only half there yet, of an append under way, is cut_bytes. Throws DamagedFile also where the
// journal does not go on from what was read.
JournalContents read_journal_after(const std::filesystem::path& path,
                                   const JournalContents& earlier);

class Journal {
 public:
  // Writes a new journal that holds `batches`, whose sequences go on from `before`, and makes it
  // and its name durable.
  static Journal create(const std::filesystem::path& path, uint64_t generation,
                        std::span<const uint32_t> level_sizes, uint64_t before,
                        std::span<const Batch> batches);
  // Opens a journal for appending: what read_journal found cut off is removed.
  static Journal open(const std::filesystem::path& path, const JournalContents& contents);

  Journal(Journal&& other) noexcept { *this = std::move(other); }
  Journal& operator=(Journal&& other) noexcept;
  ~Journal();

  // Writes one batch and makes it durable; returns its sequence. On std::system_error (disk full)
  // nothing of the batch is in the file and the journal stays usable; where even that cannot be
  // brought about, every later append fails too, until the journal is opened again.
  uint64_t append(std::span<const Edit> edits, std::span<const std::string> payloads);

  uint64_t sequence() const { return sequence_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t generation() const { return header_.generation; }
  const std::filesystem::path& path() const { return path_; }

 private:
  Journal() = default;
  void write(std::span<const std::byte> bytes);
  void roll_back() noexcept;

  std::filesystem::path path_;
  JournalHeader header_;
  int fd_ = -1;
  uint64_t bytes_ = 0;
  uint64_t sequence_ = 0;
  bool broken_ = false;
};

}  // namespace mmgrec
