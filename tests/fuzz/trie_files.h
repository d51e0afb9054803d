// Small trie files to start from, and what makes a changed one pass its checksums again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mmgrec {

using Bytes = std::vector<uint8_t>;

// Every number of dense levels, token width and count of levels, and an empty trie.
std::vector<Bytes> small_trie_files();

// Makes the header's magic, version and checksum right, and the checksums of the table and of the
// payload where asked; the payload's length is made to fit the header as far as `most` bytes allow.
void seal(Bytes& file, size_t most, bool payload_too);

}  // namespace mmgrec
