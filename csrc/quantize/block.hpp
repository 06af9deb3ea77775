// The block of 32: how one-bit codes lie in memory, for every index.
//
//   +-----------------------------+------------+----------------+-----------+
//   | codes: groups x 16 bytes    | add[32]    | rescale[32]    | slot[32]  |
//   +-----------------------------+------------+----------------+-----------+
//     FastScan order                 f32          f32              u32
//
// A group is 4 dims. Byte j of a group's row holds two nibbles: low = vector kLane[j], high = vector kLane[j] + 16, with
// kLane = 0 8 1 9 2 10 ... 7 15, so that even bytes are vectors 0..7 and odd bytes 8..15: two 16-bit additions and one
// shift split the accumulators (Andre et al., "Quicker ADC"; RaBitQ, arXiv 2405.12497, section 3.3.2). Bit i of a nibble
// is the sign bit of dim 4*group + i.
//
// The dims are padded to a multiple of 16, so the code part is a multiple of 64 bytes and every part starts aligned.
// estimate_v = add[v] + B_q + rescale[v] * <code_v, q'>, with `slot` the row of the vector in the per-slot arrays.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/aligned.hpp"

namespace vsearch {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kDimMultiple = 16;

struct BlockLayout {
    std::size_t dim = 0;     // padded, a multiple of kDimMultiple
    std::size_t groups = 0;  // dim / 4
    std::size_t code_bytes = 0;
    std::size_t bytes = 0;  // whole block

    explicit BlockLayout(std::size_t padded_dim)
        : dim(padded_dim), groups(padded_dim / 4), code_bytes(groups * 16), bytes(code_bytes + kBlock * 12) {}

    const std::uint8_t* codes(const std::uint8_t* block) const { return block; }
    const float* add(const std::uint8_t* block) const { return reinterpret_cast<const float*>(block + code_bytes); }
    const float* rescale(const std::uint8_t* block) const { return add(block) + kBlock; }
    const std::uint32_t* slot(const std::uint8_t* block) const { return reinterpret_cast<const std::uint32_t*>(add(block) + 2 * kBlock); }

    float* add(std::uint8_t* block) const { return reinterpret_cast<float*>(block + code_bytes); }
    float* rescale(std::uint8_t* block) const { return add(block) + kBlock; }
    std::uint32_t* slot(std::uint8_t* block) const { return reinterpret_cast<std::uint32_t*>(add(block) + 2 * kBlock); }
};

// Byte of a group's row that holds vector v, and the shift of its nibble.
inline std::size_t lane_byte(std::size_t v) {
    const std::size_t low = v & 15;
    return low < 8 ? 2 * low : 2 * (low - 8) + 1;
}
inline unsigned lane_shift(std::size_t v) { return v < 16 ? 0u : 4u; }

// Writes the sign bits of one vector (row-major, bit j of byte j/8) into lane v of a block's code part.
inline void write_lane(std::uint8_t* codes, std::size_t groups, std::size_t v, const std::uint8_t* signs) {
    const std::size_t byte = lane_byte(v);
    const unsigned shift = lane_shift(v);
    for (std::size_t g = 0; g < groups; ++g) {
        const unsigned nibble = (signs[g / 2] >> (g % 2 * 4)) & 15u;
        std::uint8_t& target = codes[g * 16 + byte];
        target = static_cast<std::uint8_t>((target & ~(15u << shift)) | (nibble << shift));
    }
}

inline void read_lane(const std::uint8_t* codes, std::size_t groups, std::size_t v, std::uint8_t* signs) {
    const std::size_t byte = lane_byte(v);
    const unsigned shift = lane_shift(v);
    for (std::size_t g = 0; g < groups; ++g) {
        const unsigned nibble = (codes[g * 16 + byte] >> shift) & 15u;
        if (g % 2 == 0)
            signs[g / 2] = static_cast<std::uint8_t>(nibble);
        else
            signs[g / 2] = static_cast<std::uint8_t>(signs[g / 2] | (nibble << 4));
    }
}

}  // namespace vsearch
