// The pruning rule by its definition, and small graphs: they find what there is, reach everything, and change without leaving their arrays.
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "check.hpp"
#include "index/graph_of.hpp"

using namespace vsearch;
using namespace vsearch::test;

namespace {

constexpr Metric kMetrics[] = {Metric::kL2, Metric::kInnerProduct, Metric::kCosine};

void to_unit(float* x, std::size_t d) {
    const float length = std::sqrt(std::inner_product(x, x + d, x, 0.0f));
    for (std::size_t j = 0; j < d; ++j) x[j] /= length;
}

// Under cosine the engine is given unit vectors, and unit queries.
void to_unit(Vectors& vectors) {
    for (std::size_t i = 0; i < vectors.n; ++i) to_unit(vectors.data.data() + i * vectors.d, vectors.d);
}

double recall(GraphOf& graph, std::size_t k, std::size_t queries, const GraphQuery& options, const std::uint8_t* filter = nullptr) {
    double hits = 0;
    Guarded<float> query(graph.vectors.d);
    for (std::size_t q = 0; q < queries; ++q) {
        fill(query, [] { return random_float(); });
        if (graph.metric == Metric::kCosine) to_unit(query.data(), query.size());
        const auto truth = graph.vectors.nearest(graph.metric, query.data(), k, filter);
        const auto found = graph.found(query.data(), options);
        for (const std::int64_t id : found) hits += id >= 0 && std::find(truth.begin(), truth.end(), id) != truth.end();
    }
    return hits / static_cast<double>(k * queries);
}

// A bitmap of the first n slots.
std::vector<std::uint8_t> first_slots(std::size_t n, std::size_t room) {
    std::vector<std::uint8_t> bits((room + 7) / 8, 0);
    for (std::size_t i = 0; i < n; ++i) bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | 1u << i % 8);
    return bits;
}

}  // namespace

// Small integers, so that all distances are exact and ties are ties.
TEST(pruner_keeps_the_relative_neighbourhood) {
    Vectors vectors(120, 6);
    fill(vectors.data, [] { return static_cast<float>(random_int(-4, 4)); });
    GraphOf graph(vectors, Metric::kL2, vectors.n);
    Pruner pruner(graph.scan, nullptr, 1.0f);
    const auto apart = [&](std::size_t a, std::size_t b) { return static_cast<float>(distance_of(Metric::kL2, vectors.row(a), vectors.row(b), vectors.d)); };
    for (std::uint32_t v = 0; v < vectors.n; ++v) {
        std::vector<Edge> candidates, order;
        for (std::uint32_t other = 0; other < vectors.n; ++other) {
            candidates.push_back({apart(v, other), other});
            if (other % 3 == 0) candidates.push_back({apart(v, other), other});  // a double, and the vertex itself
            if (other % 3 == 1) candidates.push_back({apart(v, other) * (1 + 1e-6f), other});  // a double, rounded elsewhere
            if (other != v) order.push_back({apart(v, other), other});
        }
        std::shuffle(candidates.begin(), candidates.end(), generator());
        std::sort(order.begin(), order.end(), [](const Edge& a, const Edge& b) { return a.distance < b.distance || (a.distance == b.distance && a.slot < b.slot); });
        std::vector<std::uint32_t> expected, dropped;
        for (const Edge& edge : order) {
            bool occluded = false;
            for (const std::uint32_t kept : expected) occluded = occluded || apart(kept, edge.slot) < edge.distance;
            (occluded ? dropped : expected).push_back(edge.slot);
        }
        const std::size_t by_rule = expected.size();
        dropped.resize(std::min<std::size_t>(dropped.size(), 64));
        while (!dropped.empty() && expected.size() < std::min<std::size_t>(by_rule + 4, 32)) {
            expected.push_back(dropped.front());
            dropped.erase(dropped.begin());
        }
        float alpha2 = 1;
        for (int step = 0; step < 5; ++step) {
            alpha2 *= 1.05f * 1.05f;
            std::vector<std::uint32_t> left;
            for (const std::uint32_t slot : dropped) {
                bool occluded = expected.size() >= 32;
                for (const std::uint32_t kept : expected) occluded = occluded || alpha2 * apart(kept, slot) < apart(v, slot);
                (occluded ? left : expected).push_back(slot);
            }
            dropped = left;
        }
        expected.insert(expected.end(), dropped.begin(), dropped.end());
        expected.resize(32);
        Edge out[32];
        std::size_t kept = 0;
        CHECK_AT(pruner.select(v, candidates, out, &kept) == 32, at("full", v));
        CHECK_AT(kept == by_rule, at("kept", kept, by_rule));
        for (std::size_t i = 0; i < 32; ++i) CHECK_AT(out[i].slot == expected[i] && out[i].distance == apart(v, out[i].slot), at("edge", v, i));
        std::vector<Edge> few{{apart(v, v), v}, {apart(v, (v + 1) % 120), (v + 1) % 120}};
        CHECK_AT(pruner.select(v, few, out, &kept) == 1 && kept == 1, at("few", v));
    }
}

TEST(graph_walk_finds_the_nearest) {
    for (const Metric metric : kMetrics) {
        Vectors vectors(600, 20);
        if (metric == Metric::kCosine) to_unit(vectors);
        GraphOf graph(vectors, metric, vectors.n);
        CHECK(graph.scan.consistent());
        CHECK(graph.builder()->unreached().empty());
        const std::string name = std::to_string(static_cast<int>(metric));
        const double low = recall(graph, 10, 40, GraphOf::search_of(10, 1.0f, 20)), high = recall(graph, 10, 40, GraphOf::search_of(10, 2.0f, 400));
        CHECK_AT(high > 0.98 && low > 0.3 && high > low, "(" + name + ", " + std::to_string(low) + ", " + std::to_string(high) + ")");
        for (std::size_t i = 0; i < vectors.n; i += 7) {
            std::vector<float> distances;
            const auto ids = graph.found(vectors.row(i), GraphOf::search_of(5, 1.5f, 200), &distances);
            if (metric != Metric::kInnerProduct) CHECK_AT(ids[0] == vectors.ids[i], at(name, i));
            for (std::size_t j = 0; j < 5; ++j) {
                const double truth = distance_of(metric, vectors.row(i), vectors.row(static_cast<std::size_t>(ids[j] - 1000) / 7), vectors.d);
                CHECK_AT(std::abs(distances[j] - truth) < 1e-3 && (j == 0 || distances[j] >= distances[j - 1]), at(name, i, j));
            }
        }
    }
}

TEST(a_pace_gives_far_queries_up_to_eight_times_as_much) {
    const Pace pace{2.0f, 3.0f, 0.1f};
    CHECK(pace.of(0.0f) == 0 && pace.of(1.0f) == 0 && pace.of(2.0f) == 0);
    CHECK(std::abs(pace.of(3.0f) - 3 * std::log(1.5)) < 1e-6);
    CHECK(pace.of(40.0f) == std::log(8.0) && pace.of(std::numeric_limits<float>::infinity()) == std::log(8.0));
    Allowance allowed;
    allowed.begin(1.2f, 100);
    allowed.follow({}, 50.0f);
    CHECK(allowed.most() == 100 && allowed.effort() == 1.2f && allowed.left(99) == 1 && allowed.left(101) == 0);
    allowed.follow(pace, 50.0f);
    CHECK(allowed.most() >= 799 && allowed.most() <= 800 && std::abs(allowed.effort() - (1.2 + 0.1 * std::log(8.0))) < 1e-5);
    allowed.follow(pace, 1.0f);
    CHECK(allowed.most() == 100 && allowed.effort() == 1.2f);
    allowed.follow(pace, 3.0f);
    CHECK(allowed.most() == 337 && allowed.left(37) == 300);
}

TEST(graph_walks_go_on_for_queries_that_are_far) {
    const Vectors vectors(900, 24);
    GraphOf graph(vectors, Metric::kL2, vectors.n);
    const GraphQuery plain = GraphOf::search_of(10, 1.0f, 25);
    GraphQuery paced = plain;
    paced.pace = {1e-3f, 8.0f, 0.1f};  // all are far
    const double alike = recall(graph, 10, 60, plain);
    const auto before = graph.scan.counters().visited;
    const double more = recall(graph, 10, 60, paced);
    const auto visits = graph.scan.counters().visited - before;
    CHECK_AT(more > alike + 0.1 && visits > 60 * 30 && visits <= 60 * 200, "(" + std::to_string(alike) + ", " + std::to_string(more) + ", " + std::to_string(visits) + ")");
    paced.pace.usual = 1e30f;  // none is
    for (std::size_t q = 0; q < 60; ++q) CHECK_AT(graph.found(vectors.row(q), paced) == graph.found(vectors.row(q), plain), at("near", q));
}

TEST(graph_of_a_few_vertices_returns_them_all) {
    for (std::size_t n = 2; n < 40; ++n) {
        const Vectors vectors(n, 5);
        GraphOf graph(vectors, Metric::kL2, n);
        const auto expected = vectors.nearest(Metric::kL2, vectors.row(0), n + 3, nullptr);
        CHECK_AT(graph.found(vectors.row(0), GraphOf::search_of(n + 3, 1.0f, n + 3)) == expected, at("few", n));
    }
}

TEST(graph_without_vertices_returns_nothing) {
    const Vectors vectors(40, 5);
    GraphOf graph(vectors, Metric::kL2, 40);
    graph.arrays.entry_count = 0;
    graph.bind(0);
    CHECK(graph.scan.consistent());
    for (const std::int64_t id : graph.found(vectors.row(0), GraphOf::search_of(3, 1.0f, 50))) CHECK(id == -1);
}

TEST(graph_lets_only_through_what_the_filter_does) {
    Vectors vectors(700, 16);
    GraphOf graph(vectors, Metric::kL2, vectors.n);
    for (const std::size_t matches : {std::size_t{0}, std::size_t{1}, std::size_t{9}, std::size_t{350}, std::size_t{650}, std::size_t{700}}) {
        const auto bits = first_slots(matches, vectors.n);
        Guarded<std::uint8_t> filter(bits.size());
        std::copy(bits.begin(), bits.end(), filter.begin());
        GraphQuery options = GraphOf::search_of(10, 1.5f, 150);
        options.filter = filter.data();
        options.matches = matches;
        for (std::size_t q = 0; q < 20; ++q) {
            const auto ids = graph.found(vectors.row(q * 30), options);
            for (const std::int64_t id : ids) CHECK_AT(id < 1000 + static_cast<std::int64_t>(matches) * 7, at("filter", matches, q));
            CHECK_AT(static_cast<std::size_t>(std::count(ids.begin(), ids.end(), -1)) == 10 - std::min<std::size_t>(10, matches), at("missing", matches, q));
        }
        if (matches >= 10) CHECK_AT(recall(graph, 10, 20, options, filter.data()) > 0.95, at("recall", matches));
    }
}

TEST(graph_is_the_same_with_any_number_of_threads) {
    const Vectors vectors(500, 12);
    std::vector<std::uint8_t> first;
    for (const std::size_t threads : {std::size_t{1}, std::size_t{3}}) {
        generator().seed(7);
        GraphOf graph(vectors, Metric::kL2, 400, threads);
        graph.bind(500);
        graph.builder()->insert(400, 100, GraphOf::search_of(16, 1.3f, 150));
        CHECK(graph.scan.consistent());
        const std::vector<std::uint8_t> now(graph.rows.begin(), graph.rows.end());
        if (first.empty()) first = now;
        CHECK(now == first);
    }
}

TEST(graph_takes_vertices_in_and_forgets_them) {
    for (const Metric metric : kMetrics) {
        Vectors vectors(600, 16);
        if (metric == Metric::kCosine) to_unit(vectors);
        GraphOf graph(vectors, metric, 400);
        for (std::size_t n = 400; n < 600; n += 50) {
            graph.bind(n + 50);
            auto builder = graph.builder();
            builder->insert(n, 50, GraphOf::search_of(16, 1.3f, 150));
            graph.reach_all(*builder);
        }
        const GraphQuery wide = GraphOf::search_of(10, 2.0f, 400);
        CHECK_AT(recall(graph, 10, 30, wide) > 0.97, at("in", static_cast<std::size_t>(metric)));

        // The second half goes; the slots of the others stay, so that nothing is renamed but the neighbours that are gone.
        std::vector<std::uint8_t> dead = first_slots(600, 600);
        const auto live = first_slots(300, 600);
        for (std::size_t i = 0; i < dead.size(); ++i) dead[i] = static_cast<std::uint8_t>(dead[i] & ~live[i]);
        std::vector<std::uint32_t> renamed(600);
        std::iota(renamed.begin(), renamed.end(), 0u);
        auto builder = graph.builder();
        builder->forget(dead.data());
        builder->rename(renamed.data(), 300);
        for (std::size_t v = 0; v < 300; ++v)
            for (const std::uint32_t other : graph.neighbours(v)) CHECK_AT(other < 300, at("gone", v, other));
        graph.bind(300);
        builder = graph.builder();
        graph.set_entries(*builder, 0);
        graph.reach_all(*builder);
        CHECK(graph.scan.consistent() && builder->unreached().empty());
        CHECK_AT(recall(graph, 10, 30, wide, live.data()) > 0.97, at("out", static_cast<std::size_t>(metric)));
    }
}

// A file is hostile: whatever the arrays say, either they are refused or a search stays inside them.
TEST(graph_refuses_arrays_that_lead_astray) {
    const std::size_t n = 90;
    const Vectors vectors(n, 9);
    GraphOf graph(vectors, Metric::kL2, n);
    const std::size_t stride = graph.scan.layout().bytes, block = graph.scan.layout().block.bytes;
    int refused = 0;
    for (int round = 0; round < 3000; ++round) {
        const bool entry = random_int(0, 3) == 0;
        Guarded<std::uint8_t>& table = entry ? graph.entries() : graph.rows;
        const std::size_t rows = table.size() / (entry ? block : stride), row = static_cast<std::size_t>(random_int(0, static_cast<int>(rows) - 1));
        const bool slot = random_int(0, 1) == 0;  // or any word: the vector, codes, factors
        const std::size_t words = (entry ? block : stride) / 4, from = slot ? words - kBlock : 0;
        std::uint8_t* at = table.data() + (row * words + from + static_cast<std::size_t>(random_int(0, static_cast<int>(words - from) - 1))) * 4;
        std::uint32_t kept = 0, word = random_int(0, 1) == 0 ? static_cast<std::uint32_t>(generator()()) : random_int(0, 1) == 0 ? 0x7fc00000u : n - 1 + static_cast<std::uint32_t>(random_int(0, 2));
        std::memcpy(&kept, at, 4);
        std::memcpy(at, &word, 4);
        if (graph.scan.consistent())
            graph.found(vectors.row(static_cast<std::size_t>(random_int(0, static_cast<int>(n) - 1))), GraphOf::search_of(7, 1.5f, 60));
        else
            ++refused;
        std::memcpy(at, &kept, 4);
    }
    CHECK_AT(refused > 900, std::to_string(refused));
    CHECK(graph.scan.consistent());
}

TEST(graph_walks_through_hidden_vertices_and_returns_none_of_them) {
    for (const Metric metric : kMetrics) {
        Vectors vectors(600, 16);
        if (metric == Metric::kCosine) to_unit(vectors);
        GraphOf graph(vectors, metric, 600);
        const auto shown = first_slots(400, 600);
        Guarded<std::uint8_t> filter(50);  // no byte for those that are hidden
        std::copy(shown.begin(), shown.begin() + 50, filter.begin());
        graph.arrays.hidden = 200;
        graph.bind(600);
        GraphQuery options = GraphOf::search_of(10, 2.0f, 400);
        CHECK_AT(recall(graph, 10, 30, options, shown.data()) > 0.97, at("hidden", static_cast<std::size_t>(metric)));
        options.filter = filter.data();
        options.matches = 400;
        CHECK_AT(recall(graph, 10, 30, options, shown.data()) > 0.97, at("filter", static_cast<std::size_t>(metric)));
        options.most = 10;  // so few that matches are scored one by one
        options.matches = 24;
        for (std::size_t i = 0; i < filter.size(); ++i) filter[i] = i % 20 == 0 ? 255 : 0;
        for (const std::int64_t id : graph.found(vectors.row(500), options)) CHECK_AT(id >= 1000 && id < 1000 + 400 * 7, at("few", static_cast<std::size_t>(id)));

        // A builder meets them all.
        auto walk = graph.scan.borrow();
        std::vector<Edge> visited;
        Guarded<float> query(17);
        std::copy(vectors.row(500), vectors.row(500) + 16, query.begin());
        query[16] = graph.lifts[500];
        graph.scan.collect(query.data(), GraphOf::search_of(10, 2.0f, 400), *walk, visited);
        CHECK(std::any_of(visited.begin(), visited.end(), [](const Edge& edge) { return edge.slot == 500; }));
        graph.scan.give_back(std::move(walk));
    }
}
