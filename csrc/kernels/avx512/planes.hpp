// Packed codes against int8 queries, AVX-512: a whole 64-dim chunk of a plane is one register and one multiplication.
//
// Shared by the plain unit and by VNNI, which differ in the multiplication alone: Op::add(sum, codes, query) adds 64
// products of unsigned codes <= 15 and int8 to 16 partial sums. Each plane keeps sums of its own, weighed once at the end.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/table.hpp"

namespace vsearch::avx512 {
namespace {

// The planes of a 64-dim chunk as 64 bytes in the order of the query.
inline __m512i expand4(const std::uint8_t* plane) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(plane));
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(bytes), _mm256_srli_epi16(bytes, 4), 1);
    return _mm512_and_si512(both, _mm512_set1_epi8(15));
}

inline __m512i expand2(const std::uint8_t* plane) {
    const __m512i four_times = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(plane)));
    const __m512i shifted = _mm512_srlv_epi64(four_times, _mm512_setr_epi64(0, 0, 2, 2, 4, 4, 6, 6));
    return _mm512_and_si512(shifted, _mm512_set1_epi8(3));
}

inline __m512i expand1(const std::uint8_t* plane) {
    std::uint64_t bits;
    std::memcpy(&bits, plane, sizeof(bits));
    return _mm512_maskz_set1_epi8(static_cast<__mmask64>(bits), 1);
}

template <class Op, int kBits>
std::int32_t dot_planes_of(const std::uint8_t* code, const std::int8_t* query, std::size_t chunks) {
    constexpr bool kHasPlane2 = kBits == 2 || kBits == 3 || kBits == 6 || kBits == 7;
    __m512i low4 = _mm512_setzero_si512(), high4 = low4, two = low4, one = low4;
    for (std::size_t c = 0; c < chunks; ++c, query += 64) {
        const __m512i q = _mm512_loadu_si512(query);
        if constexpr (kBits >= 4) {
            low4 = Op::add(low4, expand4(code), q);
            code += 32;
        }
        if constexpr (kBits == 8) {
            high4 = Op::add(high4, expand4(code), q);
            code += 32;
        }
        if constexpr (kHasPlane2) {
            two = Op::add(two, expand2(code), q);
            code += 16;
        }
        if constexpr (kBits % 2 == 1) {
            one = Op::add(one, expand1(code), q);
            code += 8;
        }
    }
    const __m512i fours = _mm512_add_epi32(low4, _mm512_slli_epi32(high4, 4));
    const __m512i rest = _mm512_add_epi32(_mm512_slli_epi32(two, kBits >= 4 ? 4 : 0), _mm512_slli_epi32(one, kBits - 1));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(fours, rest));
}

template <class Op, int kBits>
void dot_rows(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t n, std::size_t chunks, std::int32_t* out) {
    for (std::size_t i = 0; i < n; ++i, codes += stride) out[i] = dot_planes_of<Op, kBits>(codes, query, chunks);
}

template <class Op>
void dot_planes(int bits, const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t n, std::size_t chunks, std::int32_t* out) {
    switch (bits) {
        case 1: return dot_rows<Op, 1>(query, codes, stride, n, chunks, out);
        case 2: return dot_rows<Op, 2>(query, codes, stride, n, chunks, out);
        case 3: return dot_rows<Op, 3>(query, codes, stride, n, chunks, out);
        case 4: return dot_rows<Op, 4>(query, codes, stride, n, chunks, out);
        case 5: return dot_rows<Op, 5>(query, codes, stride, n, chunks, out);
        case 6: return dot_rows<Op, 6>(query, codes, stride, n, chunks, out);
        case 7: return dot_rows<Op, 7>(query, codes, stride, n, chunks, out);
        default: return dot_rows<Op, 8>(query, codes, stride, n, chunks, out);
    }
}

}  // namespace
}  // namespace vsearch::avx512
