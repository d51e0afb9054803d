// Bindings of the map of integer ids, which takes lists of Python's numbers as they come.
#include <optional>
#include <vector>

#include "bindings/arrays.h"
#include "ids/id_map.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

// The number of what Python takes for one (int, numpy.int64, ...), but for truth values; nothing
// where it is none, or needs more than 64 bits.
std::optional<int64_t> number(PyObject* value) {
  nb::object converted;
  if (!PyLong_CheckExact(value)) {
    if (PyBool_Check(value) || !PyIndex_Check(value)) return std::nullopt;
    converted = nb::steal(PyNumber_Index(value));
    if (!converted.is_valid()) {
      PyErr_Clear();
      return std::nullopt;
    }
    value = converted.ptr();
  }
  int overflow = 0;
  const int64_t found = PyLong_AsLongLongAndOverflow(value, &overflow);
  return overflow ? std::nullopt : std::optional(found);
}

NumpyVector<int64_t> find_array(const IdMap& map, In<int64_t, 1> ids) {
  std::vector<int64_t> rows(ids.data(), ids.data() + ids.size());
  map.find(rows);
  return to_numpy<NumpyVector<int64_t>>(std::move(rows), {ids.size()});
}

NumpyVector<int64_t> find_list(const IdMap& map, const nb::typed<nb::list, nb::object>& ids) {
  std::vector<int64_t> rows(ids.size());
  std::vector<size_t> no_numbers;
  for (size_t i = 0; i < rows.size(); ++i) {
    // Borrowed; null with an error set where a conversion has shortened the list meanwhile.
    PyObject* value = PyList_GetItem(ids.ptr(), static_cast<Py_ssize_t>(i));
    if (value == nullptr) nb::raise_python_error();
    if (const std::optional<int64_t> id = number(value))
      rows[i] = *id;
    else
      no_numbers.push_back(i);
  }
  map.find(rows);
  for (const size_t i : no_numbers) rows[i] = IdMap::kNone;
  const size_t count = rows.size();
  return to_numpy<NumpyVector<int64_t>>(std::move(rows), {count});
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
      .def("find_list", &find_list, "ids"_a);
}

}  // namespace mmgrec
