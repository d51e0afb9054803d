#include "live/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "live/record.h"

namespace mmgrec {
namespace {

constexpr std::array<char, 8> kMagic{'M', 'M', 'G', 'E', 'D', 'I', 'T', '\0'};
constexpr uint32_t kVersion = 1;

uint32_t header_crc(const JournalHeader& header) {
  return crc32(std::as_bytes(std::span(&header, 1)).first(offsetof(JournalHeader, crc)));
}

// Read and not mapped: a writer in another process may shorten the file under a map.
std::vector<std::byte> read_from(const std::filesystem::path& path, uint64_t begin) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) throw_errno("cannot open", path);
  if (::lseek(file.fd, static_cast<off_t>(begin), SEEK_SET) < 0) throw_errno("cannot read", path);
  std::vector<std::byte> content;
  size_t size = 0;
  for (;;) {
    content.resize(std::max<size_t>(2 * size, 1 << 16));
    const ssize_t count = ::read(file.fd, content.data() + size, content.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_errno("cannot read", path);
    if (count == 0) break;
    size += static_cast<size_t>(count);
  }
  content.resize(size);
  return content;
}

JournalHeader read_header(std::span<const std::byte> file, const std::string& name) {
  JournalHeader header;
  if (file.size() < sizeof(header)) throw DamagedFile(name + " is too short for a journal");
  std::memcpy(&header, file.data(), sizeof(header));
  if (header.magic != kMagic) throw DamagedFile(name + " is not a journal");
  if (header.version != kVersion) {
    throw DamagedFile(name + " has journal format " + std::to_string(header.version) +
                      "; this version reads format " + std::to_string(kVersion));
  }
  if (header.crc != header_crc(header)) throw DamagedFile(name + ": damaged header");
  if (header.levels > kMaxLevels) throw DamagedFile(name + ": too many levels");
  return header;
}

// A crash can only damage the end of the file. A valid record after a bad one means that the bad
// one was whole once, and acknowledged.
void check_nothing_follows(const JournalHeader& header, std::span<const std::byte> file,
                           uint64_t begin, uint64_t bad, const std::string& name) {
  const uint64_t end = begin + file.size();
  for (uint64_t offset = bad + 1; offset + sizeof(RecordHeader) <= end; ++offset) {
    if (record_at(header, file, offset, begin)) {
      throw DamagedFile(name + ": the record at byte " + std::to_string(bad) +
                        " is damaged, and valid ones follow at byte " + std::to_string(offset));
    }
  }
}

// Adds the records from `contents.good_bytes` on; `bytes` are those of the file from `begin` on.
void read_records(std::span<const std::byte> bytes, uint64_t begin, JournalContents& contents,
                  const std::string& name) {
  const uint64_t end = begin + bytes.size();
  uint64_t at = contents.good_bytes;
  if (at > end) throw DamagedFile(name + " is shorter than it was");
  while (at < end) {
    const auto record = record_at(contents.header, bytes, at, begin);
    if (!record) {
      check_nothing_follows(contents.header, bytes, begin, at, name);
      break;
    }
    if (record->sequence != ++contents.sequence) throw DamagedFile(name + ": a batch is missing");
    const auto fields = bytes.subspan(at - begin, record->bytes);
    contents.batches.push_back(decode_record(contents.header, fields));
    contents.last_offset = at;
    contents.last = *record;
    at += record->bytes;
  }
  contents.good_bytes = at;
  contents.cut_bytes = end - at;
}

void sync_folder_of(const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const Descriptor file{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (file.fd < 0 || ::fsync(file.fd) != 0) throw_errno("cannot sync the folder of", path);
}

}  // namespace

JournalContents read_journal(const std::filesystem::path& path) {
  const std::vector<std::byte> file = read_from(path, 0);
  JournalContents contents;
  contents.header = read_header(file, path.string());
  contents.sequence = contents.header.before;
  contents.good_bytes = sizeof(JournalHeader);
  read_records(file, 0, contents, path.string());
  return contents;
}

JournalContents read_journal_after(const std::filesystem::path& path,
                                   const JournalContents& earlier) {
  // From the last record that is known: a batch that could not be made durable was taken back and
  // another one may stand in its place.
  const uint64_t begin = earlier.last_offset > 0 ? earlier.last_offset : earlier.good_bytes;
  const std::vector<std::byte> tail = read_from(path, begin);
  if (earlier.last_offset > 0) {
    const auto record = record_at(earlier.header, tail, begin, begin);
    if (!record || record->crc != earlier.last.crc)
      throw DamagedFile(path.string() + " does not go on from what was read");
  }
  JournalContents contents = earlier;
  contents.batches.clear();
  read_records(tail, begin, contents, path.string());
  return contents;
}

Journal Journal::create(const std::filesystem::path& path, uint64_t generation,
                        std::span<const uint32_t> level_sizes, uint64_t before,
                        std::span<const Batch> batches) {
  Journal journal;
  JournalHeader& header = journal.header_;
  header.magic = kMagic;
  header.version = kVersion;
  header.levels = static_cast<uint32_t>(level_sizes.size());
  header.generation = generation;
  header.before = before;
  std::ranges::copy(level_sizes, header.level_sizes.begin());
  header.crc = header_crc(header);
  const auto start = std::as_bytes(std::span(&header, 1));
  std::vector<std::byte> bytes(start.begin(), start.end());
  journal.sequence_ = before;
  for (const Batch& batch : batches) {
    encode_record(header, ++journal.sequence_, bytes.size(), batch.edits, batch.payloads, bytes);
  }
  journal.path_ = path;
  journal.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (journal.fd_ < 0) throw_errno("cannot create", path);
  journal.write(bytes);
  sync_folder_of(path);
  return journal;
}

Journal Journal::open(const std::filesystem::path& path, const JournalContents& contents) {
  Journal journal;
  journal.path_ = path;
  journal.header_ = contents.header;
  journal.bytes_ = contents.good_bytes;
  journal.sequence_ = contents.sequence;
  journal.fd_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (journal.fd_ < 0) throw_errno("cannot open", path);
  if (contents.cut_bytes > 0) {
    if (::ftruncate(journal.fd_, static_cast<off_t>(journal.bytes_)) != 0 ||
        ::fdatasync(journal.fd_) != 0) {
      throw_errno("cannot shorten", path);
    }
  }
  return journal;
}

Journal& Journal::operator=(Journal&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(header_, other.header_);
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  std::swap(sequence_, other.sequence_);
  std::swap(broken_, other.broken_);
  return *this;
}

Journal::~Journal() {
  if (fd_ >= 0) ::close(fd_);
}

uint64_t Journal::append(std::span<const Edit> edits, std::span<const std::string> payloads) {
  if (broken_) {
    errno = EIO;
    throw_errno("an earlier write could not be undone; open again", path_);
  }
  std::vector<std::byte> bytes;
  encode_record(header_, sequence_ + 1, bytes_, edits, payloads, bytes);
  write(bytes);
  return ++sequence_;
}

void Journal::write(std::span<const std::byte> bytes) {
  uint64_t at = bytes_;
  const auto undo_and_fail = [this] {
    const int cause = errno;
    roll_back();
    errno = cause;
    throw_errno("cannot write", path_);
  };
  for (auto left = bytes; !left.empty();) {
    const ssize_t written = ::pwrite(fd_, left.data(), left.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) undo_and_fail();
    left = left.subspan(static_cast<size_t>(written));
    at += static_cast<uint64_t>(written);
  }
  if (::fdatasync(fd_) != 0) undo_and_fail();
  bytes_ = at;
}

// A batch whose writing failed must not come back to life after a crash, so the shorter file has to
// be durable too before anything is appended.
void Journal::roll_back() noexcept {
  broken_ =
      ::ftruncate(fd_, static_cast<off_t>(bytes_)) != 0 || (bytes_ > 0 && ::fdatasync(fd_) != 0);
}

}  // namespace mmgrec
