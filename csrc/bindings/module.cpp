// The only place that knows Python: thin handles and argument checks around the core.
#include <system_error>

#include "bindings/arrays.h"
#include "io/file.h"
#include "simd/dispatch.h"

namespace mmgrec {
namespace {

nb::typed<nb::dict, nb::str, nb::object> build_info() {
  nb::typed<nb::dict, nb::str, nb::object> info;
  info["version"] = MMGREC_VERSION;
  info["compiler"] = MMGREC_COMPILER;
  info["simd"] = best_kernels().name;
#ifdef MMGREC_CUDA
  info["cuda"] = MMGREC_CUDA_ARCHITECTURES;
#else
  info["cuda"] = nb::none();
#endif
  return info;
}

}  // namespace
}  // namespace mmgrec

NB_MODULE(_native, module) {
  using namespace mmgrec;
  module.doc() = "The C++ core of mmgrec_engine.";
  nb::exception<DamagedFile>(module, "DamagedFile");
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const std::system_error& error) {
      nb::object value =
          nb::module_::import_("builtins").attr("OSError")(error.code().value(), error.what());
      PyErr_SetObject(PyExc_OSError, value.ptr());
    }
  });
  module.def("build_info", &build_info);
  bind_trie(module);
  bind_constrained_topk(module);
  bind_ids(module);
  bind_kernels(module);
  bind_live(module);
  bind_recommender(module);
#ifdef MMGREC_CUDA
  bind_device(module);
#endif
}
