#include "live/record.h"

#include <cstring>
#include <limits>
#include <stdexcept>
#include <type_traits>

namespace mmgrec {
namespace {

template <class T>
void put(std::vector<std::byte>& out, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof(T));
}

void put_tuple(std::vector<std::byte>& out, const Tuple& tuple, size_t levels) {
  for (size_t level = 0; level < levels; ++level) put(out, tuple[level]);
}

// Reads fields one after the other and never past the end.
class Fields {
 public:
  explicit Fields(std::span<const std::byte> bytes) : left_(bytes) {}

  std::span<const std::byte> bytes(size_t count) {
    if (count > left_.size()) throw DamagedFile("a journal record's fields pass its end");
    const auto taken = left_.first(count);
    left_ = left_.subspan(count);
    return taken;
  }
  template <class T>
  T get() {
    T value;
    std::memcpy(&value, bytes(sizeof(T)).data(), sizeof(T));
    return value;
  }
  Tuple tuple(size_t levels) {
    Tuple tuple{};
    for (size_t level = 0; level < levels; ++level) tuple[level] = get<uint16_t>();
    return tuple;
  }
  bool done() const { return left_.empty(); }

 private:
  std::span<const std::byte> left_;
};

uint32_t record_crc(std::span<const std::byte> record) {
  return crc32(record.subspan(offsetof(RecordHeader, sequence)));
}

}  // namespace

void encode_record(const JournalHeader& header, uint64_t sequence, uint64_t offset,
                   std::span<const Edit> edits, std::span<const std::string> payloads,
                   std::vector<std::byte>& out) {
  const size_t start = out.size();
  RecordHeader record;
  record.sequence = sequence;
  record.offset = offset;
  record.generation = header.generation;
  put(out, record);
  put(out, static_cast<uint32_t>(edits.size()));
  for (size_t i = 0; i < edits.size(); ++i) {
    const Edit& edit = edits[i];
    put(out, edit.kind);
    put(out, edit.id);
    put_tuple(out, edit.tuple, header.levels);
    if (edit.kind == EditKind::kReplace) put_tuple(out, edit.old, header.levels);
    const std::span<const char> payload =
        payloads.empty() ? std::span<const char>() : std::span<const char>(payloads[i]);
    put(out, static_cast<uint32_t>(payload.size()));
    const auto bytes = std::as_bytes(payload);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  const size_t size = out.size() - start;
  if (size > std::numeric_limits<uint32_t>::max()) {
    throw std::invalid_argument("a batch of " + std::to_string(size) +
                                " bytes is too large; 4 GiB is the most");
  }
  record.bytes = static_cast<uint32_t>(size);
  std::memcpy(out.data() + start, &record, sizeof(record));
  record.crc = record_crc(std::span<const std::byte>(out).subspan(start));
  std::memcpy(out.data() + start, &record, sizeof(record));
}

std::optional<RecordHeader> record_at(const JournalHeader& header, std::span<const std::byte> bytes,
                                      uint64_t offset, uint64_t begin) {
  RecordHeader record;
  const auto rest = bytes.subspan(offset - begin);
  if (rest.size() < sizeof(record)) return std::nullopt;
  std::memcpy(&record, rest.data(), sizeof(record));
  const bool fits = record.offset == offset && record.generation == header.generation &&
                    record.bytes >= sizeof(record) && record.bytes <= rest.size();
  if (!fits || record_crc(rest.first(record.bytes)) != record.crc) return std::nullopt;
  return record;
}

Batch decode_record(const JournalHeader& header, std::span<const std::byte> record) {
  Fields fields(record);
  Batch batch;
  batch.sequence = fields.get<RecordHeader>().sequence;
  const auto count = fields.get<uint32_t>();
  for (uint32_t i = 0; i < count; ++i) {
    Edit edit;
    edit.kind = fields.get<EditKind>();
    if (edit.kind > EditKind::kReplace) throw DamagedFile("a journal record's edit has no kind");
    edit.id = fields.get<uint32_t>();
    edit.tuple = fields.tuple(header.levels);
    if (edit.kind == EditKind::kReplace) edit.old = fields.tuple(header.levels);
    const auto payload = fields.bytes(fields.get<uint32_t>());
    batch.edits.push_back(edit);
    batch.payloads.emplace_back(reinterpret_cast<const char*>(payload.data()), payload.size());
  }
  if (!fields.done()) throw DamagedFile("a journal record is longer than its fields");
  return batch;
}

}  // namespace mmgrec
