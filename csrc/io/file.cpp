#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace mmgrec {
namespace {

constexpr size_t kSlices = 8;
using CrcTables = std::array<std::array<uint32_t, 256>, kSlices>;

// tables[0] is the classic byte table; tables[s] advances a byte by s more zero bytes, so that
// eight bytes are folded per step.
constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0u);
    tables[0][i] = crc;
  }
  for (size_t s = 1; s < kSlices; ++s) {
    for (uint32_t i = 0; i < 256; ++i) {
      const uint32_t previous = tables[s - 1][i];
      tables[s][i] = (previous >> 8) ^ tables[0][previous & 0xff];
    }
  }
  return tables;
}

constexpr CrcTables kCrc = make_crc_tables();

}  // namespace

void throw_errno(const char* action, const std::filesystem::path& path) {
  throw std::system_error(errno, std::generic_category(), action + (" " + path.string()));
}

Descriptor::~Descriptor() {
  if (fd >= 0) ::close(fd);
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) throw_errno("cannot open", path);
  struct stat status{};
  if (::fstat(file.fd, &status) != 0) throw_errno("cannot stat", path);
  if (!S_ISREG(status.st_mode)) throw DamagedFile(path.string() + " is not a regular file");
  device_ = status.st_dev;
  inode_ = status.st_ino;
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (address == MAP_FAILED) throw_errno("cannot map", path);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

bool MappedFile::is(const std::filesystem::path& path) const {
  struct stat status{};
  return data_ != nullptr && ::stat(path.c_str(), &status) == 0 && status.st_dev == device_ &&
         status.st_ino == inode_;
}

uint32_t crc32(std::span<const std::byte> bytes) {
  uint32_t crc = 0xffffffffu;
  size_t i = 0;
  for (; i + kSlices <= bytes.size(); i += kSlices) {
    uint32_t next = 0;
    for (size_t s = 0; s < kSlices; ++s) {
      uint32_t value = static_cast<uint32_t>(bytes[i + s]);
      if (s < 4) value ^= (crc >> (8 * s)) & 0xff;
      next ^= kCrc[kSlices - 1 - s][value];
    }
    crc = next;
  }
  for (; i < bytes.size(); ++i) {
    crc = (crc >> 8) ^ kCrc[0][(crc ^ static_cast<uint32_t>(bytes[i])) & 0xff];
  }
  return ~crc;
}

void write_file(const std::filesystem::path& path,
                std::initializer_list<std::span<const std::byte>> parts) {
  Descriptor file{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
  if (file.fd < 0) throw_errno("cannot create", path);
  for (std::span<const std::byte> part : parts) {
    while (!part.empty()) {
      const ssize_t written = ::write(file.fd, part.data(), part.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw_errno("cannot write", path);
      part = part.subspan(static_cast<size_t>(written));
    }
  }
  // Some file systems say only now that there is no room.
  if (::close(std::exchange(file.fd, -1)) != 0) throw_errno("cannot write", path);
}

}  // namespace mmgrec
