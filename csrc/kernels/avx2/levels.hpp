// Kernels of level tables, AVX2. Same results as kernels/scalar/encode.hpp, bit for bit.
//
// Up to 16 levels are found by comparing with every threshold (compare and subtract, 16 values an instruction); more by halving.
// Floats of bins are gathered.
//
// Codes come from planes of bits by turning 8 x 8 of them (unpack_levels), and their levels are looked up 32 at a time by vpshufb, a byte of
// each at once (level_dot). Of many levels that is as many shuffles and blends as there are sixteens in both bytes, 62 for 256: so the upper
// four bits of two sixteens share a byte, and of a mirrored table half is asked.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/avx2/encode.hpp"
#include "kernels/ops/here.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx2 {
namespace {

template <int kCount>
void level_scores_of(const std::int16_t* v, std::size_t d, const std::int16_t* thresholds, const std::int16_t* levels, std::int64_t* out) {
    __m256i threshold[kCount - 1];
    for (int k = 0; k + 1 < kCount; ++k) threshold[k] = _mm256_set1_epi16(thresholds[k]);
    alignas(16) std::uint8_t low[16] = {}, high[16] = {};
    for (int u = 0; u < kCount; ++u) {
        low[u] = static_cast<std::uint8_t>(levels[u] & 255);
        high[u] = static_cast<std::uint8_t>(static_cast<std::uint16_t>(levels[u]) >> 8);
    }
    const __m256i low_table = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(low)));
    const __m256i high_table = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(high)));
    const __m256i skip_high = _mm256_set1_epi16(static_cast<short>(0x8000)), skip_low = _mm256_set1_epi16(0x80), sixteenth = _mm256_set1_epi16(2048);
    out[0] = out[1] = 0;
    for (std::size_t begin = 0; begin < d; begin += kExact) {
        __m256i dot = _mm256_setzero_si256(), norm = dot;
        for (std::size_t j = begin; j < d && j < begin + kExact; j += 16) {
            const __m256i value = load256(v + j);
            __m256i u = _mm256_setzero_si256();
            VSEARCH_UNROLL
            for (int k = 0; k + 1 < kCount; ++k) u = _mm256_sub_epi16(u, _mm256_cmpgt_epi16(value, threshold[k]));
            const __m256i y = _mm256_or_si256(_mm256_shuffle_epi8(low_table, _mm256_or_si256(u, skip_high)),
                                              _mm256_shuffle_epi8(high_table, _mm256_or_si256(_mm256_slli_epi16(u, 8), skip_low)));
            dot = _mm256_add_epi32(dot, _mm256_madd_epi16(_mm256_mulhrs_epi16(value, sixteenth), y));
            norm = _mm256_add_epi32(norm, _mm256_madd_epi16(y, y));
        }
        out[0] += sum_exact(dot);
        out[1] += sum_exact(norm);
    }
}

void level_scores(const std::int16_t* v, std::size_t d, const std::int16_t* thresholds, const std::int16_t* levels, int count, std::int64_t* out) {
    switch (count) {
        case 2: return level_scores_of<2>(v, d, thresholds, levels, out);
        case 4: return level_scores_of<4>(v, d, thresholds, levels, out);
        case 8: return level_scores_of<8>(v, d, thresholds, levels, out);
        default: return level_scores_of<16>(v, d, thresholds, levels, out);
    }
}

void bin_scores(const float* x, const float* w, std::size_t d, float scale, float offset, float last, const float* table, float* out) {
    const __m256 scale8 = _mm256_set1_ps(scale), offset8 = _mm256_set1_ps(offset), last8 = _mm256_set1_ps(last);
    __m256 dots[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, norms[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (std::size_t j = 0; j < d; j += 16) {
        VSEARCH_UNROLL
        for (std::size_t h = 0; h < 2; ++h) {
            const __m256 at = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(x + j + 8 * h), scale8), offset8);
            const __m256 clamped = _mm256_min_ps(_mm256_max_ps(at, _mm256_setzero_ps()), last8);
            const __m256 y = _mm256_i32gather_ps(table, _mm256_cvttps_epi32(clamped), 4);
            dots[h] = _mm256_add_ps(dots[h], _mm256_mul_ps(_mm256_loadu_ps(w + j + 8 * h), y));
            norms[h] = _mm256_add_ps(norms[h], _mm256_mul_ps(y, y));
        }
    }
    out[0] = fold16(dots);
    out[1] = fold16(norms);
}

// By comparing with every threshold, or by halving.
inline __m256i count_below(__m256 value, const float* thresholds, int count) {
    __m256i u = _mm256_setzero_si256();
    if (count <= 16) {
        for (int k = 0; k + 1 < count; ++k)
            u = _mm256_sub_epi32(u, _mm256_castps_si256(_mm256_cmp_ps(value, _mm256_broadcast_ss(thresholds + k), _CMP_GT_OQ)));
        return u;
    }
    for (int step = count / 2; step > 0; step /= 2) {
        const __m256 middle = _mm256_i32gather_ps(thresholds + step - 1, u, 4);
        const __m256i above = _mm256_castps_si256(_mm256_cmp_ps(value, middle, _CMP_GT_OQ));
        u = _mm256_add_epi32(u, _mm256_and_si256(above, _mm256_set1_epi32(step)));
    }
    return u;
}

void level_codes(const float* x, std::size_t n, float factor, const float* thresholds, int count, std::uint8_t* codes) {
    const __m256 factor8 = _mm256_set1_ps(factor);
    for (std::size_t j = 0; j < n; j += 16) {
        const __m256i low = count_below(_mm256_mul_ps(_mm256_loadu_ps(x + j), factor8), thresholds, count);
        const __m256i high = count_below(_mm256_mul_ps(_mm256_loadu_ps(x + j + 8), factor8), thresholds, count);
        store_bytes(codes + j, to_words(low, high));
    }
}

inline __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

inline __m256i two_lanes(__m128i lower, __m128i upper) { return _mm256_inserti128_si256(_mm256_castsi128_si256(lower), upper, 1); }

template <class Word>
inline std::uint64_t load_word(const std::uint8_t* bytes) {
    Word word;
    std::memcpy(&word, bytes, sizeof(word));
    return word;
}

// So many bytes, an even number up to 16, and zeros: by words that overlap, since words put together in memory would have to wait for it.
template <int kBytes>
inline __m128i load_few(const std::uint8_t* bytes) {
    static_assert(kBytes > 0 && kBytes <= 16 && kBytes % 2 == 0, "even, at most a register");
    if constexpr (kBytes == 16) return load128(bytes);
    std::uint64_t first = 0, second = 0;
    if constexpr (kBytes == 2) first = load_word<std::uint16_t>(bytes);
    if constexpr (kBytes == 4) first = load_word<std::uint32_t>(bytes);
    if constexpr (kBytes == 6) first = load_word<std::uint32_t>(bytes) | load_word<std::uint16_t>(bytes + 4) << 32;
    if constexpr (kBytes >= 8) first = load_word<std::uint64_t>(bytes);
    if constexpr (kBytes > 8) second = load_word<std::uint64_t>(bytes + kBytes - 8) >> (8 * (16 - kBytes));
    return _mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first));
}

// Up to 32 bytes, `kSkipped` of them not in the second lane, where the first has all that it holds.
template <int kBytes, int kSkipped>
inline __m256i load_lanes(const std::uint8_t* bytes) {
    const __m128i first = load_few<(kBytes < 16 ? kBytes : 16)>(bytes);
    if constexpr (kSkipped == 0) return _mm256_broadcastsi128_si256(first);
    if constexpr (kSkipped > 0 && kBytes > kSkipped) return two_lanes(first, load_few<kBytes - kSkipped>(bytes + kSkipped));
    return two_lanes(first, _mm_setzero_si128());
}

// The leading two bits of two units.
inline __m256i leading_pairs(__m128i symbols) {
    const __m256i fours = _mm256_cvtepu8_epi32(symbols);
    const __m256i apart = _mm256_or_si256(fours, _mm256_slli_epi32(fours, 12));
    return _mm256_and_si256(_mm256_or_si256(apart, _mm256_slli_epi32(apart, 6)), _mm256_set1_epi8(3));
}

// Which byte each of 32 is, or -128 for none.
struct Order {
    alignas(32) std::int8_t byte[32];
};

// The rows of bits that a transposition turns: `depth` bytes for 8 dims, a unit's two halves side by side. Four deep, units 0, 1 and 2, 3
// are in the lanes of a register; eight deep, units 0 and 1. Row b of half h of a unit is byte 2 * (rows * unit + b) + h of what is loaded: to
// each lane all of it, or where it is longer than 16 bytes, to the second lane the last of it.
constexpr Order order_of_rows(int rows, int depth) {
    Order order = {};
    const int lane_units = 8 / depth, bytes = 4 * lane_units * rows, skipped = bytes > 16 ? bytes - 16 : 0;
    for (int i = 0; i < 32; ++i) {
        const int unit = lane_units * (i / 16) + i % 16 / (2 * depth), row = i % depth, half = i / depth % 2;
        const int byte = 2 * (rows * unit + row) + half - (i < 16 ? 0 : skipped);
        order.byte[i] = static_cast<std::int8_t>(row < rows ? byte : -128);
    }
    return order;
}

// Signs, a row of their own above `rows`.
constexpr Order order_of_signs(int rows, int depth) {
    Order order = {};
    for (int i = 0; i < 32; ++i) {
        const int unit = 8 / depth * (i / 16) + i % 16 / (2 * depth);
        order.byte[i] = static_cast<std::int8_t>(i % depth == rows ? 2 * unit + i / depth % 2 : -128);
    }
    return order;
}

// Exchanges the bits of `mask` with those kApart above.
template <int kApart>
inline __m256i exchange(__m256i x, long long mask) {
    const __m256i differ = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, kApart)), _mm256_set1_epi64x(mask));
    return _mm256_xor_si256(x, _mm256_xor_si256(differ, _mm256_slli_epi64(differ, kApart)));
}

// Each 4 x 4 bits turned: bit j of byte i and bit i of byte j.
inline __m256i turn4(__m256i x) { return exchange<14>(exchange<7>(x, 0x00aa00aa00aa00aa), 0x0000cccc0000cccc); }

// Codes of two units each.
struct Units {
    __m256i first, second;
};

// Extra bits of up to 16 / kDepth units in their rows, and signs above them where they are the prefix.
template <int kPrefix, int kRest, int kDepth, int kUnits>
inline __m256i rows_of(const std::uint8_t* symbols, const std::uint8_t* extra) {
    __m256i x = _mm256_setzero_si256();
    if constexpr (kRest > 0) {
        static constexpr Order kRows = order_of_rows(kRest, kDepth);
        constexpr int kWhole = 32 / kDepth * kRest;  // bytes
        x = _mm256_shuffle_epi8(load_lanes<2 * kRest * kUnits, (kWhole > 16 ? kWhole - 16 : 0)>(extra), load256(kRows.byte));
    }
    if constexpr (kPrefix == 1) {
        static constexpr Order kSigns = order_of_signs(kRest, kDepth);
        x = _mm256_or_si256(x, _mm256_shuffle_epi8(load_lanes<2 * kUnits, 0>(symbols), load256(kSigns.byte)));
    }
    return x;
}

// One, two or four units.
template <int kPrefix, int kRest, int kUnits>
inline Units unpack_some(const std::uint8_t* symbols, const std::uint8_t* extra) {
    constexpr int kPair = kUnits < 2 ? kUnits : 2;
    Units u = {};
    if constexpr (kRest + (kPrefix == 1) > 4) {
        const auto turned = [](__m256i x) { return exchange<28>(turn4(x), 0x00000000f0f0f0f0); };
        u.first = turned(rows_of<kPrefix, kRest, 8, kPair>(symbols, extra));
        if constexpr (kUnits == 4) u.second = turned(rows_of<kPrefix, kRest, 8, 2>(symbols + 4 * kPrefix, extra + 4 * kRest));
    } else {
        const __m256i nibble = _mm256_set1_epi8(15), x = turn4(rows_of<kPrefix, kRest, 4, kUnits>(symbols, extra));
        const __m256i low = _mm256_and_si256(x, nibble), high = _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble);
        __m256i even = _mm256_unpacklo_epi32(low, high), odd = _mm256_unpackhi_epi32(low, high);  // units 0 and 2, 1 and 3
        if constexpr (kPrefix == 4) {
            const __m256i s = load_lanes<8 * kUnits, 16>(symbols), above = _mm256_set1_epi8(static_cast<char>(15 << kRest));
            const __m256i first = _mm256_and_si256(_mm256_slli_epi16(s, kRest), above), second = _mm256_and_si256(_mm256_srli_epi16(s, 4 - kRest), above);
            even = _mm256_or_si256(even, _mm256_unpacklo_epi8(first, second));
            odd = _mm256_or_si256(odd, _mm256_unpackhi_epi8(first, second));
        }
        u.first = _mm256_permute2x128_si256(even, odd, 0x20);
        if constexpr (kUnits == 4) u.second = _mm256_permute2x128_si256(even, odd, 0x31);
    }
    if constexpr (kPrefix == 2) {
        u.first = _mm256_or_si256(u.first, _mm256_slli_epi16(leading_pairs(load_few<4 * kPair>(symbols)), kRest));
        if constexpr (kUnits == 4) u.second = _mm256_or_si256(u.second, _mm256_slli_epi16(leading_pairs(load_few<8>(symbols + 8)), kRest));
    }
    return u;
}

// Codes are stored as they will be loaded, 32 and at last 16 at a time.
template <int kPrefix, int kRest>
void unpack_of(const std::uint8_t* symbols, const std::uint8_t* extra, std::size_t units, std::uint8_t* codes) {
    const auto store = [](std::uint8_t* to, __m256i u) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), u); };
    for (; units >= 4; units -= 4, symbols += 8 * kPrefix, extra += 8 * kRest, codes += 64) {
        const Units u = unpack_some<kPrefix, kRest, 4>(symbols, extra);
        store(codes, u.first);
        store(codes + 32, u.second);
    }
    if ((units & 2) != 0) {
        store(codes, unpack_some<kPrefix, kRest, 2>(symbols, extra).first);
        symbols += 4 * kPrefix, extra += 4 * kRest, codes += 32;
    }
    if ((units & 1) != 0) {
        const __m256i u = unpack_some<kPrefix, kRest, 1>(symbols, extra).first;
        _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm256_castsi256_si128(u));
    }
}

template <int kPrefix>
void unpack_with(int rest, const std::uint8_t* symbols, const std::uint8_t* extra, std::size_t units, std::uint8_t* codes) {
    if (rest == 0) return unpack_of<kPrefix, 0>(symbols, extra, units, codes);
    if (rest == 1) return unpack_of<kPrefix, 1>(symbols, extra, units, codes);
    if (rest == 2) return unpack_of<kPrefix, 2>(symbols, extra, units, codes);
    if (rest == 3) return unpack_of<kPrefix, 3>(symbols, extra, units, codes);
    if (rest == 4) return unpack_of<kPrefix, 4>(symbols, extra, units, codes);
    if constexpr (kPrefix < 4) {
        if (rest == 5) return unpack_of<kPrefix, 5>(symbols, extra, units, codes);
        if (rest == 6) return unpack_of<kPrefix, 6>(symbols, extra, units, codes);
    }
    if constexpr (kPrefix == 1) unpack_of<kPrefix, 7>(symbols, extra, units, codes);
}

void unpack_levels(const std::uint8_t* symbols, const std::uint8_t* extra, int prefix, int rest, std::size_t units, std::uint8_t* codes) {
    if (prefix == 1) return unpack_with<1>(rest, symbols, extra, units, codes);
    if (prefix == 2) return unpack_with<2>(rest, symbols, extra, units, codes);
    unpack_with<4>(rest, symbols, extra, units, codes);
}

// A table of 16 * kTables bytes: all sixteens are asked by `low`, and the masks of `upper`, of which a blend reads the signs, choose between
// neighbours, pairs of neighbours and so on. Half after half, so that few of the found wait in registers.
template <std::size_t kTables>
inline __m256i look_up_bytes(const std::uint8_t* table, __m256i low, const __m256i* upper) {
    if constexpr (kTables == 1) {
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load128(table)), low);
    } else {
        constexpr std::size_t kBit = kTables == 2 ? 0 : kTables == 4 ? 1 : kTables == 8 ? 2 : 3;
        const __m256i first = look_up_bytes<kTables / 2>(table, low, upper), second = look_up_bytes<kTables / 2>(table + 8 * kTables, low, upper);
        return _mm256_blendv_epi8(first, second, upper[kBit]);
    }
}

// 32 levels as unpacking the bytes of a register orders them: of dims 0..7 and 16..23, of 8..15 and 24..31.
struct Levels {
    __m256i first, second;
};

// kMirrored: the lower half of the table is the upper one from its end, negated, and is not looked at. A code of it asks by all its bits turned.
template <std::size_t kTables, bool kMirrored>
inline Levels look_up_levels(__m256i codes, const std::uint8_t* levels) {
    constexpr std::size_t kAsked = kMirrored ? kTables / 2 : kTables;
    const std::uint8_t *lower = levels + 16 * (kTables - kAsked), *packed = levels + 16 * kTables + 8 * (kTables - kAsked);
    __m256i u = codes, turned = u;
    if constexpr (kMirrored) {
        constexpr int kAbove = kTables == 16 ? 0 : 1;  // bits of a byte above those of a code
        turned = _mm256_cmpgt_epi8(_mm256_slli_epi16(u, kAbove), _mm256_set1_epi8(-1));
        u = _mm256_xor_si256(u, turned);
    }
    const __m256i twice = _mm256_add_epi8(u, u), four = _mm256_add_epi8(twice, twice);  // shifts would wait for the ports of shuffles
    const __m256i upper[4] = {_mm256_add_epi8(four, four), four, twice, u};
    const __m256i low = kTables > 1 ? _mm256_and_si256(u, _mm256_set1_epi8(15)) : u;
    __m256i high;
    if constexpr (kTables == 1) {
        high = look_up_bytes<1>(packed, low, upper);
    } else {
        high = look_up_bytes<kAsked / 2>(packed, low, upper + 1);
        high = _mm256_blendv_epi8(high, _mm256_srli_epi16(high, 4), upper[0]);
    }
    high = _mm256_and_si256(high, _mm256_set1_epi8(kMirrored ? 7 : 15));
    if constexpr (!kMirrored) high = _mm256_sub_epi8(high, _mm256_set1_epi8(8));
    const __m256i bytes = look_up_bytes<kAsked>(lower, low, upper);
    const Levels found = {_mm256_unpacklo_epi8(bytes, high), _mm256_unpackhi_epi8(bytes, high)};
    if constexpr (!kMirrored) return found;
    const __m256i one = _mm256_set1_epi8(1);  // below a sign, so that no word of signs is 0
    return {_mm256_sign_epi16(found.first, _mm256_unpacklo_epi8(one, turned)), _mm256_sign_epi16(found.second, _mm256_unpackhi_epi8(one, turned))};
}

template <std::size_t kTables, bool kMirrored>
std::int32_t dot_of_tables(const std::uint8_t* codes, const std::uint8_t* levels, const std::int16_t* q, std::size_t d) {
    __m256i first = _mm256_setzero_si256(), second = first;
    for (; d >= 32; d -= 32, codes += 32, q += 32) {
        const Levels y = look_up_levels<kTables, kMirrored>(load256(codes), kernel_ops::loaded_here(levels));
        first = _mm256_add_epi32(first, _mm256_madd_epi16(y.first, two_lanes(load128(q), load128(q + 16))));
        second = _mm256_add_epi32(second, _mm256_madd_epi16(y.second, two_lanes(load128(q + 8), load128(q + 24))));
    }
    if (d > 0) {
        const __m128i none = _mm_setzero_si128();
        const Levels y = look_up_levels<kTables, kMirrored>(two_lanes(load128(codes), none), levels);
        first = _mm256_add_epi32(first, _mm256_madd_epi16(y.first, two_lanes(load128(q), none)));
        second = _mm256_add_epi32(second, _mm256_madd_epi16(y.second, two_lanes(load128(q + 8), none)));
    }
    return sum_epi32(_mm256_add_epi32(first, second));
}

std::int32_t dot_of_codes(const std::uint8_t* codes, const std::int16_t* q, std::size_t d) {
    __m256i first = _mm256_setzero_si256(), second = first;
    const auto part = [&](std::size_t j) {
        return _mm256_madd_epi16(_mm256_cvtepu8_epi16(load128(codes + j)), load256(q + j));
    };
    std::size_t j = 0;
    for (; j + 32 <= d; j += 32) {
        first = _mm256_add_epi32(first, part(j));
        second = _mm256_add_epi32(second, part(j + 16));
    }
    if (j < d) first = _mm256_add_epi32(first, part(j));
    return sum_epi32(_mm256_add_epi32(first, second));
}

std::int32_t level_dot(const std::uint8_t* codes, const std::uint8_t* levels, std::size_t count, const std::int16_t* q, std::size_t d) {
    if (levels == nullptr) return dot_of_codes(codes, q, d);
    if (count == 16) return dot_of_tables<1, false>(codes, levels, q, d);
    if (count == 32) return dot_of_tables<2, false>(codes, levels, q, d);
    if (count == 64) return dot_of_tables<4, false>(codes, levels, q, d);
    const bool mirrored = levels[count + count / 2] != 0;
    if (count == 128) return mirrored ? dot_of_tables<8, true>(codes, levels, q, d) : dot_of_tables<8, false>(codes, levels, q, d);
    return mirrored ? dot_of_tables<16, true>(codes, levels, q, d) : dot_of_tables<16, false>(codes, levels, q, d);
}

}  // namespace

inline void install_levels(KernelTable& table) {
    table.level_scores = level_scores;
    table.bin_scores = bin_scores;
    table.level_codes = level_codes;
    table.unpack_levels = unpack_levels;
    table.level_dot = level_dot;
}

}  // namespace vsearch::avx2
