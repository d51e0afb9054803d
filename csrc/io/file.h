// Files: read-only memory maps, checksums, and the error for damaged ones.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <utility>

namespace mmgrec {

// A file that is not what its header says: truncated, changed, or of another kind or version.
struct DamagedFile : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws std::system_error with errno's cause.
[[noreturn]] void throw_errno(const char* action, const std::filesystem::path& path);

// An open file, closed in the end.
struct Descriptor {
  explicit Descriptor(int opened) : fd(opened) {}
  Descriptor(const Descriptor&) = delete;
  ~Descriptor();
  int fd;
};

// A read-only memory map, unmapped on destruction.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  // Whether `path` leads to the very file that is mapped.
  bool is(const std::filesystem::path& path) const;

 private:
  void swap(MappedFile& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(path_, other.path_);
    std::swap(device_, other.device_);
    std::swap(inode_, other.inode_);
  }
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::filesystem::path path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// CRC-32 (IEEE 802.3).
uint32_t crc32(std::span<const std::byte> bytes);

// Writes the parts one after the other; throws std::system_error with the cause (disk full, ...).
void write_file(const std::filesystem::path& path,
                std::initializer_list<std::span<const std::byte>> parts);

}  // namespace mmgrec
