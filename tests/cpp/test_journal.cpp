// The journal: round trips, every truncation, every flipped byte, full disks.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "check.h"
#include "live/journal.h"

namespace {

using mmgrec::Batch;
using mmgrec::DamagedFile;
using mmgrec::Edit;
using mmgrec::EditKind;
using mmgrec::Journal;
using mmgrec::JournalContents;
using mmgrec::read_journal;
using mmgrec::read_journal_after;

const std::vector<uint32_t> kSizes{300, 4, 5};
const std::filesystem::path kPath =
    std::filesystem::temp_directory_path() / ("mmgrec_journal_" + std::to_string(::getpid()));

std::vector<Batch> some_batches() {
  std::vector<Batch> batches(4);
  batches[0].edits = {{EditKind::kInsert, 7, {299, 3, 4}, {}}};
  batches[0].payloads = {std::string("row \0 of an item", 16)};
  batches[1].edits = {{EditKind::kReplace, 7, {1, 2, 3}, {299, 3, 4}},
                      {EditKind::kDelete, 3, {0, 0, 0}, {}}};
  batches[1].payloads = {"", "x"};
  batches[3].edits = {{EditKind::kInsert, 8, {1, 1, 1}, {}}};  // batch 2 has no edits
  batches[3].payloads = {std::string(300, 'p')};
  for (size_t i = 0; i < batches.size(); ++i) batches[i].sequence = 11 + i;
  return batches;
}

bool same(const Edit& a, const Edit& b) {
  return a.kind == b.kind && a.id == b.id && a.tuple == b.tuple && a.old == b.old;
}

void check_prefix(const JournalContents& contents, const std::vector<Batch>& batches) {
  CHECK(contents.batches.size() <= batches.size());
  for (size_t i = 0; i < contents.batches.size(); ++i) {
    const Batch& found = contents.batches[i];
    CHECK(found.sequence == batches[i].sequence);
    CHECK(found.payloads == batches[i].payloads);
    CHECK(std::ranges::equal(found.edits, batches[i].edits, same));
  }
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write(const std::string& content) {
  std::ofstream(kPath, std::ios::binary | std::ios::trunc) << content;
}

Journal make_journal() {
  Journal journal = Journal::create(kPath, 5, kSizes, 10, {});
  for (const Batch& batch : some_batches()) {
    CHECK(journal.append(batch.edits, batch.payloads) == batch.sequence);
  }
  return journal;
}

void check_round_trip() {
  const std::vector<Batch> batches = some_batches();
  make_journal();
  const std::string whole = content_of(kPath);
  const JournalContents contents = read_journal(kPath);
  check_prefix(contents, batches);
  CHECK(contents.batches.size() == batches.size() && contents.cut_bytes == 0);
  CHECK(contents.header.generation == 5 && contents.header.levels == 3);
  Journal again = Journal::open(kPath, contents);
  CHECK(again.sequence() == 14 && again.append({}, {}) == 15);
  CHECK(read_journal(kPath).batches.size() == 5);
  // Written at once it is the same file.
  Journal::create(kPath, 5, kSizes, 10, batches);
  CHECK(content_of(kPath) == whole);
  Journal::create(kPath, 6, kSizes, 12, std::vector(batches.begin() + 2, batches.end()));
  CHECK(read_journal(kPath).batches.front().sequence == 13);
}

void check_truncations(const std::string& whole) {
  const std::vector<Batch> batches = some_batches();
  for (size_t size = 0; size < whole.size(); ++size) {
    write(whole.substr(0, size));
    if (size < sizeof(mmgrec::JournalHeader)) {
      CHECK_THROWS(read_journal(kPath), DamagedFile);
      continue;
    }
    const JournalContents contents = read_journal(kPath);
    check_prefix(contents, batches);
    CHECK(contents.good_bytes + contents.cut_bytes == size);
    // Cut off, the journal goes on from there.
    Journal journal = Journal::open(kPath, contents);
    const Batch& next = batches[contents.batches.size()];
    CHECK(journal.append(next.edits, next.payloads) == next.sequence);
    check_prefix(read_journal(kPath), batches);
    CHECK(read_journal(kPath).batches.size() == contents.batches.size() + 1);
  }
}

void check_flips(const std::string& whole) {
  size_t last = whole.size();
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char bit : {1, 16, 128}) {
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ bit);
      write(flipped);
      try {
        // Only the last record can be taken for a batch that a crash tore.
        const JournalContents contents = read_journal(kPath);
        check_prefix(contents, some_batches());
        CHECK(contents.batches.size() == 3 && contents.cut_bytes > 0);
        last = std::min(last, at);
      } catch (const DamagedFile&) {
        CHECK(last == whole.size());
      }
    }
  }
  CHECK(last < whole.size());
}

// A reader that follows finds the batches that it has not seen, each once, wherever it looked
// before.
void check_following(const std::string& whole) {
  const std::vector<Batch> batches = some_batches();
  for (size_t size = sizeof(mmgrec::JournalHeader); size <= whole.size(); ++size) {
    write(whole.substr(0, size));
    const JournalContents before = read_journal(kPath);
    CHECK(read_journal_after(kPath, before).batches.empty());
    write(whole);
    const JournalContents later = read_journal_after(kPath, before);
    CHECK(before.batches.size() + later.batches.size() == batches.size());
    check_prefix(later,
                 {batches.begin() + static_cast<ptrdiff_t>(before.batches.size()), batches.end()});
    CHECK(later.sequence == 14 && later.good_bytes == whole.size() && later.cut_bytes == 0);
    // From there it opens as if it had been read at once.
    CHECK(Journal::open(kPath, later).append({}, {}) == 15);
  }
}

// What was read and then taken back, or lost, is told.
void check_following_what_changed(const std::string& whole) {
  const JournalContents known = read_journal(kPath);
  write(whole.substr(0, whole.size() - 1));
  CHECK_THROWS(read_journal_after(kPath, known), DamagedFile);
  write(whole.substr(0, known.last_offset));
  CHECK_THROWS(read_journal_after(kPath, known), DamagedFile);
  Journal journal = Journal::open(kPath, read_journal(kPath));
  std::vector<std::string> other = some_batches()[3].payloads;
  other[0][0] = 'q';  // as long as the one that it replaces
  CHECK(journal.append(some_batches()[3].edits, other) == known.sequence);
  CHECK(content_of(kPath).size() == whole.size());
  CHECK_THROWS(read_journal_after(kPath, known), DamagedFile);
  std::filesystem::remove(kPath);
  CHECK_THROWS(read_journal_after(kPath, known), std::system_error);
}

// A payload that is itself a record is no record where it lies.
void check_record_in_payload(const std::string& whole) {
  Journal journal = Journal::create(kPath, 5, kSizes, 10, {});
  const std::vector<Edit> edits = some_batches()[0].edits;
  journal.append(edits, std::vector{whole});
  const std::string nested = content_of(kPath);
  write(nested.substr(0, nested.size() - 1));
  CHECK(read_journal(kPath).batches.empty());
}

void check_other_files() {
  write("MMGTRIE");
  CHECK_THROWS(read_journal(kPath), DamagedFile);
  write(std::string(500, 'x'));
  CHECK_THROWS(read_journal(kPath), DamagedFile);
  std::filesystem::remove(kPath);
  CHECK_THROWS(read_journal(kPath), std::system_error);
  CHECK_THROWS(Journal::create("/dev/full", 0, kSizes, 0, {}), std::system_error);
  CHECK_THROWS(Journal::create("/nonexistent/journal", 0, kSizes, 0, {}), std::system_error);
}

// A limit on file sizes stands for a full disk: part of the record is written, the rest is not.
void check_full_disk() {
  std::signal(SIGXFSZ, SIG_IGN);
  Journal journal = make_journal();
  const std::string whole = content_of(kPath);
  rlimit old{};
  CHECK(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  const rlimit tight{whole.size() + 40, old.rlim_max};
  CHECK(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
  const std::vector<Edit> edits = some_batches()[3].edits;
  const std::vector<std::string> payloads = some_batches()[3].payloads;
  CHECK_THROWS(journal.append(edits, payloads), std::system_error);
  CHECK(::setrlimit(RLIMIT_FSIZE, &old) == 0);
  CHECK(content_of(kPath) == whole);
  CHECK(journal.append(edits, payloads) == 15);  // usable once there is room
  CHECK(read_journal(kPath).batches.size() == 5);
}

}  // namespace

int main() {
  check_round_trip();
  make_journal();
  const std::string whole = content_of(kPath);
  check_truncations(whole);
  check_flips(whole);
  check_following(whole);
  write(whole);
  check_following_what_changed(whole);
  check_record_in_payload(whole);
  check_full_disk();
  check_other_files();
  std::filesystem::remove(kPath);
}
