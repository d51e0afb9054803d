// Array arguments of bound functions.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

namespace mmgrec {

namespace nb = nanobind;

template <class T, size_t Rank>
using In = nb::ndarray<const T, nb::ndim<Rank>, nb::c_contig, nb::device::cpu>;
template <class T, size_t Rank>
using Out = nb::ndarray<T, nb::ndim<Rank>, nb::c_contig, nb::device::cpu>;
// Any strides.
template <class T, size_t Rank>
using Strided = nb::ndarray<T, nb::ndim<Rank>, nb::device::cpu>;

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// Binds the ops that are compiled per instruction set.
void bind_kernels(nb::module_& module);

}  // namespace mmgrec
