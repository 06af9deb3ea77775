// The block of 32: how codes lie in memory, for every index.
//
//   +-----------------------------+------------------------------------+-----------+
//   | codes: symbols x 16 bytes   | factors: columns of 32, f32 or f16 | slot[32]  |
//   +-----------------------------+------------------------------------+-----------+
//     FastScan order                add, rescale, shift (those in use)    u32
//
// A symbol is 4 bits of code with 16 table entries: of 1-bit codes, 4 dims. Byte j of a symbol's row holds it for two vectors: low
// nibble = vector kLane[j], high nibble = vector kLane[j] + 16, with kLane = 0 8 1 9 2 10 ... 7 15, so that even bytes are vectors
// 0..7 and odd bytes 8..15: two 16-bit additions and one shift split the accumulators (Andre et al., "Quicker ADC"; RaBitQ, arXiv
// 2405.12497, section 3.3.2).
//
// Symbols are a multiple of 4, so the code part is a multiple of 64 bytes and every part starts aligned.
// estimate_v = add[v] + B_q + rescale[v] * <code_v, q'> + shift[v] * sum(q'), with `slot` the row of the vector in the per-slot arrays.
// An index of one list keeps the factors of the whole code in f16; others keep those of the symbols in f32, and those of the whole
// code beside the extra bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/aligned.hpp"

namespace vsearch {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kDimMultiple = 16;

struct BlockLayout {
    std::size_t symbols = 0;
    std::size_t code_bytes = 0;
    std::size_t columns = 0;      // of factors
    std::size_t factor_size = 4;  // bytes of one
    std::size_t bytes = 0;        // whole block

    BlockLayout() = default;
    BlockLayout(std::size_t symbol_count, std::size_t factor_columns, std::size_t factor_bytes)
        : symbols(symbol_count), code_bytes(symbol_count * 16), columns(factor_columns), factor_size(factor_bytes),
          bytes(code_bytes + kBlock * (factor_columns * factor_bytes + sizeof(std::uint32_t))) {}

    std::size_t factors_offset() const { return code_bytes; }
    std::size_t slot_offset() const { return code_bytes + kBlock * columns * factor_size; }

    const std::uint8_t* codes(const std::uint8_t* block) const { return block; }
    const std::uint8_t* column(const std::uint8_t* block, std::size_t i) const { return block + code_bytes + i * kBlock * factor_size; }
    const float* floats(const std::uint8_t* block, std::size_t i) const { return reinterpret_cast<const float*>(column(block, i)); }
    const std::uint32_t* slot(const std::uint8_t* block) const { return reinterpret_cast<const std::uint32_t*>(block + slot_offset()); }
    std::uint32_t* slot(std::uint8_t* block) const { return reinterpret_cast<std::uint32_t*>(block + slot_offset()); }
};

// Byte of a symbol's row that holds vector v, and the shift of its nibble.
inline std::size_t lane_byte(std::size_t v) {
    const std::size_t low = v & 15;
    return low < 8 ? 2 * low : 2 * (low - 8) + 1;
}
inline unsigned lane_shift(std::size_t v) { return v < 16 ? 0u : 4u; }

// Writes the symbols of one vector (two a byte, the lower nibble first) into lane v of a block's code part.
inline void write_lane(std::uint8_t* codes, std::size_t symbols, std::size_t v, const std::uint8_t* row) {
    const std::size_t byte = lane_byte(v);
    const unsigned shift = lane_shift(v);
    for (std::size_t g = 0; g < symbols; ++g) {
        const unsigned nibble = (row[g / 2] >> (g % 2 * 4)) & 15u;
        std::uint8_t& target = codes[g * 16 + byte];
        target = static_cast<std::uint8_t>((target & ~(15u << shift)) | (nibble << shift));
    }
}

inline void read_lane(const std::uint8_t* codes, std::size_t symbols, std::size_t v, std::uint8_t* row) {
    const std::size_t byte = lane_byte(v);
    const unsigned shift = lane_shift(v);
    for (std::size_t g = 0; g < symbols; ++g) {
        const unsigned nibble = (codes[g * 16 + byte] >> shift) & 15u;
        if (g % 2 == 0)
            row[g / 2] = static_cast<std::uint8_t>(nibble);
        else
            row[g / 2] = static_cast<std::uint8_t>(row[g / 2] | (nibble << 4));
    }
}

}  // namespace vsearch
