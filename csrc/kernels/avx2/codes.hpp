// Code kernels, AVX2. Same results as kernels/scalar/codes.hpp, bit for bit.
//
// What bounds the loops (Zen 3: 2 shuffles, 3 vector ALU operations and 2 loads a cycle):
//   fastscan    vpshufb (latency 1, 2 a cycle) and the additions: about 10 instructions for 8 dims of 32 vectors
// Floating-point results use separate multiply and add, never FMA, so that all units agree to the last bit.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/avx2/planes.hpp"
#include "kernels/avx2/popcnt.hpp"
#include "kernels/ops/unroll.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx2 {
namespace {

constexpr std::size_t kAheadLines = 2;  // fetched for every 128 bytes scanned

// Sums of 8 vectors each, in vector order: {0..7}, {8..15}, {16..23}, {24..31} as uint16.
struct FastscanSums {
    __m128i part[4];
};

inline __m128i fold_lanes(__m256i x) { return _mm_add_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)); }

// The table entries of two groups, for the low and the high nibbles.
struct Looked {
    __m256i low, high;
};

inline Looked look_up(const std::uint8_t* codes, const std::uint8_t* lut) {
    const __m256i nibble = _mm256_set1_epi8(15), pair = load256(codes), table = load256(lut);
    return {_mm256_shuffle_epi8(table, _mm256_and_si256(pair, nibble)),
            _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(pair, 4), nibble))};
}

inline Looked add8(Looked a, Looked b) { return {_mm256_add_epi8(a.low, b.low), _mm256_add_epi8(a.high, b.high)}; }

inline FastscanSums fastscan_sums(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, Ahead ahead = {}) {
    // Entries are at most 63: four of them are added as bytes before they are widened. `whole` adds 16-bit words of two bytes
    // (even + 256*odd); `odd` adds the odd bytes alone and is taken out at the end.
    __m256i whole_low = _mm256_setzero_si256(), odd_low = whole_low, whole_high = whole_low, odd_high = whole_low;
    const auto widen = [&](Looked sum) {
        whole_low = _mm256_add_epi16(whole_low, sum.low);
        odd_low = _mm256_add_epi16(odd_low, _mm256_srli_epi16(sum.low, 8));
        whole_high = _mm256_add_epi16(whole_high, sum.high);
        odd_high = _mm256_add_epi16(odd_high, _mm256_srli_epi16(sum.high, 8));
    };
    std::size_t g = 0;
    for (; g + 8 <= groups; g += 8, codes += 128, lut += 128) {
        if (ahead.next < ahead.end) {  // one condition a turn: the last may ask for a line too many
            VSEARCH_UNROLL for (std::size_t i = 0; i < kAheadLines; ++i) _mm_prefetch(reinterpret_cast<const char*>(ahead.next + 64 * i), _MM_HINT_T0);
            ahead.next += 64 * kAheadLines;
        }
        const Looked first = add8(look_up(codes, lut), look_up(codes + 32, lut + 32));
        widen(add8(first, add8(look_up(codes + 64, lut + 64), look_up(codes + 96, lut + 96))));
    }
    if (g < groups) widen(add8(look_up(codes, lut), look_up(codes + 32, lut + 32)));
    for (; ahead.next < ahead.end; ahead.next += 64) _mm_prefetch(reinterpret_cast<const char*>(ahead.next), _MM_HINT_T0);
    const __m256i even_low = _mm256_sub_epi16(whole_low, _mm256_slli_epi16(odd_low, 8));
    const __m256i even_high = _mm256_sub_epi16(whole_high, _mm256_slli_epi16(odd_high, 8));
    return {{fold_lanes(even_low), fold_lanes(odd_low), fold_lanes(even_high), fold_lanes(odd_high)}};
}

void fastscan(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, std::uint16_t* sums) {
    const FastscanSums s = fastscan_sums(codes, lut, groups);
    for (int i = 0; i < 4; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + 8 * i), s.part[i]);
}

std::uint32_t fastscan_at_least(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, std::uint32_t least, std::uint16_t* sums) {
    const FastscanSums s = fastscan_sums(codes, lut, groups);
    for (int i = 0; i < 4; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + 8 * i), s.part[i]);
    if (least > 65535) return 0;
    const __m128i least8 = _mm_set1_epi16(static_cast<short>(least));
    const auto reach = [&](__m128i part) { return _mm_cmpeq_epi16(_mm_max_epu16(part, least8), part); };
    const auto first = static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(reach(s.part[0]), reach(s.part[1]))));
    return first | static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(reach(s.part[2]), reach(s.part[3])))) << 16;
}

std::uint32_t fastscan_bound(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, const float* add,
                             const float* rescale, float scale, float offset, float threshold, float* bounds) {
    const FastscanSums s = fastscan_sums(codes, lut, groups);
    const __m256 scale8 = _mm256_set1_ps(scale), offset8 = _mm256_set1_ps(offset), limit8 = _mm256_set1_ps(threshold);
    std::uint32_t mask = 0;
    for (int i = 0; i < 4; ++i) {
        const __m256 sum = _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(s.part[i]));
        const __m256 dot = _mm256_add_ps(_mm256_mul_ps(scale8, sum), offset8);
        const __m256 bound = _mm256_add_ps(_mm256_loadu_ps(add + 8 * i), _mm256_mul_ps(_mm256_loadu_ps(rescale + 8 * i), dot));
        _mm256_storeu_ps(bounds + 8 * i, bound);
        mask |= static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(bound, limit8, _CMP_LT_OQ))) << (8 * i);
    }
    return mask;
}

std::uint32_t fastscan_halves(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, const std::uint16_t* factors, float add_scale,
                              float scale, float offset, float threshold, float* bounds, Ahead ahead) {
    const FastscanSums s = fastscan_sums(codes, lut, groups, ahead);
    const __m256 add_scale8 = _mm256_set1_ps(add_scale), scale8 = _mm256_set1_ps(scale), offset8 = _mm256_set1_ps(offset), limit8 = _mm256_set1_ps(threshold);
    const auto halves = [&](int i) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(factors + 8 * i))); };
    std::uint32_t mask = 0;
    for (int i = 0; i < 4; ++i) {
        const __m256 dot = _mm256_add_ps(_mm256_mul_ps(scale8, _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(s.part[i]))), offset8);
        const __m256 bound = _mm256_add_ps(_mm256_mul_ps(add_scale8, halves(i)), _mm256_mul_ps(halves(i + 4), dot));
        _mm256_storeu_ps(bounds + 8 * i, bound);
        mask |= static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(bound, limit8, _CMP_LT_OQ))) << (8 * i);
    }
    return mask;
}

void subset_sums(const float* x, std::size_t groups, float* table, float* low, float* widest) {
    const __m256 bit0 = _mm256_castsi256_ps(_mm256_setr_epi32(0, -1, 0, -1, 0, -1, 0, -1));
    const __m256 bit1 = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, -1, -1, 0, 0, -1, -1));
    const __m256 bit2 = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, 0, 0, -1, -1, -1, -1));
    float low_sum = 0, range = 0;
    for (std::size_t g = 0; g < groups; ++g, x += 4, table += 16) {
        float negative = 0, positive = 0;
        for (int i = 0; i < 4; ++i) {
            const __m128 value = _mm_set_ss(x[i]), zero = _mm_setzero_ps();  // no branches: half of them would be mispredicted
            negative += _mm_cvtss_f32(_mm_min_ss(value, zero));
            positive += _mm_cvtss_f32(_mm_max_ss(value, zero));
        }
        __m256 sums = _mm256_set1_ps(0.0f - negative);  // adding a masked 0 changes nothing: same sums as the scalar recursion
        sums = _mm256_add_ps(sums, _mm256_and_ps(_mm256_set1_ps(x[0]), bit0));
        sums = _mm256_add_ps(sums, _mm256_and_ps(_mm256_set1_ps(x[1]), bit1));
        sums = _mm256_add_ps(sums, _mm256_and_ps(_mm256_set1_ps(x[2]), bit2));
        _mm256_storeu_ps(table, sums);
        _mm256_storeu_ps(table + 8, _mm256_add_ps(sums, _mm256_set1_ps(x[3])));
        low_sum += negative;
        const float span = positive - negative;
        range = range < span ? span : range;
    }
    *low = low_sum;
    *widest = range;
}

inline __m256i quantize8(const float* x, __m256 factor, __m256 top) {
    const __m256 scaled = _mm256_add_ps(_mm256_mul_ps(_mm256_max_ps(_mm256_loadu_ps(x), _mm256_setzero_ps()), factor), _mm256_set1_ps(0.5f));
    return _mm256_cvttps_epi32(_mm256_min_ps(scaled, top));
}

void quantize_u8(const float* x, std::size_t n, float factor, float top, std::uint8_t* out) {
    const __m256 factor8 = _mm256_set1_ps(factor), top8 = _mm256_set1_ps(top);
    for (std::size_t i = 0; i < n; i += 16) {
        const __m256i words = _mm256_packus_epi32(quantize8(x + i, factor8, top8), quantize8(x + i + 8, factor8, top8));
        const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
        const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), bytes);
    }
}

}  // namespace

inline void install_codes(KernelTable& table) {
    table.fastscan = fastscan;
    table.fastscan_bound = fastscan_bound;
    table.fastscan_halves = fastscan_halves;
    table.fastscan_at_least = fastscan_at_least;
    table.dot_planes = dot_planes;
    table.popcount_planes = popcount_planes;
    table.hamming = hamming;
    table.lane_symbols = lane_symbols;
    table.dot_bits = dot_bits;
    table.subset_sums = subset_sums;
    table.quantize_u8 = quantize_u8;
}

}  // namespace vsearch::avx2
