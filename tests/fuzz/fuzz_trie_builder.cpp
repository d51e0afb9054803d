// Any Rec-IDs in any batches: the builder gives what sorting them gives, or the error.
//
//   cmake -S . -B build/fuzz -DMMGREC_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++
//   cmake --build build/fuzz --target fuzz_trie_builder
//   build/fuzz/fuzz_trie_builder -max_total_time=600 -max_len=4096
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../cpp/check.h"
#include "trie/builder.h"

namespace {

using mmgrec::TrieBuilder;
using Tuple = std::vector<int32_t>;

// Takes numbers from the input; zeros when it has ended.
class Source {
 public:
  Source(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}
  bool empty() const { return data_ == end_; }
  uint32_t byte() { return empty() ? 0 : *data_++; }
  uint32_t word() {
    const uint32_t low = byte();
    return low | byte() << 8;
  }

 private:
  const uint8_t* data_;
  const uint8_t* end_;
};

std::vector<uint32_t> read_sizes(Source& source) {
  std::vector<uint32_t> sizes(source.byte() % 10);
  for (uint32_t& size : sizes) {
    switch (source.byte() % 4) {
      case 0:
        size = 1 + source.byte() % 4;
        break;
      case 1:
        size = 256;
        break;
      case 2:
        size = mmgrec::kMaxLevelSize;
        break;
      default:
        size = source.word();
        break;
    }
  }
  return sizes;
}

// Mostly inside the level, so that whole batches are.
int32_t read_token(Source& source, uint32_t size) {
  const uint32_t value = size > 256 ? source.word() : source.byte();
  if (value == 255) return static_cast<int32_t>(source.word() << 16 | source.word());
  return static_cast<int32_t>(value % size);
}

bool outside(const Tuple& tuple, const std::vector<uint32_t>& sizes) {
  for (size_t level = 0; level < sizes.size(); ++level) {
    if (static_cast<uint32_t>(tuple[level]) >= sizes[level]) return true;
  }
  return false;
}

// Adds batches to the builder, and to `rows` what was to be accepted.
void add_batches(Source& source, TrieBuilder& builder, const std::vector<uint32_t>& sizes,
                 std::vector<Tuple>& rows) {
  while (!source.empty()) {
    std::vector<Tuple> batch(source.byte() % 24);
    std::vector<int32_t> codes;
    for (Tuple& tuple : batch) {
      // Now and then a tuple that there is already.
      const bool again = !rows.empty() && source.byte() == 7;
      if (again) tuple = rows[source.byte() % rows.size()];
      for (size_t level = 0; level < sizes.size() && !again; ++level) {
        tuple.push_back(read_token(source, sizes[level]));
      }
      codes.insert(codes.end(), tuple.begin(), tuple.end());
    }
    const auto wrong = std::ranges::find_if(batch, [&](auto& t) { return outside(t, sizes); });
    try {
      builder.add(codes);
      CHECK(wrong == batch.end());
      rows.insert(rows.end(), batch.begin(), batch.end());
    } catch (const std::invalid_argument& error) {
      CHECK(wrong != batch.end());
      const size_t row = rows.size() + static_cast<size_t>(wrong - batch.begin());
      CHECK(std::string(error.what()).find("row " + std::to_string(row) + ":") == 0);
    }
    CHECK(builder.num_rows() == rows.size());
  }
}

void check(TrieBuilder& builder, const std::vector<Tuple>& rows, unsigned threads,
           std::optional<uint32_t> dense_levels) {
  std::map<Tuple, uint32_t> sorted;
  for (size_t row = 0; row < rows.size(); ++row) {
    sorted.emplace(rows[row], static_cast<uint32_t>(row));
  }
  try {
    const mmgrec::BuiltTrie built = builder.finish(threads, dense_levels);
    CHECK(sorted.size() == rows.size() && built.order.size() == rows.size());
    uint32_t rank = 0;
    Tuple codes(built.trie.num_levels());
    for (const auto& [tuple, row] : sorted) {
      CHECK(built.order[rank] == row);
      CHECK(built.trie.lookup(tuple.data()) == rank);
      built.trie.codes(rank++, codes.data());
      CHECK(codes == tuple);
    }
    built.trie.verify(threads);
  } catch (const std::invalid_argument&) {
    CHECK(sorted.size() < rows.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Source source(data, size);
  const unsigned threads = 1 + source.byte() % 3;
  const uint32_t dense = source.byte() % 4;
  const std::vector<uint32_t> sizes = read_sizes(source);
  const bool possible =
      sizes.size() >= 2 && sizes.size() <= 8 && std::ranges::count(sizes, 0u) == 0;
  std::optional<TrieBuilder> builder;
  try {
    builder.emplace(sizes);
    CHECK(possible);
  } catch (const std::invalid_argument&) {
    CHECK(!possible);
    return 0;
  }
  std::vector<Tuple> rows;
  add_batches(source, *builder, sizes, rows);
  // A table of two large levels would be all that is measured here.
  const bool large = uint64_t{sizes[0]} * sizes[1] > 1 << 16;
  const bool by_default = dense == 3 || (dense == 2 && large);
  check(*builder, rows, threads, by_default ? std::nullopt : std::optional(dense));
  return 0;
}
