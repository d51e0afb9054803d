// Bindings of the map of integer ids, which takes lists of Python's numbers as they come.
#include <nanobind/stl/optional.h>

#include <optional>
#include <vector>

#include "bindings/arrays.h"
#include "ids/id_map.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

// The number of an int; false where it needs more than 64 bits. Runs no code of Python's.
bool small_int(PyObject* value, int64_t& number) {
#if !defined(Py_LIMITED_API) && PY_VERSION_HEX < 0x030C0000
  // 3.11's own wheel sees into its objects, where a number below 2^30 is one digit, and lists come
  // by the thousand. Others ask.
  if (Py_SIZE(value) == 1) {
    number = reinterpret_cast<PyLongObject*>(value)->ob_digit[0];
    return true;
  }
#endif
  int overflow = 0;
  number = PyLong_AsLongLongAndOverflow(value, &overflow);
  return overflow == 0;
}

// The number of what Python takes for one (int, numpy.int64, ...), but for truth values; false
// where it is none, or needs more than 64 bits.
bool number(PyObject* value, int64_t& found) {
  if (PyLong_CheckExact(value)) return small_int(value, found);
  if (PyBool_Check(value) || !PyIndex_Check(value)) return false;
  const nb::object converted = nb::steal(PyNumber_Index(value));
  if (converted.is_valid()) return small_int(converted.ptr(), found);
  PyErr_Clear();
  return false;
}

using List = nb::typed<nb::list, nb::object>;

NumpyVector<int64_t> find_array(const IdMap& map, In<int64_t, 1> ids) {
  std::vector<int64_t> rows(ids.data(), ids.data() + ids.size());
  map.find(rows);
  return to_numpy<NumpyVector<int64_t>>(std::move(rows), {ids.size()});
}

NumpyVector<int64_t> find_list(const IdMap& map, const List& ids) {
  std::vector<int64_t> rows(ids.size());
  std::vector<size_t> no_numbers;
  for (size_t i = 0; i < rows.size(); ++i) {
    // Borrowed; null with an error set where a conversion has shortened the list meanwhile.
    PyObject* value = PyList_GetItem(ids.ptr(), static_cast<Py_ssize_t>(i));
    if (value == nullptr) nb::raise_python_error();
    if (!number(value, rows[i])) no_numbers.push_back(i);
  }
  map.find(rows);
  for (const size_t i : no_numbers) rows[i] = IdMap::kNone;
  const size_t count = rows.size();
  return to_numpy<NumpyVector<int64_t>>(std::move(rows), {count});
}

// The words of a set of ids, or None: their rows have to be looked up. read(place, id) is false
// where there is no number.
using Words = std::optional<NumpyVector<uint64_t>>;

template <class Read>
Words bits_of(const IdMap& map, size_t count, Read read) {
  if (!map.bits_suit(count)) return std::nullopt;
  std::vector<uint64_t> words = map.no_bits();
  const IdMap::BitSetter bits(map, words);
  for (size_t i = 0; i < count; ++i) {
    int64_t id;
    if (!read(i, id) || !bits.set(id)) return std::nullopt;
  }
  if (!map.began_with(words)) return std::nullopt;
  const size_t size = words.size();
  return to_numpy<NumpyVector<uint64_t>>(std::move(words), {size});
}

Words bits_of_array(const IdMap& map, In<int64_t, 1> ids) {
  return bits_of(map, ids.size(), [at = ids.data()](size_t i, int64_t& id) {
    id = at[i];
    return true;
  });
}

// Reading ints runs no code that could shorten the list.
Words bits_of_list(const IdMap& map, const List& ids) {
  return bits_of(map, ids.size(), [list = ids.ptr()](size_t i, int64_t& id) {
#ifdef Py_LIMITED_API
    PyObject* value = PyList_GetItem(list, static_cast<Py_ssize_t>(i));
#else
    PyObject* value = PyList_GET_ITEM(list, static_cast<Py_ssize_t>(i));
#endif
    return PyLong_CheckExact(value) && small_int(value, id);
  });
}

NumpyVector<uint32_t> bit_of_each(const IdMap& map, In<int64_t, 1> ids) {
  std::vector<uint32_t> bits(ids.size());
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = map.bit(ids.data()[i]);
  return to_numpy<NumpyVector<uint32_t>>(std::move(bits), {ids.size()});
}

}  // namespace

void bind_ids(nb::module_& module) {
  nb::class_<IdMap>(module, "IdMap")
      .def(
          "__init__",
          [](IdMap* map, In<int64_t, 1> ids) { new (map) IdMap({ids.data(), ids.size()}); },
          "ids"_a)
      .def("set", &IdMap::set, "id"_a, "row"_a)
      .def("find_array", &find_array, "ids"_a)
      .def("find_list", &find_list, "ids"_a)
      .def("bits_of_array", &bits_of_array, "ids"_a)
      .def("bits_of_list", &bits_of_list, "ids"_a)
      .def("bit_of_each", &bit_of_each, "ids"_a);
}

}  // namespace mmgrec
