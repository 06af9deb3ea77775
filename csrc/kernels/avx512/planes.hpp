// Packed codes against int8 queries, AVX-512: a whole 64-dim chunk of a plane is one register and one multiplication.
//
// Shared by the plain unit and by VNNI, which differ in the multiplication alone: Op::add(sum, codes, query) adds 64
// products of unsigned codes <= 15 and int8 to 16 partial sums.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/ops/planes.hpp"
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

template <class Op>
struct PlaneUnit {
    using Vector = __m512i;
    static __m512i zero() { return _mm512_setzero_si512(); }
    static __m512i chunk(const std::int8_t* query) { return _mm512_loadu_si512(query); }
    static __m512i add4(__m512i sum, const std::uint8_t* plane, __m512i q) { return Op::add(sum, expand4(plane), q); }
    static __m512i add2(__m512i sum, const std::uint8_t* plane, __m512i q) { return Op::add(sum, expand2(plane), q); }
    static __m512i add1(__m512i sum, const std::uint8_t* plane, __m512i q) { return Op::add(sum, expand1(plane), q); }
    template <int kShift>
    static __m512i weighed(__m512i total, __m512i sum) {
        return _mm512_add_epi32(total, _mm512_slli_epi32(sum, kShift));
    }
    static std::int32_t reduced(__m512i total) { return _mm512_reduce_add_epi32(total); }
};

template <class Op>
constexpr PlanesKernel dot_planes = kernel_ops::dot_planes<kernel_ops::RowByRow<PlaneUnit<Op>>>;

}  // namespace
}  // namespace vsearch::avx512
