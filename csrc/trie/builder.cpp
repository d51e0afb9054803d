#include "trie/builder.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace mmgrec {
namespace {

constexpr size_t kLeastSlice = 1 << 14;

[[noreturn]] void fail_outside(uint64_t row, int32_t token, uint32_t size) {
  throw std::invalid_argument("row " + std::to_string(row) + ": token " + std::to_string(token) +
                              " is outside 0.." + std::to_string(size - 1));
}

// Moves keys into entries, giving each block back as soon as it is read. Returns the bits in which
// some keys differ.
template <class Form, class Blocks>
typename Form::Key take_entries(const Form& form, Blocks& keys,
                                Buffer<typename Form::Entry>& entries, unsigned threads) {
  using Key = typename Blocks::Key;
  const Key any = keys[0];
  std::vector<Key> varying(keys.blocks.size(), Key{0});
  parallel_for(keys.blocks.size(), threads, [&](size_t b) {
    const size_t begin = b * Blocks::kBlock;
    const size_t end = std::min(begin + Blocks::kBlock, keys.count);
    Key differ = 0;
    for (size_t i = begin; i < end; ++i) {
      const Key key = keys.blocks[b][i - begin];
      differ |= key ^ any;
      entries[i] = form.make(key, static_cast<uint32_t>(i));
    }
    varying[b] = differ;
    keys.blocks[b].reset();
  });
  return std::accumulate(varying.begin(), varying.end(), Key{0}, std::bit_or<>());
}

}  // namespace

KeyLayout::KeyLayout(std::span<const uint32_t> level_sizes) {
  check_level_sizes(level_sizes);
  levels_ = level_sizes.size();
  for (size_t level = levels_; level-- > 0;) {
    sizes_[level] = level_sizes[level];
    level_bits_[level] = static_cast<unsigned>(std::bit_width(level_sizes[level] - 1));
    masks_[level] = (1u << level_bits_[level]) - 1;
    // A level of one token has no bits; its shift could be the whole width of a key.
    shifts_[level] = level_bits_[level] > 0 ? bits_ : 0;
    bits_ += level_bits_[level];
  }
}

TrieBuilder::TrieBuilder(std::span<const uint32_t> level_sizes) : layout_(level_sizes) {
  if (layout_.bits() > 64) {
    keys_ = KeyBlocks<Key128>();
  } else if (layout_.bits() > 32) {
    keys_ = KeyBlocks<uint64_t>();
  }
}

size_t TrieBuilder::num_rows() const {
  return std::visit([](const auto& keys) { return keys.count; }, keys_);
}

void TrieBuilder::add(std::span<const int32_t> codes) {
  std::visit([&](auto& keys) { add_keys(keys, codes); }, keys_);
}

template <class Key>
void TrieBuilder::add_keys(KeyBlocks<Key>& keys, std::span<const int32_t> codes) {
  const std::span<const uint32_t> sizes = layout_.level_sizes();
  if (codes.size() % sizes.size() != 0) {
    throw std::invalid_argument("codes need one column per level");
  }
  const size_t rows = codes.size() / sizes.size();
  check_items(uint64_t{keys.count} + rows);
  keys.reserve(keys.count + rows);
  bool sound = true;
  for (size_t row = 0; row < rows; ++row) {
    sound &= layout_.pack(codes.data() + row * sizes.size(), keys[keys.count + row]);
  }
  for (size_t i = 0; i < codes.size() && !sound; ++i) {
    const uint32_t size = sizes[i % sizes.size()];
    if (static_cast<uint32_t>(codes[i]) >= size) {
      fail_outside(keys.count + i / sizes.size(), codes[i], size);
    }
  }
  keys.count += rows;
}

BuiltTrie TrieBuilder::finish(unsigned threads, std::optional<uint32_t> dense_levels) {
  auto keys = std::exchange(keys_, TrieBuilder(layout_.level_sizes()).keys_);
  return std::visit(
      [&]<class Key>(KeyBlocks<Key>& blocks) {
        const size_t last = std::max<size_t>(blocks.count, 1) - 1;
        const auto row_bits = static_cast<unsigned>(std::bit_width(last));
        // Keys of up to 32 bits always leave room for the row.
        if constexpr (sizeof(Key) > 4) {
          if (layout_.bits() + row_bits > 64) {
            return sort_and_write(KeyAndRow<Key>{}, std::move(blocks), threads, dense_levels);
          }
        }
        return sort_and_write(OneWord{row_bits}, std::move(blocks), threads, dense_levels);
      },
      keys);
}

template <class Form, class Blocks>
BuiltTrie TrieBuilder::sort_and_write(const Form& form, Blocks keys, unsigned threads,
                                      std::optional<uint32_t> dense_levels) const {
  const size_t count = keys.count;
  Buffer<typename Form::Entry> entries(count);
  if (count > 0) {
    const typename Form::Key varying = take_entries(form, keys, entries, threads);
    radix_sort(form, entries, count, varying, threads);
  }
  check_unique(form, entries.data(), count, threads);

  TrieStorage storage(layout_.level_sizes(), count, dense_levels);
  std::vector<uint32_t> order(count);
  const Slices slices(count, kLeastSlice, size_t{8} * threads);
  parallel_for(slices.parts, threads, [&](size_t part) {
    std::array<uint32_t, kMaxLevels> tuple;
    const size_t begin = slices.begin(part);
    LeafWriter writer(storage, static_cast<uint32_t>(begin));
    if (begin > 0) {
      layout_.unpack(form.key(entries[begin - 1]), tuple.data());
      writer.follow(tuple.data());
    }
    for (size_t rank = begin; rank < slices.begin(part + 1); ++rank) {
      layout_.unpack(form.key(entries[rank]), tuple.data());
      writer.append(tuple.data());
      order[rank] = form.row(entries[rank]);
    }
    if (part + 1 == slices.parts) writer.finish();
  });
  return {Trie(std::move(storage)), std::move(order)};
}

template <class Form>
void TrieBuilder::check_unique(const Form& form, const typename Form::Entry* entries, size_t count,
                               unsigned threads) const {
  if (count < 2) return;
  // The lowest rank whose key is that of the rank before, so that the message does not depend on
  // the number of threads.
  const Slices slices(count - 1, kLeastSlice, size_t{8} * threads);
  std::vector<size_t> found(slices.parts, count);
  parallel_for(slices.parts, threads, [&](size_t part) {
    for (size_t i = slices.begin(part); i < slices.begin(part + 1); ++i) {
      if (form.key(entries[i]) != form.key(entries[i + 1])) continue;
      found[part] = i;
      break;
    }
  });
  const size_t rank = *std::ranges::min_element(found);
  if (rank == count) return;
  std::array<uint32_t, kMaxLevels> tuple;
  layout_.unpack(form.key(entries[rank]), tuple.data());
  throw std::invalid_argument("rows " + std::to_string(form.row(entries[rank])) + " and " +
                              std::to_string(form.row(entries[rank + 1])) +
                              " have the same Rec-ID " +
                              to_string(tuple.data(), layout_.level_sizes().size()));
}

}  // namespace mmgrec
