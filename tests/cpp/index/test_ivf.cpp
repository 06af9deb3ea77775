// The IVF walk gives the truth where it promises it, beside a writer too, and reads nothing but its arrays.
#include <atomic>
#include <cmath>
#include <thread>

#include "base/gate.hpp"
#include "check.hpp"
#include "index/collection.hpp"
#include "index/flat.hpp"
#include "index/query_length.hpp"

using namespace vsearch;
using namespace vsearch::test;

namespace {

constexpr Metric kMetrics[] = {Metric::kL2, Metric::kInnerProduct, Metric::kCosine};

struct Answers {
    std::vector<std::int64_t> ids;
    std::vector<float> distances;
    explicit Answers(std::size_t size) : ids(size), distances(size) {}
};

Guarded<std::uint8_t>& every_third(Guarded<std::uint8_t>& filter) {
    fill(filter, [] { return static_cast<std::uint8_t>(0); });
    for (std::size_t i = 0; i < filter.size() * 8; i += 3) filter[i / 8] = static_cast<std::uint8_t>(filter[i / 8] | 1u << i % 8);
    return filter;
}

void check_truth(const Vectors& vectors, Metric metric, const float* queries, std::size_t nq, std::size_t k, const std::uint8_t* filter,
                 const Answers& answers, const std::string& what) {
    for (std::size_t q = 0; q < nq; ++q) {
        const auto expected = vectors.nearest(metric, queries + q * vectors.d, k, filter);
        for (std::size_t i = 0; i < k; ++i) CHECK_AT(answers.ids[q * k + i] == expected[i], at(what, q, i));
    }
}

}  // namespace

TEST(ivf_with_all_lists_and_wide_bounds_is_exact) {
    for (const Metric metric : kMetrics) {
        for (const int bits : {0, 1, 2, 4, 7, 8}) {
            const std::size_t n = 300, d = 40, k = 7, lists = 4, nq = 6;
            const Vectors vectors(n, d);
            const Lists index(vectors, metric, bits, lists);
            CHECK(index.scan->consistent(index.block_count()));
            Guarded<float> queries(nq * d);
            fill(queries, [] { return random_float(); });
            Guarded<std::uint8_t> filter((n + 7) / 8);
            for (const std::uint8_t* mask : {static_cast<const std::uint8_t*>(nullptr), static_cast<const std::uint8_t*>(every_third(filter).data())}) {
                IvfQuery options;
                options.k = k;
                options.probes = lists;
                options.epsilon = 30;  // no bound excludes a true neighbour
                options.filter = mask;
                options.matches = mask != nullptr ? n / 3 : 0;
                Answers answers(nq * k);
                index.scan->search(queries.data(), nq, options, 2, answers.ids.data(), answers.distances.data());
                check_truth(vectors, metric, queries.data(), nq, k, mask, answers, "ivf " + std::to_string(bits));
            }
        }
    }
}

// The order by inner product knows no length of the query: codes and bounds must not either, however long the mean is.
TEST(ivf_answers_do_not_depend_on_the_length_of_the_query) {
    const std::size_t n = 400, d = 40, k = 9, nq = 4;
    Vectors vectors(n, d);
    for (std::size_t i = 0; i < n * d; ++i) vectors.data[i] += 3;
    Guarded<float> queries(nq * d), scaled(nq * d);
    fill(queries, [] { return random_float(); });
    for (const int bits : {0, 1, 4, 8}) {
        for (const bool stored : {true, false}) {
            if (bits == 0 && !stored) continue;
            Lists index(vectors, Metric::kInnerProduct, bits, 3);
            if (!stored) index.arrays.rows.data = nullptr;
            index.scan->bind(index.arrays);
            IvfQuery options;
            options.k = k;
            options.probes = 2;
            Answers plain(nq * k), again(nq * k);
            index.scan->search(queries.data(), nq, options, 1, plain.ids.data(), plain.distances.data());
            for (const int exponent : {-30, -7, 1, 40}) {
                for (std::size_t i = 0; i < nq * d; ++i) scaled[i] = std::ldexp(queries[i], exponent);
                index.scan->search(scaled.data(), nq, options, 1, again.ids.data(), again.distances.data());
                for (std::size_t i = 0; i < nq * k; ++i) {
                    CHECK_AT(again.ids[i] == plain.ids[i], at("scaled", bits, i));
                    CHECK_AT(again.distances[i] == std::ldexp(plain.distances[i], exponent), at("scaled", bits, i));
                }
                if (bits == 0) continue;
                Guarded<float> first[2] = {Guarded<float>(n), Guarded<float>(n)}, bound[2] = {Guarded<float>(n), Guarded<float>(n)},
                               full[2] = {Guarded<float>(n), Guarded<float>(n)};
                index.scan->estimate(queries.data(), 1.9f, first[0].data(), bound[0].data(), full[0].data());
                index.scan->estimate(scaled.data(), 1.9f, first[1].data(), bound[1].data(), full[1].data());
                for (std::size_t i = 0; i < n; ++i)
                    for (const auto* each : {first, bound, full}) CHECK_AT(each[1][i] == std::ldexp(each[0][i], exponent), at("estimate", bits, i));
            }
        }
    }
}

TEST(queries_are_scaled_to_where_they_are_nearest_to_the_mean) {
    CHECK(query_scale(1, 1, 1, {1, 1, 0}) == 1);
    CHECK(query_scale(1, 1, 0, {100, 100, 0}) == 64);           // at right angles: far beyond the mean
    CHECK(query_scale(1, 1, -10, {100, 100, 0}) == 64);
    CHECK(query_scale(100, 100, 10, {1, 1, 0}) == 0.125f);      // along it: as long as it, and not much shorter than any centroid
    CHECK(query_scale(100, 100, 10, {1, 1, 100}) == 1);
    CHECK(query_scale(0, 0, 0, {1, 1, 1}) == 1);
    CHECK(query_scale(1, 1, 0, {0, 0, 0}) > 0);
    for (const double length2 : {1e-60, 1e-30, 1e30, 1e60})
        for (const double mean_norm2 : {0.0, 1e-60, 1e36, 1e76}) {
            const double longer = query_scale(length2, length2, 0, {mean_norm2, mean_norm2, 0});
            CHECK(longer > 0 && std::isfinite(longer) && length2 * longer * longer < 1e37);
        }
}

TEST(ivf_estimates_stay_near_the_truth) {
    const std::size_t n = 200, d = 96;
    const Vectors vectors(n, d);
    for (const int bits : {1, 3, 8}) {
        const Lists index(vectors, Metric::kL2, bits, 3);
        Guarded<float> query(d), sign(n), bound(n), full(n);
        fill(query, [] { return random_float(); });
        index.scan->estimate(query.data(), 1.9f, sign.data(), bound.data(), full.data());
        double error = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const double truth = distance_of(Metric::kL2, query.data(), vectors.row(i), d);
            error += std::abs(full[i] - truth) / truth / static_cast<double>(n);
            CHECK_AT(bound[i] <= sign[i], at("bound", i));
        }
        CHECK_AT(error < (bits == 1 ? 0.15 : bits == 3 ? 0.04 : 0.005), std::to_string(error));
    }
}

// What the bindings promise: searches share, a writer rebinds alone. ThreadSanitizer watches.
TEST(ivf_threads_read_while_a_writer_rebinds) {
    const std::size_t n = 200, d = 24, k = 3;
    const Vectors vectors(n, d);
    const Lists index(vectors, Metric::kL2, 1, 4);
    FlatScan flat(Metric::kL2);
    FlatArrays arrays;
    arrays.rows = vectors.rows();
    arrays.ids = vectors.ids.data();
    arrays.n = n;
    flat.bind(arrays);
    Gate gate;
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t i = 0; i < 40; ++i) {
                const std::size_t row = (i * 3 + t) % n;
                Answers exact(k), near(k);
                IvfQuery options;
                options.k = k;
                options.probes = 4;
                SharedPass pass(gate);
                flat.search(vectors.row(row), 1, FlatQuery{k, 2, nullptr}, exact.ids.data(), exact.distances.data());
                index.scan->search(vectors.row(row), 1, options, 1, near.ids.data(), near.distances.data());
                if (exact.ids[0] != vectors.ids[row] || near.ids[0] != vectors.ids[row]) ++wrong;
            }
        });
    }
    for (int i = 0; i < 40; ++i) {
        gate.enter_exclusive();
        flat.bind(arrays);
        index.scan->bind(index.arrays);
        gate.leave_exclusive();
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}

// A file is hostile: whatever the arrays say, either they are refused or a search stays inside them.
TEST(ivf_refuses_arrays_that_lead_astray) {
    const std::size_t n = 150, d = 16, k = 4;
    const Vectors vectors(n, d);
    Guarded<float> query(d);
    fill(query, [] { return random_float(); });
    for (const int bits : {0, 1, 4}) {
        Lists index(vectors, Metric::kL2, bits, 3);
        Guarded<std::uint32_t>* tables[] = {&index.list_block, &index.list_size, &index.block_list, &index.position};
        int refused = 0;
        for (int round = 0; round < 4000; ++round) {
            Guarded<std::uint32_t>& table = *tables[random_int(0, 3)];
            std::uint32_t& entry = table[static_cast<std::size_t>(random_int(0, static_cast<int>(table.size()) - 1))];
            const std::uint32_t kept = entry;
            entry = random_int(0, 1) != 0 ? generator()() : static_cast<std::uint32_t>(random_int(0, 200));
            if (index.scan->consistent(index.block_count())) {
                Answers answers(k);
                IvfQuery options;
                options.k = k;
                options.probes = 3;
                index.scan->search(query.data(), 1, options, 1, answers.ids.data(), answers.distances.data());
            } else {
                ++refused;
            }
            entry = kept;
        }
        CHECK_AT(refused > 3000, std::to_string(refused));
        CHECK(index.scan->consistent(index.block_count()));
    }
}
