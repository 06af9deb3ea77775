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

#include "kernels/table.hpp"

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

// Bytes are moved eight at a time; `mask` keeps bits of a byte's neighbours out.
inline std::uint64_t load8(const std::uint8_t* bytes) {
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof(word));
    return word;
}
inline void store8(std::uint8_t* bytes, std::uint64_t word) { std::memcpy(bytes, &word, sizeof(word)); }
inline std::uint64_t byte_mask(int width) { return 0x0101010101010101ull * ((1u << width) - 1u); }

// The lowest bit of each of eight bytes, byte 0 first, and back.
inline std::uint8_t gather_bits(std::uint64_t word) {
    return static_cast<std::uint8_t>(((word & byte_mask(1)) * 0x0102040810204080ull) >> 56);
}
inline std::uint64_t spread_bits(std::uint8_t bits) {
    const std::uint64_t chosen = (bits * byte_mask(1)) & 0x8040201008040201ull;  // byte i has bit i or nothing
    return (chosen + byte_mask(7)) >> 7 & byte_mask(1);
}

// Packs `dim` values (each < 2^bits); dims beyond `dim` in the last chunk become 0.
inline void pack_planes(const std::uint8_t* values, std::size_t dim, int bits, std::uint8_t* code) {
    const std::size_t whole = dim / kChunk;
    kernels().pack_planes(bits, values, whole, code);
    if (dim % kChunk == 0) return;
    std::uint8_t last[kChunk] = {};
    std::memcpy(last, values + whole * kChunk, dim % kChunk);
    kernels().pack_planes(bits, last, 1, code + whole * 8 * static_cast<std::size_t>(bits));
}

inline void unpack_planes(const std::uint8_t* code, std::size_t dim, int bits, std::uint8_t* values) {
    std::uint8_t all[kChunk];
    for (std::size_t begin = 0; begin < dim; begin += kChunk, code += 8 * bits) {
        std::memset(all, 0, sizeof(all));
        for_each_plane(bits, [&](int width, int shift, std::size_t offset) {
            const std::size_t stride = static_cast<std::size_t>(8 * width);
            for (std::size_t r = 0; r < kChunk; r += 8) {
                const std::uint64_t part = width == 1 ? spread_bits(code[offset + r / 8])
                                                      : load8(code + offset + r % stride) >> (r / stride * static_cast<std::size_t>(width)) & byte_mask(width);
                store8(all + r, load8(all + r) | part << shift);
            }
        });
        std::memcpy(values + begin, all, dim - begin < kChunk ? dim - begin : kChunk);
    }
}

}  // namespace vsearch
