// Packed codes of 1..8 bits per dim, laid out so that a shift and a mask give consecutive dims.
//
// A code is a row of chunks of 64 dims, 8*bits bytes each. A width is a sum of planes, low-order bits first:
//
//   bits   1    2    3     4    5     6     7       8
//   planes 1    2    2+1   4    4+1   4+2   4+2+1   4+4
//
//   4-bit plane, 32 bytes: byte i = dim i | dim i+32 << 4
//   2-bit plane, 16 bytes: byte i = dim i | dim i+16 << 2 | dim i+32 << 4 | dim i+48 << 6
//   1-bit plane,  8 bytes: bit j of byte i = dim 8i+j
//
// Values of one plane are at most 15, so `vpmaddubsw` with int8 queries never saturates (2 * 15 * 127 < 32768).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vsearch {

constexpr std::size_t kChunk = 64;

inline std::size_t plane_chunks(std::size_t dim) { return (dim + kChunk - 1) / kChunk; }
inline std::size_t plane_bytes(std::size_t dim, int bits) { return plane_chunks(dim) * 8 * static_cast<std::size_t>(bits); }

// Calls visit(width, shift, offset) for each plane of a chunk: `width` bits that weigh 2^shift, `offset` bytes into the chunk.
template <class Visit>
inline void for_each_plane(int bits, Visit visit) {
    int shift = 0;
    std::size_t offset = 0;
    while (shift < bits) {
        const int left = bits - shift;
        const int width = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        visit(width, shift, offset);
        shift += width;
        offset += static_cast<std::size_t>(8 * width);
    }
}

// Packs `dim` values (each < 2^bits); dims beyond `dim` in the last chunk become 0.
inline void pack_planes(const std::uint8_t* values, std::size_t dim, int bits, std::uint8_t* code) {
    std::memset(code, 0, plane_bytes(dim, bits));
    for (std::size_t j = 0; j < dim; ++j) {
        std::uint8_t* chunk = code + j / kChunk * 8 * static_cast<std::size_t>(bits);
        const std::size_t r = j % kChunk;
        for_each_plane(bits, [&](int width, int shift, std::size_t offset) {
            const std::size_t stride = static_cast<std::size_t>(8 * width);  // bytes of the plane = distance between the dims of a byte
            const unsigned part = (values[j] >> shift) & ((1u << width) - 1u);
            const std::size_t byte = width == 1 ? r / 8 : r % stride;
            const unsigned at = width == 1 ? static_cast<unsigned>(r % 8) : static_cast<unsigned>(r / stride) * static_cast<unsigned>(width);
            chunk[offset + byte] = static_cast<std::uint8_t>(chunk[offset + byte] | (part << at));
        });
    }
}

inline void unpack_planes(const std::uint8_t* code, std::size_t dim, int bits, std::uint8_t* values) {
    for (std::size_t j = 0; j < dim; ++j) {
        const std::uint8_t* chunk = code + j / kChunk * 8 * static_cast<std::size_t>(bits);
        const std::size_t r = j % kChunk;
        unsigned value = 0;
        for_each_plane(bits, [&](int width, int shift, std::size_t offset) {
            const std::size_t stride = static_cast<std::size_t>(8 * width);
            const std::size_t byte = width == 1 ? r / 8 : r % stride;
            const unsigned at = width == 1 ? static_cast<unsigned>(r % 8) : static_cast<unsigned>(r / stride) * static_cast<unsigned>(width);
            value |= ((chunk[offset + byte] >> at) & ((1u << width) - 1u)) << shift;
        });
        values[j] = static_cast<std::uint8_t>(value);
    }
}

}  // namespace vsearch
