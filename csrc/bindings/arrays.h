// Array arguments of bound functions.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <stdexcept>
#include <utility>
#include <vector>

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

template <class T>
using NumpyVector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
using NumpyCodes = nb::ndarray<nb::numpy, int32_t, nb::ndim<2>>;

// Hands a vector to NumPy without a copy.
template <class Array, class T>
Array to_numpy(std::vector<T>&& values, std::initializer_list<size_t> shape) {
  auto* owner = new std::vector<T>(std::move(values));
  nb::capsule free(owner, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return Array(owner->data(), shape, free);
}

// One function per part of the core, each in a file of its name.
void bind_trie(nb::module_& module);
void bind_constrained_topk(nb::module_& module);
void bind_ids(nb::module_& module);
void bind_kernels(nb::module_& module);
void bind_live(nb::module_& module);
void bind_recommender(nb::module_& module);
#ifdef MMGREC_CUDA
void bind_device(nb::module_& module);
#endif

}  // namespace mmgrec
