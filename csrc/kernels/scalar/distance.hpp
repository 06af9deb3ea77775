// Distance kernels, scalar: what every other unit must equal, exactly for integers and to rounding for floats.
#pragma once

#include <cstring>

#include "kernels/table.hpp"

namespace vsearch::scalar {
namespace {

inline float float_from_bits(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

inline float half_to_float(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    const std::uint32_t exponent = (half >> 10) & 31u, mantissa = half & 1023u;
    if (exponent == 31) return float_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0) return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    const float subnormal = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -subnormal : subnormal;
}

struct F32 {
    using Element = float;
    static float load(float x) { return x; }
};
struct F16 {
    using Element = std::uint16_t;
    static float load(std::uint16_t x) { return half_to_float(x); }
};
struct Bf16 {
    using Element = std::uint16_t;
    static float load(std::uint16_t x) { return float_from_bits(static_cast<std::uint32_t>(x) << 16); }
};
struct I8 {
    using Element = std::int8_t;
    static float load(std::int8_t x) { return static_cast<float>(x); }
};

struct L2 {
    static float term(float q, float x) { return (q - x) * (q - x); }
};
struct Dot {
    static float term(float q, float x) { return q * x; }
};

template <class Element>
inline const Element* row_at(const void* rows, std::size_t stride, const std::uint32_t* slots, std::size_t i) {
    return reinterpret_cast<const Element*>(static_cast<const char*>(rows) + stride * (slots != nullptr ? slots[i] : i));
}

template <class Op, class Format>
void rows_kernel(const float* query, const void* rows, std::size_t stride, const std::uint32_t* slots, std::size_t n,
                 std::size_t d, float* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const auto* row = row_at<typename Format::Element>(rows, stride, slots, i);
        float sum = 0;
        for (std::size_t j = 0; j < d; ++j) sum += Op::term(query[j], Format::load(row[j]));
        out[i] = sum;
    }
}

void dot_i8(const std::int16_t* query, const std::int8_t* rows, std::size_t stride, const std::uint32_t* slots,
            std::size_t n, std::size_t d, std::int32_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const std::int8_t* row = row_at<std::int8_t>(rows, stride, slots, i);
        std::int32_t sum = 0;
        for (std::size_t j = 0; j < d; ++j) sum += query[j] * row[j];
        out[i] = sum;
    }
}

void dot_u7(const std::int8_t* query, const std::uint8_t* rows, std::size_t stride, std::size_t n, std::size_t d, std::int32_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        std::int32_t sum = 0;
        for (std::size_t j = 0; j < d; ++j) sum += query[j] * rows[i * stride + j];
        out[i] = sum;
    }
}

void dot_u4(const std::int8_t* query, const std::uint8_t* rows, std::size_t stride, const std::uint32_t* slots, std::size_t n,
            std::size_t d, std::int32_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* row = row_at<std::uint8_t>(rows, stride, slots, i);
        std::int32_t sum = 0;
        for (std::size_t j = 0; j < d / 2; ++j) {
            const std::int8_t* low = query + j / 32 * 64 + j % 32;
            sum += low[0] * (row[j] & 15) + low[32] * (row[j] >> 4);
        }
        out[i] = sum;
    }
}

std::size_t select_below(const float* values, std::size_t n, float bound, std::uint32_t* out) {
    std::size_t found = 0;
    for (std::size_t i = 0; i < n; ++i)
        if (values[i] < bound) out[found++] = static_cast<std::uint32_t>(i);
    return found;
}

template <class Format>
void widen(const void* values, std::size_t n, float scale, float* out) {
    const auto* from = static_cast<const typename Format::Element*>(values);
    for (std::size_t j = 0; j < n; ++j) out[j] = scale * Format::load(from[j]);
}

std::size_t tile_f32(const float* panel, const float* rows, std::size_t n, std::size_t d, const float* bias,
                     const float* bounds, std::uint32_t* hits) {
    std::size_t found = 0;
    for (std::size_t i = 0; i < n; ++i) {
        float sum[16];
        for (float& s : sum) s = bias[i];
        for (std::size_t j = 0; j < d; ++j)
            for (std::size_t q = 0; q < 16; ++q) sum[q] += rows[i * d + j] * panel[16 * j + q];
        for (std::size_t q = 0; q < 16; ++q)
            if (!(sum[q] < bounds[q])) hits[found++] = static_cast<std::uint32_t>(i << 4 | q);
    }
    return found;
}

}  // namespace

inline void install_distance(KernelTable& table) {
    table.l2_f32 = rows_kernel<L2, F32>;
    table.dot_f32 = rows_kernel<Dot, F32>;
    table.l2_f16 = rows_kernel<L2, F16>;
    table.dot_f16 = rows_kernel<Dot, F16>;
    table.l2_bf16 = rows_kernel<L2, Bf16>;
    table.dot_bf16 = rows_kernel<Dot, Bf16>;
    table.dot_i8 = dot_i8;
    table.dot_u7 = dot_u7;
    table.dot_u4 = dot_u4;
    table.select_below = select_below;
    table.widen_f16 = widen<F16>;
    table.widen_bf16 = widen<Bf16>;
    table.widen_i8 = widen<I8>;
    table.tile_f32 = tile_f32;
}

}  // namespace vsearch::scalar
