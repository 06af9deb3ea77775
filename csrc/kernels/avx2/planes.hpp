// Packed codes against int8 queries, and the bits of one lane of a block against int16 ones, AVX2. Same results as
// kernels/scalar/codes.hpp, bit for bit.
//
// dot_planes is bound by its vector operations, of which Zen 3 starts four a cycle: for 64 dims 7.5 of a 4-bit plane, 8.5 of 2 bits and
// 10.5 of one. Products of bytes are added in 16 bits for four chunks before they are widened.
#pragma once

#include <immintrin.h>

#include "kernels/ops/planes.hpp"
#include "kernels/ops/unroll.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx2 {
namespace {

constexpr std::size_t kAheadBytes = 8192;  // between codes and what is fetched for later

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// The products of a plane with the 64 query values in `low` and `high`, as int16 sums of dims.
inline __m256i plane4(const std::uint8_t* plane, __m256i low, __m256i high) {
    const __m256i nibble = _mm256_set1_epi8(15), bytes = load256(plane);
    return _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_and_si256(bytes, nibble), low),
                            _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble), high));
}

inline __m256i plane2(const std::uint8_t* plane, __m256i low, __m256i high) {
    const __m256i two_bits = _mm256_set1_epi8(3);
    const __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(plane)));
    const __m256i shifted = _mm256_srlv_epi64(twice, _mm256_setr_epi64x(0, 0, 2, 2));  // upper lane: dims 16..31
    return _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_and_si256(shifted, two_bits), low),
                            _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(shifted, 4), two_bits), high));
}

// Eight times the same 32 bits, to 32 bytes.
inline __m256i spread_bits(__m256i bits) {
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i select = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, spread), select), select);
}

inline __m256i bits_to_bytes(std::uint32_t bits) { return spread_bits(_mm256_set1_epi32(static_cast<int>(bits))); }

// Ones where 32 of eight times the same 64 bits are set: the least of a power of two or 0, and 1.
template <int kHalf>
inline __m256i spread_ones(__m256i words) {
    constexpr char k = 4 * kHalf;
    const __m256i spread = _mm256_setr_epi8(k, k, k, k, k, k, k, k, k + 1, k + 1, k + 1, k + 1, k + 1, k + 1, k + 1, k + 1, k + 2, k + 2, k + 2, k + 2,
                                            k + 2, k + 2, k + 2, k + 2, k + 3, k + 3, k + 3, k + 3, k + 3, k + 3, k + 3, k + 3);
    const __m256i select = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    return _mm256_min_epu8(_mm256_and_si256(_mm256_shuffle_epi8(words, spread), select), _mm256_set1_epi8(1));
}

// Eight bytes, four times.
inline __m256i broadcast8(const std::uint8_t* bytes) { return _mm256_castpd_si256(_mm256_broadcast_sd(reinterpret_cast<const double*>(bytes))); }

inline __m256i plane1(const std::uint8_t* plane, __m256i low, __m256i high) {
    const __m256i words = broadcast8(plane);
    return _mm256_add_epi16(_mm256_maddubs_epi16(spread_ones<0>(words), low), _mm256_maddubs_epi16(spread_ones<1>(words), high));
}

inline std::int32_t sum_epi32(__m256i x) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

// The 64 query values of a chunk.
struct Chunk {
    __m256i low, high;
};

// Sums are of int16: at most 60 a dim of a 2-bit plane and 2 * 2 * 15 * 127 of a 4-bit one.
struct PlaneUnit {
    using Vector = __m256i;
    static constexpr std::size_t kExactChunks = 4;  // that fit: 4 * 7620; of a 2-bit plane 4 * 1524

    static __m256i zero() { return _mm256_setzero_si256(); }
    static __m256i add4(__m256i sum, const std::uint8_t* plane, const Chunk& q) { return _mm256_add_epi16(sum, plane4(plane, q.low, q.high)); }
    static __m256i add2(__m256i sum, const std::uint8_t* plane, const Chunk& q) { return _mm256_add_epi16(sum, plane2(plane, q.low, q.high)); }
    static __m256i add1(__m256i sum, const std::uint8_t* plane, const Chunk& q) { return _mm256_add_epi16(sum, plane1(plane, q.low, q.high)); }
    template <int kShift>
    static __m256i weighed(__m256i total, __m256i sum) {
        return _mm256_add_epi32(total, _mm256_madd_epi16(sum, _mm256_set1_epi16(1 << kShift)));
    }
};

// kRows codes at once, so that the query is loaded once for all of them. So many streams confuse the hardware: what comes later is fetched
// here, line by line in order.
template <int kBits, std::size_t kRows>
inline void dot_some(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t chunks, const std::uint8_t* ahead, __m256i* totals) {
    using P = kernel_ops::Planes<kBits>;
    VSEARCH_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) totals[r] = _mm256_setzero_si256();
    while (chunks > 0) {
        kernel_ops::PlaneSums<PlaneUnit> sums[kRows];
        const std::size_t some = chunks < PlaneUnit::kExactChunks ? chunks : PlaneUnit::kExactChunks;
        for (std::size_t c = 0; c < some; ++c, query += 64, codes += P::kBytes) {
            const Chunk q = {load256(query), load256(query + 32)};
            VSEARCH_UNROLL
            for (std::size_t r = 0; r < kRows; ++r) P::add(sums[r], codes + r * stride, q);
            if constexpr (kRows > 1) {
                VSEARCH_UNROLL
                for (std::size_t at = 0; at < kRows * P::kBytes; at += 64) _mm_prefetch(reinterpret_cast<const char*>(ahead + at), _MM_HINT_T0);
                ahead += kRows * P::kBytes;
            }
        }
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) totals[r] = P::weighed(totals[r], sums[r]);
        chunks -= some;
    }
}

struct InFours {
    template <int kBits>
    static void dot(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t n, std::size_t chunks, std::int32_t* out) {
        __m256i totals[4];
        for (; n >= 4; n -= 4, codes += 4 * stride, out += 4) {
            dot_some<kBits, 4>(query, codes, stride, chunks, codes + kAheadBytes, totals);
            const __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(totals[0], totals[1]), _mm256_hadd_epi32(totals[2], totals[3]));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1)));
        }
        for (; n > 0; --n, codes += stride, ++out) {
            dot_some<kBits, 1>(query, codes, stride, chunks, codes, totals);
            *out = sum_epi32(totals[0]);
        }
    }
};

constexpr PlanesKernel dot_planes = kernel_ops::dot_planes<InFours>;

// The symbols of 4 * kPairs rows of a block as 2 * kPairs bytes. Two loads of two rows each have four bytes of the lane, which unpacking puts
// beside each other as a word of either half; `word` says which, and blends put the words in order. Loads are aligned as the block is: to have
// the words in place by loading from elsewhere would cost as many loads more as lie across two lines.
template <bool kUpper, int kPairs>
inline __m128i symbols_of_rows(const std::uint8_t* rows, __m256i word, __m128i shift) {
    const auto pair = [&](std::size_t k) {
        const __m256i first = load256(rows + 64 * k), second = load256(rows + 64 * k + 32);
        return _mm256_shuffle_epi8(kUpper ? _mm256_unpackhi_epi8(first, second) : _mm256_unpacklo_epi8(first, second), word);
    };
    __m256i words = pair(0);
    words = _mm256_blend_epi16(words, pair(1), 0x02);
    words = _mm256_blend_epi16(words, pair(2), 0x04);
    words = _mm256_blend_epi16(words, pair(3), 0x08);
    if constexpr (kPairs == 8) {
        words = _mm256_blend_epi16(words, pair(4), 0x10);
        words = _mm256_blend_epi16(words, pair(5), 0x20);
        words = _mm256_blend_epi16(words, pair(6), 0x40);
        words = _mm256_blend_epi16(words, pair(7), 0x80);
    }
    words = _mm256_and_si256(_mm256_srl_epi16(words, shift), _mm256_set1_epi8(15));
    return _mm_or_si128(_mm256_castsi256_si128(words), _mm_slli_epi16(_mm256_extracti128_si256(words, 1), 4));
}

template <bool kUpper>
void symbols_at(std::size_t byte, int nibble, const std::uint8_t* rows, std::size_t groups, std::uint8_t* symbols) {
    const __m256i word = _mm256_set1_epi16(static_cast<short>(0x100 + 0x202 * (byte & 7)));
    const __m128i shift = _mm_cvtsi32_si128(nibble);
    for (; groups >= 32; groups -= 32, rows += 512, symbols += 16)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols), symbols_of_rows<kUpper, 8>(rows, word, shift));
    for (; groups >= 16; groups -= 16, rows += 256, symbols += 8)
        _mm_storel_epi64(reinterpret_cast<__m128i*>(symbols), symbols_of_rows<kUpper, 4>(rows, word, shift));
    for (std::size_t g = 0; g < groups; g += 2)
        symbols[g / 2] = static_cast<std::uint8_t>((rows[16 * g + byte] >> nibble & 15u) | (rows[16 * g + 16 + byte] >> nibble & 15u) << 4);
}

void lane_symbols(const std::uint8_t* codes, std::size_t lane, std::size_t groups, std::uint8_t* symbols) {
    const std::size_t byte = 2 * (lane & 7) + (lane >> 3 & 1);
    const int nibble = lane < 16 ? 0 : 4;
    if (byte < 8) return symbols_at<false>(byte, nibble, codes, groups, symbols);
    symbols_at<true>(byte, nibble, codes, groups, symbols);
}

// All bits of the words of 16 dims that are set there; `spread` says where their two bytes are.
inline __m256i set_dims(__m256i words, __m256i spread) {
    const __m256i select = _mm256_setr_epi16(0x101, 0x202, 0x404, 0x808, 0x1010, 0x2020, 0x4040, static_cast<short>(0x8080), 0x101, 0x202, 0x404, 0x808,
                                             0x1010, 0x2020, 0x4040, static_cast<short>(0x8080));
    return _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_shuffle_epi8(words, spread), select), select);
}

std::int32_t dot_bits(const std::uint8_t* bits, const std::int16_t* query, std::size_t d) {
    // Set dims are -1: a product with them is what is taken away.
    const __m256i first = _mm256_setr_epi64x(0, 0, 0x0101010101010101, 0x0101010101010101), step = _mm256_set1_epi8(2);
    const __m256i second = _mm256_add_epi8(first, step), third = _mm256_add_epi8(second, step), fourth = _mm256_add_epi8(third, step);
    __m256i even = _mm256_setzero_si256(), odd = even;
    const auto part = [](__m256i set, const std::int16_t* q) { return _mm256_madd_epi16(set, load256(q)); };
    for (; d >= 64; d -= 64, bits += 8, query += 64) {
        const __m256i words = broadcast8(bits);
        even = _mm256_sub_epi32(even, part(set_dims(words, first), query));
        odd = _mm256_sub_epi32(odd, part(set_dims(words, second), query + 16));
        even = _mm256_sub_epi32(even, part(set_dims(words, third), query + 32));
        odd = _mm256_sub_epi32(odd, part(set_dims(words, fourth), query + 48));
    }
    for (; d > 0; d -= 16, bits += 2, query += 16) {
        const __m256i words = _mm256_set1_epi16(static_cast<short>(bits[0] | bits[1] << 8));
        even = _mm256_sub_epi32(even, part(set_dims(words, first), query));
    }
    return sum_epi32(_mm256_add_epi32(even, odd));
}

}  // namespace
}  // namespace vsearch::avx2
