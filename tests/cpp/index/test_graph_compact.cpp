// Small compact graphs that grow a vertex at a time: they find what there is, with the distances of codes or of stored vectors, reach
// everything, and change without leaving their arrays.
#include <cmath>
#include <memory>
#include <set>
#include <string>

#include "check.hpp"
#include "index/collection.hpp"
#include "index/graph_compact_build.hpp"

using namespace vsearch;
using namespace vsearch::test;

namespace {

constexpr Metric kMetrics[] = {Metric::kL2, Metric::kInnerProduct, Metric::kCosine};
constexpr std::size_t kDegree = 32;

CompactQuery search_of(std::size_t k, float effort, std::size_t most, std::size_t window = 0) {
    CompactQuery search;
    search.k = k;
    search.effort = effort;
    search.most = most;
    search.window = window;
    return search;
}

// Vectors, the first `wide` coordinates in 8 bits and the others in 4; every array against a fence.
class CompactOf {
public:
    CompactOf(std::size_t n, std::size_t d, std::size_t wide, Metric metric, bool stored, std::size_t used)
        : vectors(n, d), metric(metric), wide_(wide), narrow_(round_up(d - wide, 64)), eye_(unit(d)), transform_(d, d, eye_.data(), eye_.data(), eye_.data()),
          scan(metric, transform_, wide, narrow_, kDegree), rows(n * scan.layout().bytes), lifts(n), entries_(1), mean_(d, 0.05f) {
        if (metric == Metric::kCosine) to_unit();
        float reach = 0.1f;
        for (std::size_t i = 0; i < n * d; ++i) reach = std::max(reach, std::fabs(vectors.data[i]) + 0.1f);
        CompactCoding coding;
        for (std::size_t p = 0; p < wide_ + narrow_; ++p) {
            const bool real = p < d;
            coding.source.push_back(static_cast<std::uint32_t>(real ? p : 0));
            coding.step.push_back(!real ? 0.0f : p < wide ? 2 * reach / 255 : 2 * reach / 15);
            coding.offset.push_back(!real ? 0.0f : p < wide ? reach / 255 : -reach);
        }
        scan.bind_coding(coding, mean_.data());
        float reach2 = 0;
        for (std::size_t i = 0; i < n; ++i) reach2 = std::max(reach2, norm2(i));
        for (std::size_t i = 0; i < n; ++i) lifts[i] = std::sqrt(std::max(0.0f, reach2 - norm2(i)));
        fill(rows, [] { return static_cast<std::uint8_t>(0); });
        for (std::size_t i = 0; i < n; ++i) encode(i, coding);
        entries_[0] = 0;
        arrays.ids = vectors.ids.data();
        arrays.rows = rows.data();
        arrays.entries = entries_.data();
        arrays.entry_count = 1;
        if (metric == Metric::kInnerProduct) arrays.lifts = lifts.data(), arrays.reach2 = reach2;
        if (stored) arrays.store = vectors.rows();
        for (std::size_t first = 1; first < used;) {
            const std::size_t batch = std::min(std::max<std::size_t>(1, first / 16), used - first);
            bind(first + batch);
            GraphCompactBuilder(scan, rows.data(), 1.0f, 2).insert(first, batch, vectors.row(first), search_of(32, 1.5f, 200));
            first += batch;
        }
        bind(used);
    }

    void bind(std::size_t n) {
        arrays.n = n;
        scan.bind(arrays);
    }
    void enter_at(std::uint32_t slot) { entries_[0] = slot; }

    std::vector<std::int64_t> found(const float* query, const CompactQuery& options, std::vector<float>* distances = nullptr) {
        Guarded<std::int64_t> ids(options.k);
        Guarded<float> scores(options.k);
        scan.search(query, 1, options, 1, ids.data(), scores.data());
        if (distances != nullptr) distances->assign(scores.data(), scores.data() + options.k);
        return {ids.data(), ids.data() + options.k};
    }

    double recall(std::size_t queries, const CompactQuery& options, const std::uint8_t* filter = nullptr) {
        double hits = 0;
        Guarded<float> query(vectors.d);
        for (std::size_t q = 0; q < queries; ++q) {
            fill(query, [] { return random_float(); });
            const auto truth = vectors.nearest(metric, query.data(), options.k, filter);
            for (const std::int64_t id : found(query.data(), options)) hits += id >= 0 && std::find(truth.begin(), truth.end(), id) != truth.end();
        }
        return hits / static_cast<double>(options.k * queries);
    }

    Vectors vectors;
    Metric metric;

private:
    static std::vector<float> unit(std::size_t d) {
        std::vector<float> eye(d * d, 0.0f);
        for (std::size_t j = 0; j < d; ++j) eye[j * d + j] = 1;
        return eye;
    }
    float norm2(std::size_t i) const { return std::inner_product(vectors.row(i), vectors.row(i) + vectors.d, vectors.row(i), 0.0f); }
    void to_unit() {
        for (std::size_t i = 0; i < vectors.n; ++i) {
            const float length = std::sqrt(norm2(i));
            for (std::size_t j = 0; j < vectors.d; ++j) vectors.data[i * vectors.d + j] /= length;
        }
    }
    void encode(std::size_t i, const CompactCoding& coding) {
        std::uint8_t* row = rows.data() + i * scan.layout().bytes;
        float squares = 0, mean_dot = 0;
        for (std::size_t p = 0; p < vectors.d; ++p) {
            const float x = vectors.row(i)[p] - mean_[p];
            squares += x * x;
            mean_dot += x * mean_[p];
            const long nearest = std::lrint((x - coding.offset[p]) / coding.step[p]);
            const long code = p < wide_ ? std::max(-128L, std::min(127L, nearest)) : std::max(0L, std::min(15L, nearest));
            const std::size_t j = p - wide_;
            if (p < wide_)
                row[p] = static_cast<std::uint8_t>(static_cast<std::int8_t>(code));
            else
                row[wide_ + j / 64 * 32 + j % 32] = static_cast<std::uint8_t>(row[wide_ + j / 64 * 32 + j % 32] | code << (j % 64 < 32 ? 0 : 4));
        }
        const float half = metric == Metric::kL2 ? 1.0f : 0.5f;
        auto* factors = reinterpret_cast<float*>(row + scan.layout().factors_at);
        factors[0] = metric == Metric::kInnerProduct ? -mean_dot : half * squares;
        factors[1] = -2 * half;
        factors[2] = 0;
        for (std::size_t k = 0; k < kDegree; ++k) scan.layout().neighbours(row)[k] = static_cast<std::uint32_t>(i);
    }

    std::size_t wide_, narrow_;
    std::vector<float> eye_;
    MatrixTransform transform_;

public:
    GraphCompactScan scan;
    Guarded<std::uint8_t> rows;
    Guarded<float> lifts;
    CompactArrays arrays;

private:
    Guarded<std::uint32_t> entries_;
    std::vector<float> mean_;
};

}  // namespace

TEST(compact_walk_finds_the_nearest) {
    for (const Metric metric : kMetrics) {
        for (const std::size_t wide : {std::size_t{0}, std::size_t{12}, std::size_t{20}}) {
            for (const bool stored : {false, true}) {
                CompactOf graph(500, 20, wide, metric, stored, 500);
                const std::string name = at("case", static_cast<std::size_t>(metric), wide);
                CHECK_AT(graph.scan.consistent(), name);
                CHECK_AT(GraphCompactBuilder(graph.scan, graph.rows.data(), 1.0f, 1).unreached().size() <= 2, name);
                const double high = graph.recall(40, search_of(10, 2.0f, 400, 60));
                CHECK_AT(high > (stored ? 0.95 : wide == 20 ? 0.9 : 0.5), name + " " + std::to_string(high));
            }
        }
    }
}

TEST(compact_distances_are_those_of_what_is_stored) {
    for (const Metric metric : kMetrics) {
        CompactOf graph(200, 20, 20, metric, false, 200), refined(200, 20, 7, metric, true, 200);
        Guarded<float> query(20);
        fill(query, [] { return random_float(); });
        for (CompactOf* made : {&graph, &refined}) {
            std::vector<float> distances;
            const auto ids = made->found(query.data(), search_of(100, 10.0f, 200, 100), &distances);
            for (std::size_t i = 0; i < ids.size(); ++i) {
                const double exact = distance_of(metric, query.data(), made->vectors.row(static_cast<std::size_t>(ids[i] - 1000) / 7), 20);
                // Under cosine the query is not of length 1 here: half the squared distance is what codes give.
                const double length2 = distance_of(Metric::kL2, query.data(), std::vector<float>(20, 0.0f).data(), 20);
                const double expected = metric == Metric::kCosine && made == &graph ? exact + (length2 - 1) / 2 : exact;
                CHECK_AT(std::fabs(distances[i] - expected) < (made == &graph ? 0.4 : 1e-4), at("distance", i));
            }
        }
    }
}

TEST(compact_filters_are_kept) {
    CompactOf graph(400, 16, 16, Metric::kL2, true, 400);
    for (const std::size_t matches : {0, 3, 60, 350}) {
        Guarded<std::uint8_t> bits(50);
        fill(bits, [] { return static_cast<std::uint8_t>(0); });
        for (std::size_t i = 0; i < matches; ++i) bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | 1u << i % 8);
        CompactQuery options = search_of(10, 1.5f, 80, 30);
        options.filter = bits.data();
        options.matches = matches;
        const auto ids = graph.found(graph.vectors.row(7), options);
        for (std::size_t i = 0; i < ids.size(); ++i) CHECK_AT((ids[i] >= 0) == (i < matches) && (ids[i] < 0 || (ids[i] - 1000) / 7 < static_cast<std::int64_t>(matches)), at("filter", matches, i));
        if (matches > 10) CHECK_AT(graph.recall(20, options, bits.data()) > 0.9, at("recall", matches));
    }
}

TEST(compact_vertices_leave_and_others_take_their_names) {
    for (const Metric metric : kMetrics) {
        CompactOf graph(300, 16, 16, metric, metric == Metric::kL2, 300);
        Guarded<std::uint8_t> dead(38);
        fill(dead, [] { return static_cast<std::uint8_t>(0); });
        std::set<std::uint32_t> gone;
        for (std::uint32_t v = 5; v < 300; v += 4) {
            dead[v / 8] = static_cast<std::uint8_t>(dead[v / 8] | 1u << v % 8);
            gone.insert(v);
        }
        GraphCompactBuilder builder(graph.scan, graph.rows.data(), 1.0f, 2);
        builder.forget(dead.data());
        const CompactLayout& layout = graph.scan.layout();
        for (std::uint32_t v = 0; v < 300; ++v)
            for (std::size_t i = 0; i < kDegree && gone.count(v) == 0; ++i) CHECK_AT(gone.count(layout.neighbours(graph.rows.data() + v * layout.bytes)[i]) == 0, at("dead", v, i));
        std::vector<std::uint32_t> reversed(300);
        for (std::uint32_t v = 0; v < 300; ++v) reversed[v] = 299 - v;
        std::vector<std::uint32_t> before(layout.neighbours(graph.rows.data() + 8 * layout.bytes), layout.neighbours(graph.rows.data() + 8 * layout.bytes) + kDegree);
        builder.rename(reversed.data(), 300);
        for (std::size_t i = 0; i < kDegree; ++i) CHECK_AT(layout.neighbours(graph.rows.data() + 8 * layout.bytes)[i] == 299 - before[i], at("renamed", i));
        builder.rename(reversed.data(), 300);
        graph.enter_at(300);
        CHECK(!graph.scan.consistent());
    }
}
