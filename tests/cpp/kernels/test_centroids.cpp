// Centroid kernels: every level gives the bits of the scalar unit, and reads nothing beyond its arrays.
#include <algorithm>
#include <limits>
#include <vector>

#include "check.hpp"
#include "guarded.hpp"
#include "kernels/tables.hpp"

using namespace vsearch;
using namespace vsearch::test;

TEST(centroids_scores_subtract_in_one_order) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t count : {16, 48, 256}) {
            for (const std::size_t d : {0, 1, 2, 3, 4, 7, 16, 33}) {
                for (const std::size_t n : {0, 1, 3, 4, 5, 8, 9, 17}) {
                    const std::size_t stride = d + 3;
                    Guarded<float> rows(n > 0 ? (n - 1) * stride + d : 0), table(d * count), bias(count), expected(n * count), out(n * count);
                    fill(rows, [] { return random_float(); });
                    fill(table, [] { return random_float(); });
                    fill(bias, [] { return random_float(); });
                    reference().scores_f32(rows.data(), stride, n, d, table.data(), bias.data(), count, expected.data());
                    candidate.table.scores_f32(rows.data(), stride, n, d, table.data(), bias.data(), count, out.data());
                    CHECK_AT(same_bits(out.data(), expected.data(), n * count), at(candidate.name, d, n));
                }
            }
        }
    }
}

TEST(centroids_argmin_is_the_first_of_the_least) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t n : {16, 32, 48, 64, 80, 256, 640}) {
            Guarded<float> values(n);
            for (int round = 0; round < 50; ++round) {
                fill(values, [&] { return static_cast<float>(random_int(0, round)); });
                const auto expected = static_cast<std::size_t>(std::min_element(values.begin(), values.end()) - values.begin());
                CHECK_AT(candidate.table.argmin_f32(values.data(), n) == expected, at(candidate.name, n, expected));
            }
            fill(values, [] { return std::numeric_limits<float>::infinity(); });
            CHECK_AT(candidate.table.argmin_f32(values.data(), n) == 0, at(candidate.name, n));
            fill(values, [] { return std::numeric_limits<float>::quiet_NaN(); });
            CHECK_AT(candidate.table.argmin_f32(values.data(), n) == 0, at(candidate.name, n));
        }
    }
}

TEST(centroids_nearest_passes_over_what_was_taken) {
    const float infinity = std::numeric_limits<float>::infinity();
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t n : {64, 128, 320}) {
            Guarded<float> distances(n);
            Guarded<std::uint32_t> slots(n);
            for (int round = 0; round < 50; ++round) {
                fill(distances, [&] { return random_int(0, 4) == 0 ? infinity : static_cast<float>(random_int(-round, round)); });
                fill(slots, [&] { return static_cast<std::uint32_t>(random_int(0, round)); });
                std::vector<float> left(distances.begin(), distances.end());
                for (std::size_t i = 0; i < n; ++i)
                    if (slots.data()[i] == 1) left[i] = infinity;
                const auto least = std::min_element(left.begin(), left.end());
                const std::size_t expected = *least < infinity ? static_cast<std::size_t>(least - left.begin()) : 0;
                CHECK_AT(candidate.table.nearest_f32(distances.data(), slots.data(), n, 1) == expected, at(candidate.name, n, expected));
                CHECK_AT(same_bits(distances.data(), left.data(), n), at(candidate.name, n));
            }
            fill(slots, [] { return 1u; });
            CHECK_AT(candidate.table.nearest_f32(distances.data(), slots.data(), n, 1) == 0 && distances.data()[n - 1] == infinity, at(candidate.name, n));
        }
    }
}

TEST(centroids_sum_rows_add_in_one_order) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t n : {16, 32, 48, 256}) {
            Guarded<float> values(5 * n), expected(n), out(n);
            fill(values, [] { return random_float(); });
            const float* rows[5] = {values.data() + 3 * n, values.data(), values.data() + 4 * n, values.data() + n, values.data() + 2 * n};
            for (std::size_t count = 0; count <= 5; ++count) {
                reference().sum_rows_f32(rows, count, 0.3f, n, expected.data());
                candidate.table.sum_rows_f32(rows, count, 0.3f, n, out.data());
                CHECK_AT(same_bits(out.data(), expected.data(), n), at(candidate.name, n, count));
            }
        }
    }
}
