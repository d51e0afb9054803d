// The trie's file, format 2, little endian:
//
//   header            128 bytes, with a checksum of itself
//   chunk table       u32 [chunks]: CRC-32 of every chunk of the payload; filled up to 64 bytes
//   payload           the arrays of trie_layout.h, each at a multiple of 64 bytes
//
// The table has its checksum in the header. So opening a file reads a few kilobytes however large
// it is, and what it reads of the rest can be checked later, chunks in parallel. Format 1 had one
// checksum of everything.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "trie/trie_view.h"

namespace mmgrec {

constexpr std::array<char, 8> kTrieMagic{'M', 'M', 'G', 'T', 'R', 'I', 'E', '\0'};
constexpr uint32_t kTrieVersion = 2;
constexpr size_t kTrieChunk = size_t{1} << 20;

struct TrieHeader {
  std::array<char, 8> magic = kTrieMagic;
  uint32_t version = kTrieVersion;
  uint32_t levels = 0;
  uint64_t items = 0;
  std::array<uint32_t, kMaxLevels> level_sizes{};
  uint64_t payload_bytes = 0;
  uint32_t dense_levels = 0;
  uint32_t table_crc = 0;  // of the chunk table and what fills it up
  std::array<uint32_t, 13> reserved{};
  uint32_t header_crc = 0;  // of all bytes before this one
};
static_assert(sizeof(TrieHeader) == 128);

uint32_t header_crc(const TrieHeader& header);
// Bytes of the chunk table, filled up.
uint64_t table_bytes(uint64_t payload_bytes);
std::vector<uint32_t> chunk_crcs(std::span<const std::byte> payload, unsigned threads);

}  // namespace mmgrec
