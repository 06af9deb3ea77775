// Code kernels, AVX2. Same results as kernels/scalar/codes.hpp, bit for bit.
//
// What bounds the loops (Zen 3: 2 shuffles, 3 vector ALU operations and 2 loads a cycle):
//   fastscan    vpshufb (latency 1, 2 a cycle) and the additions: about 10 instructions for 8 dims of 32 vectors
//   dot_planes  vpmaddubsw + vpmaddwd (2 a cycle): about 8 instructions for 64 dims of a 4-bit plane
// Floating-point results use separate multiply and add, never FMA, so that all units agree to the last bit.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/ops/unroll.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx2 {
namespace {

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

constexpr std::size_t kAheadBytes = 8192;  // between codes and what is fetched for later
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

// Sums of the planes of a code in int16: of the largest values, 60 a dim of a 2-bit plane and 2 * 2 * 15 * 127 of a 4-bit one.
struct PlaneSums {
    __m256i low4, high4, two, one;
};

template <int kBits>
struct Planes {
    static constexpr bool k4 = kBits >= 4, k8 = kBits == 8, k2 = kBits == 2 || kBits == 3 || kBits == 6 || kBits == 7, k1 = kBits % 2 == 1;
    static constexpr std::size_t kExactChunks = 4;  // that fit: 4 * 7620; of a 2-bit plane 4 * 1524

    static PlaneSums zero() {
        const __m256i none = _mm256_setzero_si256();
        return {none, none, none, none};
    }
    static void add(PlaneSums& s, const std::uint8_t* code, __m256i low, __m256i high) {
        if constexpr (k4) s.low4 = _mm256_add_epi16(s.low4, plane4(code, low, high));
        if constexpr (k8) s.high4 = _mm256_add_epi16(s.high4, plane4(code + 32, low, high));
        if constexpr (k2) s.two = _mm256_add_epi16(s.two, plane2(code + (k4 ? 32 : 0), low, high));
        if constexpr (k1) s.one = _mm256_add_epi16(s.one, plane1(code + 8 * (kBits - 1), low, high));
    }
    static __m256i weighed(__m256i total, const PlaneSums& s) {
        if constexpr (k4) total = _mm256_add_epi32(total, _mm256_madd_epi16(s.low4, _mm256_set1_epi16(1)));
        if constexpr (k8) total = _mm256_add_epi32(total, _mm256_madd_epi16(s.high4, _mm256_set1_epi16(16)));
        if constexpr (k2) total = _mm256_add_epi32(total, _mm256_madd_epi16(s.two, _mm256_set1_epi16(k4 ? 16 : 1)));
        if constexpr (k1) total = _mm256_add_epi32(total, _mm256_madd_epi16(s.one, _mm256_set1_epi16(1 << (kBits - 1))));
        return total;
    }
};

// kRows codes at once, so that the query is loaded once for all of them. So many streams confuse the hardware: what comes later is fetched
// here, line by line in order.
template <int kBits, std::size_t kRows>
inline void dot_some(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t chunks, const std::uint8_t* ahead, __m256i* totals) {
    using P = Planes<kBits>;
    VSEARCH_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) totals[r] = _mm256_setzero_si256();
    while (chunks > 0) {
        PlaneSums sums[kRows];
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) sums[r] = P::zero();
        const std::size_t some = chunks < P::kExactChunks ? chunks : P::kExactChunks;
        for (std::size_t c = 0; c < some; ++c, query += 64, codes += 8 * kBits) {
            const __m256i low = load256(query), high = load256(query + 32);
            VSEARCH_UNROLL
            for (std::size_t r = 0; r < kRows; ++r) P::add(sums[r], codes + r * stride, low, high);
            if constexpr (kRows > 1) {
                VSEARCH_UNROLL
                for (std::size_t at = 0; at < kRows * 8 * kBits; at += 64) _mm_prefetch(reinterpret_cast<const char*>(ahead + at), _MM_HINT_T0);
                ahead += kRows * 8 * kBits;
            }
        }
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) totals[r] = P::weighed(totals[r], sums[r]);
        chunks -= some;
    }
}

template <int kBits>
void dot_rows(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t n, std::size_t chunks, std::int32_t* out) {
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

void dot_planes(int bits, const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t n, std::size_t chunks, std::int32_t* out) {
    switch (bits) {
        case 1: return dot_rows<1>(query, codes, stride, n, chunks, out);
        case 2: return dot_rows<2>(query, codes, stride, n, chunks, out);
        case 3: return dot_rows<3>(query, codes, stride, n, chunks, out);
        case 4: return dot_rows<4>(query, codes, stride, n, chunks, out);
        case 5: return dot_rows<5>(query, codes, stride, n, chunks, out);
        case 6: return dot_rows<6>(query, codes, stride, n, chunks, out);
        case 7: return dot_rows<7>(query, codes, stride, n, chunks, out);
        default: return dot_rows<8>(query, codes, stride, n, chunks, out);
    }
}

// The symbols of sixteen rows of a block as eight bytes. A load of two rows has their bytes of the lane in the same place of both
// halves; that of the next two begins a word earlier, so that a blend puts its word beside the last.
inline __m128i sixteen_symbols(const std::uint8_t* row, __m128i shift) {
    __m256i words = load256(row);
    words = _mm256_blend_epi16(words, load256(row + 30), 0x02);
    words = _mm256_blend_epi16(words, load256(row + 60), 0x04);
    words = _mm256_blend_epi16(words, load256(row + 90), 0x08);
    words = _mm256_blend_epi16(words, load256(row + 120), 0x10);
    words = _mm256_blend_epi16(words, load256(row + 150), 0x20);
    words = _mm256_blend_epi16(words, load256(row + 180), 0x40);
    words = _mm256_blend_epi16(words, load256(row + 210), 0x80);
    words = _mm256_and_si256(_mm256_srl_epi16(words, shift), _mm256_set1_epi16(15));
    const __m128i bytes = _mm_or_si128(_mm256_castsi256_si128(words), _mm_slli_epi16(_mm256_extracti128_si256(words, 1), 4));
    return _mm_packus_epi16(bytes, bytes);
}

void lane_symbols(const std::uint8_t* codes, std::size_t lane, std::size_t groups, std::uint8_t* symbols) {
    const std::size_t low = lane & 15, odd = low < 8 ? 0 : 1;
    const unsigned shift = 8 * static_cast<unsigned>(odd) + (lane < 16 ? 0 : 4);
    const std::uint8_t* row = codes + 2 * (low & 7);
    const __m128i down = _mm_cvtsi32_si128(static_cast<int>(shift));
    for (; groups >= 32; groups -= 32, row += 512, symbols += 16)  // stored as they will be loaded: two stores cannot be forwarded to one load
        _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols), _mm_unpacklo_epi64(sixteen_symbols(row, down), sixteen_symbols(row + 256, down)));
    for (; groups >= 16; groups -= 16, row += 256, symbols += 8) _mm_storel_epi64(reinterpret_cast<__m128i*>(symbols), sixteen_symbols(row, down));
    for (std::size_t g = 0; g < groups; g += 2)
        symbols[g / 2] = static_cast<std::uint8_t>((row[16 * g + odd] >> (shift & 7) & 15u) | (row[16 * g + 16 + odd] >> (shift & 7) & 15u) << 4);
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

inline std::uint64_t ones_of(std::uint64_t word) { return static_cast<std::uint64_t>(_mm_popcnt_u64(word)); }

// The set bits of each nibble of a table's index, times 2^kShift.
template <int kShift>
inline __m256i nibble_ones() {
    const __m256i ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    return _mm256_slli_epi16(ones, kShift);  // 32 at most: nothing reaches the next byte
}

// Set bits of each byte (W. Mula's method).
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
