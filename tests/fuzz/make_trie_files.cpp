// Writes the files that fuzzing of the reader starts from into a folder.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "trie_files.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_trie_files FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  size_t next = 0;
  for (const mmgrec::Bytes& file : mmgrec::small_trie_files()) {
    std::ofstream stream(folder / ("trie_" + std::to_string(next++) + ".bin"), std::ios::binary);
    stream.write(reinterpret_cast<const char*>(file.data()),
                 static_cast<std::streamsize>(file.size()));
  }
}
