// Code kernels, AVX-512 (F, BW, DQ, VL). Same results as kernels/scalar/codes.hpp, bit for bit.
//
// Twice the width of kernels/avx2/codes.hpp with the same arithmetic; what changes is what fits in a register: four groups
// of a FastScan block, a whole 64-dim chunk of a plane. The encoder's kernels and the popcounts stay with AVX2 here: one popcnt
// a cycle beats a nibble table, and vpopcntq has its own unit (popcnt.hpp).
// Floating-point results use separate multiply and add, never FMA, so that all units agree to the last bit.
#pragma once

#include <immintrin.h>

#include "kernels/avx512/planes.hpp"
#include "kernels/ops/hadamard.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx512 {
namespace {

// Sums of 8 vectors each, in vector order: {0..7}, {8..15}, {16..23}, {24..31} as uint16.
struct FastscanSums {
    __m128i part[4];
};

inline __m128i fold_lanes(__m512i x) {
    const __m256i half = _mm256_add_epi16(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    return _mm_add_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// The table entries of four groups, for the low and the high nibbles.
struct Looked {
    __m512i low, high;
};

inline Looked look_up(const std::uint8_t* codes, const std::uint8_t* lut) {
    const __m512i nibble = _mm512_set1_epi8(15), pair = _mm512_loadu_si512(codes), table = _mm512_loadu_si512(lut);
    return {_mm512_shuffle_epi8(table, _mm512_and_si512(pair, nibble)),
            _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(pair, 4), nibble))};
}

inline Looked add8(Looked a, Looked b) { return {_mm512_add_epi8(a.low, b.low), _mm512_add_epi8(a.high, b.high)}; }

inline FastscanSums fastscan_sums(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups) {
    // Entries are at most 63: up to four are added as bytes before they are widened. `whole` adds 16-bit words of two bytes
    // (even + 256*odd); `odd` adds the odd bytes alone and is taken out at the end.
    __m512i whole_low = _mm512_setzero_si512(), odd_low = whole_low, whole_high = whole_low, odd_high = whole_low;
    const auto widen_and_add = [&](Looked sum) {
        whole_low = _mm512_add_epi16(whole_low, sum.low);
        odd_low = _mm512_add_epi16(odd_low, _mm512_srli_epi16(sum.low, 8));
        whole_high = _mm512_add_epi16(whole_high, sum.high);
        odd_high = _mm512_add_epi16(odd_high, _mm512_srli_epi16(sum.high, 8));
    };
    std::size_t g = 0;
    for (; g + 16 <= groups; g += 16, codes += 256, lut += 256) {
        const Looked first = add8(look_up(codes, lut), look_up(codes + 64, lut + 64));
        widen_and_add(add8(first, add8(look_up(codes + 128, lut + 128), look_up(codes + 192, lut + 192))));
    }
    for (; g < groups; g += 4, codes += 64, lut += 64) widen_and_add(look_up(codes, lut));
    const __m512i even_low = _mm512_sub_epi16(whole_low, _mm512_slli_epi16(odd_low, 8));
    const __m512i even_high = _mm512_sub_epi16(whole_high, _mm512_slli_epi16(odd_high, 8));
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
    const __m512 scale16 = _mm512_set1_ps(scale), offset16 = _mm512_set1_ps(offset), limit16 = _mm512_set1_ps(threshold);
    std::uint32_t mask = 0;
    for (int i = 0; i < 2; ++i) {
        const __m256i words = _mm256_inserti128_si256(_mm256_castsi128_si256(s.part[2 * i]), s.part[2 * i + 1], 1);
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(words));
        const __m512 dot = _mm512_add_ps(_mm512_mul_ps(scale16, sum), offset16);
        const __m512 bound = _mm512_add_ps(_mm512_loadu_ps(add + 16 * i), _mm512_mul_ps(_mm512_loadu_ps(rescale + 16 * i), dot));
        _mm512_storeu_ps(bounds + 16 * i, bound);
        mask |= static_cast<std::uint32_t>(_mm512_cmp_ps_mask(bound, limit16, _CMP_LT_OQ)) << (16 * i);
    }
    return mask;
}

// vpmaddubsw, then vpmaddwd by one. The int16 pairs hold: 2 * 15 * 127 < 32768.
struct MultiplyTwice {
    static __m512i add(__m512i sum, __m512i codes, __m512i query) {
        return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(codes, query), _mm512_set1_epi16(1)));
    }
};

// The sign bits of lanes.
inline __m512 signs(std::uint16_t minus) {
    return _mm512_castsi512_ps(_mm512_maskz_set1_epi32(static_cast<__mmask16>(minus), static_cast<int>(0x80000000u)));
}

struct Floats {
    using Vector = __m512;
    static constexpr std::size_t kLanes = 16;
    static __m512 load(const float* x) { return _mm512_loadu_ps(x); }
    static void store(float* x, __m512 v) { _mm512_storeu_ps(x, v); }
    static __m512 add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
    static __m512 sub(__m512 a, __m512 b) { return _mm512_sub_ps(a, b); }
    // Stages 1, 2, 4 and 8: (a, b) -> (a+b, a-b) by one shuffle and a signed addition.
    static __m512 within(__m512 x) {
        x = _mm512_add_ps(_mm512_permute_ps(x, 0xb1), _mm512_xor_ps(x, signs(0xaaaa)));
        x = _mm512_add_ps(_mm512_permute_ps(x, 0x4e), _mm512_xor_ps(x, signs(0xcccc)));
        x = _mm512_add_ps(_mm512_shuffle_f32x4(x, x, 0xb1), _mm512_xor_ps(x, signs(0xf0f0)));
        return _mm512_add_ps(_mm512_shuffle_f32x4(x, x, 0x4e), _mm512_xor_ps(x, signs(0xff00)));
    }
};

void subset_sums(const float* x, std::size_t groups, float* table, float* low, float* widest) {
    float low_sum = 0, range = 0;
    for (std::size_t g = 0; g < groups; ++g, x += 4, table += 16) {
        float negative = 0, positive = 0;
        for (int i = 0; i < 4; ++i) {
            negative += x[i] < 0 ? x[i] : 0.0f;
            positive += x[i] < 0 ? 0.0f : x[i];
        }
        __m512 sums = _mm512_set1_ps(0.0f - negative);
        sums = _mm512_mask_add_ps(sums, 0xaaaa, sums, _mm512_set1_ps(x[0]));
        sums = _mm512_mask_add_ps(sums, 0xcccc, sums, _mm512_set1_ps(x[1]));
        sums = _mm512_mask_add_ps(sums, 0xf0f0, sums, _mm512_set1_ps(x[2]));
        sums = _mm512_mask_add_ps(sums, 0xff00, sums, _mm512_set1_ps(x[3]));
        _mm512_storeu_ps(table, sums);
        low_sum += negative;
        const float span = positive - negative;
        range = range < span ? span : range;
    }
    *low = low_sum;
    *widest = range;
}

void quantize_u8(const float* x, std::size_t n, float factor, float top, std::uint8_t* out) {
    const __m512 factor16 = _mm512_set1_ps(factor), top16 = _mm512_set1_ps(top), half16 = _mm512_set1_ps(0.5f);
    for (std::size_t i = 0; i < n; i += 16) {
        const __m512 positive = _mm512_max_ps(_mm512_loadu_ps(x + i), _mm512_setzero_ps());
        const __m512 scaled = _mm512_add_ps(_mm512_mul_ps(positive, factor16), half16);
        const __m512i levels = _mm512_cvttps_epi32(_mm512_min_ps(scaled, top16));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtusepi32_epi8(levels));
    }
}

}  // namespace

inline void install_codes(KernelTable& table) {
    table.fastscan = fastscan;
    table.fastscan_bound = fastscan_bound;
    table.fastscan_at_least = fastscan_at_least;
    table.dot_planes = dot_planes<MultiplyTwice>;
    table.fht_f32 = kernel_ops::fht_f32<Floats>;
    table.subset_sums = subset_sums;
    table.quantize_u8 = quantize_u8;
}

}  // namespace vsearch::avx512
