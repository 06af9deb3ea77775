// Distance kernels, AVX-512 (F, BW, DQ, VL). Tails are masked loads: no remainder loops over elements.
//
// Same shape as kernels/avx2/distance.hpp, 16 lanes wide: 4 rows share each load of the query, two sums a row cover the
// FMA latency, and a row's result is the same alone or among four.
// The tile keeps 12 sums (12 rows x 16 queries); each FMA broadcasts its row element from memory.
#pragma once

#include <immintrin.h>

#include "kernels/ops/unroll.hpp"
#include "kernels/ops/walk.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx512 {
namespace {

inline __mmask16 first_lanes(std::size_t count) { return static_cast<__mmask16>((1u << count) - 1); }

// The row formats: how 16 elements, or the first few, become floats. Masked-out lanes are zero and are not read.
struct F32 {
    using Element = float;
    static __m512 load(const float* p) { return _mm512_loadu_ps(p); }
    static __m512 load(const float* p, __mmask16 lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
};
struct F16 {
    using Element = std::uint16_t;
    static __m512 load(const std::uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
    static __m512 load(const std::uint16_t* p, __mmask16 lanes) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, p)); }
};
struct Bf16 {
    using Element = std::uint16_t;
    static __m512 widen(__m256i halves) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)); }
    static __m512 load(const std::uint16_t* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
    static __m512 load(const std::uint16_t* p, __mmask16 lanes) { return widen(_mm256_maskz_loadu_epi16(lanes, p)); }
};
struct I8 {
    using Element = std::int8_t;
    static __m512 load(const std::int8_t* p) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    static __m512 load(const std::int8_t* p, __mmask16 lanes) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, p)));
    }
};

struct L2 {
    static __m512 add(__m512 sum, __m512 q, __m512 x) {
        const __m512 difference = _mm512_sub_ps(q, x);
        return _mm512_fmadd_ps(difference, difference, sum);
    }
};
struct Dot {
    static __m512 add(__m512 sum, __m512 q, __m512 x) { return _mm512_fmadd_ps(q, x, sum); }
};

inline float sum_lanes(__m512 a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

template <class Op, class Format, int kRows>
inline void score_rows(const float* query, const typename Format::Element* const* rows, std::size_t d, float* out) {
    __m512 even[kRows], odd[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) even[r] = odd[r] = _mm512_setzero_ps();
    std::size_t j = 0;
    for (; j + 32 <= d; j += 32) {
        const __m512 q0 = F32::load(query + j), q1 = F32::load(query + j + 16);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            even[r] = Op::add(even[r], q0, Format::load(rows[r] + j));
            odd[r] = Op::add(odd[r], q1, Format::load(rows[r] + j + 16));
        }
    }
    if (j + 16 <= d) {
        const __m512 q0 = F32::load(query + j);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) even[r] = Op::add(even[r], q0, Format::load(rows[r] + j));
        j += 16;
    }
    if (j < d) {
        const __mmask16 lanes = first_lanes(d - j);
        const __m512 q0 = F32::load(query + j, lanes);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) odd[r] = Op::add(odd[r], q0, Format::load(rows[r] + j, lanes));
    }
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) out[r] = sum_lanes(_mm512_add_ps(even[r], odd[r]));
}

template <class Op, class Format>
void rows_kernel(const float* query, const void* rows, std::size_t stride, const std::uint32_t* slots, std::size_t n,
                 std::size_t d, float* out) {
    using Element = typename Format::Element;
    kernel_ops::walk_rows<Element>(
        rows, stride, slots, n, d, out, [&](const Element* const* four, float* sums) { score_rows<Op, Format, 4>(query, four, d, sums); },
        [&](const Element* const* one, float* sum) { score_rows<Op, Format, 1>(query, one, d, sum); });
}

inline __m512i load_i8_as_i16(const std::int8_t* p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

struct Madd {
    static __m512i add(__m512i sum, __m512i query, __m512i row) { return _mm512_add_epi32(sum, _mm512_madd_epi16(query, row)); }
};

template <class Op, int kRows>
inline void dot_i8_rows(const std::int16_t* query, const std::int8_t* const* rows, std::size_t d, std::int32_t* out) {
    __m512i sum[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = _mm512_setzero_si512();
    std::size_t j = 0;
    for (; j + 32 <= d; j += 32) {
        const __m512i q = _mm512_loadu_si512(query + j);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = Op::add(sum[r], q, load_i8_as_i16(rows[r] + j));
    }
    if (j < d) {
        const __mmask32 lanes = static_cast<__mmask32>((1ull << (d - j)) - 1);
        const __m512i q = _mm512_maskz_loadu_epi16(lanes, query + j);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = Op::add(sum[r], q, _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(lanes, rows[r] + j)));
    }
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) out[r] = _mm512_reduce_add_epi32(sum[r]);
}

template <class Op>
void dot_i8(const std::int16_t* query, const std::int8_t* rows, std::size_t stride, const std::uint32_t* slots,
            std::size_t n, std::size_t d, std::int32_t* out) {
    kernel_ops::walk_rows<std::int8_t>(
        rows, stride, slots, n, d, out, [&](const std::int8_t* const* four, std::int32_t* sums) { dot_i8_rows<Op, 4>(query, four, d, sums); },
        [&](const std::int8_t* const* one, std::int32_t* sum) { dot_i8_rows<Op, 1>(query, one, d, sum); });
}

struct Maddubs {
    static __m512i add(__m512i sum, __m512i codes, __m512i query) {
        return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(codes, query), _mm512_set1_epi16(1)));
    }
};

template <class Op>
void dot_u7(const std::int8_t* query, const std::uint8_t* rows, std::size_t stride, std::size_t n, std::size_t d, std::int32_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* row = rows + i * stride;
        __m512i sum = _mm512_setzero_si512();
        std::size_t j = 0;
        for (; j + 64 <= d; j += 64) sum = Op::add(sum, _mm512_loadu_si512(row + j), _mm512_loadu_si512(query + j));
        if (j < d) {
            constexpr __mmask64 kHalf = 0xffffffffull;
            sum = Op::add(sum, _mm512_maskz_loadu_epi8(kHalf, row + j), _mm512_maskz_loadu_epi8(kHalf, query + j));
        }
        out[i] = _mm512_reduce_add_epi32(sum);
    }
}

std::size_t select_below(const float* values, std::size_t n, float bound, std::uint32_t* out) {
    const __m512 limit = _mm512_set1_ps(bound);
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    std::size_t found = 0;
    for (std::size_t i = 0; i < n; i += 16) {
        const __mmask16 lanes = n - i >= 16 ? static_cast<__mmask16>(0xffff) : first_lanes(n - i);
        const __mmask16 below = _mm512_mask_cmp_ps_mask(lanes, _mm512_maskz_loadu_ps(lanes, values + i), limit, _CMP_LT_OQ);
        if (below == 0) continue;
        // Compressed in a register and stored whole: compressing stores are slow on Zen 4.
        const __m512i positions = _mm512_maskz_compress_epi32(below, _mm512_add_epi32(count, _mm512_set1_epi32(static_cast<int>(i))));
        const std::size_t hits = static_cast<std::size_t>(_mm_popcnt_u32(below));
        _mm512_mask_storeu_epi32(out + found, first_lanes(hits), positions);
        found += hits;
    }
    return found;
}

template <class Format>
void widen(const void* values, std::size_t n, float scale, float* out) {
    const auto* from = static_cast<const typename Format::Element*>(values);
    const __m512 factor = _mm512_set1_ps(scale);
    std::size_t j = 0;
    for (; j + 16 <= n; j += 16) _mm512_storeu_ps(out + j, _mm512_mul_ps(factor, Format::load(from + j)));
    if (j < n) {
        const __mmask16 lanes = first_lanes(n - j);
        _mm512_mask_storeu_ps(out + j, lanes, _mm512_mul_ps(factor, Format::load(from + j, lanes)));
    }
}

template <int kRows>
inline std::size_t tile_rows(const float* panel, const float* rows, std::size_t d, const float* bias, __m512 bound,
                             std::uint32_t first_row, std::uint32_t* hits) {
    __m512 sum[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = _mm512_set1_ps(bias[r]);
    for (std::size_t j = 0; j < d; ++j) {
        const __m512 q = _mm512_load_ps(panel + 16 * j);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = _mm512_fmadd_ps(_mm512_set1_ps(rows[static_cast<std::size_t>(r) * d + j]), q, sum[r]);
    }
    // Not-less-than, unordered: a NaN counts as a hit and is judged by the exact kernel.
    std::size_t found = 0;
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
        unsigned mask = _mm512_cmp_ps_mask(sum[r], bound, _CMP_NLT_UQ);
        for (; mask != 0; mask &= mask - 1) hits[found++] = (first_row + static_cast<std::uint32_t>(r)) << 4 | _tzcnt_u32(mask);
    }
    return found;
}

std::size_t tile_f32(const float* panel, const float* rows, std::size_t n, std::size_t d, const float* bias,
                     const float* bounds, std::uint32_t* hits) {
    constexpr std::size_t kRows = 12;
    const __m512 bound = _mm512_loadu_ps(bounds);
    std::size_t found = 0, i = 0;
    for (; i + kRows <= n; i += kRows)
        found += tile_rows<kRows>(panel, rows + i * d, d, bias + i, bound, static_cast<std::uint32_t>(i), hits + found);
    for (; i < n; ++i) found += tile_rows<1>(panel, rows + i * d, d, bias + i, bound, static_cast<std::uint32_t>(i), hits + found);
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
    table.dot_i8 = dot_i8<Madd>;
    table.dot_u7 = dot_u7<Maddubs>;
    table.select_below = select_below;
    table.widen_f16 = widen<F16>;
    table.widen_bf16 = widen<Bf16>;
    table.widen_i8 = widen<I8>;
    table.tile_f32 = tile_f32;
}

}  // namespace vsearch::avx512
