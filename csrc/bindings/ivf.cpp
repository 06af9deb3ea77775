// Binding of the IVF walk. Python owns every array; this object keeps references to those it was bound to.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/gate.hpp"
#include "bindings/exclusive.hpp"
#include "bindings/query.hpp"
#include "index/ivf.hpp"

namespace vsearch::bindings {
namespace {

constexpr std::size_t kShortScan = 64;  // vectors: a microsecond or two

class BoundIvf {
public:
    BoundIvf(const std::string& metric, const py::object& transform, const py::object& codec, bool compact, unsigned columns)
        : transform_(transform), codec_(codec), coded_(!codec.is_none()), compact_(compact), metric_(metric_from(metric)),
          scan_(metric_, py::cast<const Transform&>(transform), coded_ ? py::cast<const Codec*>(codec) : nullptr, compact, columns),
          dim_(scan_.transform().dim()) {
        require(columns < 8, "columns out of range");
    }

    void bind_centroids(const Array<float>& centroids, const Array<float>& mean) {
        require(centroids.ndim() == 2 && rows_of(centroids) > 0 && columns_of(centroids) == scan_.transform().padded(), "centroids: wrong shape");
        require(mean.ndim() == 1 && rows_of(mean) == scan_.transform().padded(), "mean: wrong shape");
        scan_.bind_centroids(centroids.data(), mean.data(), rows_of(centroids));
        centroids_ = centroids;
    }

    // Checks everything that the walk will dereference, so that a damaged file cannot lead it out of the arrays.
    void bind(const Array<std::int64_t>& ids, const Array<std::uint32_t>& list_block, const Array<std::uint32_t>& list_size,
              const Array<std::uint8_t>& blocks, const Array<std::uint32_t>& block_list, const Array<std::uint32_t>& position,
              const py::object& extra, float first_spread, float full_spread, const py::object& compact, const std::string& row_dtype,
              const py::object& rows, const py::object& factors, std::size_t n) {
        require(blocks.ndim() == 2 && columns_of(blocks) == scan_.layout().bytes, "blocks: wrong shape");
        require(rows_of(list_block) == rows_of(centroids_) && rows_of(list_size) == rows_of(centroids_), "lists: wrong shape");
        require(rows_of(ids) >= n && rows_of(position) >= n && rows_of(block_list) >= rows_of(blocks), "slots: wrong shape");
        IvfArrays a;
        a.n = n;
        a.ids = ids.data();
        a.list_block = list_block.data();
        a.list_size = list_size.data();
        a.blocks = blocks.data();
        a.block_list = block_list.data();
        a.position = position.data();
        a.first_spread = first_spread;
        a.full_spread = full_spread;
        if (scan_.extra_stride() > 0) {
            const auto table = py::cast<Array<std::uint8_t>>(extra);
            require(table.ndim() == 2 && rows_of(table) >= n && columns_of(table) == scan_.extra_stride(), "extra: wrong shape");
            a.extra = table.data();
        }
        if (compact_) {
            const auto table = py::cast<Array<float>>(compact);
            require(table.ndim() == 1 && rows_of(table) == 11 && rows_of(centroids_) == 1, "compact: wrong shape");
            std::copy(table.data(), table.data() + 3, a.compact.low);
            std::copy(table.data() + 3, table.data() + 6, a.compact.step);
            a.compact.ratio = table.data()[6];
            a.compact.root = table.data()[7];
            a.compact.norm2 = table.data()[8];
            a.compact.norm2_add = table.data()[9];
            a.compact.wobble = table.data()[10];
        }
        if (!rows.is_none()) {
            const auto data = py::cast<py::array>(rows);
            a.rows = rows_from(row_type_from(row_dtype), data, factors);
            require(static_cast<std::size_t>(data.shape(0)) >= n && a.rows.dim == dim_, "rows: wrong shape");
        }
        require(coded_ || a.rows.data != nullptr, "rows are needed where there are no codes");
        scan_.bind(a);
        kept_ = py::make_tuple(ids, list_block, list_size, blocks, block_list, position, extra, rows, factors);
    }

    // One pass over lists, blocks and slots: every index that a search follows is in range and the lists hold each slot once.
    bool consistent() {
        const std::size_t blocks = rows_of_blocks();  // touches Python
        py::gil_scoped_release unlocked;
        return scan_.consistent(blocks);
    }

    py::tuple search(const Array<float>& queries, std::size_t k, std::size_t probes, float epsilon, std::size_t threads, const py::object& filter,
                     std::size_t matches) {
        require(k > 0 && probes > 0, "k and probes must be positive");
        IvfQuery options;
        options.k = k;
        options.probes = probes;
        options.epsilon = epsilon;
        return search_shared(scan_, gate_, dim_, [&] { return scan_.size(); }, kShortScan, queries, options, threads, filter, matches);
    }

    // A search on one thread, or None where the arguments are not ready for it.
    py::object try_search(const py::object& query, const py::object& k, std::size_t probes, float epsilon) {
        const ReadyQuery ready(query, k, dim_, metric_);
        if (!ready.ready()) return py::none();
        IvfQuery options;
        options.k = ready.k();
        options.probes = probes;
        options.epsilon = epsilon;
        Answer answer(1, options.k, true);
        run_shared(gate_, is_short(1), [&] { scan_.search(ready.data(), 1, options, 1, answer.ids, answer.distances); });
        return answer.take();
    }

    py::tuple estimate(const Array<float>& query, float epsilon) {
        require(query.ndim() == 1 && rows_of(query) == dim_ && coded_, "estimate: wrong shape, or no codes");
        const auto n = static_cast<py::ssize_t>(scan_.size());
        Array<float> sign(n), bound(n), full(n);
        scan_.estimate(query.data(), epsilon, sign.mutable_data(), bound.mutable_data(), full.mutable_data());
        return py::make_tuple(sign, bound, full);
    }

    py::dict counters() const {
        const IvfCounters c = scan_.counters();
        py::dict out;
        out["scanned"] = c.scanned;
        out["survivors"] = c.survivors;
        out["refined"] = c.refined;
        return out;
    }

    Gate& gate() { return gate_; }

private:
    std::size_t rows_of_blocks() const { return static_cast<std::size_t>(py::cast<py::array>(kept_[3]).shape(0)); }

    bool is_short(std::size_t nq) const { return scan_.size() * nq <= kShortScan; }

    py::object transform_, codec_;  // kept alive for the scan
    bool coded_, compact_;
    Metric metric_;
    IvfScan scan_;
    std::size_t dim_;
    Gate gate_;
    Array<float> centroids_;
    py::tuple kept_;
};

}  // namespace

void register_ivf(py::module_& m) {
    py::class_<BoundIvf>(m, "IvfScan")
        .def(py::init<const std::string&, const py::object&, const py::object&, bool, unsigned>(), py::arg("metric"), py::arg("transform"), py::arg("codec"),
             py::arg("compact") = false, py::arg("columns") = 0)
        .def("bind_centroids", &BoundIvf::bind_centroids, py::arg("centroids"), py::arg("mean"))
        .def("bind", &BoundIvf::bind, py::arg("ids"), py::arg("list_block"), py::arg("list_size"), py::arg("blocks"), py::arg("block_list"),
             py::arg("position"), py::arg("extra"), py::arg("first_spread"), py::arg("full_spread"), py::arg("compact"), py::arg("row_dtype"), py::arg("rows"),
             py::arg("factors"), py::arg("n"))
        .def("consistent", &BoundIvf::consistent)
        .def("search", &BoundIvf::search, py::arg("queries"), py::arg("k"), py::arg("probes"), py::arg("epsilon"), py::arg("threads"),
             py::arg("filter"), py::arg("matches"))
        .def("try_search", &BoundIvf::try_search, py::arg("query"), py::arg("k"), py::arg("probes"), py::arg("epsilon"))
        .def("estimate", &BoundIvf::estimate, py::arg("query"), py::arg("epsilon"))
        .def("counters", &BoundIvf::counters)
        .def("exclusive", [](BoundIvf& scan) { return Exclusive(scan.gate()); }, py::keep_alive<0, 1>());
}

}  // namespace vsearch::bindings
