// Hamming distances and weighted bit planes by vpopcntq: 512 bits an instruction instead of 64.
#pragma once

#include <immintrin.h>

#include "kernels/table.hpp"

namespace vsearch::avx512 {
namespace {

inline __mmask8 words_left(std::size_t words) { return words >= 8 ? static_cast<__mmask8>(0xff) : static_cast<__mmask8>((1u << words) - 1); }

void popcount_planes(const std::uint64_t* planes, int bits, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out) {
    for (std::size_t i = 0; i < n; ++i, rows += words) {
        __m512i sum = _mm512_setzero_si512();
        for (std::size_t w = 0; w < words; w += 8) {
            const __mmask8 lanes = words_left(words - w);
            const __m512i ones = _mm512_maskz_loadu_epi64(lanes, rows + w);
            const std::uint64_t* plane = planes + w;
            for (int b = 0; b < bits; ++b, plane += words) {
                const __m512i both = _mm512_and_si512(ones, _mm512_maskz_loadu_epi64(lanes, plane));
                sum = _mm512_add_epi64(sum, _mm512_slli_epi64(_mm512_popcnt_epi64(both), static_cast<unsigned>(b)));
            }
        }
        out[i] = static_cast<std::uint32_t>(_mm512_reduce_add_epi64(sum));
    }
}

void hamming(const std::uint64_t* query, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out) {
    for (std::size_t i = 0; i < n; ++i, rows += words) {
        __m512i sum = _mm512_setzero_si512();
        for (std::size_t w = 0; w < words; w += 8) {
            const __mmask8 lanes = words_left(words - w);
            const __m512i differ = _mm512_xor_si512(_mm512_maskz_loadu_epi64(lanes, query + w), _mm512_maskz_loadu_epi64(lanes, rows + w));
            sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(differ));
        }
        out[i] = static_cast<std::uint32_t>(_mm512_reduce_add_epi64(sum));
    }
}

}  // namespace

inline void install_popcnt(KernelTable& table) {
    table.popcount_planes = popcount_planes;
    table.hamming = hamming;
}

}  // namespace vsearch::avx512
