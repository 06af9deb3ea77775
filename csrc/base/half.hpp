// float to IEEE half precision, rounded to nearest, ties to even; larger magnitudes become the largest half.
#pragma once

#include <cstdint>
#include <cstring>

namespace vsearch {

inline std::uint16_t to_half(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits >= 0x477ff000u) return static_cast<std::uint16_t>(sign | (bits > 0x7f800000u ? 0x7e00u : 0x7bffu));  // NaN stays one
    if (bits < 0x38800000u) {  // subnormal halves are multiples of 2^-24: adding 1/2 as a float leaves them in the last bits
        float magnitude;
        std::memcpy(&magnitude, &bits, sizeof(bits));
        magnitude += 0.5f;
        std::memcpy(&bits, &magnitude, sizeof(bits));
        return static_cast<std::uint16_t>(sign | (bits - 0x3f000000u));
    }
    bits += 0xc8000fffu + (bits >> 13 & 1u);  // exponent from bias 127 to 15, and the rounding
    return static_cast<std::uint16_t>(sign | bits >> 13);
}

}  // namespace vsearch
