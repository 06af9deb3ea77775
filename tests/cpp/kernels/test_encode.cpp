// Encoder kernels: every level gives the bits of the scalar unit, and reads and writes nothing beyond its arrays.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "check.hpp"
#include "guarded.hpp"
#include "kernels/tables.hpp"

using namespace vsearch;
using namespace vsearch::test;

namespace {

constexpr std::size_t kLengths[] = {16, 32, 48, 96, 128, 384, 1536, 8192};

void fill_words(Guarded<std::int16_t>& words, bool extreme) {
    fill(words, [&] { return static_cast<std::int16_t>(extreme ? -32767 : random_int(-32767, 32767)); });
}

}  // namespace

TEST(encode_sign_moments_fold_in_one_order) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : kLengths) {
            Guarded<float> x(d), center(d), mean(d), expected(5), got(5);
            Guarded<std::uint8_t> signs(d / 8), expected_signs(d / 8);
            fill(x, [] { return random_int(0, 9) == 0 ? -0.f : random_float(); });
            fill(center, [] { return random_float(); });
            fill(mean, [] { return random_float(); });
            reference().sign_moments(x.data(), center.data(), mean.data(), d, expected_signs.data(), expected.data());
            candidate.table.sign_moments(x.data(), center.data(), mean.data(), d, signs.data(), got.data());
            CHECK_AT(same_bits(got.data(), expected.data(), 5), at(candidate.name, d));
            CHECK_AT(same_bits(signs.data(), expected_signs.data(), d / 8), at(candidate.name, d));
        }
    }
}

TEST(encode_quantize_i16_rounds_alike) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t n : kLengths) {
            Guarded<float> x(n);
            Guarded<std::int16_t> expected(n), out(n);
            fill(x, [] { return static_cast<float>(random_int(-200, 200)) / 2; });
            x[3] = std::numeric_limits<float>::infinity();
            x[4] = -x[3];
            x[5] = std::numeric_limits<float>::quiet_NaN();
            for (const float factor : {1.f, 0.37f, 700.f}) {
                reference().quantize_i16(x.data(), n, factor, expected.data());
                candidate.table.quantize_i16(x.data(), n, factor, out.data());
                CHECK_AT(same_bits(out.data(), expected.data(), n), at(candidate.name, n));
            }
        }
    }
}

TEST(encode_grids_are_exact) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : kLengths) {
            for (const bool extreme : {false, true}) {
                Guarded<std::int16_t> a(d);
                Guarded<float> x(d), center(d);
                Guarded<std::uint16_t> scales(4);
                fill_words(a, extreme);
                fill(x, [] { return random_float(); });
                fill(center, [] { return random_float(); });
                fill(scales, [] { return static_cast<std::uint16_t>(random_int(0, 65535)); });
                scales[3] = 65535;
                for (const int top : {1, 7, 127}) {
                    for (const int shift : {0, 5, 8}) {
                        Guarded<std::int64_t> dots(4), norms(4), expected_dots(4), expected_norms(4);
                        reference().grid_scores(a.data(), d, scales.data(), shift, top, expected_dots.data(), expected_norms.data());
                        candidate.table.grid_scores(a.data(), d, scales.data(), shift, top, dots.data(), norms.data());
                        CHECK_AT(same_bits(dots.data(), expected_dots.data(), 4), at(candidate.name, d));
                        CHECK_AT(same_bits(norms.data(), expected_norms.data(), 4), at(candidate.name, d));
                        Guarded<std::uint8_t> codes(d), expected_codes(d);
                        Guarded<float> sums(2), expected(2);
                        reference().grid_codes(x.data(), center.data(), a.data(), d, scales[0], shift, top, expected_codes.data(), expected.data());
                        candidate.table.grid_codes(x.data(), center.data(), a.data(), d, scales[0], shift, top, codes.data(), sums.data());
                        CHECK_AT(same_bits(codes.data(), expected_codes.data(), d), at(candidate.name, d));
                        CHECK_AT(same_bits(sums.data(), expected.data(), 2), at(candidate.name, d));
                    }
                }
            }
        }
    }
}

TEST(encode_rotation_rounds_add_in_one_order) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : {16, 32, 48, 64, 112, 128, 256, 384, 768, 1024, 1536, 2048, 4096}) {
            std::size_t span = 16;
            while (2 * span <= d) span *= 2;
            for (const std::size_t offset : {std::size_t{0}, d - span}) {
                Guarded<float> expected(d), x(d);
                Guarded<std::uint32_t> flips(d);
                fill(flips, [] { return static_cast<std::uint32_t>(random_int(0, 1)) << 31; });
                fill(x, [] { return random_float(); });
                std::copy(x.begin(), x.end(), expected.begin());
                const float scale = 1.f / std::sqrt(static_cast<float>(span));
                reference().rotate_round(expected.data(), d, offset, span, flips.data(), scale);
                candidate.table.rotate_round(x.data(), d, offset, span, flips.data(), scale);
                CHECK_AT(same_bits(x.data(), expected.data(), d), at(candidate.name, d, offset));
            }
        }
    }
}

TEST(encode_levels_are_scored_and_chosen_alike) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : kLengths) {
            for (const std::size_t count : {2, 4, 8, 16, 32, 256}) {
                Guarded<float> x(d), thresholds(count - 1);
                Guarded<std::uint8_t> codes(d), expected_codes(d);
                fill(x, [] { return random_float(); });
                x[7] = std::numeric_limits<float>::quiet_NaN();
                fill(thresholds, [] { return random_float(); });
                std::sort(thresholds.begin(), thresholds.end());
                reference().level_codes(x.data(), d, 1.1f, thresholds.data(), static_cast<int>(count), expected_codes.data());
                candidate.table.level_codes(x.data(), d, 1.1f, thresholds.data(), static_cast<int>(count), codes.data());
                CHECK_AT(same_bits(codes.data(), expected_codes.data(), d), at(candidate.name, d, count));
                if (count > 16) continue;
                for (const bool extreme : {false, true}) {
                    Guarded<std::int16_t> values(d), limits(count - 1), levels(count);
                    fill_words(values, extreme);
                    fill_words(limits, false);
                    std::sort(limits.begin(), limits.end());
                    fill(levels, [&] { return static_cast<std::int16_t>(extreme ? -2047 : random_int(-2047, 2047)); });
                    Guarded<std::int64_t> sums(2), expected(2);
                    reference().level_scores(values.data(), d, limits.data(), levels.data(), static_cast<int>(count), expected.data());
                    candidate.table.level_scores(values.data(), d, limits.data(), levels.data(), static_cast<int>(count), sums.data());
                    CHECK_AT(same_bits(sums.data(), expected.data(), 2), at(candidate.name, d, count));
                }
            }
        }
    }
}

TEST(encode_bins_are_scored_alike) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : kLengths) {
            Guarded<float> x(d), weights(d), table(1024), expected(2), got(2);
            fill(x, [] { return 3 * random_float(); });
            x[1] = std::numeric_limits<float>::quiet_NaN();
            fill(weights, [] { return random_float(); });
            fill(table, [] { return random_float(); });
            reference().bin_scores(x.data(), weights.data(), d, 200.f, 512.f, 1023.f, table.data(), expected.data());
            candidate.table.bin_scores(x.data(), weights.data(), d, 200.f, 512.f, 1023.f, table.data(), got.data());
            CHECK_AT(same_bits(got.data(), expected.data(), 2), at(candidate.name, d));
        }
    }
}

// A table for level_dot; a mirrored one is its upper half and that, negated, from its end.
void fill_levels(Guarded<std::uint8_t>& bytes, std::size_t count, bool mirrored) {
    fill(bytes, [] { return std::uint8_t{0}; });
    std::vector<int> levels(count);
    for (std::size_t u = count; u-- > 0;) {
        levels[u] = mirrored && u < count / 2 ? -levels[count - 1 - u] : random_int(mirrored ? 0 : -2048, 2047);
        const int word = levels[u] + 2048;
        std::uint8_t& upper = bytes[count + u / 32 * 16 + u % 16];
        bytes[u] = static_cast<std::uint8_t>(word & 255);
        upper = static_cast<std::uint8_t>(upper | (word >> 8) << (u & 16 ? 4 : 0));
    }
    if (count > 16) bytes[count + count / 2] = mirrored;
}

TEST(encode_codes_are_unpacked_and_looked_up_alike) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t units : {1, 2, 3, 7, 24}) {
            for (const int prefix : {1, 2, 4}) {
                for (int rest = 0; prefix + rest <= 8; ++rest) {
                    Guarded<std::uint8_t> symbols(units * 2 * static_cast<std::size_t>(prefix)), extra(units * 2 * static_cast<std::size_t>(rest));
                    Guarded<std::uint8_t> codes(units * 16), expected(units * 16);
                    fill(symbols, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
                    fill(extra, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
                    reference().unpack_levels(symbols.data(), extra.data(), prefix, rest, units, expected.data());
                    candidate.table.unpack_levels(symbols.data(), extra.data(), prefix, rest, units, codes.data());
                    CHECK_AT(same_bits(codes.data(), expected.data(), units * 16), at(candidate.name, units, static_cast<std::size_t>(prefix * 10 + rest)));

                    const std::size_t count = std::max<std::size_t>(16, std::size_t{1} << (prefix + rest));
                    Guarded<std::int16_t> query(units * 16);
                    fill(query, [] { return static_cast<std::int16_t>(random_int(-1300, 1300)); });
                    for (const bool mirrored : {false, true}) {
                        Guarded<std::uint8_t> levels(count == 16 ? 32 : count + count / 2 + 1);
                        fill_levels(levels, count, mirrored);
                        CHECK_AT(candidate.table.level_dot(codes.data(), levels.data(), count, query.data(), units * 16) ==
                                     reference().level_dot(codes.data(), levels.data(), count, query.data(), units * 16),
                                 at(candidate.name, units, count));
                    }
                    CHECK_AT(candidate.table.level_dot(codes.data(), nullptr, 0, query.data(), units * 16) ==
                                 reference().level_dot(codes.data(), nullptr, 0, query.data(), units * 16),
                             at(candidate.name, units, count));
                }
            }
        }
    }
}
