// A catalogue's arrays in the memory of a CUDA device.
#pragma once

#include <cstddef>

#include "trie/catalog.h"

namespace mmgrec {

// Throws std::runtime_error with CUDA's own words unless `code` is cudaSuccess.
void check_cuda(int code, const char* doing);

// Copies once, into one allocation of the current device, which the destructor frees.
class DeviceCatalog {
 public:
  // The copies are ordered on `stream` (a cudaStream_t): what follows there may use the view; other
  // streams must wait for it.
  DeviceCatalog(const CatalogView& host, void* stream);
  ~DeviceCatalog();
  DeviceCatalog(const DeviceCatalog&) = delete;
  DeviceCatalog& operator=(const DeviceCatalog&) = delete;

  // Pointers of the device.
  const CatalogView& view() const { return view_; }
  int device() const { return device_; }
  size_t num_bytes() const { return num_bytes_; }

 private:
  CatalogView view_;
  std::byte* block_ = nullptr;
  size_t num_bytes_ = 0;
  int device_ = 0;
};

}  // namespace mmgrec
