// Binding of the exact scan. Python owns every array; this object keeps references to those it was bound to.
#include <limits>
#include <string>

#include "bindings/exclusive.hpp"
#include "bindings/query.hpp"
#include "index/flat.hpp"

namespace vsearch::bindings {
namespace {

constexpr std::size_t kShortBytes = 32 * 1024;  // of rows: a microsecond or two

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
        const std::size_t nq = single ? 1 : rows_of(queries);
        Answer answer(nq, k, single);
        run_shared(gate_, is_short(nq), [&] {
            require(options.filter == nullptr || static_cast<std::size_t>(bitmap.size()) >= (scan_.arrays().n + 7) / 8, "filter: wrong length");
            scan_.search(queries.data(), nq, options, answer.ids, answer.distances);
        });
        return answer.take();
    }

    // A search on one thread, or None where the arguments are not ready for it.
    py::object try_search(const py::object& query, const py::object& k) {
        const ReadyQuery ready(query, k, dim_, metric_);
        if (!ready.ready()) return py::none();
        FlatQuery options;
        options.k = ready.k();
        Answer answer(1, options.k, true);
        run_shared(gate_, is_short(1), [&] { scan_.search(ready.data(), 1, options, answer.ids, answer.distances); });
        return answer.take();
    }

    Gate& gate() { return gate_; }

private:
    bool is_short(std::size_t nq) const { return scan_.arrays().n * scan_.arrays().rows.stride * nq <= kShortBytes; }

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
    m.def(
        "ready_queries", [](const py::object& queries, std::size_t dim, const std::string& metric) { return ready_queries(queries, dim, metric_from(metric)); },
        py::arg("queries"), py::arg("dim"), py::arg("metric"), "queries in no need of conversion, of length 1 for cosine; None where they are not");
    m.def("unit_rows", &unit_rows, py::arg("vectors"), "(rows scaled to length 1, index of the first row without a direction or n)");
    m.def("assign", &assign, py::arg("vectors"), py::arg("centroids"), py::arg("threads") = 1);
}

}  // namespace vsearch::bindings
