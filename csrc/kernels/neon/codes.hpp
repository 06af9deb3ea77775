// Code kernels, NEON (armv8-a). Same results as kernels/scalar/codes.hpp, bit for bit.
//
// tbl is the 16-entry byte table that FastScan needs, cnt counts bits by byte, usra shifts and accumulates in one. Packed
// planes hold values of at most 15, so codes read as signed bytes and two products fit int16 (2 * 15 * 127 < 32768).
// Floating-point results use separate multiply and add, never FMA, so that all units agree to the last bit.
#pragma once

#include <arm_neon.h>

#include <cstring>

#include "kernels/neon/planes.hpp"
#include "kernels/ops/hadamard.hpp"
#include "kernels/table.hpp"

namespace vsearch::neon {
namespace {

// Sums of 8 vectors each, in vector order: {0..7}, {8..15}, {16..23}, {24..31}.
struct FastscanSums {
    uint16x8_t part[4];
};

// The table entries of one group, for the low and the high nibbles.
struct Looked {
    uint8x16_t low, high;
};

inline Looked look_up(const std::uint8_t* codes, const std::uint8_t* lut) {
    const uint8x16_t pair = vld1q_u8(codes), table = vld1q_u8(lut);
    return {vqtbl1q_u8(table, vandq_u8(pair, vdupq_n_u8(15))), vqtbl1q_u8(table, vshrq_n_u8(pair, 4))};
}

inline Looked add8(Looked a, Looked b) { return {vaddq_u8(a.low, b.low), vaddq_u8(a.high, b.high)}; }

inline FastscanSums fastscan_sums(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups) {
    // Entries are at most 63: four are added as bytes before they are widened. `whole` adds 16-bit words of two bytes
    // (even + 256*odd); `odd` adds the odd bytes alone and is taken out at the end.
    uint16x8_t whole_low = vdupq_n_u16(0), odd_low = whole_low, whole_high = whole_low, odd_high = whole_low;
    for (std::size_t g = 0; g < groups; g += 4, codes += 64, lut += 64) {
        const Looked first = add8(look_up(codes, lut), look_up(codes + 16, lut + 16));
        const Looked sum = add8(first, add8(look_up(codes + 32, lut + 32), look_up(codes + 48, lut + 48)));
        const uint16x8_t low = vreinterpretq_u16_u8(sum.low), high = vreinterpretq_u16_u8(sum.high);
        whole_low = vaddq_u16(whole_low, low);
        odd_low = vsraq_n_u16(odd_low, low, 8);
        whole_high = vaddq_u16(whole_high, high);
        odd_high = vsraq_n_u16(odd_high, high, 8);
    }
    const uint16x8_t even_low = vsubq_u16(whole_low, vshlq_n_u16(odd_low, 8));
    const uint16x8_t even_high = vsubq_u16(whole_high, vshlq_n_u16(odd_high, 8));
    return {{even_low, odd_low, even_high, odd_high}};
}

void fastscan(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, std::uint16_t* sums) {
    const FastscanSums s = fastscan_sums(codes, lut, groups);
    for (int i = 0; i < 4; ++i) vst1q_u16(sums + 8 * i, s.part[i]);
}

std::uint32_t fastscan_at_least(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, std::uint32_t least, std::uint16_t* sums) {
    const FastscanSums s = fastscan_sums(codes, lut, groups);
    for (int i = 0; i < 4; ++i) vst1q_u16(sums + 8 * i, s.part[i]);
    if (least > 65535) return 0;
    const std::uint16_t weights[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint16x8_t least8 = vdupq_n_u16(static_cast<std::uint16_t>(least)), bit = vld1q_u16(weights);
    std::uint32_t mask = 0;
    for (int i = 0; i < 4; ++i) mask |= static_cast<std::uint32_t>(vaddvq_u16(vandq_u16(vcgeq_u16(s.part[i], least8), bit))) << (8 * i);
    return mask;
}

std::uint32_t fastscan_bound(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, const float* add,
                             const float* rescale, float scale, float offset, float threshold, float* bounds) {
    const FastscanSums s = fastscan_sums(codes, lut, groups);
    const float32x4_t scale4 = vdupq_n_f32(scale), offset4 = vdupq_n_f32(offset), limit4 = vdupq_n_f32(threshold);
    const std::uint32_t weights[4] = {1, 2, 4, 8};
    const uint32x4_t bit = vld1q_u32(weights);
    std::uint32_t mask = 0;
    for (int i = 0; i < 8; ++i) {
        const uint16x8_t words = s.part[i / 2];
        const float32x4_t sum = vcvtq_f32_u32(i % 2 == 0 ? vmovl_u16(vget_low_u16(words)) : vmovl_high_u16(words));
        const float32x4_t dot = vaddq_f32(vmulq_f32(scale4, sum), offset4);
        const float32x4_t bound = vaddq_f32(vld1q_f32(add + 4 * i), vmulq_f32(vld1q_f32(rescale + 4 * i), dot));
        vst1q_f32(bounds + 4 * i, bound);
        mask |= vaddvq_u32(vandq_u32(vcltq_f32(bound, limit4), bit)) << (4 * i);
    }
    return mask;
}

// Two widening multiplications a step: 16 codes <= 15 and 16 int8, added to 4 partial sums.
struct MultiplyWide {
    static int32x4_t add(int32x4_t sum, int8x16_t codes, int8x16_t query) {
        const int16x8_t products = vmlal_high_s8(vmull_s8(vget_low_s8(codes), vget_low_s8(query)), codes, query);
        return vpadalq_s16(sum, products);
    }
};

inline std::uint32_t count_ones(uint8x16_t bits) { return vaddvq_u8(vcntq_u8(bits)); }  // at most 128

// Sum of popcount(op(a, b)) over `words` 64-bit words.
template <class Op>
inline std::uint32_t count_words(const std::uint64_t* a, const std::uint64_t* b, std::size_t words, Op op) {
    std::uint32_t sum = 0;
    std::size_t w = 0;
    for (; w + 2 <= words; w += 2)
        sum += count_ones(op(vreinterpretq_u8_u64(vld1q_u64(a + w)), vreinterpretq_u8_u64(vld1q_u64(b + w))));
    if (w < words) {
        const uint64x2_t last_a = vcombine_u64(vld1_u64(a + w), vdup_n_u64(0)), last_b = vcombine_u64(vld1_u64(b + w), vdup_n_u64(0));
        sum += count_ones(op(vreinterpretq_u8_u64(last_a), vreinterpretq_u8_u64(last_b)));
    }
    return sum;
}

void popcount_planes(const std::uint64_t* planes, int bits, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out) {
    for (std::size_t i = 0; i < n; ++i, rows += words) {
        out[i] = 0;
        const std::uint64_t* plane = planes;
        for (int b = 0; b < bits; ++b, plane += words)
            out[i] += count_words(rows, plane, words, [](uint8x16_t x, uint8x16_t y) { return vandq_u8(x, y); }) << b;
    }
}

void hamming(const std::uint64_t* query, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out) {
    for (std::size_t i = 0; i < n; ++i, rows += words)
        out[i] = count_words(query, rows, words, [](uint8x16_t x, uint8x16_t y) { return veorq_u8(x, y); });
}

inline float32x4_t flip_signs(float32x4_t x, uint32x4_t signs) { return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), signs)); }

struct Floats {
    using Vector = float32x4_t;
    static constexpr std::size_t kLanes = 4;
    static float32x4_t load(const float* x) { return vld1q_f32(x); }
    static void store(float* x, float32x4_t v) { vst1q_f32(x, v); }
    static float32x4_t add(float32x4_t a, float32x4_t b) { return vaddq_f32(a, b); }
    static float32x4_t sub(float32x4_t a, float32x4_t b) { return vsubq_f32(a, b); }
    // Stages 1 and 2: (a, b) -> (a+b, a-b) by one shuffle and a signed addition.
    static float32x4_t within(float32x4_t x) {
        constexpr std::uint32_t kMinus = 0x80000000u;
        const std::uint32_t odd[4] = {0, kMinus, 0, kMinus}, upper[4] = {0, 0, kMinus, kMinus};
        x = vaddq_f32(vrev64q_f32(x), flip_signs(x, vld1q_u32(odd)));
        return vaddq_f32(vextq_f32(x, x, 2), flip_signs(x, vld1q_u32(upper)));
    }
};

void subset_sums(const float* x, std::size_t groups, float* table, float* low, float* widest) {
    const std::uint32_t odd[4] = {0, ~0u, 0, ~0u}, upper[4] = {0, 0, ~0u, ~0u};
    const uint32x4_t bit0 = vld1q_u32(odd), bit1 = vld1q_u32(upper);
    const auto masked = [](float value, uint32x4_t mask) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(vdupq_n_f32(value)), mask)); };
    float low_sum = 0, range = 0;
    for (std::size_t g = 0; g < groups; ++g, x += 4, table += 16) {
        float negative = 0, positive = 0;
        for (int i = 0; i < 4; ++i) {
            negative += x[i] < 0 ? x[i] : 0.0f;
            positive += x[i] < 0 ? 0.0f : x[i];
        }
        const float32x4_t first = vaddq_f32(vaddq_f32(vdupq_n_f32(0.0f - negative), masked(x[0], bit0)), masked(x[1], bit1));
        const float32x4_t second = vaddq_f32(first, vdupq_n_f32(x[2]));
        vst1q_f32(table, first);
        vst1q_f32(table + 4, second);
        vst1q_f32(table + 8, vaddq_f32(first, vdupq_n_f32(x[3])));
        vst1q_f32(table + 12, vaddq_f32(second, vdupq_n_f32(x[3])));
        low_sum += negative;
        const float span = positive - negative;
        range = range < span ? span : range;
    }
    *low = low_sum;
    *widest = range;
}

inline uint16x4_t quantize4(const float* x, float factor, float top) {
    const float32x4_t positive = vmaxnmq_f32(vld1q_f32(x), vdupq_n_f32(0));  // maxnm: of NaN and 0 it takes 0
    const float32x4_t scaled = vaddq_f32(vmulq_n_f32(positive, factor), vdupq_n_f32(0.5f));
    return vmovn_u32(vcvtq_u32_f32(vminnmq_f32(scaled, vdupq_n_f32(top))));
}

void quantize_u8(const float* x, std::size_t n, float factor, float top, std::uint8_t* out) {
    for (std::size_t i = 0; i < n; i += 16) {
        const uint16x8_t first = vcombine_u16(quantize4(x + i, factor, top), quantize4(x + i + 4, factor, top));
        const uint16x8_t second = vcombine_u16(quantize4(x + i + 8, factor, top), quantize4(x + i + 12, factor, top));
        vst1q_u8(out + i, vcombine_u8(vmovn_u16(first), vmovn_u16(second)));
    }
}

}  // namespace

inline void install_codes(KernelTable& table) {
    table.fastscan = fastscan;
    table.fastscan_bound = fastscan_bound;
    table.fastscan_at_least = fastscan_at_least;
    table.dot_planes = dot_planes<MultiplyWide>;
    table.popcount_planes = popcount_planes;
    table.hamming = hamming;
    table.fht_f32 = kernel_ops::fht_f32<Floats>;
    table.subset_sums = subset_sums;
    table.quantize_u8 = quantize_u8;
}

}  // namespace vsearch::neon
