// vsearch._core: the compiled engine. One register_* function per file of this folder.
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace vsearch::bindings {
void register_kernels(py::module_& m);
void register_codes(py::module_& m);
void register_encode(py::module_& m);
void register_quantize(py::module_& m);
void register_table(py::module_& m);
void register_flat(py::module_& m);
void register_ivf(py::module_& m);
void register_graph(py::module_& m);
void register_graph_compact(py::module_& m);
}  // namespace vsearch::bindings

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "vsearch's compiled kernels and index walks";
    vsearch::bindings::register_kernels(m);
    vsearch::bindings::register_codes(m);
    vsearch::bindings::register_encode(m);
    vsearch::bindings::register_quantize(m);
    vsearch::bindings::register_table(m);
    vsearch::bindings::register_flat(m);
    vsearch::bindings::register_ivf(m);
    vsearch::bindings::register_graph(m);
    vsearch::bindings::register_graph_compact(m);
}
