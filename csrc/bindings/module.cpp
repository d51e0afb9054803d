// The only place that knows Python: thin handles and argument checks around the core.
#include <string>
#include <system_error>

#include "bindings/arrays.h"
#include "io/file.h"
#include "simd/dispatch.h"
#include "trie/narrow.h"

using namespace nanobind::literals;

namespace mmgrec {
namespace {

#ifdef MMGREC_CUDA
// Device addresses come as integers, so that any array library's memory and stream will do.
void bind_narrow_on_device(uintptr_t tokens, int token_bytes, uintptr_t ranges, uintptr_t wanted,
                           uintptr_t children, size_t count, uintptr_t stream) {
  require(token_bytes == 1 || token_bytes == 2, "token_bytes is 1 or 2");
  const int code = narrow_on_device(
      reinterpret_cast<const void*>(tokens), token_bytes, reinterpret_cast<const Range*>(ranges),
      reinterpret_cast<const uint32_t*>(wanted), reinterpret_cast<Range*>(children), count,
      reinterpret_cast<void*>(stream));
  if (code != 0) throw std::runtime_error("CUDA error " + std::to_string(code));
}
#endif

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
  bind_kernels(module);
  bind_live(module);
#ifdef MMGREC_CUDA
  module.def("narrow_on_device", &bind_narrow_on_device, "tokens"_a, "token_bytes"_a, "ranges"_a,
             "wanted"_a, "children"_a, "count"_a, "stream"_a);
#endif
}
