// Binding of the compact graph and what mends it. Python owns every array; these objects keep references to those they were bound to.
#include <memory>
#include <string>

#include "base/gate.hpp"
#include "bindings/exclusive.hpp"
#include "bindings/graph_parts.hpp"
#include "bindings/query.hpp"
#include "index/graph_compact.hpp"
#include "index/graph_compact_build.hpp"

namespace vsearch::bindings {
namespace {

template <class T>
std::vector<T> copy_of(const Array<T>& values) {
    return {values.data(), values.data() + values.size()};
}

class BoundCompactGraph {
public:
    BoundCompactGraph(const std::string& metric, const py::object& transform, std::size_t wide, std::size_t narrow, std::size_t degree)
        : transform_(transform), metric_(metric_from(metric)), scan_(metric_, py::cast<const Transform&>(transform), wide, narrow, degree) {}

    void bind_coding(const Array<std::uint32_t>& source, const Array<float>& step, const Array<float>& offset, const Array<float>& mean) {
        const auto positions = static_cast<py::ssize_t>(scan_.layout().wide + scan_.layout().narrow);
        require(source.size() == positions && step.size() == positions && offset.size() == positions, "coding: wrong length");
        require(mean.ndim() == 1 && rows_of(mean) == scan_.dim(), "mean: wrong shape");
        for (py::ssize_t p = 0; p < positions; ++p) require(source.data()[p] < scan_.transform().padded(), "coding: out of range");
        scan_.bind_coding({copy_of(source), copy_of(step), copy_of(offset)}, mean.data());
    }

    void bind(const Array<std::int64_t>& ids, const Array<std::uint8_t>& rows, const Array<std::uint32_t>& entries, const py::object& lifts,
              float reach2, const std::string& store_dtype, const py::object& store, const py::object& factors, std::size_t n,
              std::size_t hidden) {
        require(rows.ndim() == 2 && columns_of(rows) == scan_.layout().bytes && rows_of(rows) >= n && rows_of(ids) >= n, "rows: wrong shape");
        require(entries.ndim() == 1 && !scan_.mean().empty(), "entries: wrong shape, or no coding");
        CompactArrays a;
        require(hidden <= n, "hidden: more than there are");
        a.n = n;
        a.hidden = hidden;
        a.ids = ids.data();
        a.rows = rows.data();
        a.entries = entries.data();
        a.entry_count = rows_of(entries);
        a.reach2 = reach2;
        a.lifts = lifts_of(lifts, n);
        if (!store.is_none()) {
            const auto table = py::cast<py::array>(store);
            a.store = rows_from(row_type_from(store_dtype), table, factors);
            require(a.store.dim == scan_.dim() && static_cast<std::size_t>(table.shape(0)) >= n, "store: wrong shape");
        }
        scan_.bind(a);
        kept_ = py::make_tuple(ids, rows, entries, lifts, store, factors);
    }

    bool consistent() {
        py::gil_scoped_release unlocked;
        return scan_.consistent();
    }

    py::tuple search(const Array<float>& queries, std::size_t k, float effort, std::size_t most, std::size_t window, float usual, float steepness,
                     float slack, std::size_t threads, const py::object& filter, std::size_t matches) {
        require(k > 0 && most > 0, "k and most must be positive");
        const CompactQuery options = query_of(k, effort, most, window, {usual, steepness, slack});
        return search_shared(scan_, gate_, scan_.dim(), [&] { return scan_.arrays().shown(); }, kShortGraph, queries, options, threads, filter, matches);
    }

    py::object search_given(const py::object& queries, std::size_t k, float effort, std::size_t most, std::size_t window, float usual, float steepness,
                            float slack, std::size_t threads) {
        require(k > 0 && most > 0, "k and most must be positive");
        const CompactQuery options = query_of(k, effort, most, window, {usual, steepness, slack});
        return bindings::search_given(scan_, gate_, [&] { return scan_.arrays().shown(); }, kShortGraph, queries, options, threads);
    }

    // A search on one thread, or None where the arguments are not ready for it.
    py::object try_search(const py::object& query, const py::object& k, float effort, std::size_t most, std::size_t window, float usual, float steepness,
                          float slack) {
        const ReadyQuery ready(query, k, scan_.dim(), metric_);
        if (!ready.ready()) return py::none();
        const CompactQuery options = query_of(ready.k(), effort, most, window, {usual, steepness, slack});
        Answer answer(1, options.k, true);
        run_shared(gate_, is_short(1), [&] { scan_.search(ready.data(), 1, options, 1, answer.ids, answer.distances); });
        return answer.take();
    }

    py::dict counters() const { return counters_of(scan_.counters()); }

    static CompactQuery query_of(std::size_t k, float effort, std::size_t most, std::size_t window, const Pace& pace = {}) {
        CompactQuery options;
        options.k = k;
        options.effort = effort;
        options.most = most;
        options.window = window;
        options.pace = pace;
        return options;
    }

    Gate& gate() { return gate_; }
    GraphCompactScan& scan() { return scan_; }

private:
    bool is_short(std::size_t nq) const { return scan_.arrays().n * nq <= kShortGraph; }

    py::object transform_;  // kept alive for the scan
    Metric metric_;
    GraphCompactScan scan_;
    Gate gate_;
    py::tuple kept_;
};

class BoundCompactBuilder {
public:
    BoundCompactBuilder(BoundCompactGraph& graph, Array<std::uint8_t>& rows, float alpha, std::size_t threads)
        : rows_(rows), n_(graph.scan().arrays().n), dim_(graph.scan().dim()) {
        require(rows.data() == graph.scan().arrays().rows, "rows must be those that the graph is bound to");
        require(graph.scan().metric() != Metric::kInnerProduct || graph.scan().arrays().lifts != nullptr, "vertices under ip need their lifts");
        builder_ = std::make_unique<GraphCompactBuilder>(graph.scan(), rows.mutable_data(), alpha, threads);
    }

    void insert(std::size_t first, const Array<float>& vectors, std::size_t k, float effort, std::size_t most) {
        require(vectors.ndim() == 2 && columns_of(vectors) == dim_ && first + rows_of(vectors) <= n_ && k > 0, "vertices out of range");
        const std::size_t count = rows_of(vectors);
        const float* data = vectors.data();
        py::gil_scoped_release unlocked;
        builder_->insert(first, count, data, BoundCompactGraph::query_of(k, effort, most, k));
    }
    void forget(const Array<std::uint8_t>& dead) { bindings::forget(*builder_, dead, n_); }
    void rename(const Array<std::uint32_t>& renamed, std::size_t count) { bindings::rename(*builder_, renamed, n_, count); }
    Array<std::uint32_t> unreached() const { return bindings::unreached(*builder_); }

private:
    Array<std::uint8_t> rows_;
    std::unique_ptr<GraphCompactBuilder> builder_;
    std::size_t n_, dim_;
};

}  // namespace

void register_graph_compact(py::module_& m) {
    py::class_<BoundCompactGraph>(m, "GraphCompactScan")
        .def(py::init<const std::string&, const py::object&, std::size_t, std::size_t, std::size_t>(), py::arg("metric"), py::arg("transform"), py::arg("wide"),
             py::arg("narrow"), py::arg("degree"))
        .def("bind_coding", &BoundCompactGraph::bind_coding, py::arg("source"), py::arg("step"), py::arg("offset"), py::arg("mean"))
        .def("bind", &BoundCompactGraph::bind, py::arg("ids"), py::arg("rows"), py::arg("entries"), py::arg("lifts"), py::arg("reach2"), py::arg("store_dtype"),
             py::arg("store"), py::arg("factors"), py::arg("n"), py::arg("hidden") = 0)
        .def("consistent", &BoundCompactGraph::consistent)
        .def("search", &BoundCompactGraph::search, py::arg("queries"), py::arg("k"), py::arg("effort"), py::arg("most"), py::arg("window"), py::arg("usual"),
             py::arg("steepness"), py::arg("slack"), py::arg("threads"), py::arg("filter"), py::arg("matches"))
        .def("search_given", &BoundCompactGraph::search_given, py::arg("queries"), py::arg("k"), py::arg("effort"), py::arg("most"), py::arg("window"),
             py::arg("usual"), py::arg("steepness"), py::arg("slack"), py::arg("threads"))
        .def("try_search", &BoundCompactGraph::try_search, py::arg("query"), py::arg("k"), py::arg("effort"), py::arg("most"), py::arg("window"),
             py::arg("usual"), py::arg("steepness"), py::arg("slack"))
        .def("counters", &BoundCompactGraph::counters)
        .def_property_readonly("row_bytes", [](BoundCompactGraph& graph) { return graph.scan().layout().bytes; })
        .def_property_readonly("lengthened", [](BoundCompactGraph&) { return GraphScan::kLengthened; })
        .def("exclusive", [](BoundCompactGraph& graph) { return Exclusive(graph.gate()); }, py::keep_alive<0, 1>());
    py::class_<BoundCompactBuilder>(m, "GraphCompactBuilder")
        .def(py::init<BoundCompactGraph&, Array<std::uint8_t>&, float, std::size_t>(), py::arg("graph"), py::arg("rows"), py::arg("alpha"), py::arg("threads"),
             py::keep_alive<1, 2>())
        .def("insert", &BoundCompactBuilder::insert, py::arg("first"), py::arg("vectors"), py::arg("k"), py::arg("effort"), py::arg("most"))
        .def("forget", &BoundCompactBuilder::forget, py::arg("dead"))
        .def("rename", &BoundCompactBuilder::rename, py::arg("renamed"), py::arg("count"))
        .def("unreached", &BoundCompactBuilder::unreached);
}

}  // namespace vsearch::bindings
