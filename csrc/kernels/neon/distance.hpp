// Distance kernels, NEON (armv8-a). Same shape as kernels/avx2/distance.hpp with 4 lanes: 4 rows share each load of the
// query, two sums a row cover the FMA latency, and a row's result is the same alone or among four.
//
// The tile keeps 20 sums (5 rows x 16 queries in four registers); rows are read 4 elements at a time and multiplied by lane.
#pragma once

#include <arm_neon.h>

#include <cstring>

#include "kernels/ops/unroll.hpp"
#include "kernels/ops/walk.hpp"
#include "kernels/table.hpp"

namespace vsearch::neon {
namespace {

// The row formats: how 4 elements become floats.
struct F32 {
    using Element = float;
    static float32x4_t load(const float* p) { return vld1q_f32(p); }
};
struct F16 {
    using Element = std::uint16_t;
    static float32x4_t load(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
};
struct Bf16 {
    using Element = std::uint16_t;
    static float32x4_t load(const std::uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
};
struct I8 {
    using Element = std::int8_t;
    static float32x4_t load(const std::int8_t* p) {
        std::int32_t four;
        std::memcpy(&four, p, sizeof(four));
        const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
        return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
    }
};

// count < 4 elements and zeros; reads nothing beyond them.
template <class Format>
inline float32x4_t load_tail(const typename Format::Element* p, std::size_t count) {
    typename Format::Element padded[4] = {};
    std::memcpy(padded, p, count * sizeof(padded[0]));
    return Format::load(padded);
}

struct L2 {
    static float32x4_t add(float32x4_t sum, float32x4_t q, float32x4_t x) {
        const float32x4_t difference = vsubq_f32(q, x);
        return vfmaq_f32(sum, difference, difference);
    }
};
struct Dot {
    static float32x4_t add(float32x4_t sum, float32x4_t q, float32x4_t x) { return vfmaq_f32(sum, q, x); }
};

template <class Op, class Format, int kRows>
inline void score_rows(const float* query, const typename Format::Element* const* rows, std::size_t d, float* out) {
    float32x4_t even[kRows], odd[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) even[r] = odd[r] = vdupq_n_f32(0);
    std::size_t j = 0;
    for (; j + 8 <= d; j += 8) {
        const float32x4_t q0 = vld1q_f32(query + j), q1 = vld1q_f32(query + j + 4);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            even[r] = Op::add(even[r], q0, Format::load(rows[r] + j));
            odd[r] = Op::add(odd[r], q1, Format::load(rows[r] + j + 4));
        }
    }
    if (j + 4 <= d) {
        const float32x4_t q0 = vld1q_f32(query + j);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) even[r] = Op::add(even[r], q0, Format::load(rows[r] + j));
        j += 4;
    }
    if (j < d) {
        const float32x4_t q0 = load_tail<F32>(query + j, d - j);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) odd[r] = Op::add(odd[r], q0, load_tail<Format>(rows[r] + j, d - j));
    }
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) out[r] = vaddvq_f32(vaddq_f32(even[r], odd[r]));
}

template <class Op, class Format>
void rows_kernel(const float* query, const void* rows, std::size_t stride, const std::uint32_t* slots, std::size_t n,
                 std::size_t d, float* out) {
    using Element = typename Format::Element;
    kernel_ops::walk_rows<Element>(
        rows, stride, slots, n, d, out, [&](const Element* const* four, float* sums) { score_rows<Op, Format, 4>(query, four, d, sums); },
        [&](const Element* const* one, float* sum) { score_rows<Op, Format, 1>(query, one, d, sum); });
}

template <int kRows>
inline void dot_i8_rows(const std::int16_t* query, const std::int8_t* const* rows, std::size_t d, std::int32_t* out) {
    int32x4_t low[kRows], high[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) low[r] = high[r] = vdupq_n_s32(0);
    std::size_t j = 0;
    for (; j + 8 <= d; j += 8) {
        const int16x8_t q = vld1q_s16(query + j);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            const int16x8_t x = vmovl_s8(vld1_s8(rows[r] + j));
            low[r] = vmlal_s16(low[r], vget_low_s16(q), vget_low_s16(x));
            high[r] = vmlal_high_s16(high[r], q, x);
        }
    }
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
        std::int32_t sum = vaddvq_s32(vaddq_s32(low[r], high[r]));
        for (std::size_t i = j; i < d; ++i) sum += query[i] * rows[r][i];
        out[r] = sum;
    }
}

void dot_i8(const std::int16_t* query, const std::int8_t* rows, std::size_t stride, const std::uint32_t* slots,
            std::size_t n, std::size_t d, std::int32_t* out) {
    kernel_ops::walk_rows<std::int8_t>(
        rows, stride, slots, n, d, out, [&](const std::int8_t* const* four, std::int32_t* sums) { dot_i8_rows<4>(query, four, d, sums); },
        [&](const std::int8_t* const* one, std::int32_t* sum) { dot_i8_rows<1>(query, one, d, sum); });
}

// Codes below 128 read as signed bytes are themselves; 127 * 127 fits int16.
void dot_u7(const std::int8_t* query, const std::uint8_t* rows, std::size_t stride, std::size_t n, std::size_t d, std::int32_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* row = rows + i * stride;
        int32x4_t even = vdupq_n_s32(0), odd = even;
        for (std::size_t j = 0; j < d; j += 16) {
            const int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(row + j)), q = vld1q_s8(query + j);
            even = vpadalq_s16(even, vmull_s8(vget_low_s8(x), vget_low_s8(q)));
            odd = vpadalq_s16(odd, vmull_high_s8(x, q));
        }
        out[i] = vaddvq_s32(vaddq_s32(even, odd));
    }
}

std::size_t select_below(const float* values, std::size_t n, float bound, std::uint32_t* out) {
    const float32x4_t limit = vdupq_n_f32(bound);
    std::size_t found = 0, i = 0;
    for (; i + 16 <= n; i += 16) {
        uint32x4_t any = vcltq_f32(vld1q_f32(values + i), limit);
        for (std::size_t step = 4; step < 16; step += 4) any = vorrq_u32(any, vcltq_f32(vld1q_f32(values + i + step), limit));
        if (vmaxvq_u32(any) == 0) continue;
        for (std::size_t j = i; j < i + 16; ++j)
            if (values[j] < bound) out[found++] = static_cast<std::uint32_t>(j);
    }
    for (; i < n; ++i)
        if (values[i] < bound) out[found++] = static_cast<std::uint32_t>(i);
    return found;
}

template <class Format>
void widen(const void* values, std::size_t n, float scale, float* out) {
    const auto* from = static_cast<const typename Format::Element*>(values);
    std::size_t j = 0;
    for (; j + 4 <= n; j += 4) vst1q_f32(out + j, vmulq_n_f32(Format::load(from + j), scale));
    if (j < n) {
        float last[4];
        vst1q_f32(last, vmulq_n_f32(load_tail<Format>(from + j, n - j), scale));
        std::memcpy(out + j, last, (n - j) * sizeof(float));
    }
}

template <int kLane, int kRows>
inline void tile_step(const float* panel, const float32x4_t* x, float32x4_t (*sum)[4]) {
    VSEARCH_UNROLL for (int q = 0; q < 4; ++q) {
        const float32x4_t queries = vld1q_f32(panel + 16 * kLane + 4 * q);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r][q] = vfmaq_laneq_f32(sum[r][q], queries, x[r], kLane);
    }
}

template <int kRows>
inline std::size_t tile_rows(const float* panel, const float* rows, std::size_t d, const float* bias, const float* bounds,
                             std::uint32_t first_row, std::uint32_t* hits) {
    float32x4_t sum[kRows][4], x[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r)
        VSEARCH_UNROLL for (int q = 0; q < 4; ++q) sum[r][q] = vdupq_n_f32(bias[r]);
    std::size_t j = 0;
    for (; j + 4 <= d; j += 4) {
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) x[r] = vld1q_f32(rows + static_cast<std::size_t>(r) * d + j);
        tile_step<0, kRows>(panel + 16 * j, x, sum);
        tile_step<1, kRows>(panel + 16 * j, x, sum);
        tile_step<2, kRows>(panel + 16 * j, x, sum);
        tile_step<3, kRows>(panel + 16 * j, x, sum);
    }
    for (; j < d; ++j) {
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) x[r] = vdupq_n_f32(rows[static_cast<std::size_t>(r) * d + j]);
        tile_step<0, kRows>(panel + 16 * j, x, sum);
    }
    // Not at least: a NaN counts as a hit and is judged by the exact kernel.
    std::size_t found = 0;
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
        uint32x4_t below[4];
        VSEARCH_UNROLL for (int q = 0; q < 4; ++q) below[q] = vcltq_f32(sum[r][q], vld1q_f32(bounds + 4 * q));
        if (vminvq_u32(vandq_u32(vandq_u32(below[0], below[1]), vandq_u32(below[2], below[3]))) != 0) continue;
        std::uint32_t lanes[16];
        VSEARCH_UNROLL for (int q = 0; q < 4; ++q) vst1q_u32(lanes + 4 * q, below[q]);
        for (std::uint32_t q = 0; q < 16; ++q)
            if (lanes[q] == 0) hits[found++] = (first_row + static_cast<std::uint32_t>(r)) << 4 | q;
    }
    return found;
}

std::size_t tile_f32(const float* panel, const float* rows, std::size_t n, std::size_t d, const float* bias,
                     const float* bounds, std::uint32_t* hits) {
    constexpr std::size_t kRows = 5;  // 20 sums, 5 rows and a panel load: 26 of the 32 registers
    std::size_t found = 0, i = 0;
    for (; i + kRows <= n; i += kRows)
        found += tile_rows<kRows>(panel, rows + i * d, d, bias + i, bounds, static_cast<std::uint32_t>(i), hits + found);
    for (; i < n; ++i) found += tile_rows<1>(panel, rows + i * d, d, bias + i, bounds, static_cast<std::uint32_t>(i), hits + found);
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
    table.select_below = select_below;
    table.widen_f16 = widen<F16>;
    table.widen_bf16 = widen<Bf16>;
    table.widen_i8 = widen<I8>;
    table.tile_f32 = tile_f32;
}

}  // namespace vsearch::neon
