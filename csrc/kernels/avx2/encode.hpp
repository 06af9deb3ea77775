// Encoder kernels, AVX2. Same results as kernels/scalar/encode.hpp, bit for bit.
//
// The searches for a scale are what encoding costs, so they run on 16-bit integers, 16 dims an instruction, and are exact: their
// 32-bit lanes take 4096 dims (256 sums of two products of at most 2^15 * 127 or 2048 * 2047) before they are widened.
// Floating-point results use separate multiply and add, never FMA, so that all units agree to the last bit.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/avx2/codes.hpp"
#include "kernels/ops/unroll.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx2 {
namespace {

constexpr std::size_t kExact = 4096;  // dims that 32-bit lanes can take

// Folds 16 partial sums held as lanes 0..7 and 8..15, in the order of scalar::fold16.
inline float fold16(const __m256* lanes) {
    const __m256 eight = _mm256_add_ps(lanes[0], lanes[1]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

inline std::int64_t sum_exact(__m256i lanes) {
    alignas(32) std::int32_t values[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(values), lanes);
    std::int64_t sum = 0;
    for (const std::int32_t value : values) sum += value;
    return sum;
}

inline __m256 sign_bit() { return _mm256_set1_ps(-0.0f); }
inline __m256 positive(__m256 x) { return _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ); }
inline __m256 with_sign(__m256 c, __m256 is_positive) { return _mm256_xor_ps(c, _mm256_andnot_ps(is_positive, sign_bit())); }

void sign_moments(const float* x, const float* c, const float* mean, std::size_t d, std::uint8_t* signs, float* out) {
    __m256 norm2[2], absolute[2], sign_center[2], center[2], peak = _mm256_setzero_ps();
    for (int h = 0; h < 2; ++h) norm2[h] = absolute[h] = sign_center[h] = center[h] = _mm256_setzero_ps();
    for (std::size_t j = 0; j < d; j += 16) {
        for (std::size_t h = 0; h < 2; ++h) {
            const __m256 value = _mm256_loadu_ps(x + j + 8 * h), middle = _mm256_loadu_ps(c + j + 8 * h);
            const __m256 magnitude = _mm256_andnot_ps(sign_bit(), value), is_positive = positive(value);
            norm2[h] = _mm256_add_ps(norm2[h], _mm256_mul_ps(value, value));
            absolute[h] = _mm256_add_ps(absolute[h], magnitude);
            sign_center[h] = _mm256_add_ps(sign_center[h], with_sign(middle, is_positive));
            center[h] = _mm256_add_ps(center[h], _mm256_mul_ps(value, _mm256_add_ps(middle, _mm256_loadu_ps(mean + j + 8 * h))));
            peak = _mm256_max_ps(magnitude, peak);
            signs[j / 8 + h] = static_cast<std::uint8_t>(_mm256_movemask_ps(is_positive));
        }
    }
    out[0] = fold16(norm2);
    out[1] = fold16(absolute);
    out[2] = fold16(sign_center);
    out[3] = fold16(center);
    alignas(32) float peaks[8];
    _mm256_store_ps(peaks, peak);
    for (int i = 1; i < 8; ++i) peaks[0] = peaks[i] > peaks[0] ? peaks[i] : peaks[0];
    out[4] = peaks[0];
}

inline __m256i rounded(const float* x, __m256 factor, __m256 top) {
    const __m256 scaled = _mm256_min_ps(_mm256_mul_ps(_mm256_loadu_ps(x), factor), top);
    return _mm256_cvtps_epi32(_mm256_max_ps(scaled, _mm256_xor_ps(top, sign_bit())));
}

void quantize_i16(const float* x, std::size_t n, float factor, std::int16_t* out) {
    const __m256 factor8 = _mm256_set1_ps(factor), top8 = _mm256_set1_ps(32767.0f);
    for (std::size_t i = 0; i < n; i += 16) {
        const __m256i words = _mm256_packs_epi32(rounded(x + i, factor8, top8), rounded(x + i + 8, factor8, top8));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_permute4x64_epi64(words, 0xd8));
    }
}

inline __m256i grid_levels(__m256i magnitude, __m256i scale, __m128i shift, __m256i top) {
    return _mm256_min_epi16(_mm256_srl_epi16(_mm256_mulhi_epu16(magnitude, scale), shift), top);
}

void grid_scores(const std::int16_t* a, std::size_t d, const std::uint16_t* scales, int shift, int top, std::int64_t* dots, std::int64_t* norms) {
    const __m128i down = _mm_cvtsi32_si128(shift);
    const __m256i top16 = _mm256_set1_epi16(static_cast<short>(top)), one = _mm256_set1_epi16(1);
    __m256i scale[4];
    for (int i = 0; i < 4; ++i) scale[i] = _mm256_set1_epi16(static_cast<short>(scales[i])), dots[i] = norms[i] = 0;
    for (std::size_t begin = 0; begin < d; begin += kExact) {
        __m256i dot[4], norm[4];
        for (int i = 0; i < 4; ++i) dot[i] = norm[i] = _mm256_setzero_si256();
        for (std::size_t j = begin; j < d && j < begin + kExact; j += 16) {
            const __m256i magnitude = _mm256_abs_epi16(load256(a + j));
            for (int i = 0; i < 4; ++i) {
                const __m256i level = grid_levels(magnitude, scale[i], down, top16);
                dot[i] = _mm256_add_epi32(dot[i], _mm256_madd_epi16(magnitude, level));
                norm[i] = _mm256_add_epi32(norm[i], _mm256_madd_epi16(level, _mm256_add_epi16(level, one)));
            }
        }
        for (int i = 0; i < 4; ++i) dots[i] += sum_exact(dot[i]), norms[i] += sum_exact(norm[i]);
    }
}

// 16 words to 16 bytes.
inline void store_bytes(std::uint8_t* to, __m256i words) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

// Two times 8 dwords, each a small number or a mask, to 16 words.
inline __m256i to_words(__m256i low, __m256i high) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8); }

void grid_codes(const float* x, const float* c, const std::int16_t* a, std::size_t d, std::uint16_t scale, int shift, int top, std::uint8_t* codes, float* out) {
    const __m128i down = _mm_cvtsi32_si128(shift);
    const __m256i top16 = _mm256_set1_epi16(static_cast<short>(top)), scale16 = _mm256_set1_epi16(static_cast<short>(scale));
    const __m256 half = _mm256_set1_ps(0.5f);
    __m256 dots[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, centers[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (std::size_t j = 0; j < d; j += 16) {
        const __m256i level = grid_levels(_mm256_abs_epi16(load256(a + j)), scale16, down, top16);
        const __m128i part[2] = {_mm256_castsi256_si128(level), _mm256_extracti128_si256(level, 1)};
        __m256i is_positive[2];
        for (std::size_t h = 0; h < 2; ++h) {
            const __m256 value = _mm256_loadu_ps(x + j + 8 * h), mask = positive(value);
            const __m256 y = _mm256_add_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(part[h])), half);
            dots[h] = _mm256_add_ps(dots[h], _mm256_mul_ps(_mm256_andnot_ps(sign_bit(), value), y));
            centers[h] = _mm256_add_ps(centers[h], _mm256_mul_ps(with_sign(_mm256_loadu_ps(c + j + 8 * h), mask), y));
            is_positive[h] = _mm256_castps_si256(mask);
        }
        // top is all ones: top - level = level ^ top
        store_bytes(codes + j, _mm256_xor_si256(level, _mm256_andnot_si256(to_words(is_positive[0], is_positive[1]), top16)));
    }
    out[0] = fold16(dots);
    out[1] = fold16(centers);
}

// kStages stages of the Hadamard transform in one pass over memory; the smallest butterflies are `half` apart.
template <int kStages, bool kScaled>
inline void fht_pass(float* x, std::size_t n, std::size_t half, float scale) {
    constexpr std::size_t kRows = std::size_t{1} << kStages;
    const __m256 scale8 = _mm256_set1_ps(scale);
    for (std::size_t start = 0; start < n; start += kRows * half) {
        for (std::size_t j = start; j < start + half; j += 8) {
            __m256 row[kRows];
            VSEARCH_UNROLL
            for (std::size_t r = 0; r < kRows; ++r) row[r] = _mm256_loadu_ps(x + j + r * half);
            VSEARCH_UNROLL
            for (std::size_t stage = 0; stage < kStages; ++stage) {
                const std::size_t apart = std::size_t{1} << stage;
                VSEARCH_UNROLL
                for (std::size_t r = 0; r < kRows; ++r) {
                    if ((r & apart) != 0) continue;
                    const __m256 a = row[r], b = row[r + apart];
                    row[r] = _mm256_add_ps(a, b);
                    row[r + apart] = _mm256_sub_ps(a, b);
                }
            }
            VSEARCH_UNROLL
            for (std::size_t r = 0; r < kRows; ++r) _mm256_storeu_ps(x + j + r * half, kScaled ? _mm256_mul_ps(row[r], scale8) : row[r]);
        }
    }
}

template <bool kScaled>
inline std::size_t fht_next(float* x, std::size_t n, std::size_t half, float scale) {
    const std::size_t left = n / half;
    if (left == 2) return fht_pass<1, kScaled>(x, n, half, scale), 2 * half;
    if (left == 4 || left == 16) return fht_pass<2, kScaled>(x, n, half, scale), 4 * half;
    return fht_pass<3, kScaled>(x, n, half, scale), 8 * half;
}

inline __m256 flipped(const float* x, const std::uint32_t* flips) {
    return _mm256_xor_ps(_mm256_loadu_ps(x), _mm256_castsi256_ps(load256(flips)));
}

inline void flip(float* x, std::size_t n, const std::uint32_t* flips) {
    for (std::size_t j = 0; j < n; j += 8) _mm256_storeu_ps(x + j, flipped(x + j, flips + j));
}

// Flips and the stages within 32 values.
inline void flip_and_transform32(float* x, std::size_t n, const std::uint32_t* flips) {
    for (std::size_t j = 0; j < n; j += 32) {
        __m256 row[4];
        for (std::size_t r = 0; r < 4; ++r) row[r] = fht8(flipped(x + j + 8 * r, flips + j + 8 * r));
        const __m256 ab = _mm256_add_ps(row[0], row[1]), a_b = _mm256_sub_ps(row[0], row[1]);
        const __m256 cd = _mm256_add_ps(row[2], row[3]), c_d = _mm256_sub_ps(row[2], row[3]);
        _mm256_storeu_ps(x + j, _mm256_add_ps(ab, cd));
        _mm256_storeu_ps(x + j + 8, _mm256_add_ps(a_b, c_d));
        _mm256_storeu_ps(x + j + 16, _mm256_sub_ps(ab, cd));
        _mm256_storeu_ps(x + j + 24, _mm256_sub_ps(a_b, c_d));
    }
}

// Then passes of up to three stages, the last of which scales.
inline void flip_and_transform(float* x, std::size_t n, const std::uint32_t* flips, float scale) {
    if (n < 64) {
        flip(x, n, flips);
        fht_f32(x, n);
        for (std::size_t j = 0; j < n; j += 8) _mm256_storeu_ps(x + j, _mm256_mul_ps(_mm256_loadu_ps(x + j), _mm256_set1_ps(scale)));
        return;
    }
    flip_and_transform32(x, n, flips);
    std::size_t half = 32;
    while (n / half > 8) half = fht_next<false>(x, n, half, scale);
    fht_next<true>(x, n, half, scale);
}

void rotate_round(float* x, std::size_t d, std::size_t offset, std::size_t span, const std::uint32_t* flips, float scale) {
    flip(x, offset, flips);
    flip(x + offset + span, d - offset - span, flips + offset + span);
    flip_and_transform(x + offset, span, flips + offset, scale);
    if (span == d) return;
    for (std::size_t j = 0, half = d / 2; j < half; j += 8) {
        const __m256 a = _mm256_loadu_ps(x + j), b = _mm256_loadu_ps(x + j + half);
        _mm256_storeu_ps(x + j, _mm256_add_ps(a, b));
        _mm256_storeu_ps(x + j + half, _mm256_sub_ps(a, b));
    }
}

}  // namespace

inline void install_encode(KernelTable& table) {
    table.sign_moments = sign_moments;
    table.quantize_i16 = quantize_i16;
    table.grid_scores = grid_scores;
    table.grid_codes = grid_codes;
    table.rotate_round = rotate_round;
}

}  // namespace vsearch::avx2
