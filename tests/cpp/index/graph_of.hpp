// A small graph, built as graph_core.py builds one, every array against a fence.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "index/collection.hpp"
#include "index/graph_build.hpp"

namespace vsearch::test {

class GraphOf {
public:
    // The first `used` of the vectors are linked; under ip `vectors.d` does not count the lift.
    GraphOf(const Vectors& vectors, Metric metric, std::size_t used, std::size_t threads = 1, std::size_t degree = 32)
        : vectors(vectors), metric(metric), wide_(vectors.d + (metric == Metric::kInnerProduct ? 1 : 0)), padded_(Rotation::padded_dim(wide_)),
          signs_(Rotation::rounds(wide_) * padded_ / 8), rotation_(make_rotation()), codec_(padded_, 1),
          scan(metric, *rotation_, codec_, RowType::kF32, degree), rows(vectors.n * scan.layout().bytes), lifts(vectors.n), threads_(threads) {
        float reach2 = 0;
        for (std::size_t i = 0; i < vectors.n; ++i) reach2 = std::max(reach2, norm2(i));
        for (std::size_t i = 0; i < vectors.n; ++i) {
            lifts[i] = std::sqrt(std::max(0.0f, reach2 - norm2(i)));
            std::copy(vectors.row(i), vectors.row(i) + vectors.d, reinterpret_cast<float*>(rows.data() + i * scan.layout().bytes));
        }
        const std::vector<float> mean(padded_, 0.01f);
        scan.bind_mean(mean.data());
        arrays.ids = vectors.ids.data();
        arrays.rows = rows.data();
        arrays.scales = {reach2 / 256, std::sqrt(reach2) / 128};
        if (metric == Metric::kInnerProduct) arrays.lifts = lifts.data(), arrays.reach2 = reach2;
        bind(used);
        auto made = builder();
        set_entries(*made, 0);
        for (std::uint64_t seed = 0; seed < 4; ++seed) made->improve_near(std::min<std::size_t>(48, used - 1), seed);
        made->link_near(0, used);
        made->reverse();
        made->write(0, used);
        made->link_by_walks(0, used, search_of(16, 1.2f, 100));
        made->reverse();
        made->write(0, used);
        set_entries(*made, 0);
        reach_all(*made);
    }

    static GraphQuery search_of(std::size_t k, float effort, std::size_t most) {
        GraphQuery search;
        search.k = k;
        search.effort = effort;
        search.most = most;
        return search;
    }

    std::unique_ptr<GraphBuilder> builder() {
        return std::make_unique<GraphBuilder>(scan, rows.data(), metric == Metric::kInnerProduct ? lifts.data() : nullptr, nullptr, 1.0f, threads_);
    }

    void bind(std::size_t n) {
        arrays.n = n;
        scan.bind(arrays);
    }

    // Forty of the vertices, and one of each group that these do not lead to.
    void reach_all(GraphBuilder& made) {
        const auto roots = made.unreached();
        if (!roots.empty()) set_entries(made, roots.size(), roots.data());
    }
    void set_entries(GraphBuilder& made, std::size_t more, const std::uint32_t* roots = nullptr) {
        std::vector<std::uint32_t> slots(std::min<std::size_t>(40, arrays.n));
        for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::uint32_t>(i * arrays.n / slots.size());
        slots.insert(slots.end(), roots, roots + more);
        entries_ = std::make_unique<Guarded<std::uint8_t>>((slots.size() + kBlock - 1) / kBlock * scan.layout().block.bytes);
        fill(*entries_, [] { return static_cast<std::uint8_t>(0); });
        made.write_entries(slots.data(), slots.size(), entries_->data());
        arrays.entries = entries_->data();
        arrays.entry_count = slots.size();
        scan.bind(arrays);
    }
    Guarded<std::uint8_t>& entries() { return *entries_; }

    std::vector<std::int64_t> found(const float* query, const GraphQuery& options, std::vector<float>* distances = nullptr) {
        Guarded<std::int64_t> ids(options.k);
        Guarded<float> values(options.k);
        scan.search(query, 1, options, 1, ids.data(), values.data());
        if (distances != nullptr) distances->assign(values.begin(), values.end());
        return {ids.begin(), ids.end()};
    }

    std::vector<std::uint32_t> neighbours(std::size_t v) const {
        std::vector<std::uint32_t> out(scan.layout().degree);
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = scan.layout().neighbour(rows.data() + v * scan.layout().bytes, i);
        return out;
    }

private:
    float norm2(std::size_t i) const { return std::inner_product(vectors.row(i), vectors.row(i) + vectors.d, vectors.row(i), 0.0f); }
    std::unique_ptr<Rotation> make_rotation() {
        fill(signs_, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
        return std::make_unique<Rotation>(wide_, signs_.data(), signs_.size());
    }

public:
    const Vectors& vectors;
    Metric metric;

private:
    std::size_t wide_, padded_;
    std::vector<std::uint8_t> signs_;
    std::unique_ptr<Rotation> rotation_;
    RabitqCodec codec_;
    std::unique_ptr<Guarded<std::uint8_t>> entries_;

public:
    GraphScan scan;
    Guarded<std::uint8_t> rows;
    Guarded<float> lifts;
    GraphArrays arrays;

private:
    std::size_t threads_;
};

}  // namespace vsearch::test
