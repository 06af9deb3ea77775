// What the bindings share: arrays checked at the door. Python has validated shapes and dtypes already and tells the user what is
// wrong; these checks keep a mistake in our own Python from becoming a crash.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "index/rows.hpp"

namespace vsearch::bindings {

namespace py = pybind11;

// Never converts: an array of another dtype or layout is a TypeError of pybind11, not a silent copy.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

inline void require(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(std::string("vsearch._core: ") + what);
}

template <class T>
std::size_t rows_of(const Array<T>& a) {
    return static_cast<std::size_t>(a.shape(0));
}

template <class T>
std::size_t columns_of(const Array<T>& a) {
    return static_cast<std::size_t>(a.shape(1));
}

inline Metric metric_from(const std::string& name) {
    if (name == "l2") return Metric::kL2;
    if (name == "ip") return Metric::kInnerProduct;
    require(name == "cosine", "unknown metric");
    return Metric::kCosine;
}

inline RowType row_type_from(const std::string& name) {
    if (name == "f32") return RowType::kF32;
    if (name == "f16") return RowType::kF16;
    if (name == "bf16") return RowType::kBf16;
    require(name == "int8", "unknown row dtype");
    return RowType::kInt8;
}

inline std::size_t row_bytes(RowType type) { return type == RowType::kF32 ? 4 : type == RowType::kInt8 ? 1 : 2; }

// A view of a 2-d C-contiguous array of stored rows, and of its (n, 2) factors for int8.
inline Rows rows_from(RowType type, const py::array& data, const py::object& factors) {
    Rows rows;
    rows.type = type;
    require(data.ndim() == 2 && (data.flags() & py::array::c_style), "rows must be 2-d and C-contiguous");
    require(static_cast<std::size_t>(data.itemsize()) == row_bytes(type), "rows do not have the item size of their dtype");
    rows.dim = static_cast<std::size_t>(data.shape(1));
    rows.stride = rows.dim * row_bytes(type);
    rows.data = static_cast<const std::uint8_t*>(data.data());
    if (type == RowType::kInt8) {
        const auto table = py::cast<Array<float>>(factors);
        require(table.ndim() == 2 && table.shape(0) >= data.shape(0) && table.shape(1) == 2, "int8 rows need (n, 2) factors");
        rows.factors = table.data();
    }
    return rows;
}

}  // namespace vsearch::bindings
