// Binding of the exact scan. Python owns every array; this object keeps references to those it was bound to.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "bindings/arrays.hpp"
#include "bindings/exclusive.hpp"
#include "index/flat.hpp"

namespace vsearch::bindings {
namespace {

// Work below which handing over the GIL and taking it back (about 0.2 us, or a scheduler's tick when it is contended) costs
// more than it gives the other threads.
constexpr std::size_t kQuickBytes = 32 * 1024;

bool all_finite(const float* x, std::size_t n) {
    std::uint32_t bad = 0;
    for (std::size_t i = 0; i < n; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, x + i, sizeof(bits));
        bad |= static_cast<std::uint32_t>((bits & 0x7f800000u) == 0x7f800000u);
    }
    return bad == 0;
}

// Scales rows to length 1, each by its own norm in double; returns the first row without a direction, or n.
std::size_t scale_rows(const float* from, std::size_t n, std::size_t d, float* to) {
    for (std::size_t i = 0; i < n; ++i, from += d, to += d) {
        double sum[4] = {};
        for (std::size_t j = 0; j < d; ++j) sum[j % 4] += static_cast<double>(from[j]) * from[j];
        const double norm = std::sqrt((sum[0] + sum[1]) + (sum[2] + sum[3]));
        if (norm == 0) return i;
        for (std::size_t j = 0; j < d; ++j) to[j] = static_cast<float>(from[j] / norm);
    }
    return n;
}

py::tuple unit_rows(const Array<float>& vectors) {
    require(vectors.ndim() == 2, "unit_rows: wrong shape");
    Array<float> out({vectors.shape(0), vectors.shape(1)});
    float* to = out.mutable_data();
    std::size_t whole;
    {
        py::gil_scoped_release unlocked;
        whole = scale_rows(vectors.data(), rows_of(vectors), columns_of(vectors), to);
    }
    return py::make_tuple(std::move(out), whole);
}

class BoundFlat {
public:
    BoundFlat(const std::string& metric, const std::string& dtype, std::size_t dim)
        : dim_(dim), metric_(metric_from(metric)), type_(row_type_from(dtype)), scan_(metric_) {}

    void bind(const py::array& rows, const py::object& factors, const Array<std::int64_t>& ids, std::size_t n) {
        FlatArrays a;
        a.rows = rows_from(type_, rows, factors);
        require(a.rows.dim == dim_ && static_cast<std::size_t>(rows.shape(0)) >= n && rows_of(ids) >= n, "rows and ids: wrong shape");
        require(n <= std::numeric_limits<std::uint32_t>::max(), "more than 2^32 - 1 rows");
        a.ids = ids.data();
        a.n = n;
        scan_.bind(a);
        kept_ = py::make_tuple(rows, factors, ids);
    }

    py::tuple search(const Array<float>& queries, std::size_t k, std::size_t threads, const py::object& filter) {
        const bool single = queries.ndim() == 1;
        require((single || queries.ndim() == 2) && static_cast<std::size_t>(queries.shape(single ? 0 : 1)) == dim_, "queries: wrong shape");
        require(k > 0 && threads > 0, "k and threads must be positive");
        FlatQuery options;
        options.k = k;
        options.threads = threads;
        Array<std::uint8_t> bitmap;
        if (!filter.is_none()) {
            bitmap = py::cast<Array<std::uint8_t>>(filter);
            options.filter = bitmap.data();
        }
        return answer(queries.data(), single ? 1 : rows_of(queries), single, options, static_cast<std::size_t>(bitmap.size()));
    }

    // The short way for one query that needs no conversion: float32, contiguous, finite, of the right dimension, with an int k.
    // None when the arguments are anything else; the caller then checks them at length.
    py::object try_search(const py::object& query, const py::object& k) {
        if (!PyLong_CheckExact(k.ptr()) || !py::isinstance<Array<float>>(query)) return py::none();
        const long wanted = PyLong_AsLong(k.ptr());
        if (wanted < 1 || wanted > kMostNeighbours) {
            PyErr_Clear();
            return py::none();
        }
        const auto array = py::reinterpret_borrow<py::array>(query);
        if (array.ndim() != 1 || static_cast<std::size_t>(array.shape(0)) != dim_) return py::none();
        const auto* data = static_cast<const float*>(array.data());
        if (reinterpret_cast<std::uintptr_t>(data) % alignof(float) != 0 || !all_finite(data, dim_)) return py::none();
        FlatQuery options;
        options.k = static_cast<std::size_t>(wanted);
        if (metric_ != Metric::kCosine) return answer(data, 1, true, options, 0);
        constexpr std::size_t kOnStack = 4096;
        float unit[kOnStack];
        if (dim_ > kOnStack || scale_rows(data, 1, dim_, unit) == 0) return py::none();
        return answer(unit, 1, true, options, 0);
    }

    Gate& gate() { return gate_; }

private:
    static constexpr long kMostNeighbours = 65536;

    py::tuple answer(const float* queries, std::size_t nq, bool single, const FlatQuery& options, std::size_t filter_bytes) {
        const auto k = static_cast<py::ssize_t>(options.k);
        const py::array::ShapeContainer shape = single ? py::array::ShapeContainer{k} : py::array::ShapeContainer{static_cast<py::ssize_t>(nq), k};
        Array<std::int64_t> ids(shape);
        Array<float> distances(shape);
        std::int64_t* id_out = ids.mutable_data();
        float* distance_out = distances.mutable_data();
        if (gate_.try_enter_shared()) {
            const bool quick = scan_.arrays().n * scan_.arrays().rows.stride * nq <= kQuickBytes;
            if (quick) {
                LeaveShared pass(gate_);
                run(queries, nq, options, filter_bytes, id_out, distance_out);
            } else {
                py::gil_scoped_release unlocked;
                LeaveShared pass(gate_);
                run(queries, nq, options, filter_bytes, id_out, distance_out);
            }
        } else {  // a writer is at work, and may need the GIL to finish
            py::gil_scoped_release unlocked;
            SharedPass pass(gate_);
            run(queries, nq, options, filter_bytes, id_out, distance_out);
        }
        return py::make_tuple(std::move(ids), std::move(distances));
    }

    void run(const float* queries, std::size_t nq, const FlatQuery& options, std::size_t filter_bytes, std::int64_t* ids, float* distances) {
        require(options.filter == nullptr || filter_bytes >= (scan_.arrays().n + 7) / 8, "filter: wrong length");
        scan_.search(queries, nq, options, ids, distances);
    }

    struct LeaveShared {
        explicit LeaveShared(Gate& gate) : gate(gate) {}
        ~LeaveShared() { gate.leave_shared(); }
        Gate& gate;
    };

    std::size_t dim_;
    Metric metric_;
    RowType type_;
    FlatScan scan_;
    Gate gate_;
    py::tuple kept_;
};

py::tuple assign(const Array<float>& vectors, const Array<float>& centroids, std::size_t threads) {
    require(vectors.ndim() == 2 && centroids.ndim() == 2 && columns_of(vectors) == columns_of(centroids), "assign: wrong shape");
    require(rows_of(centroids) > 0 && threads > 0, "assign needs centroids and threads");
    const auto n = vectors.shape(0);
    Array<std::uint32_t> nearest(n);
    Array<float> distances(n);
    std::uint32_t* nearest_out = nearest.mutable_data();
    float* distance_out = distances.mutable_data();
    {
        py::gil_scoped_release unlocked;
        assign_nearest(vectors.data(), static_cast<std::size_t>(n), centroids.data(), rows_of(centroids), columns_of(vectors), threads, nearest_out, distance_out);
    }
    return py::make_tuple(std::move(nearest), std::move(distances));
}

}  // namespace

void register_flat(py::module_& m) {
    py::class_<Exclusive>(m, "Exclusive").def("__enter__", &Exclusive::enter).def("__exit__", [](Exclusive& e, const py::args&) { e.leave(); });
    py::class_<BoundFlat>(m, "FlatScan")
        .def(py::init<const std::string&, const std::string&, std::size_t>(), py::arg("metric"), py::arg("dtype"), py::arg("dim"))
        .def("bind", &BoundFlat::bind, py::arg("rows"), py::arg("factors"), py::arg("ids"), py::arg("n"))
        .def("search", &BoundFlat::search, py::arg("queries"), py::arg("k"), py::arg("threads") = 1, py::arg("filter") = py::none())
        .def("try_search", &BoundFlat::try_search, py::arg("query"), py::arg("k"))
        .def("exclusive", [](BoundFlat& scan) { return Exclusive(scan.gate()); }, py::keep_alive<0, 1>());
    m.def("unit_rows", &unit_rows, py::arg("vectors"), "(rows scaled to length 1, index of the first zero row or n)");
    m.def("assign", &assign, py::arg("vectors"), py::arg("centroids"), py::arg("threads") = 1);
}

}  // namespace vsearch::bindings
