// Centroid kernels, AVX2. What bounds the loops (Zen 3: 2 multiplications, 2 other float operations and 2 loads a cycle):
//   scores     a multiplication and a subtraction for 8 centroids, on different ports: as quick here as a fused one, which
//              would round otherwise than machines without it. 4 rows share two loads of the table.
//   argmin     one load and one minimum for 8 values, then the search for the first that equals it
//   sum_rows   the loads
#pragma once

#include <immintrin.h>

#include "kernels/ops/unroll.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx2 {
namespace {

template <int kRows>
inline void score_centroids(const float* rows, std::size_t stride, std::size_t d, const float* table, const float* bias, std::size_t count, float* out) {
    for (std::size_t k = 0; k < count; k += 16) {
        __m256 low[kRows], high[kRows];
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            low[r] = _mm256_loadu_ps(bias + k);
            high[r] = _mm256_loadu_ps(bias + k + 8);
        }
        for (std::size_t j = 0; j < d; ++j) {
            const __m256 c0 = _mm256_loadu_ps(table + j * count + k), c1 = _mm256_loadu_ps(table + j * count + k + 8);
            VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
                const __m256 x = _mm256_broadcast_ss(rows + static_cast<std::size_t>(r) * stride + j);
                low[r] = _mm256_sub_ps(low[r], _mm256_mul_ps(x, c0));
                high[r] = _mm256_sub_ps(high[r], _mm256_mul_ps(x, c1));
            }
        }
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            _mm256_storeu_ps(out + static_cast<std::size_t>(r) * count + k, low[r]);
            _mm256_storeu_ps(out + static_cast<std::size_t>(r) * count + k + 8, high[r]);
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
    __m256 low = _mm256_loadu_ps(values), high = _mm256_loadu_ps(values + 8);
    for (std::size_t k = 16; k < n; k += 16) {
        low = _mm256_min_ps(low, _mm256_loadu_ps(values + k));
        high = _mm256_min_ps(high, _mm256_loadu_ps(values + k + 8));
    }
    low = _mm256_min_ps(low, high);
    low = _mm256_min_ps(low, _mm256_permute2f128_ps(low, low, 1));
    low = _mm256_min_ps(low, _mm256_permute_ps(low, 0x4e));
    low = _mm256_min_ps(low, _mm256_permute_ps(low, 0xb1));
    for (std::size_t k = 0; k < n; k += 16) {
        const unsigned first = static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(values + k), low, _CMP_EQ_OQ)));
        const unsigned second = static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(values + k + 8), low, _CMP_EQ_OQ)));
        const unsigned mask = first | second << 8;
        if (mask != 0) return k + _tzcnt_u32(mask);
    }
    return 0;
}

void sum_rows_f32(const float* const* rows, std::size_t count, float start, std::size_t n, float* out) {
    const __m256 start8 = _mm256_set1_ps(start);
    for (std::size_t k = 0; k < n; k += 16) {
        __m256 low = start8, high = start8;
        for (std::size_t r = 0; r < count; ++r) {
            low = _mm256_add_ps(low, _mm256_loadu_ps(rows[r] + k));
            high = _mm256_add_ps(high, _mm256_loadu_ps(rows[r] + k + 8));
        }
        _mm256_storeu_ps(out + k, low);
        _mm256_storeu_ps(out + k + 8, high);
    }
}

}  // namespace

inline void install_centroids(KernelTable& table) {
    table.scores_f32 = scores_f32;
    table.argmin_f32 = argmin_f32;
    table.sum_rows_f32 = sum_rows_f32;
}

}  // namespace vsearch::avx2
