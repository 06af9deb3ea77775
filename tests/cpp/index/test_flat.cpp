// TopK and the exact scan against sorting everything, on vectors of small integers: exact in every row type, and full of ties.
// Arrays end at a page that may not be touched, the bitmap of a filter included.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "base/topk.hpp"
#include "check.hpp"
#include "guarded.hpp"
#include "index/filter.hpp"
#include "index/flat.hpp"

using namespace vsearch;
using vsearch::test::Guarded;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

int random_int(int low, int high) {
    static std::mt19937 engine(1);
    return std::uniform_int_distribution<int>(low, high)(engine);
}

struct Result {
    float distance;
    std::int64_t id;
    bool operator<(const Result& other) const { return distance < other.distance || (distance == other.distance && id < other.id); }
};

// n rows of d integers in [-4, 4] as f32 or int8, with ids that are no slots.
struct Base {
    std::size_t n, d;
    Guarded<float> floats, factors;
    Guarded<std::int8_t> bytes;
    Guarded<std::int64_t> ids;

    Base(std::size_t n, std::size_t d) : n(n), d(d), floats(n * d), factors(2 * n), bytes(n * d), ids(n) {
        for (std::size_t i = 0; i < n; ++i) {
            float norm2 = 0;
            for (std::size_t j = 0; j < d; ++j) {
                const int x = random_int(-4, 4);
                floats[i * d + j] = static_cast<float>(x);
                bytes[i * d + j] = static_cast<std::int8_t>(x);
                norm2 += static_cast<float>(x * x);
            }
            factors[2 * i] = 1;
            factors[2 * i + 1] = norm2;
            ids[i] = static_cast<std::int64_t>(i);
        }
        std::shuffle(ids.begin(), ids.end(), std::mt19937(2));
    }

    FlatArrays arrays(RowType type) const {
        FlatArrays a;
        a.rows.type = type;
        a.rows.dim = d;
        a.rows.stride = d * (type == RowType::kF32 ? sizeof(float) : 1);
        a.rows.data = type == RowType::kF32 ? reinterpret_cast<const std::uint8_t*>(floats.data()) : reinterpret_cast<const std::uint8_t*>(bytes.data());
        a.rows.factors = type == RowType::kF32 ? nullptr : factors.data();
        a.ids = ids.data();
        a.n = n;
        return a;
    }

    std::vector<Result> sorted(Metric metric, const float* query, const std::uint8_t* filter) const {
        std::vector<Result> all;
        for (std::size_t i = 0; i < n; ++i) {
            if (filter != nullptr && !filter_bit(filter, i)) continue;
            float l2 = 0, dot = 0;
            for (std::size_t j = 0; j < d; ++j) {
                const float x = floats[i * d + j];
                l2 += (query[j] - x) * (query[j] - x);
                dot += query[j] * x;
            }
            all.push_back({metric == Metric::kL2 ? l2 : -dot, ids[i]});
        }
        std::sort(all.begin(), all.end());
        return all;
    }
};

void check_search(const Base& base, Metric metric, RowType type, std::size_t nq, const FlatQuery& options) {
    Guarded<float> queries(nq * base.d), distances(nq * options.k);
    Guarded<std::int64_t> ids(nq * options.k);
    for (float& x : queries) x = static_cast<float>(random_int(-4, 4));
    FlatScan scan(metric);
    scan.bind(base.arrays(type));
    scan.search(queries.data(), nq, options, ids.data(), distances.data());
    for (std::size_t q = 0; q < nq; ++q) {
        const std::vector<Result> truth = base.sorted(metric, queries.data() + q * base.d, options.filter);
        for (std::size_t i = 0; i < options.k; ++i) {
            const Result expected = i < truth.size() ? truth[i] : Result{kInfinity, -1};
            CHECK_AT(ids[q * options.k + i] == expected.id && distances[q * options.k + i] == expected.distance,
                     "n " + std::to_string(base.n) + " d " + std::to_string(base.d) + " nq " + std::to_string(nq) + " query " + std::to_string(q) +
                         " place " + std::to_string(i));
        }
    }
}

}  // namespace

TEST(topk_keeps_the_nearest_whatever_the_order) {
    for (const std::size_t k : {1, 2, 10, 63, 64, 65, 200}) {
        for (const std::size_t n : {0, 1, 9, 64, 300}) {
            std::vector<Result> all;
            std::vector<std::int64_t> ids(n);
            for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<std::int64_t>(i);
            std::shuffle(ids.begin(), ids.end(), std::mt19937(3));
            TopK one, left, right;
            for (TopK* set : {&one, &left, &right}) set->reset(k, ids.data());
            for (std::size_t i = 0; i < n; ++i) {
                const Result r{static_cast<float>(random_int(0, 20)), ids[i]};
                all.push_back(r);
                one.push(r.distance, static_cast<std::uint32_t>(i));
                (i % 3 == 0 ? left : right).push(r.distance, static_cast<std::uint32_t>(i));
                one.push(std::numeric_limits<float>::quiet_NaN(), static_cast<std::uint32_t>(i));
            }
            std::sort(all.begin(), all.end());
            left.merge(right);
            CHECK(one.threshold() == (n >= k ? all[k - 1].distance : kInfinity));
            std::vector<std::int64_t> found(k), merged(k);
            std::vector<float> distances(k);
            left.sort_into(merged.data(), distances.data());
            one.sort_into(found.data(), distances.data());
            for (std::size_t i = 0; i < k; ++i) {
                CHECK(found[i] == (i < n ? all[i].id : -1) && merged[i] == found[i]);
                CHECK(distances[i] == (i < n ? all[i].distance : kInfinity));
            }
        }
    }
}

TEST(filter_words_stop_at_the_end) {
    for (std::size_t n = 0; n <= 200; ++n) {
        Guarded<std::uint8_t> bitmap((n + 7) / 8);
        for (std::uint8_t& byte : bitmap) byte = 0xff;  // also beyond n: what lies there must not count
        CHECK(count_filter(bitmap.data(), 0, n) == n);
        std::size_t seen = 0;
        each_match(bitmap.data(), 0, n, [&](std::uint32_t slot) { CHECK(slot == seen++); });
        CHECK(seen == n);
    }
}

TEST(flat_search_is_exact) {
    for (const std::size_t n : {0, 1, 63, 64, 65, 700}) {
        for (const std::size_t d : {1, 17, 64}) {
            const Base base(n, d);
            for (const RowType type : {RowType::kF32, RowType::kInt8}) {
                for (const Metric metric : {Metric::kL2, Metric::kInnerProduct}) {
                    for (const std::size_t nq : {1, 5, 12, 40}) {
                        FlatQuery options;
                        options.k = nq == 5 ? 100 : 10;
                        options.threads = nq == 12 ? 3 : 1;
                        check_search(base, metric, type, nq, options);
                    }
                }
            }
        }
    }
}

TEST(flat_filters_are_exact) {
    for (const std::size_t n : {1, 64, 1000}) {
        const Base base(n, 20);
        for (const int percent : {0, 1, 30, 70, 100}) {
            Guarded<std::uint8_t> bitmap((n + 7) / 8);
            for (std::size_t i = 0; i < n; ++i)
                if (random_int(0, 99) < percent) bitmap[i / 8] = static_cast<std::uint8_t>(bitmap[i / 8] | 1u << i % 8);
            for (const RowType type : {RowType::kF32, RowType::kInt8}) {
                for (const std::size_t nq : {1, 30}) {
                    FlatQuery options;
                    options.filter = bitmap.data();
                    check_search(base, Metric::kL2, type, nq, options);
                }
            }
        }
    }
}

// Rows beyond 512 KB a thread are divided among threads, and the parts merged.
TEST(flat_threads_agree) {
    const Base base(9000, 64);
    for (const std::size_t nq : {2, 20}) {
        for (const std::size_t threads : {2, 5}) {
            FlatQuery options;
            options.k = 30;
            options.threads = threads;
            check_search(base, Metric::kL2, RowType::kF32, nq, options);
        }
    }
}

TEST(flat_assign_is_the_first_of_the_nearest) {
    const Base vectors(500, 24), centroids(77, 24);
    for (const std::size_t threads : {1, 3}) {
        Guarded<std::uint32_t> nearest(vectors.n);
        Guarded<float> distances(vectors.n);
        assign_nearest(vectors.floats.data(), vectors.n, centroids.floats.data(), centroids.n, 24, threads, nearest.data(), distances.data());
        for (std::size_t i = 0; i < vectors.n; ++i) {
            float best = kInfinity;
            std::uint32_t first = 0;
            for (std::size_t c = 0; c < centroids.n; ++c) {
                float l2 = 0;
                for (std::size_t j = 0; j < 24; ++j) l2 += std::pow(vectors.floats[i * 24 + j] - centroids.floats[c * 24 + j], 2.0f);
                if (l2 < best) best = l2, first = static_cast<std::uint32_t>(c);
            }
            CHECK(nearest[i] == first && distances[i] == best);
        }
    }
}
