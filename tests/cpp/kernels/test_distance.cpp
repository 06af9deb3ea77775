// Distance kernels: exact where integer, within the rounding bound of a sum where float, nothing read beyond a row.
#include <cmath>
#include <limits>

#include "check.hpp"
#include "guarded.hpp"
#include "kernels/tables.hpp"

using namespace vsearch;
using namespace vsearch::test;

namespace {

constexpr std::size_t kCounts[] = {0, 1, 3, 4, 5, 11, 33};

double value_of(float x) { return x; }
double value_of_half(std::uint16_t x) {
    const int exponent = x >> 10 & 31, mantissa = x & 1023;
    const double size = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    return x >> 15 ? -size : size;
}
double value_of_bf16(std::uint16_t x) {
    const std::uint32_t bits = static_cast<std::uint32_t>(x) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

float make_float() { return random_float(); }
std::uint16_t make_half() { return static_cast<std::uint16_t>(random_int(0, 1) << 15 | random_int(0, 17) << 10 | random_int(0, 1023)); }
std::uint16_t make_bf16() { return static_cast<std::uint16_t>(random_int(0, 1) << 15 | random_int(120, 128) << 7 | random_int(0, 127)); }

// Rows with a gap between them, the last one against the fence, reached in order or by slots.
template <class T>
struct Rows {
    std::size_t n, d, stride;
    Guarded<T> data;
    std::vector<std::uint32_t> slots;

    template <class Make>
    Rows(std::size_t n, std::size_t d, Make make)
        : n(n), d(d), stride((d + 3) * sizeof(T)), data(n == 0 ? 0 : (n - 1) * (d + 3) + d), slots(n) {
        fill(data, make);
        for (std::uint32_t& slot : slots) slot = static_cast<std::uint32_t>(random_int(0, static_cast<int>(n) - 1));
    }
    const T* row(std::size_t i) const { return data.data() + i * (d + 3); }
};

template <class T>
void check_rows(RowsKernel KernelTable::*kernel, bool is_l2, T (*make)(), double (*value)(T)) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : kDims) {
            for (const std::size_t n : kCounts) {
                const Rows<T> rows(n, d, make);
                Guarded<float> query(d), out(n);
                fill(query, [] { return random_float(); });
                for (const bool by_slot : {false, true}) {
                    const std::uint32_t* slots = by_slot ? rows.slots.data() : nullptr;
                    (candidate.table.*kernel)(query.data(), rows.data.data(), rows.stride, slots, n, d, out.data());
                    for (std::size_t i = 0; i < n; ++i) {
                        const T* row = rows.row(by_slot ? rows.slots[i] : i);
                        double sum = 0, magnitude = 1e-30;
                        for (std::size_t j = 0; j < d; ++j) {
                            const double q = query[j], x = value(row[j]), term = is_l2 ? (q - x) * (q - x) : q * x;
                            sum += term;
                            magnitude += std::abs(term);
                        }
                        const double bound = (static_cast<double>(d) + 3) * 0x1p-24 * magnitude;
                        CHECK_AT(std::abs(out[i] - sum) <= bound, at(candidate.name, d, i));
                        float alone = 0;
                        (candidate.table.*kernel)(query.data(), row, rows.stride, nullptr, 1, d, &alone);
                        CHECK_AT(same_bits(&alone, &out[i], 1), at(candidate.name, d, i));
                    }
                }
            }
        }
    }
}

}  // namespace

TEST(distance_l2_f32) { check_rows<float>(&KernelTable::l2_f32, true, make_float, value_of); }
TEST(distance_dot_f32) { check_rows<float>(&KernelTable::dot_f32, false, make_float, value_of); }
TEST(distance_l2_f16) { check_rows<std::uint16_t>(&KernelTable::l2_f16, true, make_half, value_of_half); }
TEST(distance_dot_f16) { check_rows<std::uint16_t>(&KernelTable::dot_f16, false, make_half, value_of_half); }
TEST(distance_l2_bf16) { check_rows<std::uint16_t>(&KernelTable::l2_bf16, true, make_bf16, value_of_bf16); }
TEST(distance_dot_bf16) { check_rows<std::uint16_t>(&KernelTable::dot_bf16, false, make_bf16, value_of_bf16); }

TEST(distance_dot_i8_is_exact) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : kDims) {
            // The largest query that the caller may send: |q| * 128 * d < 2^31.
            const int most = static_cast<int>(std::min<std::size_t>(32767, 16777215 / d));
            for (const std::size_t n : kCounts) {
                for (const bool extreme : {false, true}) {
                    const Rows<std::int8_t> rows(n, d, [&] { return static_cast<std::int8_t>(extreme ? -128 : random_int(-128, 127)); });
                    Guarded<std::int16_t> query(d);
                    Guarded<std::int32_t> expected(n), out(n);
                    fill(query, [&] { return static_cast<std::int16_t>(extreme ? most : random_int(-most, most)); });
                    for (const std::uint32_t* slots : {static_cast<const std::uint32_t*>(nullptr), rows.slots.data()}) {
                        reference().dot_i8(query.data(), rows.data.data(), rows.stride, slots, n, d, expected.data());
                        candidate.table.dot_i8(query.data(), rows.data.data(), rows.stride, slots, n, d, out.data());
                        CHECK_AT(same_bits(out.data(), expected.data(), n), at(candidate.name, d, n));
                        CHECK_AT(!extreme || n == 0 || out[0] == -128 * most * static_cast<int>(d), at(candidate.name, d, n));
                    }
                }
            }
        }
    }
}

TEST(distance_dot_u4_is_exact) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : {64, 128, 192, 384, 1536}) {
            for (const std::size_t n : kCounts) {
                for (const bool extreme : {false, true}) {
                    const Rows<std::uint8_t> rows(n, d / 2, [&] { return static_cast<std::uint8_t>(extreme ? 255 : random_int(0, 255)); });
                    Guarded<std::int8_t> query(d);
                    Guarded<std::int32_t> expected(n), out(n);
                    fill(query, [&] { return static_cast<std::int8_t>(extreme ? -127 : random_int(-127, 127)); });
                    for (const std::uint32_t* slots : {static_cast<const std::uint32_t*>(nullptr), rows.slots.data()}) {
                        reference().dot_u4(query.data(), rows.data.data(), rows.stride, slots, n, d, expected.data());
                        candidate.table.dot_u4(query.data(), rows.data.data(), rows.stride, slots, n, d, out.data());
                        CHECK_AT(same_bits(out.data(), expected.data(), n), at(candidate.name, d, n));
                        CHECK_AT(!extreme || n == 0 || out[0] == -127 * 15 * static_cast<int>(d), at(candidate.name, d, n));
                    }
                }
            }
        }
    }
}

TEST(distance_dot_u7_is_exact) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : {32, 64, 96, 128, 160, 384, 1536}) {
            for (const std::size_t n : kCounts) {
                for (const bool extreme : {false, true}) {
                    const Rows<std::uint8_t> rows(n, d, [&] { return static_cast<std::uint8_t>(extreme ? 127 : random_int(0, 127)); });
                    Guarded<std::int8_t> query(d);
                    Guarded<std::int32_t> expected(n), out(n);
                    fill(query, [&] { return static_cast<std::int8_t>(extreme ? -127 : random_int(-127, 127)); });
                    reference().dot_u7(query.data(), rows.data.data(), rows.stride, n, d, expected.data());
                    candidate.table.dot_u7(query.data(), rows.data.data(), rows.stride, n, d, out.data());
                    CHECK_AT(same_bits(out.data(), expected.data(), n), at(candidate.name, d, n));
                    CHECK_AT(!extreme || n == 0 || out[0] == -127 * 127 * static_cast<int>(d), at(candidate.name, d, n));
                }
            }
        }
    }
}

TEST(distance_select_below) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const Candidate& candidate : candidates()) {
        for (std::size_t n = 0; n <= 70; ++n) {
            Guarded<float> values(n);
            Guarded<std::uint32_t> out(n);
            fill(values, [] { return static_cast<float>(random_int(-3, 3)); });
            if (n > 9) values[9] = std::numeric_limits<float>::quiet_NaN();
            if (n > 20) values[20] = kInfinity;
            for (const float bound : {-kInfinity, -3.f, 0.f, 2.f, kInfinity}) {
                std::vector<std::uint32_t> expected;
                for (std::size_t i = 0; i < n; ++i)
                    if (values[i] < bound) expected.push_back(static_cast<std::uint32_t>(i));
                const std::size_t found = candidate.table.select_below(values.data(), n, bound, out.data());
                CHECK_AT(found == expected.size() && same_bits(out.data(), expected.data(), found), at(candidate.name, n, found));
            }
        }
    }
}

TEST(distance_widen_every_value) {
    Guarded<std::uint16_t> halves(65536);
    Guarded<std::int8_t> bytes(256);
    for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::int8_t>(static_cast<int>(i) - 128);
    Guarded<float> expected(65536), out(65536);
    const auto check = [&](const Candidate& candidate, WidenKernel KernelTable::*kernel, const void* values, std::size_t n, float scale) {
        (reference().*kernel)(values, n, scale, expected.data());
        (candidate.table.*kernel)(values, n, scale, out.data());
        for (std::size_t i = 0; i < n; ++i) {  // a NaN's payload is nobody's business
            const bool both_nan = std::isnan(expected[i]) && std::isnan(out[i]);
            CHECK_AT(both_nan || same_bits(&out[i], &expected[i], 1), at(candidate.name, n, i));
        }
    };
    for (const Candidate& candidate : candidates()) {
        check(candidate, &KernelTable::widen_f16, halves.data(), 65536, 1.f);
        check(candidate, &KernelTable::widen_bf16, halves.data(), 65536, 1.f);
        check(candidate, &KernelTable::widen_i8, bytes.data(), 256, 0.37f);
        for (std::size_t n = 0; n < 40; ++n) {  // tails end at the fence
            check(candidate, &KernelTable::widen_f16, halves.end() - n, n, 1.f);
            check(candidate, &KernelTable::widen_bf16, halves.end() - n, n, 1.f);
            check(candidate, &KernelTable::widen_i8, bytes.end() - n, n, 2.f);
        }
    }
}

TEST(distance_tile_finds_what_passes_the_bounds) {
    for (const Candidate& candidate : candidates()) {
        for (const std::size_t d : {1, 2, 3, 4, 7, 17, 96, 128, 200}) {
            for (const std::size_t n : {0, 1, 4, 5, 6, 11, 12, 13, 25}) {
                Guarded<float> panel(16 * d), rows(n * d), bias(n), bounds(16);
                Guarded<std::uint32_t> hits(16 * n);
                fill(panel, [] { return random_float(); });
                fill(rows, [] { return random_float(); });
                fill(bias, [] { return random_float(); });
                fill(bounds, [] { return random_float(); });
                if (n > 2) rows[2 * d] = std::numeric_limits<float>::quiet_NaN();
                const std::size_t found = candidate.table.tile_f32(panel.data(), rows.data(), n, d, bias.data(), bounds.data(), hits.data());
                std::size_t next = 0;
                for (std::uint32_t pair = 0; pair < 16 * n; ++pair) {
                    const std::size_t i = pair >> 4, q = pair & 15;
                    double sum = bias[i], magnitude = std::abs(bias[i]);
                    for (std::size_t j = 0; j < d; ++j) {
                        const double term = static_cast<double>(panel[16 * j + q]) * rows[i * d + j];
                        sum += term;
                        magnitude += std::abs(term);
                    }
                    const bool hit = next < found && hits[next] == pair;
                    next += hit ? 1 : 0;
                    const bool too_near_to_say = std::abs(sum - bounds[q]) <= (static_cast<double>(d) + 3) * 0x1p-24 * magnitude;
                    CHECK_AT(too_near_to_say || hit == !(sum < bounds[q]), at(candidate.name, d, pair));
                }
                CHECK_AT(next == found, at(candidate.name, d, n));  // each once, in order
            }
        }
    }
}
