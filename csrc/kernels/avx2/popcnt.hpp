// Hamming distances and weighted bit planes, AVX2: bits of nibbles counted by vpshufb, 256 at a time (W. Mula's method), and counts
// added as bytes.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/planes.hpp"
#include "kernels/ops/unroll.hpp"

namespace vsearch::avx2 {
namespace {

inline std::uint64_t ones_of(std::uint64_t word) { return static_cast<std::uint64_t>(_mm_popcnt_u64(word)); }

// The set bits of each nibble of a table's index, times 2^kShift.
template <int kShift>
inline __m256i nibble_ones() {
    const __m256i ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    return _mm256_slli_epi16(ones, kShift);  // 32 at most: nothing reaches the next byte
}

// Set bits of each byte.
inline __m256i byte_ones(__m256i x) {
    const __m256i nibble = _mm256_set1_epi8(15), table = nibble_ones<0>();
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble)),
                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble)));
}

inline __m256i add_bytes(__m256i total, __m256i bytes) { return _mm256_add_epi64(total, _mm256_sad_epu8(bytes, _mm256_setzero_si256())); }

inline std::uint64_t sum_epi64(__m256i x) {
    const __m128i s = _mm_add_epi64(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return static_cast<std::uint64_t>(_mm_cvtsi128_si64(s)) + static_cast<std::uint64_t>(_mm_extract_epi64(s, 1));
}

// Four planes and kRows registers of codes (their nibbles), weighed: 8 * 15 at most a byte, so that two can be added.
template <std::size_t kRows>
inline void four_planes(const __m256i* low, const __m256i* high, const std::uint64_t* planes, std::size_t words, __m256i* sums) {
    const __m256i tables[4] = {nibble_ones<0>(), nibble_ones<1>(), nibble_ones<2>(), nibble_ones<3>()};
    VSEARCH_UNROLL
    for (std::size_t b = 0; b < 4; ++b) {
        const __m256i plane = load256(planes + b * words), upper = _mm256_srli_epi16(plane, 4);
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) {
            const __m256i ones = _mm256_add_epi8(_mm256_shuffle_epi8(tables[b], _mm256_and_si256(low[r], plane)),
                                                 _mm256_shuffle_epi8(tables[b], _mm256_and_si256(high[r], upper)));
            sums[r] = b == 0 ? ones : _mm256_add_epi8(sums[r], ones);
        }
    }
}

// Of kRows codes at once, so that the planes are loaded and shifted once for all of them.
template <std::size_t kRows>
inline void popcount_four(const std::uint64_t* planes, const std::uint64_t* rows, std::size_t words, std::uint64_t* out) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i totals[kRows];
    VSEARCH_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) totals[r] = _mm256_setzero_si256();
    std::size_t w = 0;
    for (; w + 4 <= words; w += 4) {
        __m256i low[kRows], high[kRows], sums[kRows];
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) {
            const __m256i code = load256(rows + r * words + w);
            low[r] = _mm256_and_si256(code, nibble);
            high[r] = _mm256_and_si256(_mm256_srli_epi16(code, 4), nibble);
        }
        four_planes<kRows>(low, high, planes + w, words, sums);
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) totals[r] = add_bytes(totals[r], sums[r]);
    }
    VSEARCH_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) out[r] = sum_epi64(totals[r]);
    for (; w < words; ++w)
        for (std::size_t r = 0; r < kRows; ++r)
            for (std::size_t b = 0; b < 4; ++b) out[r] += ones_of(rows[r * words + w] & planes[b * words + w]) << b;
}

inline std::uint64_t popcount_one(const std::uint64_t* plane, const std::uint64_t* row, std::size_t words) {
    std::uint64_t sum = 0;
    for (std::size_t w = 0; w < words; ++w) sum += ones_of(row[w] & plane[w]);
    return sum;
}

template <std::size_t kRows>
inline void popcount_rows(const std::uint64_t* planes, int bits, const std::uint64_t* rows, std::size_t words, std::uint32_t* out) {
    std::uint64_t sums[kRows] = {}, four[kRows];
    int b = 0;
    for (; b + 4 <= bits; b += 4, planes += 4 * words) {
        popcount_four<kRows>(planes, rows, words, four);
        for (std::size_t r = 0; r < kRows; ++r) sums[r] += four[r] << b;
    }
    for (; b < bits; ++b, planes += words)
        for (std::size_t r = 0; r < kRows; ++r) sums[r] += popcount_one(planes, rows + r * words, words) << b;
    for (std::size_t r = 0; r < kRows; ++r) out[r] = static_cast<std::uint32_t>(sums[r]);
}

void popcount_planes(const std::uint64_t* planes, int bits, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out) {
    for (; n >= 2; n -= 2, rows += 2 * words, out += 2) popcount_rows<2>(planes, bits, rows, words, out);
    if (n > 0) popcount_rows<1>(planes, bits, rows, words, out);
}

// Bits of `words` words that differ, 64-bit sums; up to 31 registers' bytes can be added.
inline __m256i differing(const std::uint64_t* query, const std::uint64_t* row, std::size_t words) {
    const auto ones = [&](std::size_t w) { return byte_ones(_mm256_xor_si256(load256(query + w), load256(row + w))); };
    __m256i total = _mm256_setzero_si256();
    std::size_t w = 0;
    for (; w + 16 <= words; w += 16)
        total = add_bytes(total, _mm256_add_epi8(_mm256_add_epi8(ones(w), ones(w + 4)), _mm256_add_epi8(ones(w + 8), ones(w + 12))));
    for (; w + 4 <= words; w += 4) total = add_bytes(total, ones(w));
    return total;
}

inline std::uint64_t differing_rest(const std::uint64_t* query, const std::uint64_t* row, std::size_t words) {
    std::uint64_t sum = 0;
    for (std::size_t w = words & ~std::size_t{3}; w < words; ++w) sum += ones_of(query[w] ^ row[w]);
    return sum;
}

void hamming(const std::uint64_t* query, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out) {
    for (; n >= 4; n -= 4, rows += 4 * words, out += 4) {
        const __m256i first = _mm256_or_si256(differing(query, rows, words), _mm256_slli_epi64(differing(query, rows + words, words), 32));
        const __m256i second = _mm256_or_si256(differing(query, rows + 2 * words, words), _mm256_slli_epi64(differing(query, rows + 3 * words, words), 32));
        const __m256i both = _mm256_add_epi32(_mm256_unpacklo_epi64(first, second), _mm256_unpackhi_epi64(first, second));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)));
        if (words % 4 == 0) continue;
        for (std::size_t r = 0; r < 4; ++r) out[r] += static_cast<std::uint32_t>(differing_rest(query, rows + r * words, words));
    }
    for (; n > 0; --n, rows += words, ++out)
        *out = static_cast<std::uint32_t>(sum_epi64(differing(query, rows, words)) + differing_rest(query, rows, words));
}

}  // namespace
}  // namespace vsearch::avx2
