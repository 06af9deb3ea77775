// Centroid kernels, AVX-512: kernels/avx2/centroids.hpp with 16 lanes, so that a register holds the whole step of 16 centroids
// and 8 rows share its load.
#pragma once

#include <immintrin.h>

#include "kernels/ops/unroll.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx512 {
namespace {

template <int kRows>
inline void score_centroids(const float* rows, std::size_t stride, std::size_t d, const float* table, const float* bias, std::size_t count, float* out) {
    for (std::size_t k = 0; k < count; k += 16) {
        __m512 sum[kRows];
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = _mm512_loadu_ps(bias + k);
        for (std::size_t j = 0; j < d; ++j) {
            const __m512 c = _mm512_loadu_ps(table + j * count + k);
            VSEARCH_UNROLL for (int r = 0; r < kRows; ++r)
                sum[r] = _mm512_sub_ps(sum[r], _mm512_mul_ps(_mm512_set1_ps(rows[static_cast<std::size_t>(r) * stride + j]), c));
        }
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) _mm512_storeu_ps(out + static_cast<std::size_t>(r) * count + k, sum[r]);
    }
}

void scores_f32(const float* rows, std::size_t stride, std::size_t n, std::size_t d, const float* table, const float* bias,
                std::size_t count, float* out) {
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) score_centroids<8>(rows + i * stride, stride, d, table, bias, count, out + i * count);
    for (; i < n; ++i) score_centroids<1>(rows + i * stride, stride, d, table, bias, count, out + i * count);
}

std::size_t argmin_f32(const float* values, std::size_t n) {
    __m512 least16 = _mm512_loadu_ps(values);
    for (std::size_t k = 16; k < n; k += 16) least16 = _mm512_min_ps(least16, _mm512_loadu_ps(values + k));
    __m256 least8 = _mm256_min_ps(_mm512_castps512_ps256(least16), _mm512_extractf32x8_ps(least16, 1));
    least8 = _mm256_min_ps(least8, _mm256_permute2f128_ps(least8, least8, 1));
    least8 = _mm256_min_ps(least8, _mm256_permute_ps(least8, 0x4e));
    least8 = _mm256_min_ps(least8, _mm256_permute_ps(least8, 0xb1));
    const __m512 least = _mm512_set1_ps(_mm256_cvtss_f32(least8));
    for (std::size_t k = 0; k < n; k += 16) {
        const unsigned mask = _mm512_cmp_ps_mask(_mm512_loadu_ps(values + k), least, _CMP_EQ_OQ);
        if (mask != 0) return k + _tzcnt_u32(mask);
    }
    return 0;
}

void sum_rows_f32(const float* const* rows, std::size_t count, float start, std::size_t n, float* out) {
    for (std::size_t k = 0; k < n; k += 16) {
        __m512 sum = _mm512_set1_ps(start);
        for (std::size_t r = 0; r < count; ++r) sum = _mm512_add_ps(sum, _mm512_loadu_ps(rows[r] + k));
        _mm512_storeu_ps(out + k, sum);
    }
}

}  // namespace

inline void install_centroids(KernelTable& table) {
    table.scores_f32 = scores_f32;
    table.argmin_f32 = argmin_f32;
    table.sum_rows_f32 = sum_rows_f32;
}

}  // namespace vsearch::avx512
