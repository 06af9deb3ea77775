// Centroid kernels, NEON: kernels/avx2/centroids.hpp with 4 lanes; 4 rows by 16 centroids fill 16 of the 32 registers.
// vmulq and vsubq, never vmlsq, which may fuse.
#pragma once

#include <arm_neon.h>

#include "kernels/ops/unroll.hpp"
#include "kernels/table.hpp"

namespace vsearch::neon {
namespace {

template <int kRows>
inline void score_centroids(const float* rows, std::size_t stride, std::size_t d, const float* table, const float* bias, std::size_t count, float* out) {
    for (std::size_t k = 0; k < count; k += 16) {
        float32x4_t sum[kRows][4];
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            VSEARCH_UNROLL for (int q = 0; q < 4; ++q) sum[r][q] = vld1q_f32(bias + k + 4 * q);
        }
        for (std::size_t j = 0; j < d; ++j) {
            float32x4_t c[4];
            VSEARCH_UNROLL for (int q = 0; q < 4; ++q) c[q] = vld1q_f32(table + j * count + k + 4 * q);
            VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
                const float32x4_t x = vdupq_n_f32(rows[static_cast<std::size_t>(r) * stride + j]);
                VSEARCH_UNROLL for (int q = 0; q < 4; ++q) sum[r][q] = vsubq_f32(sum[r][q], vmulq_f32(x, c[q]));
            }
        }
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            VSEARCH_UNROLL for (int q = 0; q < 4; ++q) vst1q_f32(out + static_cast<std::size_t>(r) * count + k + 4 * q, sum[r][q]);
        }
    }
}

void scores_f32(const float* rows, std::size_t stride, std::size_t n, std::size_t d, const float* table, const float* bias,
                std::size_t count, float* out) {
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) score_centroids<4>(rows + i * stride, stride, d, table, bias, count, out + i * count);
    for (; i < n; ++i) score_centroids<1>(rows + i * stride, stride, d, table, bias, count, out + i * count);
}

std::size_t argmin_f32(const float* values, std::size_t n) {
    float32x4_t least[4];
    VSEARCH_UNROLL for (int q = 0; q < 4; ++q) least[q] = vld1q_f32(values + 4 * q);
    for (std::size_t k = 16; k < n; k += 16)
        VSEARCH_UNROLL for (int q = 0; q < 4; ++q) least[q] = vminnmq_f32(least[q], vld1q_f32(values + k + 4 * q));
    const float low = vminnmvq_f32(vminnmq_f32(vminnmq_f32(least[0], least[1]), vminnmq_f32(least[2], least[3])));
    const float32x4_t low4 = vdupq_n_f32(low);
    for (std::size_t k = 0; k < n; k += 4) {
        const uint32x4_t equal = vceqq_f32(vld1q_f32(values + k), low4);
        if (vmaxvq_u32(equal) == 0) continue;
        for (std::size_t i = k; i < k + 4; ++i)
            if (values[i] == low) return i;
    }
    return 0;
}

std::size_t nearest_f32(float* distances, const std::uint32_t* slots, std::size_t n, std::uint32_t taken) {
    const uint32x4_t taken4 = vdupq_n_u32(taken);
    const float32x4_t nowhere = vdupq_n_f32(__builtin_inff());
    for (std::size_t k = 0; k < n; k += 4) vst1q_f32(distances + k, vbslq_f32(vceqq_u32(vld1q_u32(slots + k), taken4), nowhere, vld1q_f32(distances + k)));
    return argmin_f32(distances, n);
}

void sum_rows_f32(const float* const* rows, std::size_t count, float start, std::size_t n, float* out) {
    for (std::size_t k = 0; k < n; k += 16) {
        float32x4_t sum[4];
        VSEARCH_UNROLL for (int q = 0; q < 4; ++q) sum[q] = vdupq_n_f32(start);
        for (std::size_t r = 0; r < count; ++r)
            VSEARCH_UNROLL for (int q = 0; q < 4; ++q) sum[q] = vaddq_f32(sum[q], vld1q_f32(rows[r] + k + 4 * q));
        VSEARCH_UNROLL for (int q = 0; q < 4; ++q) vst1q_f32(out + k + 4 * q, sum[q]);
    }
}

}  // namespace

inline void install_centroids(KernelTable& table) {
    table.scores_f32 = scores_f32;
    table.argmin_f32 = argmin_f32;
    table.nearest_f32 = nearest_f32;
    table.sum_rows_f32 = sum_rows_f32;
}

}  // namespace vsearch::neon
