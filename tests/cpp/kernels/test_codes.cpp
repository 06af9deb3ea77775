// Code kernels: every level gives the bits of the scalar unit, and reads nothing beyond its arrays.
#include <algorithm>
#include <limits>

#include "check.hpp"
#include "guarded.hpp"
#include "kernels/tables.hpp"

using namespace vsearch;
using namespace vsearch::test;

namespace {

constexpr std::size_t kGroups[] = {4, 8, 12, 28, 96, 192, 384};

struct Block {
    Guarded<std::uint8_t> codes, lut;
    Guarded<float> add{32}, rescale{32};

    // As large as the kernels allow when `extreme`.
    Block(std::size_t groups, bool extreme) : codes(groups * 16), lut(groups * 16) {
        const int most = static_cast<int>(std::min<std::size_t>(63, 65535 / groups));
        fill(codes, [&] { return static_cast<std::uint8_t>(random_int(0, 255)); });
        fill(lut, [&] { return static_cast<std::uint8_t>(extreme ? most : random_int(0, most)); });
        fill(add, [] { return random_float(); });
        fill(rescale, [] { return random_float(); });
    }
};

int weight_of_bits(int bits) { return (1 << bits) - 1; }

}  // namespace

TEST(codes_fastscan_sums) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t groups : kGroups) {
            for (const bool extreme : {false, true}) {
                const Block block(groups, extreme);
                Guarded<std::uint16_t> expected(32), sums(32);
                reference().fastscan(block.codes.data(), block.lut.data(), groups, expected.data());
                candidate.table.fastscan(block.codes.data(), block.lut.data(), groups, sums.data());
                CHECK_AT(same_bits(sums.data(), expected.data(), 32), at(candidate.name, groups));
            }
        }
    }
}

TEST(codes_fastscan_bound_equals_scan_then_bound) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t groups : kGroups) {
            const Block block(groups, false);
            Guarded<float> expected(32), bounds(32);
            for (const float threshold : {0.f, 1.f, -1e30f, std::numeric_limits<float>::infinity()}) {
                const std::uint32_t wanted = reference().fastscan_bound(block.codes.data(), block.lut.data(), groups, block.add.data(),
                                                                        block.rescale.data(), 0.01f, -3.f, threshold, expected.data());
                const std::uint32_t mask = candidate.table.fastscan_bound(block.codes.data(), block.lut.data(), groups, block.add.data(),
                                                                          block.rescale.data(), 0.01f, -3.f, threshold, bounds.data());
                CHECK_AT(mask == wanted, at(candidate.name, groups));
                CHECK_AT(same_bits(bounds.data(), expected.data(), 32), at(candidate.name, groups));
            }
        }
    }
}

TEST(codes_fastscan_halves_equals_scan_then_bound) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t groups : kGroups) {
            const Block block(groups, false);
            Guarded<std::uint16_t> factors(64);
            fill(factors, [] { return static_cast<std::uint16_t>(random_int(0, 0xffff) & 0xbfff); });  // neither infinite nor NaN
            Guarded<float> expected(32), bounds(32), widened(32);
            const Ahead ahead{block.codes.data(), block.codes.data() + block.codes.size()};  // what is fetched changes nothing
            reference().widen_f16(factors.data(), 32, 0.25f, widened.data());
            for (const float threshold : {0.f, 1.f, -1e30f, std::numeric_limits<float>::infinity()}) {
                const std::uint32_t wanted = reference().fastscan_halves(block.codes.data(), block.lut.data(), groups, factors.data(), 0.25f, 0.f, 0.f,
                                                                         threshold, expected.data(), {});
                for (std::size_t v = 0; v < 32; ++v) {  // <y, q> of 0 leaves the first column
                    CHECK_AT(expected[v] == widened[v], at(candidate.name, groups, v));
                    CHECK_AT((wanted >> v & 1u) == (widened[v] < threshold), at(candidate.name, groups, v));
                }
                for (const float scale : {0.f, 0.01f}) {
                    const std::uint32_t sure = reference().fastscan_halves(block.codes.data(), block.lut.data(), groups, factors.data(), 0.25f, scale,
                                                                           -3.f * scale, threshold, expected.data(), {});
                    const std::uint32_t mask = candidate.table.fastscan_halves(block.codes.data(), block.lut.data(), groups, factors.data(), 0.25f, scale,
                                                                               -3.f * scale, threshold, bounds.data(), ahead);
                    CHECK_AT(mask == sure, at(candidate.name, groups));
                    CHECK_AT(same_bits(bounds.data(), expected.data(), 32), at(candidate.name, groups));
                }
            }
        }
    }
}

TEST(codes_fastscan_halves_reads_subnormals_and_refuses_nan) {
    for (const Candidate& candidate : candidates()) {
        const Block block(4, false);
        Guarded<std::uint16_t> factors(64);
        fill(factors, [] { return std::uint16_t{0}; });
        factors[3] = 0x0001;   // 2^-24, the smallest
        factors[9] = 0x83ff;   // the largest subnormal, negative
        factors[5] = 0x7e00;   // NaN
        factors[31] = 0x7c00;  // infinity
        Guarded<float> bounds(32);
        const std::uint32_t mask = candidate.table.fastscan_halves(block.codes.data(), block.lut.data(), 4, factors.data(), 1.f, 1.f, 0.f, 1e30f, bounds.data(), {});
        CHECK_AT(mask == ~(1u << 5 | 1u << 31), at(candidate.name, mask));
        CHECK_AT(bounds[3] == 1.f / 16777216.f && bounds[9] == -1023.f / 16777216.f, at(candidate.name, 4));
    }
}

TEST(codes_fastscan_at_least_says_which_sums_reach) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t groups : kGroups) {
            for (const bool extreme : {false, true}) {
                Block block(groups, extreme);
                std::uint16_t wanted[32], sums[32];
                reference().fastscan(block.codes.data(), block.lut.data(), groups, wanted);
                for (const std::uint32_t least : {0u, 1u, static_cast<std::uint32_t>(wanted[7]), wanted[20] + 1u, 40000u, 65535u, 65536u}) {
                    const std::uint32_t mask = candidate.table.fastscan_at_least(block.codes.data(), block.lut.data(), groups, least, sums);
                    CHECK_AT(same_bits(sums, wanted, 32), at(candidate.name, groups, least));
                    for (std::size_t v = 0; v < 32; ++v) CHECK_AT((mask >> v & 1u) == (wanted[v] >= least), at(candidate.name, groups, least));
                }
            }
        }
    }
}

TEST(codes_fastscan_bound_treats_nan_as_not_below) {
    for (const Candidate& candidate : candidates()) {
        Block block(4, false);
        block.add[5] = std::numeric_limits<float>::quiet_NaN();
        block.add[31] = std::numeric_limits<float>::infinity();
        Guarded<float> bounds(32);
        const std::uint32_t mask =
            candidate.table.fastscan_bound(block.codes.data(), block.lut.data(), 4, block.add.data(), block.rescale.data(), 0.f, 0.f, 1e30f, bounds.data());
        CHECK_AT(mask == ~(1u << 5 | 1u << 31), at(candidate.name, mask));
    }
}

TEST(codes_dot_planes) {
    for (const Candidate& candidate : candidates()) {
        for (int bits = 1; bits <= 8; ++bits) {
            for (const std::size_t chunks : {1, 2, 3, 4, 6, 17, 24}) {
                const std::size_t bytes = chunks * 8 * static_cast<std::size_t>(bits), n = chunks % 2 == 0 ? 7 : 1, stride = n > 1 ? bytes + 5 : bytes;
                Guarded<std::uint8_t> codes((n - 1) * stride + bytes);
                Guarded<std::int8_t> query(chunks * 64);
                Guarded<std::int32_t> expected(n), out(n);
                fill(codes, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
                fill(query, [] { return static_cast<std::int8_t>(random_int(-127, 127)); });
                reference().dot_planes(bits, query.data(), codes.data(), stride, n, chunks, expected.data());
                candidate.table.dot_planes(bits, query.data(), codes.data(), stride, n, chunks, out.data());
                CHECK_AT(same_bits(out.data(), expected.data(), n), at(candidate.name, static_cast<std::size_t>(bits), chunks));
                for (const int extreme : {-127, 127}) {
                    fill(codes, [] { return static_cast<std::uint8_t>(255); });
                    fill(query, [&] { return static_cast<std::int8_t>(extreme); });
                    candidate.table.dot_planes(bits, query.data(), codes.data(), stride, n, chunks, out.data());
                    for (const std::int32_t dot : out)
                        CHECK_AT(dot == weight_of_bits(bits) * extreme * static_cast<int>(64 * chunks), at(candidate.name, static_cast<std::size_t>(bits), chunks));
                }
            }
        }
    }
}

TEST(codes_lane_symbols) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t groups : {4, 8, 12, 16, 20, 64, 92}) {
            Guarded<std::uint8_t> codes(groups * 16), expected(groups / 2), symbols(groups / 2);
            fill(codes, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
            for (std::size_t lane = 0; lane < 32; ++lane) {
                reference().lane_symbols(codes.data(), lane, groups, expected.data());
                candidate.table.lane_symbols(codes.data(), lane, groups, symbols.data());
                CHECK_AT(same_bits(symbols.data(), expected.data(), groups / 2), at(candidate.name, groups, lane));
            }
        }
    }
}

TEST(codes_dot_bits) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : {16, 32, 48, 64, 80, 384, 400}) {
            Guarded<std::uint8_t> bits(d / 8);
            Guarded<std::int16_t> query(d);
            fill(bits, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
            fill(query, [] { return static_cast<std::int16_t>(random_int(-32768, 32767)); });
            CHECK_AT(candidate.table.dot_bits(bits.data(), query.data(), d) == reference().dot_bits(bits.data(), query.data(), d), at(candidate.name, d));
            fill(bits, [] { return static_cast<std::uint8_t>(255); });
            fill(query, [] { return static_cast<std::int16_t>(-32768); });
            CHECK_AT(candidate.table.dot_bits(bits.data(), query.data(), d) == -32768 * static_cast<int>(d), at(candidate.name, d));
        }
    }
}

TEST(codes_popcounts) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t words : {1, 2, 3, 6, 7, 8, 9, 12, 16, 17, 24, 25, 64}) {
            for (int bits = 1; bits <= 8; ++bits) {
                constexpr std::size_t kRows = 3;
                Guarded<std::uint64_t> codes(kRows * words), planes(words * static_cast<std::size_t>(bits));
                Guarded<std::uint32_t> expected(kRows), out(kRows);
                fill(codes, [] { return std::uint64_t{generator()()} << 32 | generator()(); });
                fill(planes, [] { return std::uint64_t{generator()()} << 32 | generator()(); });
                reference().popcount_planes(planes.data(), bits, codes.data(), words, kRows, expected.data());
                candidate.table.popcount_planes(planes.data(), bits, codes.data(), words, kRows, out.data());
                CHECK_AT(same_bits(out.data(), expected.data(), kRows), at(candidate.name, words, static_cast<std::size_t>(bits)));
                fill(codes, [] { return ~std::uint64_t{0}; });
                fill(planes, [] { return ~std::uint64_t{0}; });
                candidate.table.popcount_planes(planes.data(), bits, codes.data(), words, kRows, out.data());
                CHECK_AT(out[kRows - 1] == 64 * words * static_cast<std::size_t>(weight_of_bits(bits)), at(candidate.name, words, static_cast<std::size_t>(bits)));
            }
            for (const std::size_t n : {0, 1, 5, 33}) {
                Guarded<std::uint64_t> query(words), rows(words * n);
                Guarded<std::uint32_t> expected(n), out(n);
                fill(query, [] { return std::uint64_t{generator()()} << 32 | generator()(); });
                fill(rows, [] { return std::uint64_t{generator()()} << 32 | generator()(); });
                reference().hamming(query.data(), rows.data(), words, n, expected.data());
                candidate.table.hamming(query.data(), rows.data(), words, n, out.data());
                CHECK_AT(same_bits(out.data(), expected.data(), n), at(candidate.name, words, n));
            }
        }
    }
}

TEST(codes_fht_adds_in_one_order) {
    for (const Candidate& candidate : candidates()) {
        for (std::size_t n = 1; n <= 4096; n *= 2) {
            Guarded<float> expected(n), x(n);
            fill(x, [] { return random_float(); });
            x[0] = -0.f;
            std::copy(x.begin(), x.end(), expected.begin());
            reference().fht_f32(expected.data(), n);
            candidate.table.fht_f32(x.data(), n);
            CHECK_AT(same_bits(x.data(), expected.data(), n), at(candidate.name, n));
        }
    }
}

TEST(codes_fht_twice_is_n_times_the_identity) {
    for (const Candidate& candidate : candidates()) {
        for (std::size_t n = 1; n <= 1024; n *= 2) {
            Guarded<float> x(n);
            for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i % 7);
            candidate.table.fht_f32(x.data(), n);
            candidate.table.fht_f32(x.data(), n);
            for (std::size_t i = 0; i < n; ++i) CHECK_AT(x[i] == static_cast<float>(n * (i % 7)), at(candidate.name, n, i));
        }
    }
}

TEST(codes_subset_sums_add_in_one_order) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t groups : kGroups) {
            Guarded<float> x(4 * groups), expected(16 * groups), table(16 * groups);
            fill(x, [] { return random_int(0, 9) == 0 ? 0.f : random_float(); });
            x[1] = -0.f;
            float low[2], widest[2];
            reference().subset_sums(x.data(), groups, expected.data(), &low[0], &widest[0]);
            candidate.table.subset_sums(x.data(), groups, table.data(), &low[1], &widest[1]);
            CHECK_AT(same_bits(table.data(), expected.data(), 16 * groups), at(candidate.name, groups));
            CHECK_AT(same_bits(&low[1], &low[0], 1) && same_bits(&widest[1], &widest[0], 1), at(candidate.name, groups));
        }
    }
}

TEST(codes_quantize_u8) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t n : {16, 32, 48, 1536}) {
            Guarded<float> x(n);
            Guarded<std::uint8_t> expected(n), out(n);
            fill(x, [] { return 2 * random_float(); });
            x[3] = std::numeric_limits<float>::infinity();
            x[5] = std::numeric_limits<float>::quiet_NaN();
            for (const float top : {15.f, 85.f, 255.f}) {
                reference().quantize_u8(x.data(), n, 31.5f, top, expected.data());
                candidate.table.quantize_u8(x.data(), n, 31.5f, top, out.data());
                CHECK_AT(same_bits(out.data(), expected.data(), n), at(candidate.name, n, static_cast<std::size_t>(top)));
            }
        }
    }
}
