// Thin bindings of the kernels, for tests and benches, and what is known about the table in use.
#include <pybind11/stl.h>

#include <limits>
#include <string>
#include <vector>

#include "base/cpu.hpp"
#include "bindings/arrays.hpp"
#include "kernels/table.hpp"

namespace vsearch::bindings {
namespace {

py::dict features() {
    const CpuFeatures& f = cpu_features();
    py::dict out;
    out["avx2"] = f.avx2;
    out["avx512"] = f.avx512;
    out["avx512_vnni"] = f.avx512_vnni;
    out["avx512_vpopcntdq"] = f.avx512_vpopcntdq;
    out["avx512_vbmi"] = f.avx512_vbmi;
    out["avx512_bf16"] = f.avx512_bf16;
    out["neon"] = f.neon;
    out["neon_dotprod"] = f.neon_dotprod;
    return out;
}

// Distances of queries (nq, d) to rows, or to rows[slots], as every search computes them.
Array<float> distances(const std::string& metric, const std::string& dtype, const Array<float>& queries, const py::array& data,
                       const py::object& factors, const py::object& slots) {
    const Rows rows = rows_from(row_type_from(dtype), data, factors);
    require(queries.ndim() == 2 && columns_of(queries) == rows.dim, "queries: wrong shape");
    std::size_t n = static_cast<std::size_t>(data.shape(0));
    const std::uint32_t* chosen = nullptr;
    Array<std::uint32_t> kept;
    if (!slots.is_none()) {
        kept = py::cast<Array<std::uint32_t>>(slots);
        for (std::size_t i = 0; i < rows_of(kept); ++i) require(kept.data()[i] < n, "slots: out of range");
        chosen = kept.data();
        n = rows_of(kept);
    }
    Array<float> out({queries.shape(0), static_cast<py::ssize_t>(n)});
    RowScorer scorer;
    for (std::size_t q = 0; q < rows_of(queries); ++q) {
        scorer.prepare(rows, metric_from(metric), queries.data() + q * rows.dim);
        scorer.score(rows, chosen, n, out.mutable_data() + q * n);
    }
    return out;
}

Array<std::uint32_t> select_below(const Array<float>& values, float bound) {
    std::vector<std::uint32_t> found(static_cast<std::size_t>(values.size()));
    const std::size_t count = kernels().select_below(values.data(), found.size(), bound, found.data());
    return Array<std::uint32_t>(static_cast<py::ssize_t>(count), found.data());
}

Array<std::int32_t> dot_i8(const Array<std::int16_t>& query, const Array<std::int8_t>& rows) {
    require(query.ndim() == 1 && rows.ndim() == 2 && rows_of(query) == columns_of(rows), "dot_i8: wrong shape");
    Array<std::int32_t> out(rows.shape(0));
    kernels().dot_i8(query.data(), rows.data(), columns_of(rows), nullptr, rows_of(rows), columns_of(rows), out.mutable_data());
    return out;
}

Array<std::int32_t> dot_u7(const Array<std::int8_t>& query, const Array<std::uint8_t>& rows) {
    require(query.ndim() == 1 && rows.ndim() == 2 && rows_of(query) == columns_of(rows) && columns_of(rows) % 32 == 0, "dot_u7: wrong shape");
    Array<std::int32_t> out(rows.shape(0));
    kernels().dot_u7(query.data(), rows.data(), columns_of(rows), rows_of(rows), columns_of(rows), out.mutable_data());
    return out;
}

Array<std::int32_t> dot_u4(const Array<std::int8_t>& query, const Array<std::uint8_t>& rows) {
    require(query.ndim() == 1 && rows.ndim() == 2 && rows_of(query) == 2 * columns_of(rows) && rows_of(query) % 64 == 0, "dot_u4: wrong shape");
    Array<std::int32_t> out(rows.shape(0));
    kernels().dot_u4(query.data(), rows.data(), columns_of(rows), nullptr, rows_of(rows), rows_of(query), out.mutable_data());
    return out;
}

Array<float> widen(const std::string& dtype, const py::array& values, float scale) {
    const RowType type = row_type_from(dtype);
    require(values.ndim() == 1 && static_cast<std::size_t>(values.itemsize()) == row_bytes(type) && type != RowType::kF32, "widen: wrong shape or dtype");
    const KernelTable& k = kernels();
    const WidenKernel kernel = type == RowType::kF16 ? k.widen_f16 : type == RowType::kBf16 ? k.widen_bf16 : k.widen_i8;
    Array<float> out(values.shape(0));
    kernel(values.data(), static_cast<std::size_t>(values.size()), scale, out.mutable_data());
    return out;
}

// The hits of one tile as (row, query) pairs; panel of shape (d, 16).
Array<std::uint32_t> tile(const Array<float>& panel, const Array<float>& rows, const Array<float>& bias, const Array<float>& bounds) {
    require(panel.ndim() == 2 && columns_of(panel) == 16 && rows.ndim() == 2 && columns_of(rows) == rows_of(panel), "tile: wrong shape");
    require(rows_of(bias) == rows_of(rows) && rows_of(bounds) == 16, "tile: wrong shape");
    AlignedArray<float> aligned(static_cast<std::size_t>(panel.size()));
    std::copy(panel.data(), panel.data() + panel.size(), aligned.data());
    std::vector<std::uint32_t> hits(16 * rows_of(rows));
    const std::size_t found =
        kernels().tile_f32(aligned.data(), rows.data(), rows_of(rows), columns_of(rows), bias.data(), bounds.data(), hits.data());
    Array<std::uint32_t> out({static_cast<py::ssize_t>(found), py::ssize_t{2}});
    for (std::size_t i = 0; i < found; ++i) {
        out.mutable_data()[2 * i] = hits[i] / 16;
        out.mutable_data()[2 * i + 1] = hits[i] % 16;
    }
    return out;
}

// Reads every byte once, in order, and returns what the compiler may not skip: the yardstick of streaming scans.
std::uint64_t read_all(const py::array& array) {
    require((array.flags() & py::array::c_style) != 0, "array must be C-contiguous");
    const auto* words = static_cast<const std::uint64_t*>(array.data());
    const std::size_t count = static_cast<std::size_t>(array.nbytes()) / sizeof(std::uint64_t);
    py::gil_scoped_release unlocked;
    std::uint64_t sum[8] = {};
    for (std::size_t i = 0; i + 8 <= count; i += 8)
        for (std::size_t lane = 0; lane < 8; ++lane) sum[lane] += words[i + lane];
    std::uint64_t total = 0;
    for (const std::uint64_t s : sum) total += s;
    return total;
}

}  // namespace

void register_kernels(py::module_& m) {
    m.def("isa", &current_isa, "Level of the kernel table in use.");
    m.def("use_isa", &use_isa, py::arg("level"), "Caps the kernel table at a level, or 'best'; for tests.");
    m.def("available_isas", &available_isas, "Levels that this CPU offers, lowest first.");
    m.def("kernel_origins", &kernel_origins, "(kernel, unit that installed it) of the table in use.");
    m.def("cpu_features", &features, "What the CPU and its operating system offer.");
    m.def("distances", &distances, py::arg("metric"), py::arg("dtype"), py::arg("queries"), py::arg("rows"), py::arg("factors") = py::none(),
          py::arg("slots") = py::none());
    m.def("select_below", &select_below, py::arg("values"), py::arg("bound"));
    m.def("dot_i8", &dot_i8, py::arg("query"), py::arg("rows"));
    m.def("dot_u7", &dot_u7, py::arg("query"), py::arg("rows"));
    m.def("dot_u4", &dot_u4, py::arg("query"), py::arg("rows"));
    m.def("widen", &widen, py::arg("dtype"), py::arg("values"), py::arg("scale") = 1.0f);
    m.def("tile", &tile, py::arg("panel"), py::arg("rows"), py::arg("bias"), py::arg("bounds"));
    m.def("read_all", &read_all, py::arg("array"));
}

}  // namespace vsearch::bindings
