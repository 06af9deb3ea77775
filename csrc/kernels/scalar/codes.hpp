// Code kernels, scalar: the reference for every other unit. Layouts: quantize/block.hpp, quantize/planes.hpp.
//
// Kernels include nothing from quantize/, so the two layouts are restated here in the loops that walk them.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/ops/hadamard.hpp"
#include "kernels/scalar/distance.hpp"
#include "kernels/table.hpp"

namespace vsearch::scalar {
namespace {

void fastscan(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, std::uint16_t* sums) {
    std::uint32_t total[32] = {};
    for (std::size_t g = 0; g < groups; ++g) {
        for (std::size_t j = 0; j < 16; ++j) {
            const std::size_t v = j % 2 == 0 ? j / 2 : 8 + j / 2;
            const std::uint8_t pair = codes[g * 16 + j];
            total[v] += lut[g * 16 + (pair & 15)];
            total[v + 16] += lut[g * 16 + (pair >> 4)];
        }
    }
    for (std::size_t v = 0; v < 32; ++v) sums[v] = static_cast<std::uint16_t>(total[v]);
}

std::uint32_t fastscan_at_least(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, std::uint32_t least, std::uint16_t* sums) {
    fastscan(codes, lut, groups, sums);
    std::uint32_t mask = 0;
    for (std::size_t v = 0; v < 32; ++v) mask |= static_cast<std::uint32_t>(sums[v] >= least) << v;
    return mask;
}

std::uint32_t fastscan_bound(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, const float* add,
                             const float* rescale, float scale, float offset, float threshold, float* bounds) {
    std::uint16_t sums[32];
    fastscan(codes, lut, groups, sums);
    std::uint32_t mask = 0;
    for (std::size_t v = 0; v < 32; ++v) {
        const float dot = scale * static_cast<float>(sums[v]) + offset;
        bounds[v] = add[v] + rescale[v] * dot;
        mask |= static_cast<std::uint32_t>(bounds[v] < threshold) << v;
    }
    return mask;
}

std::uint32_t fastscan_halves(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, const std::uint16_t* factors, float add_scale,
                              float scale, float offset, float threshold, float* bounds, Ahead) {
    std::uint16_t sums[32];
    fastscan(codes, lut, groups, sums);
    std::uint32_t mask = 0;
    for (std::size_t v = 0; v < 32; ++v) {
        const float dot = scale * static_cast<float>(sums[v]) + offset;
        bounds[v] = add_scale * half_to_float(factors[v]) + half_to_float(factors[v + 32]) * dot;
        mask |= static_cast<std::uint32_t>(bounds[v] < threshold) << v;
    }
    return mask;
}

std::int32_t dot_plane(int width, const std::uint8_t* plane, const std::int8_t* query) {
    std::int32_t sum = 0;
    for (std::size_t r = 0; r < 64; ++r) {
        const std::size_t stride = static_cast<std::size_t>(8 * width);
        const unsigned byte = width == 1 ? plane[r / 8] : plane[r % stride];
        const unsigned at = width == 1 ? static_cast<unsigned>(r % 8) : static_cast<unsigned>(r / stride) * static_cast<unsigned>(width);
        sum += static_cast<std::int32_t>((byte >> at) & ((1u << width) - 1u)) * query[r];
    }
    return sum;
}

std::int32_t dot_code(int bits, const std::uint8_t* code, const std::int8_t* query, std::size_t chunks) {
    std::int32_t sum = 0;
    for (std::size_t c = 0; c < chunks; ++c, query += 64) {
        for (int shift = 0; shift < bits;) {
            const int width = bits - shift >= 4 ? 4 : bits - shift >= 2 ? 2 : 1;
            sum += dot_plane(width, code, query) * (1 << shift);
            code += 8 * width;
            shift += width;
        }
    }
    return sum;
}

void dot_planes(int bits, const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t n, std::size_t chunks, std::int32_t* out) {
    for (std::size_t i = 0; i < n; ++i, codes += stride) out[i] = dot_code(bits, codes, query, chunks);
}

// Eight values at a time, a byte each.
std::uint64_t eight_values(const std::uint8_t* values, int shift, int width) {
    std::uint64_t word;
    std::memcpy(&word, values, sizeof(word));
    return word >> shift & 0x0101010101010101ull * ((1u << width) - 1u);
}

void pack_plane(int width, const std::uint8_t* values, int shift, std::uint8_t* plane) {
    const std::size_t stride = static_cast<std::size_t>(8 * width);  // bytes of the plane, and between the values of a byte
    for (std::size_t i = 0; i < stride; i += width == 1 ? 1 : 8) {
        if (width == 1) {
            plane[i] = static_cast<std::uint8_t>(eight_values(values + 8 * i, shift, 1) * 0x0102040810204080ull >> 56);
            continue;
        }
        std::uint64_t word = 0;
        for (std::size_t r = 0; r < 64 / stride; ++r) word |= eight_values(values + r * stride + i, shift, width) << (r * static_cast<std::size_t>(width));
        std::memcpy(plane + i, &word, sizeof(word));
    }
}

void pack_planes(int bits, const std::uint8_t* values, std::size_t chunks, std::uint8_t* code) {
    for (std::size_t c = 0; c < chunks; ++c, values += 64) {
        for (int shift = 0; shift < bits;) {
            const int width = bits - shift >= 4 ? 4 : bits - shift >= 2 ? 2 : 1;
            pack_plane(width, values, shift, code);
            code += 8 * width;
            shift += width;
        }
    }
}

std::uint32_t popcount64(std::uint64_t x) {
    x = x - ((x >> 1) & 0x5555555555555555ull);
    x = (x & 0x3333333333333333ull) + ((x >> 2) & 0x3333333333333333ull);
    return static_cast<std::uint32_t>((((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full) * 0x0101010101010101ull) >> 56);
}

void popcount_planes(const std::uint64_t* planes, int bits, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out) {
    for (std::size_t i = 0; i < n; ++i, rows += words) {
        out[i] = 0;
        for (int b = 0; b < bits; ++b) {
            std::uint32_t ones = 0;
            for (std::size_t w = 0; w < words; ++w) ones += popcount64(rows[w] & planes[static_cast<std::size_t>(b) * words + w]);
            out[i] += ones << b;
        }
    }
}

void lane_symbols(const std::uint8_t* codes, std::size_t lane, std::size_t groups, std::uint8_t* symbols) {
    const std::size_t low = lane & 15;
    codes += low < 8 ? 2 * low : 2 * (low - 8) + 1;
    const unsigned shift = lane < 16 ? 0 : 4;
    for (std::size_t g = 0; g < groups; g += 2, codes += 32)
        symbols[g / 2] = static_cast<std::uint8_t>((codes[0] >> shift & 15u) | (codes[16] >> shift & 15u) << 4);
}

std::int32_t dot_bits(const std::uint8_t* bits, const std::int16_t* query, std::size_t d) {
    std::int32_t sum = 0;
    for (std::size_t j = 0; j < d; ++j) sum += (bits[j / 8] >> (j % 8) & 1) * query[j];
    return sum;
}

void hamming(const std::uint64_t* query, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        std::uint32_t sum = 0;
        for (std::size_t w = 0; w < words; ++w) sum += popcount64(query[w] ^ rows[i * words + w]);
        out[i] = sum;
    }
}

void subset_sums(const float* x, std::size_t groups, float* table, float* low, float* widest) {
    float low_sum = 0, range = 0;
    for (std::size_t g = 0; g < groups; ++g, x += 4, table += 16) {
        float negative = 0, positive = 0;
        for (int i = 0; i < 4; ++i) (x[i] < 0 ? negative : positive) += x[i];
        table[0] = 0.0f - negative;  // not -negative, which makes -0 of 0
        for (std::size_t bit = 0; bit < 4; ++bit)
            for (std::size_t m = 0; m < std::size_t{1} << bit; ++m) table[(std::size_t{1} << bit) + m] = table[m] + x[bit];
        low_sum += negative;
        const float span = positive - negative;
        range = range < span ? span : range;
    }
    *low = low_sum;
    *widest = range;
}

void quantize_u8(const float* x, std::size_t n, float factor, float top, std::uint8_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const float scaled = (x[i] > 0 ? x[i] : 0.0f) * factor + 0.5f;
        out[i] = static_cast<std::uint8_t>(scaled < top ? scaled : top);
    }
}

}  // namespace

inline void install_codes(KernelTable& table) {
    table.fastscan = fastscan;
    table.fastscan_bound = fastscan_bound;
    table.fastscan_halves = fastscan_halves;
    table.fastscan_at_least = fastscan_at_least;
    table.dot_planes = dot_planes;
    table.pack_planes = pack_planes;
    table.popcount_planes = popcount_planes;
    table.hamming = hamming;
    table.lane_symbols = lane_symbols;
    table.dot_bits = dot_bits;
    table.fht_f32 = kernel_ops::fht_plain;
    table.subset_sums = subset_sums;
    table.quantize_u8 = quantize_u8;
}

}  // namespace vsearch::scalar
