// Binding of the graph walk and its builder. Python owns every array; these objects keep references to those they were bound to.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/gate.hpp"
#include "bindings/exclusive.hpp"
#include "bindings/graph_parts.hpp"
#include "bindings/query.hpp"
#include "index/graph.hpp"
#include "index/graph_build.hpp"
#include "index/near_order.hpp"

namespace vsearch::bindings {
namespace {

GraphQuery search_of(std::size_t k, float effort, std::size_t most, const Pace& pace = {}) {
    GraphQuery search;
    search.k = k;
    search.effort = effort;
    search.most = most;
    search.pace = pace;
    return search;
}

class BoundGraph {
public:
    BoundGraph(const std::string& metric, const py::object& transform, const py::object& codec, const std::string& row_dtype, std::size_t degree)
        : transform_(transform), codec_(codec), metric_(metric_from(metric)),
          scan_(metric_, py::cast<const Transform&>(transform), py::cast<const Codec&>(codec), row_type_from(row_dtype), degree) {}

    void bind_mean(const Array<float>& mean) {
        require(mean.ndim() == 1 && rows_of(mean) == scan_.transform().padded(), "mean: wrong shape");
        scan_.bind_mean(mean.data());
    }

    void bind(const Array<std::int64_t>& ids, const Array<std::uint8_t>& rows, const py::object& factors, const Array<std::uint8_t>& entries,
              std::size_t entry_count, const py::object& lifts, float add_scale, float rescale_scale, float reach2, std::size_t n,
              std::size_t hidden) {
        require(rows.ndim() == 2 && columns_of(rows) == scan_.layout().bytes && rows_of(rows) >= n && rows_of(ids) >= n, "rows: wrong shape");
        require(entries.ndim() == 2 && columns_of(entries) == scan_.layout().block.bytes && rows_of(entries) * kBlock >= entry_count, "entries: wrong shape");
        GraphArrays a;
        require(hidden <= n, "hidden: more than there are");
        a.n = n;
        a.hidden = hidden;
        a.ids = ids.data();
        a.rows = rows.data();
        if (scan_.rows().type == RowType::kInt8) {
            const auto table = py::cast<Array<float>>(factors);
            require(table.ndim() == 2 && rows_of(table) >= n && columns_of(table) == 2, "factors: wrong shape");
            a.factors = table.data();
        }
        a.lifts = lifts_of(lifts, n);
        a.entries = entries.data();
        a.entry_count = entry_count;
        a.scales = {add_scale, rescale_scale};
        a.reach2 = reach2;
        scan_.bind(a);
        kept_ = py::make_tuple(ids, rows, factors, entries, lifts);
    }

    bool consistent() {
        py::gil_scoped_release unlocked;
        return scan_.consistent();
    }

    py::tuple search(const Array<float>& queries, std::size_t k, float effort, std::size_t most, float usual, float steepness, float slack,
                     std::size_t threads, const py::object& filter, std::size_t matches) {
        require(k > 0 && most > 0, "k and most must be positive");
        const GraphQuery options = search_of(k, effort, most, {usual, steepness, slack});
        return search_shared(scan_, gate_, scan_.dim(), [&] { return scan_.arrays().shown(); }, kShortGraph, queries, options, threads, filter, matches);
    }

    py::object search_given(const py::object& queries, std::size_t k, float effort, std::size_t most, float usual, float steepness, float slack,
                            std::size_t threads) {
        require(k > 0 && most > 0, "k and most must be positive");
        const GraphQuery options = search_of(k, effort, most, {usual, steepness, slack});
        return bindings::search_given(scan_, gate_, [&] { return scan_.arrays().shown(); }, kShortGraph, queries, options, threads);
    }

    // A search on one thread, or None where the arguments are not ready for it.
    py::object try_search(const py::object& query, const py::object& k, float effort, std::size_t most, float usual, float steepness,
                          float slack) {
        const ReadyQuery ready(query, k, scan_.dim(), metric_);
        if (!ready.ready()) return py::none();
        const GraphQuery options = search_of(ready.k(), effort, most, {usual, steepness, slack});
        Answer answer(1, options.k, true);
        run_shared(gate_, is_short(1), [&] { scan_.search(ready.data(), 1, options, 1, answer.ids, answer.distances); });
        return answer.take();
    }

    py::dict counters() const { return counters_of(scan_.counters()); }

    Gate& gate() { return gate_; }
    GraphScan& scan() { return scan_; }

private:
    bool is_short(std::size_t nq) const { return scan_.arrays().n * nq <= kShortGraph; }

    py::object transform_, codec_;  // kept alive for the scan
    Metric metric_;
    GraphScan scan_;
    Gate gate_;
    py::tuple kept_;
};

class BoundBuilder {
public:
    BoundBuilder(BoundGraph& graph, Array<std::uint8_t>& rows, const py::object& lifts, const py::object& transformed, float alpha, std::size_t threads)
        : kept_(py::make_tuple(rows, lifts, transformed)) {
        const std::size_t n = graph.scan().arrays().n;
        require(rows.data() == graph.scan().arrays().rows, "rows must be those that the graph is bound to");
        const float *lifted = nullptr, *given = nullptr;
        if (!lifts.is_none()) lifted = py::cast<Array<float>>(lifts).data();
        if (!transformed.is_none()) {
            const auto table = py::cast<Array<float>>(transformed);
            require(table.ndim() == 2 && rows_of(table) >= n && columns_of(table) == graph.scan().transform().padded(), "transformed: wrong shape");
            given = table.data();
        }
        builder_ = std::make_unique<GraphBuilder>(graph.scan(), rows.mutable_data(), lifted, given, alpha, threads);
        n_ = n;
        block_bytes_ = graph.scan().layout().block.bytes;
    }

    void improve_near(std::size_t width, std::uint64_t seed) { builder_->improve_near(width, seed); }
    void link_near(std::size_t first, std::size_t last) {
        require(first <= last && last <= n_, "vertices out of range");
        builder_->link_near(first, last);
    }
    void link_by_walks(std::size_t first, std::size_t last, std::size_t k, float effort, std::size_t most) {
        require(first <= last && last <= n_ && k > 0, "vertices out of range");
        builder_->link_by_walks(first, last, search_of(k, effort, most));
    }
    void reverse() { builder_->reverse(); }
    void write(std::size_t first, std::size_t last) {
        require(first <= last && last <= n_, "vertices out of range");
        builder_->write(first, last);
    }
    void insert(std::size_t first, std::size_t count, std::size_t k, float effort, std::size_t most) {
        require(first + count <= n_ && k > 0, "vertices out of range");
        builder_->insert(first, count, search_of(k, effort, most));
    }
    void forget(const Array<std::uint8_t>& dead) { bindings::forget(*builder_, dead, n_); }
    void rename(const Array<std::uint32_t>& renamed, std::size_t count) { bindings::rename(*builder_, renamed, n_, count); }
    Array<std::uint8_t> entries(const Array<std::uint32_t>& slots) {
        require(slots.ndim() == 1 && rows_of(slots) > 0, "entries: wrong shape");
        Array<std::uint8_t> blocks({(rows_of(slots) + kBlock - 1) / kBlock, block_bytes_});
        std::fill(blocks.mutable_data(), blocks.mutable_data() + blocks.size(), std::uint8_t{0});
        builder_->write_entries(slots.data(), rows_of(slots), blocks.mutable_data());
        return blocks;
    }
    Array<std::uint32_t> unreached() const { return bindings::unreached(*builder_); }

private:
    py::tuple kept_;
    std::unique_ptr<GraphBuilder> builder_;
    std::size_t n_, block_bytes_;
};

Array<std::uint32_t> order_near(const Array<float>& vectors, std::uint64_t seed, std::size_t threads) {
    require(vectors.ndim() == 2 && vectors.shape(0) <= 0xffffffffll, "near_order: wrong shape");
    Array<std::uint32_t> out(vectors.shape(0));
    std::uint32_t* to = out.mutable_data();
    {
        py::gil_scoped_release unlocked;
        const std::vector<std::uint32_t> order = near_order(vectors.data(), rows_of(vectors), columns_of(vectors), seed, threads);
        std::copy(order.begin(), order.end(), to);
    }
    return out;
}

}  // namespace

void register_graph(py::module_& m) {
    const auto unlocked = py::call_guard<py::gil_scoped_release>();
    py::class_<BoundGraph>(m, "GraphScan")
        .def(py::init<const std::string&, const py::object&, const py::object&, const std::string&, std::size_t>(), py::arg("metric"), py::arg("transform"),
             py::arg("codec"), py::arg("row_dtype"), py::arg("degree"))
        .def("bind_mean", &BoundGraph::bind_mean, py::arg("mean"))
        .def("bind", &BoundGraph::bind, py::arg("ids"), py::arg("rows"), py::arg("factors"), py::arg("entries"), py::arg("entry_count"), py::arg("lifts"),
             py::arg("add_scale"), py::arg("rescale_scale"), py::arg("reach2"), py::arg("n"), py::arg("hidden") = 0)
        .def("consistent", &BoundGraph::consistent)
        .def("search", &BoundGraph::search, py::arg("queries"), py::arg("k"), py::arg("effort"), py::arg("most"), py::arg("usual"),
             py::arg("steepness"), py::arg("slack"), py::arg("threads"), py::arg("filter"), py::arg("matches"))
        .def("search_given", &BoundGraph::search_given, py::arg("queries"), py::arg("k"), py::arg("effort"), py::arg("most"), py::arg("usual"),
             py::arg("steepness"), py::arg("slack"), py::arg("threads"))
        .def("try_search", &BoundGraph::try_search, py::arg("query"), py::arg("k"), py::arg("effort"), py::arg("most"), py::arg("usual"),
             py::arg("steepness"), py::arg("slack"))
        .def("counters", &BoundGraph::counters)
        .def_property_readonly("row_bytes", [](BoundGraph& graph) { return graph.scan().layout().bytes; })
        .def_property_readonly("block_bytes", [](BoundGraph& graph) { return graph.scan().layout().block.bytes; })
        .def_property_readonly("lengthened", [](BoundGraph&) { return GraphScan::kLengthened; })
        .def("exclusive", [](BoundGraph& graph) { return Exclusive(graph.gate()); }, py::keep_alive<0, 1>());
    py::class_<BoundBuilder>(m, "GraphBuilder")
        .def(py::init<BoundGraph&, Array<std::uint8_t>&, const py::object&, const py::object&, float, std::size_t>(), py::arg("graph"), py::arg("rows"),
             py::arg("lifts"), py::arg("transformed"), py::arg("alpha"), py::arg("threads"), py::keep_alive<1, 2>())
        .def("improve_near", &BoundBuilder::improve_near, py::arg("width"), py::arg("seed"), unlocked)
        .def("link_near", &BoundBuilder::link_near, py::arg("first"), py::arg("last"), unlocked)
        .def("link_by_walks", &BoundBuilder::link_by_walks, py::arg("first"), py::arg("last"), py::arg("k"), py::arg("effort"), py::arg("most"), unlocked)
        .def("reverse", &BoundBuilder::reverse, unlocked)
        .def("write", &BoundBuilder::write, py::arg("first"), py::arg("last"), unlocked)
        .def("insert", &BoundBuilder::insert, py::arg("first"), py::arg("count"), py::arg("k"), py::arg("effort"), py::arg("most"), unlocked)
        .def("forget", &BoundBuilder::forget, py::arg("dead"))
        .def("rename", &BoundBuilder::rename, py::arg("renamed"), py::arg("count"))
        .def("entries", &BoundBuilder::entries, py::arg("slots"))
        .def("unreached", &BoundBuilder::unreached);
    m.def("near_order", &order_near, py::arg("vectors"), py::arg("seed"), py::arg("threads"));
}

}  // namespace vsearch::bindings
