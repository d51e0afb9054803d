// Named weights as they come out of a file, checked by name and shape.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

namespace mmgrec {

// Someone else's float32 array, contiguous, the last dimension fastest.
struct NamedArray {
  const float* data = nullptr;
  std::vector<size_t> shape;
};

class Weights {
 public:
  explicit Weights(std::map<std::string, NamedArray> arrays) : arrays_(std::move(arrays)) {}

  // The named array. Throws std::invalid_argument, naming it, if it is missing or of another shape.
  const float* get(const std::string& name, std::initializer_list<size_t> shape) const;
  // The same with any number of rows.
  const NamedArray& rows_of(const std::string& name, size_t width) const;

 private:
  std::map<std::string, NamedArray> arrays_;
};

}  // namespace mmgrec
