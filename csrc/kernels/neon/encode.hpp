// Encoder kernels, NEON (armv8-a): the search for a grid, the rotation and what feeds them. Same results as kernels/scalar/encode.hpp.
#pragma once

#include <arm_neon.h>

#include <algorithm>

#include "kernels/neon/codes.hpp"
#include "kernels/ops/rotate.hpp"
#include "kernels/table.hpp"

namespace vsearch::neon {
namespace {

constexpr std::size_t kExact = 2048;  // dims that 32-bit lanes can take: 256 times two products of at most 2^15 * 127

inline int16x4_t rounded(const float* x, float factor, float32x4_t top) {
    const float32x4_t scaled = vmulq_n_f32(vld1q_f32(x), factor);
    return vmovn_s32(vcvtnq_s32_f32(vmaxnmq_f32(vminnmq_f32(scaled, top), vnegq_f32(top))));  // minnm: of NaN and top it takes top
}

void quantize_i16(const float* x, std::size_t n, float factor, std::int16_t* out) {
    const float32x4_t top = vdupq_n_f32(32767.0f);
    for (std::size_t i = 0; i < n; i += 8) vst1q_s16(out + i, vcombine_s16(rounded(x + i, factor, top), rounded(x + i + 4, factor, top)));
}

// (magnitude * scale) >> 16 >> shift, at most top.
inline int16x8_t grid_levels(uint16x8_t magnitude, std::uint16_t scale, int16x8_t down, int16x8_t top) {
    const uint16x4_t low = vshrn_n_u32(vmull_n_u16(vget_low_u16(magnitude), scale), 16);
    const uint16x8_t both = vshrn_high_n_u32(low, vmull_n_u16(vget_high_u16(magnitude), scale), 16);
    return vminq_s16(vreinterpretq_s16_u16(vshlq_u16(both, down)), top);
}

inline int32x4_t add_products(int32x4_t sum, int16x8_t a, int16x8_t b) {
    return vmlal_high_s16(vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b)), a, b);
}

void grid_scores(const std::int16_t* a, std::size_t d, const std::uint16_t* scales, int shift, int top, std::int64_t* dots, std::int64_t* norms) {
    const int16x8_t down = vdupq_n_s16(static_cast<std::int16_t>(-shift)), top8 = vdupq_n_s16(static_cast<std::int16_t>(top));
    for (int i = 0; i < 4; ++i) dots[i] = norms[i] = 0;
    for (std::size_t begin = 0; begin < d; begin += kExact) {
        int32x4_t dot[4], norm[4];
        for (int i = 0; i < 4; ++i) dot[i] = norm[i] = vdupq_n_s32(0);
        for (std::size_t j = begin; j < std::min(d, begin + kExact); j += 8) {
            const int16x8_t magnitude = vabsq_s16(vld1q_s16(a + j));
            for (int i = 0; i < 4; ++i) {
                const int16x8_t level = grid_levels(vreinterpretq_u16_s16(magnitude), scales[i], down, top8);
                dot[i] = add_products(dot[i], magnitude, level);
                norm[i] = add_products(norm[i], level, vaddq_s16(level, vdupq_n_s16(1)));
            }
        }
        for (int i = 0; i < 4; ++i) dots[i] += vaddlvq_s32(dot[i]), norms[i] += vaddlvq_s32(norm[i]);
    }
}

void rotate_round(float* x, std::size_t d, std::size_t offset, std::size_t span, const std::uint32_t* flips, float scale) {
    kernel_ops::rotate_by(kernel_ops::fht_f32<Floats>, x, d, offset, span, flips, scale);
}

}  // namespace

inline void install_encode(KernelTable& table) {
    table.quantize_i16 = quantize_i16;
    table.grid_scores = grid_scores;
    table.rotate_round = rotate_round;
}

}  // namespace vsearch::neon
