// All 65536 halves, and every place where rounding changes its mind (base/half.hpp).
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "base/half.hpp"
#include "check.hpp"

using vsearch::to_half;

namespace {

// What a finite half stands for, by its definition.
float value_of(std::uint16_t half) {
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24) : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    return half & 0x8000u ? -magnitude : magnitude;
}

std::string shown(std::uint32_t half) { return "half " + std::to_string(half); }

}  // namespace

TEST(half_of_every_half_is_itself) {
    for (std::uint32_t half = 0; half < 65536; ++half) {
        if ((half >> 10 & 31) == 31) continue;
        CHECK_AT(to_half(value_of(static_cast<std::uint16_t>(half))) == half, shown(half));
    }
}

// Between each half and the next: the middle goes to the even one, a float to either side of it to the nearer one.
TEST(half_rounds_to_nearest_and_ties_to_even) {
    for (std::uint32_t half = 0; half < 0x7bffu; ++half) {
        const float low = value_of(static_cast<std::uint16_t>(half)), high = value_of(static_cast<std::uint16_t>(half + 1));
        const float middle = low + (high - low) / 2;
        const std::uint32_t even = half % 2 == 0 ? half : half + 1;
        for (const std::uint32_t sign : {0u, 0x8000u}) {
            const float side = sign ? -1.0f : 1.0f;
            CHECK_AT(to_half(side * middle) == (sign | even), shown(half));
            CHECK_AT(to_half(side * std::nextafter(middle, 0.0f)) == (sign | half), shown(half));
            CHECK_AT(to_half(side * std::nextafter(middle, high)) == (sign | (half + 1)), shown(half));
            CHECK_AT(to_half(side * std::nextafter(low, high)) == (sign | half), shown(half));
            CHECK_AT(to_half(side * std::nextafter(high, low)) == (sign | (half + 1)), shown(half));
        }
    }
}

TEST(half_ends_at_the_largest_and_keeps_nan) {
    const float endless = std::numeric_limits<float>::infinity();
    for (const float large : {65504.0f, 65519.99f, 65520.0f, 65536.0f, 1e30f, std::numeric_limits<float>::max(), endless}) {
        CHECK_AT(to_half(large) == 0x7bffu, std::to_string(large));
        CHECK_AT(to_half(-large) == 0xfbffu, std::to_string(large));
    }
    for (const float none : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
        const std::uint16_t half = to_half(none);
        CHECK((half >> 10 & 31) == 31 && (half & 1023) != 0);
    }
    CHECK(to_half(0.0f) == 0 && to_half(-0.0f) == 0x8000u);
    CHECK(to_half(std::numeric_limits<float>::denorm_min()) == 0 && to_half(-std::numeric_limits<float>::min()) == 0x8000u);
}
