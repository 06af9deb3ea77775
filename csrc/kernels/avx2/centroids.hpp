// Centroid kernels, AVX2. What bounds the loops (Zen 3: 2 multiplications, 2 other float operations and 2 loads a cycle):
//   scores     a multiplication and a subtraction for 8 centroids, on different ports: as quick here as a fused one, which
//              would round otherwise than machines without it. 4 rows share two loads of the table.
//   argmin     four operations for 8 values, and some 15 cycles for what is left in 16 lanes
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

inline __m256i choose(__m256 mask, __m256i yes, __m256i no) { return _mm256_blendv_epi8(no, yes, _mm256_castps_si256(mask)); }

inline __m256 infinity8() { return _mm256_castsi256_ps(_mm256_set1_epi32(0x7f800000)); }

// Where one of kVectors times 8 values equals `least`, a bit each.
template <int kVectors>
inline std::uint64_t places_of(const float* values, __m256 least) {
    std::uint64_t places = 0;
    VSEARCH_UNROLL for (int i = 0; i < kVectors; ++i)
        places |= static_cast<std::uint64_t>(static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(values + 8 * i), least, _CMP_EQ_OQ)))) << (8 * i);
    return places;
}

// One pass finds the least and the block it is in, a look at that block the place. Each of 8 lanes keeps its least and the first block
// that has it, so that no branch depends on the values. `load` gives the values from a position on; a NaN is passed over.
template <int kVectors, class Load>
inline std::size_t argmin_blocks(const float* values, std::size_t n, Load load) {
    __m256 low = infinity8();
    const __m256i nowhere = _mm256_set1_epi32(0x7fffffff);
    __m256i low_at = nowhere, at = _mm256_setzero_si256();
    for (std::size_t k = 0; k < n; k += 8 * kVectors) {
        __m256 block = infinity8();
        VSEARCH_UNROLL for (int i = 0; i < kVectors; ++i) block = _mm256_min_ps(load(k + 8 * i), block);
        low_at = choose(_mm256_cmp_ps(block, low, _CMP_LT_OQ), at, low_at);
        low = _mm256_min_ps(block, low);
        at = _mm256_add_epi32(at, _mm256_set1_epi32(8 * kVectors));
    }
    __m256 least = _mm256_min_ps(low, _mm256_permute2f128_ps(low, low, 1));
    least = _mm256_min_ps(least, _mm256_permute_ps(least, 0x4e));
    least = _mm256_min_ps(least, _mm256_permute_ps(least, 0xb1));
    const __m256i found = choose(_mm256_cmp_ps(low, least, _CMP_EQ_OQ), low_at, nowhere);
    __m128i first = _mm_min_epu32(_mm256_castsi256_si128(found), _mm256_extracti128_si256(found, 1));
    first = _mm_min_epu32(first, _mm_shuffle_epi32(first, 0x4e));
    first = _mm_min_epu32(first, _mm_shuffle_epi32(first, 0xb1));
    const auto block = static_cast<std::uint32_t>(_mm_cvtsi128_si32(first));
    return block < n ? block + _tzcnt_u64(places_of<kVectors>(values + block, least)) : 0;
}

std::size_t argmin_f32(const float* values, std::size_t n) {
    const auto load = [values](std::size_t k) { return _mm256_loadu_ps(values + k); };
    return n % 64 == 0 ? argmin_blocks<8>(values, n, load) : argmin_blocks<2>(values, n, load);
}

std::size_t nearest_f32(float* distances, const std::uint32_t* slots, std::size_t n, std::uint32_t taken) {
    const __m256i taken8 = _mm256_set1_epi32(static_cast<int>(taken));
    return argmin_blocks<8>(distances, n, [distances, slots, taken8](std::size_t k) {
        const __m256 gone = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(slots + k)), taken8));
        const __m256 left = _mm256_blendv_ps(_mm256_loadu_ps(distances + k), infinity8(), gone);
        _mm256_storeu_ps(distances + k, left);
        return left;
    });
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
    table.nearest_f32 = nearest_f32;
    table.sum_rows_f32 = sum_rows_f32;
}

}  // namespace vsearch::avx2
