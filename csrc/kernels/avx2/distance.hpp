// Distance kernels, AVX2 with FMA and F16C.
//
// What bounds the loops (Zen 3: 2 FMA, 2 other float operations and 2 loads of 32 bytes a cycle, FMA latency 4):
//   rows       from memory: the bus. From L1: the loads, 5 for every 4 rows x 8 dims, as the query is loaded once for
//              4 rows; 8 independent sums cover the FMA latency. Rows are summed across lanes 4 at a time.
//   dot_i8     vpmaddwd (2 a cycle) and the widening vpmovsxbw, 16 dims each
//   dot_u7     vpmaddubsw: exact, because 127 * 127 * 2 < 2^15; 32 dims each
//   dot_u4     vpmaddubsw on the nibbles of a load: about 9 instructions for 64 dims
//   tile       FMA: 12 sums (6 rows x 16 queries) for 6 broadcasts and 2 loads
//
// The sum of a row does not depend on its neighbours: one row alone and four rows together add in the same order, so
// every path through the engine sees the same distance to the last bit.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/ops/unroll.hpp"
#include "kernels/ops/walk.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx2 {
namespace {

inline __m256i load_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// The row formats: how 8 elements, or the last few, become floats.
struct F32 {
    using Element = float;
    static __m256 load(const float* p) { return _mm256_loadu_ps(p); }
};
struct F16 {
    using Element = std::uint16_t;
    static __m256 load(const std::uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
};
struct Bf16 {
    using Element = std::uint16_t;
    static __m256 load(const std::uint16_t* p) {
        const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
    }
};

// count < 8 elements and zeros; reads nothing beyond them.
template <class Format>
inline __m256 load_tail(const typename Format::Element* p, std::size_t count) {
    typename Format::Element padded[8] = {};
    std::memcpy(padded, p, count * sizeof(padded[0]));
    return Format::load(padded);
}

struct L2 {
    static __m256 add(__m256 sum, __m256 q, __m256 x) {
        const __m256 difference = _mm256_sub_ps(q, x);
        return _mm256_fmadd_ps(difference, difference, sum);
    }
};
struct Dot {
    static __m256 add(__m256 sum, __m256 q, __m256 x) { return _mm256_fmadd_ps(q, x, sum); }
};

inline float sum_lanes(__m256 a) {
    const __m256 pairs = _mm256_hadd_ps(a, a);
    const __m256 quads = _mm256_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
}

inline __m128 sum_lanes(__m256 a, __m256 b, __m256 c, __m256 d) {
    const __m256 quads = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1));
}

template <class Op, class Format, int kRows>
inline void score_rows(const float* query, const typename Format::Element* const* rows, std::size_t d, float* out) {
    __m256 even[kRows], odd[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) even[r] = odd[r] = _mm256_setzero_ps();
    std::size_t j = 0;
    for (; j + 16 <= d; j += 16) {
        const __m256 q0 = _mm256_loadu_ps(query + j), q1 = _mm256_loadu_ps(query + j + 8);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            even[r] = Op::add(even[r], q0, Format::load(rows[r] + j));
            odd[r] = Op::add(odd[r], q1, Format::load(rows[r] + j + 8));
        }
    }
    if (j + 8 <= d) {
        const __m256 q0 = _mm256_loadu_ps(query + j);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) even[r] = Op::add(even[r], q0, Format::load(rows[r] + j));
        j += 8;
    }
    if (j < d) {
        const __m256 q0 = load_tail<F32>(query + j, d - j);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) odd[r] = Op::add(odd[r], q0, load_tail<Format>(rows[r] + j, d - j));
    }
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) even[r] = _mm256_add_ps(even[r], odd[r]);
    if constexpr (kRows == 4)
        _mm_storeu_ps(out, sum_lanes(even[0], even[1], even[2], even[3]));
    else
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) out[r] = sum_lanes(even[r]);
}

template <class Op, class Format>
void rows_kernel(const float* query, const void* rows, std::size_t stride, const std::uint32_t* slots, std::size_t n,
                 std::size_t d, float* out) {
    using Element = typename Format::Element;
    kernel_ops::walk_rows<Element>(
        rows, stride, slots, n, d, out, [&](const Element* const* four, float* sums) { score_rows<Op, Format, 4>(query, four, d, sums); },
        [&](const Element* const* one, float* sum) { score_rows<Op, Format, 1>(query, one, d, sum); });
}

inline std::int32_t sum_lanes_i32(__m256i a) {
    const __m256i pairs = _mm256_hadd_epi32(a, a);
    const __m256i quads = _mm256_hadd_epi32(pairs, pairs);
    return _mm_cvtsi128_si32(_mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1)));
}

inline __m256i madd_i8(const std::int16_t* query, const std::int8_t* row) {
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
    return _mm256_madd_epi16(load_bytes(query), wide);
}

template <int kRows>
inline void dot_i8_rows(const std::int16_t* query, const std::int8_t* const* rows, std::size_t d, std::int32_t* out) {
    __m256i sum[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = _mm256_setzero_si256();
    std::size_t j = 0;
    for (; j + 16 <= d; j += 16)
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = _mm256_add_epi32(sum[r], madd_i8(query + j, rows[r] + j));
    if (j < d) {
        std::int16_t padded_query[16] = {};
        std::memcpy(padded_query, query + j, (d - j) * sizeof(std::int16_t));
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            std::int8_t padded_row[16] = {};
            std::memcpy(padded_row, rows[r] + j, d - j);
            sum[r] = _mm256_add_epi32(sum[r], madd_i8(padded_query, padded_row));
        }
    }
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) out[r] = sum_lanes_i32(sum[r]);
}

void dot_i8(const std::int16_t* query, const std::int8_t* rows, std::size_t stride, const std::uint32_t* slots,
            std::size_t n, std::size_t d, std::int32_t* out) {
    kernel_ops::walk_rows<std::int8_t>(
        rows, stride, slots, n, d, out, [&](const std::int8_t* const* four, std::int32_t* sums) { dot_i8_rows<4>(query, four, d, sums); },
        [&](const std::int8_t* const* one, std::int32_t* sum) { dot_i8_rows<1>(query, one, d, sum); });
}

void dot_u7(const std::int8_t* query, const std::uint8_t* rows, std::size_t stride, std::size_t n, std::size_t d, std::int32_t* out) {
    const __m256i ones = _mm256_set1_epi16(1);
    const auto pairs = [&](const std::uint8_t* row, std::size_t j) {
        return _mm256_madd_epi16(_mm256_maddubs_epi16(load_bytes(row + j), load_bytes(query + j)), ones);
    };
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* row = rows + i * stride;
        __m256i even = _mm256_setzero_si256(), odd = even;
        std::size_t j = 0;
        for (; j + 64 <= d; j += 64) {
            even = _mm256_add_epi32(even, pairs(row, j));
            odd = _mm256_add_epi32(odd, pairs(row, j + 32));
        }
        if (j < d) even = _mm256_add_epi32(even, pairs(row, j));
        out[i] = sum_lanes_i32(_mm256_add_epi32(even, odd));
    }
}

template <int kRows>
inline void dot_u4_rows(const std::int8_t* query, const std::uint8_t* const* rows, std::size_t d, std::int32_t* out) {
    const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i sum[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = _mm256_setzero_si256();
    for (std::size_t j = 0; j < d; j += 64) {
        const __m256i q0 = load_bytes(query + j), q1 = load_bytes(query + j + 32);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            const __m256i pair = load_bytes(rows[r] + j / 2);
            const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(pair, nibble), q0);
            const __m256i high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(pair, 4), nibble), q1);
            sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(_mm256_add_epi16(low, high), ones));  // 4 * 15 * 127 < 2^15
        }
    }
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) out[r] = sum_lanes_i32(sum[r]);
}

void dot_u4(const std::int8_t* query, const std::uint8_t* rows, std::size_t stride, const std::uint32_t* slots, std::size_t n,
            std::size_t d, std::int32_t* out) {
    kernel_ops::walk_rows<std::uint8_t>(
        rows, stride, slots, n, d / 2, out, [&](const std::uint8_t* const* four, std::int32_t* sums) { dot_u4_rows<4>(query, four, d, sums); },
        [&](const std::uint8_t* const* one, std::int32_t* sum) { dot_u4_rows<1>(query, one, d, sum); });
}

std::size_t select_below(const float* values, std::size_t n, float bound, std::uint32_t* out) {
    const __m256 limit = _mm256_set1_ps(bound);
    const auto below = [&](std::size_t i) { return _mm256_cmp_ps(_mm256_loadu_ps(values + i), limit, _CMP_LT_OQ); };
    std::size_t found = 0, i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m256 a = below(i), b = below(i + 8), c = below(i + 16), d = below(i + 24);
        if (_mm256_testz_ps(_mm256_or_ps(_mm256_or_ps(a, b), _mm256_or_ps(c, d)), _mm256_castsi256_ps(_mm256_set1_epi32(-1)))) continue;
        unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(a)) | static_cast<unsigned>(_mm256_movemask_ps(b)) << 8 |
                        static_cast<unsigned>(_mm256_movemask_ps(c)) << 16 | static_cast<unsigned>(_mm256_movemask_ps(d)) << 24;
        for (; mask != 0; mask &= mask - 1) out[found++] = static_cast<std::uint32_t>(i + _tzcnt_u32(mask));
    }
    for (; i < n; ++i)
        if (values[i] < bound) out[found++] = static_cast<std::uint32_t>(i);
    return found;
}

template <class Format>
void widen(const void* values, std::size_t n, float scale, float* out) {
    const auto* from = static_cast<const typename Format::Element*>(values);
    const __m256 factor = _mm256_set1_ps(scale);
    std::size_t j = 0;
    for (; j + 8 <= n; j += 8) _mm256_storeu_ps(out + j, _mm256_mul_ps(factor, Format::load(from + j)));
    if (j < n) {
        float last[8];
        _mm256_storeu_ps(last, _mm256_mul_ps(factor, load_tail<Format>(from + j, n - j)));
        std::memcpy(out + j, last, (n - j) * sizeof(float));
    }
}

struct I8 {
    using Element = std::int8_t;
    static __m256 load(const std::int8_t* p) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
    }
};

// kRows rows against the 16 queries of a panel; hits are written as row << 4 | query.
template <int kRows>
inline std::size_t tile_rows(const float* panel, const float* rows, std::size_t d, const float* bias, __m256 bound0,
                             __m256 bound1, std::uint32_t first_row, std::uint32_t* hits) {
    __m256 sum0[kRows], sum1[kRows];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum0[r] = sum1[r] = _mm256_broadcast_ss(bias + r);
    for (std::size_t j = 0; j < d; ++j) {
        const __m256 q0 = _mm256_load_ps(panel + 16 * j), q1 = _mm256_load_ps(panel + 16 * j + 8);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            const __m256 x = _mm256_broadcast_ss(rows + static_cast<std::size_t>(r) * d + j);
            sum0[r] = _mm256_fmadd_ps(x, q0, sum0[r]);
            sum1[r] = _mm256_fmadd_ps(x, q1, sum1[r]);
        }
    }
    // Not-less-than, unordered: a NaN counts as a hit and is judged by the exact kernel.
    __m256 any = _mm256_setzero_ps();
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
        sum0[r] = _mm256_cmp_ps(sum0[r], bound0, _CMP_NLT_UQ);
        sum1[r] = _mm256_cmp_ps(sum1[r], bound1, _CMP_NLT_UQ);
        any = _mm256_or_ps(any, _mm256_or_ps(sum0[r], sum1[r]));
    }
    if (_mm256_movemask_ps(any) == 0) return 0;
    std::size_t found = 0;
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
        unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(sum0[r])) | static_cast<unsigned>(_mm256_movemask_ps(sum1[r])) << 8;
        for (; mask != 0; mask &= mask - 1) hits[found++] = (first_row + static_cast<std::uint32_t>(r)) << 4 | _tzcnt_u32(mask);
    }
    return found;
}

std::size_t tile_f32(const float* panel, const float* rows, std::size_t n, std::size_t d, const float* bias,
                     const float* bounds, std::uint32_t* hits) {
    constexpr std::size_t kRows = 6;
    const __m256 bound0 = _mm256_loadu_ps(bounds), bound1 = _mm256_loadu_ps(bounds + 8);
    std::size_t found = 0, i = 0;
    for (; i + kRows <= n; i += kRows)
        found += tile_rows<kRows>(panel, rows + i * d, d, bias + i, bound0, bound1, static_cast<std::uint32_t>(i), hits + found);
    for (; i < n; ++i)
        found += tile_rows<1>(panel, rows + i * d, d, bias + i, bound0, bound1, static_cast<std::uint32_t>(i), hits + found);
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
    table.dot_u4 = dot_u4;
    table.select_below = select_below;
    table.widen_f16 = widen<F16>;
    table.widen_bf16 = widen<Bf16>;
    table.widen_i8 = widen<I8>;
    table.tile_f32 = tile_f32;
}

}  // namespace vsearch::avx2
