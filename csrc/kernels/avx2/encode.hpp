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

// Pairs of lanes, none negative, in 64 bits.
inline __m256i widened(__m256i lanes) {
    return _mm256_add_epi64(_mm256_srli_epi64(lanes, 32), _mm256_and_si256(lanes, _mm256_set1_epi64x(0xffffffff)));
}

// Adds the lanes of two registers, none of them negative, to two sums.
inline void add_exact(__m256i a, __m256i b, std::int64_t* sums) {
    const __m256i wide_a = widened(a), wide_b = widened(b);
    const __m256i both = _mm256_add_epi64(_mm256_unpacklo_epi64(wide_a, wide_b), _mm256_unpackhi_epi64(wide_a, wide_b));
    const __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    __m128i* to = reinterpret_cast<__m128i*>(sums);
    _mm_storeu_si128(to, _mm_add_epi64(_mm_loadu_si128(to), pair));
}

inline __m256 sign_bit() { return _mm256_set1_ps(-0.0f); }
inline __m256 positive(__m256 x) { return _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ); }
inline __m256 with_sign(__m256 c, __m256 is_positive) { return _mm256_xor_ps(c, _mm256_andnot_ps(is_positive, sign_bit())); }

void sign_moments(const float* x, const float* c, const float* mean, std::size_t d, std::uint8_t* signs, float* out) {
    __m256 norm2[2], absolute[2], sign_center[2], center[2], peak = _mm256_setzero_ps();
    for (int h = 0; h < 2; ++h) norm2[h] = absolute[h] = sign_center[h] = center[h] = _mm256_setzero_ps();
    for (std::size_t j = 0; j < d; j += 16) {
        VSEARCH_UNROLL
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

struct GridSums {
    __m256i scale, dot, norm;

    explicit GridSums(std::uint16_t s) : scale(_mm256_set1_epi16(static_cast<short>(s))), dot(_mm256_setzero_si256()), norm(dot) {}
    void add(__m256i magnitude, __m128i shift, __m256i top) {
        const __m256i level = grid_levels(magnitude, scale, shift, top);
        dot = _mm256_add_epi32(dot, _mm256_madd_epi16(magnitude, level));
        norm = _mm256_add_epi32(norm, _mm256_madd_epi16(level, _mm256_add_epi16(level, _mm256_set1_epi16(1))));
    }
};

// Two scales at a time: with four, GCC 12 keeps sums on the stack.
void grid_scores(const std::int16_t* a, std::size_t d, const std::uint16_t* scales, int shift, int top, std::int64_t* dots, std::int64_t* norms) {
    const __m128i down = _mm_cvtsi32_si128(shift);
    const __m256i top16 = _mm256_set1_epi16(static_cast<short>(top));
    for (int i = 0; i < 4; ++i) dots[i] = norms[i] = 0;
    for (std::size_t begin = 0; begin < d; begin += kExact) {
        const std::size_t end = begin + kExact < d ? begin + kExact : d;
        for (int i = 0; i < 4; i += 2) {
            GridSums first(scales[i]), second(scales[i + 1]);
            for (std::size_t j = begin; j < end; j += 16) {
                const __m256i magnitude = _mm256_abs_epi16(load256(a + j));
                first.add(magnitude, down, top16);
                second.add(magnitude, down, top16);
            }
            add_exact(first.dot, second.dot, dots + i);
            add_exact(first.norm, second.norm, norms + i);
        }
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
        VSEARCH_UNROLL
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

// Bits shift .. shift + width - 1 of every byte, moved up by `up`.
inline __m256i bit_field(__m256i bytes, int shift, int width, int up) {
    const __m256i low = _mm256_and_si256(_mm256_srli_epi16(bytes, shift), _mm256_set1_epi8(static_cast<char>((1 << width) - 1)));
    return up == 0 ? low : _mm256_slli_epi16(low, up);
}

template <int kBits>
void pack_planes_of(const std::uint8_t* values, std::size_t chunks, std::uint8_t* code) {
    constexpr int kTwos = kBits / 4 * 4, kOnes = kBits / 2 * 2;  // where the planes of 2 bits and of 1 begin
    for (std::size_t c = 0; c < chunks; ++c, values += 64) {
        const __m256i low = load256(values), high = load256(values + 32);
        for (int shift = 0; shift < kTwos; shift += 4, code += 32)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(code), _mm256_or_si256(bit_field(low, shift, 4, 0), bit_field(high, shift, 4, 4)));
        if constexpr (kOnes > kTwos) {
            const __m256i pairs = _mm256_or_si256(bit_field(low, kTwos, 2, 0), bit_field(high, kTwos, 2, 4));  // dims i and i + 32
            const __m128i upper = _mm_slli_epi16(_mm256_extracti128_si256(pairs, 1), 2);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(code), _mm_or_si128(_mm256_castsi256_si128(pairs), upper));
            code += 16;
        }
        if constexpr (kBits > kOnes) {
            const std::uint32_t words[2] = {static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_slli_epi16(low, 7 - kOnes))),
                                            static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_slli_epi16(high, 7 - kOnes)))};
            std::memcpy(code, words, sizeof(words));
            code += 8;
        }
    }
}

void pack_planes(int bits, const std::uint8_t* values, std::size_t chunks, std::uint8_t* code) {
    switch (bits) {
        case 1: return pack_planes_of<1>(values, chunks, code);
        case 2: return pack_planes_of<2>(values, chunks, code);
        case 3: return pack_planes_of<3>(values, chunks, code);
        case 4: return pack_planes_of<4>(values, chunks, code);
        case 5: return pack_planes_of<5>(values, chunks, code);
        case 6: return pack_planes_of<6>(values, chunks, code);
        case 7: return pack_planes_of<7>(values, chunks, code);
        default: return pack_planes_of<8>(values, chunks, code);
    }
}

}  // namespace

inline void install_encode(KernelTable& table) {
    table.sign_moments = sign_moments;
    table.quantize_i16 = quantize_i16;
    table.grid_scores = grid_scores;
    table.grid_codes = grid_codes;
    table.pack_planes = pack_planes;
}

}  // namespace vsearch::avx2
