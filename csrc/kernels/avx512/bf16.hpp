// Dot products of bf16 rows by vdpbf16ps, 32 dims an instruction and no widening.
//
// The query is float32 and must not lose bits: it is split into three bf16 parts, q = high + middle + low, exactly (8 + 8
// + 8 bits of mantissa). Products of two bf16 are exact in float32, so the result is as good as that of the FMA kernel.
// The split costs about as much as four rows, so short calls and very long vectors go to the FMA kernel.
#pragma once

#include "kernels/avx512/distance.hpp"

namespace vsearch::avx512 {
namespace {

constexpr std::size_t kSplitDim = 2048;  // 12 KB of stack for the three parts

struct SplitQuery {
    alignas(64) std::uint16_t part[3][kSplitDim];
};

// Cut, not rounded: what is cut off is exact and goes to the next part.
inline void split_query(const float* query, std::size_t d, SplitQuery& split) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    for (std::size_t j = 0; j < d; j += 16) {
        const __mmask16 lanes = d - j >= 16 ? static_cast<__mmask16>(0xffff) : first_lanes(d - j);
        __m512 rest = F32::load(query + j, lanes);
        for (auto& part : split.part) {
            const __m512i cut = _mm512_and_si512(_mm512_castps_si512(rest), upper);
            _mm256_store_si256(reinterpret_cast<__m256i*>(part + j), _mm512_cvtepi32_epi16(_mm512_srli_epi32(cut, 16)));
            rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(cut));
        }
    }
}

inline __m512bh as_bf16(__m512i bits) {
    __m512bh out;
    static_assert(sizeof(out) == sizeof(bits), "one register each");
    __builtin_memcpy(&out, &bits, sizeof(out));
    return out;
}

template <int kRows>
inline void dot_bf16_rows(const SplitQuery& split, const std::uint16_t* const* rows, std::size_t d, float* out) {
    __m512 sum[kRows][3];
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = sum[r][2] = _mm512_setzero_ps();
    for (std::size_t j = 0; j < d; j += 32) {
        const __mmask32 lanes = d - j >= 32 ? 0xffffffffu : static_cast<__mmask32>((1ull << (d - j)) - 1);
        VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) {
            const __m512bh x = as_bf16(_mm512_maskz_loadu_epi16(lanes, rows[r] + j));
            VSEARCH_UNROLL for (int p = 0; p < 3; ++p)
                sum[r][p] = _mm512_dpbf16_ps(sum[r][p], x, as_bf16(_mm512_maskz_loadu_epi16(lanes, split.part[p] + j)));
        }
    }
    VSEARCH_UNROLL for (int r = 0; r < kRows; ++r) out[r] = sum_lanes(_mm512_add_ps(sum[r][0], _mm512_add_ps(sum[r][1], sum[r][2])));
}

void dot_bf16_split(const float* query, const void* rows, std::size_t stride, const std::uint32_t* slots, std::size_t n,
                    std::size_t d, float* out) {
    if (d > kSplitDim) return rows_kernel<Dot, Bf16>(query, rows, stride, slots, n, d, out);
    SplitQuery split;
    split_query(query, d, split);
    kernel_ops::walk_rows<std::uint16_t>(
        rows, stride, slots, n, d, out, [&](const std::uint16_t* const* four, float* sums) { dot_bf16_rows<4>(split, four, d, sums); },
        [&](const std::uint16_t* const* one, float* sum) { dot_bf16_rows<1>(split, one, d, sum); });
}

}  // namespace

inline void install_bf16(KernelTable& table) { table.dot_bf16 = dot_bf16_split; }

}  // namespace vsearch::avx512
