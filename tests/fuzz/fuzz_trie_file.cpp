// Any bytes as a trie's file: it is opened or refused, and whatever was opened can be searched.
//
//   cmake -S . -B build/fuzz -DMMGREC_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++
//   cmake --build build/fuzz --target fuzz_trie_file make_trie_files
//   build/fuzz/make_trie_files build/fuzz/trie_files
//   build/fuzz/fuzz_trie_file -max_total_time=600 build/fuzz/trie_files
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>

#include "../cpp/check.h"
#include "trie/leaf_cursor.h"
#include "trie/trie.h"
#include "trie_files.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using mmgrec::DamagedFile;
using mmgrec::Range;
using mmgrec::Trie;

// A file without a place on disk.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(::memfd_create("trie", 0)) {
    CHECK(fd_ >= 0 && ::write(fd_, data, size) == static_cast<ssize_t>(size));
  }
  ~MemoryFile() { ::close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

// A budget, because overlapping ranges of a damaged file could be walked exponentially often.
void walk(const Trie& trie, Range range, size_t level, int& steps) {
  if (level == trie.num_levels() || --steps < 0) return;
  uint32_t next = range.lo;
  int64_t previous = -1;
  trie.for_each_child(range, level, [&](uint32_t token, Range child) {
    CHECK(token < trie.level_size(level) && token > previous);
    CHECK(child.lo >= next && child.lo < child.hi && child.hi <= range.hi);
    next = child.hi;
    previous = token;
    walk(trie, child, level + 1, steps);
  });
}

void search(const Trie& trie, bool sound) {
  const auto items = static_cast<uint32_t>(trie.num_items());
  int32_t tuple[mmgrec::kMaxLevels];
  mmgrec::LeafCursor leaf(trie.view().base);
  for (uint32_t rank = 0; rank < std::min(items, 3000u); ++rank, leaf.next()) {
    CHECK(!leaf.done() && leaf.rank() == rank);
    try {
      trie.codes(rank, tuple);
    } catch (const DamagedFile&) {
      CHECK(!sound);
      continue;
    }
    for (size_t level = 0; level < trie.num_levels(); ++level) {
      CHECK(static_cast<uint32_t>(tuple[level]) < trie.level_size(level));
      CHECK(!sound || static_cast<uint32_t>(tuple[level]) == leaf.tuple()[level]);
    }
    const size_t found = trie.lookup(tuple);
    CHECK(found <= items && (!sound || found == rank));
  }
  int steps = 20000;
  try {
    walk(trie, {0, items}, 0, steps);
  } catch (const DamagedFile&) {
    CHECK(!sound);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const MemoryFile file(data, size);
  try {
    const Trie trie = Trie::open(file.path());
    CHECK(trie.num_bytes() == size);
    bool sound = true;
    try {
      trie.verify(1 + size % 3);
    } catch (const DamagedFile&) {
      sound = false;
    }
    search(trie, sound);
  } catch (const DamagedFile&) {
  }
  return 0;
}

// Without right checksums almost no change would reach what is behind them.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 == 0) return size;
  mmgrec::Bytes file(data, data + size);
  mmgrec::seal(file, max_size, seed % 8 > 2);
  std::ranges::copy(file, data);
  return file.size();
}
