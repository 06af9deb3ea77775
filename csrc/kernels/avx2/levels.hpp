// Kernels of level tables, AVX2. Same results as kernels/scalar/encode.hpp, bit for bit.
//
// Up to 16 levels are found by comparing with every threshold (compare and subtract, 16 values an instruction); more by halving.
// Levels of codes are looked up 32 at a time by vpshufb, a byte of each at once (level_dot), and floats of bins are gathered.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/avx2/encode.hpp"
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

// Bytes 0..15 of a lane: where the bits of the 16 dims of its unit are, the two bytes of a word.
inline __m256i word_bytes() {
    return _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
}

inline int load4(const std::uint8_t* bytes) {
    int word;
    std::memcpy(&word, bytes, sizeof(word));
    return word;
}

// The leading bits of two units: of 16 bytes of symbols, 8 or 4; of one unit in the lower lane, of half as many.
template <int kPrefix>
inline __m256i leading(__m128i symbols) {
    if constexpr (kPrefix == 4) {
        const __m256i pairs = _mm256_cvtepu8_epi16(symbols);
        return _mm256_and_si256(_mm256_or_si256(pairs, _mm256_slli_epi16(pairs, 4)), _mm256_set1_epi8(15));
    } else if constexpr (kPrefix == 2) {
        const __m256i fours = _mm256_cvtepu8_epi32(symbols), apart = _mm256_or_si256(fours, _mm256_slli_epi32(fours, 12));
        return _mm256_and_si256(_mm256_or_si256(apart, _mm256_slli_epi32(apart, 6)), _mm256_set1_epi8(3));
    } else {
        return _mm256_and_si256(spread_bits(_mm256_broadcastd_epi32(symbols)), _mm256_set1_epi8(1));
    }
}

template <int kPrefix>
inline __m128i symbols_of_two(const std::uint8_t* symbols) {
    if constexpr (kPrefix == 4) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(symbols));
    if constexpr (kPrefix == 2) return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(symbols));
    return _mm_cvtsi32_si128(load4(symbols));
}

template <int kPrefix>
inline __m128i symbols_of_one(const std::uint8_t* symbols) {
    if constexpr (kPrefix == 4) return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(symbols));
    if constexpr (kPrefix == 2) return _mm_cvtsi32_si128(load4(symbols));
    return _mm_cvtsi32_si128(symbols[0] | symbols[1] << 8);
}

// Extra words of a unit from byte 0 on, without a byte beyond the last unit's.
class Words {
public:
    Words(const std::uint8_t* extra, std::size_t unit_bytes, std::size_t units) : extra_(extra), unit_bytes_(unit_bytes) {
        if (unit_bytes * units >= 16) {
            last_ = extra + unit_bytes * units - 16;
            return;
        }
        for (std::size_t i = 0; i < unit_bytes * units; ++i) few_[i] = extra[i];
        extra_ = few_;
        last_ = few_ + 16;
    }
    Words(const Words&) = delete;
    Words& operator=(const Words&) = delete;

    __m128i at(std::size_t unit) const {
        const std::uint8_t *wanted = extra_ + unit * unit_bytes_, *from = wanted < last_ ? wanted : last_;
        const __m128i steps = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        const __m128i skip = _mm_set1_epi8(static_cast<char>(wanted - from));
        return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)), _mm_add_epi8(steps, skip));
    }
    __m256i two(std::size_t unit) const { return _mm256_inserti128_si256(_mm256_castsi128_si256(at(unit)), at(unit + 1), 1); }

private:
    const std::uint8_t *extra_, *last_;
    std::size_t unit_bytes_;
    std::uint8_t few_[32] = {};
};

inline __m256i append_bits(__m256i u, __m256i words, int rest) {
    const __m256i select = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    for (int b = rest; b-- > 0;) {
        const __m256i bytes = _mm256_shuffle_epi8(words, _mm256_add_epi8(word_bytes(), _mm256_set1_epi8(static_cast<char>(2 * b))));
        u = _mm256_sub_epi8(_mm256_add_epi8(u, u), _mm256_cmpeq_epi8(_mm256_and_si256(bytes, select), select));
    }
    return u;
}

template <int kPrefix>
void unpack_of(const std::uint8_t* symbols, const std::uint8_t* extra, int rest, std::size_t units, std::uint8_t* codes) {
    const std::size_t unit_bytes = 2 * static_cast<std::size_t>(rest);
    const Words words(extra, unit_bytes, units);
    std::size_t unit = 0;
    for (; unit + 2 <= units; unit += 2, symbols += 4 * kPrefix) {
        __m256i u = leading<kPrefix>(symbols_of_two<kPrefix>(symbols));
        if (rest > 0) u = append_bits(u, words.two(unit), rest);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + 16 * unit), u);
    }
    if (unit == units) return;
    const __m256i u = append_bits(leading<kPrefix>(symbols_of_one<kPrefix>(symbols)), _mm256_castsi128_si256(words.at(unit)), rest);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * unit), _mm256_castsi256_si128(u));
}

void unpack_levels(const std::uint8_t* symbols, const std::uint8_t* extra, int prefix, int rest, std::size_t units, std::uint8_t* codes) {
    if (prefix == 1) return unpack_of<1>(symbols, extra, rest, units, codes);
    if (prefix == 2) return unpack_of<2>(symbols, extra, rest, units, codes);
    unpack_of<4>(symbols, extra, rest, units, codes);
}

// A table of 16 * kTables bytes: all sixteens are asked by the low four bits of a code, and bits 4, 5, .. choose between pairs (as the
// sign of a blend's mask).
template <std::size_t kTables>
inline __m256i look_up_bytes(const std::uint8_t* table, __m256i low, const __m256i* upper) {
    __m256i found[kTables];
    VSEARCH_UNROLL
    for (std::size_t t = 0; t < kTables; ++t) {
        const __m128i sixteen = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * t));
        found[t] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(sixteen), low);
    }
    VSEARCH_UNROLL
    for (std::size_t pairs = kTables / 2, bit = 0; pairs > 0; pairs /= 2, ++bit) {
        VSEARCH_UNROLL
        for (std::size_t t = 0; t < pairs; ++t) found[t] = _mm256_blendv_epi8(found[2 * t], found[2 * t + 1], upper[bit]);
    }
    return found[0];
}

// Both bytes of 32 levels.
struct LevelBytes {
    __m256i low, high;
};

template <std::size_t kTables>
inline LevelBytes look_up_levels(__m256i codes, const std::uint8_t* levels) {
    const __m256i u = _mm256_permute4x64_epi64(codes, 0xd8);  // so that unpacking puts the dims in order
    const __m256i upper[4] = {_mm256_slli_epi16(u, 3), _mm256_slli_epi16(u, 2), _mm256_slli_epi16(u, 1), u};
    const __m256i index = kTables > 1 ? _mm256_and_si256(u, _mm256_set1_epi8(15)) : u;
    return {look_up_bytes<kTables>(levels, index, upper), look_up_bytes<kTables>(levels + 16 * kTables, index, upper)};
}

template <std::size_t kTables>
std::int32_t dot_of_tables(const std::uint8_t* codes, const std::uint8_t* levels, const std::int16_t* q, std::size_t d) {
    __m256i first = _mm256_setzero_si256(), second = first;
    std::size_t j = 0;
    for (; j + 32 <= d; j += 32) {
        const LevelBytes b = look_up_levels<kTables>(load256(codes + j), levels);
        first = _mm256_add_epi32(first, _mm256_madd_epi16(_mm256_unpacklo_epi8(b.low, b.high), load256(q + j)));
        second = _mm256_add_epi32(second, _mm256_madd_epi16(_mm256_unpackhi_epi8(b.low, b.high), load256(q + j + 16)));
    }
    if (j < d) {
        const __m128i last = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + j));
        const LevelBytes b = look_up_levels<kTables>(_mm256_inserti128_si256(_mm256_setzero_si256(), last, 0), levels);
        first = _mm256_add_epi32(first, _mm256_madd_epi16(_mm256_unpacklo_epi8(b.low, b.high), load256(q + j)));
    }
    return sum_epi32(_mm256_add_epi32(first, second));
}

std::int32_t dot_of_codes(const std::uint8_t* codes, const std::int16_t* q, std::size_t d) {
    __m256i first = _mm256_setzero_si256(), second = first;
    const auto part = [&](std::size_t j) {
        return _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + j))), load256(q + j));
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
    if (count == 16) return dot_of_tables<1>(codes, levels, q, d);
    if (count == 32) return dot_of_tables<2>(codes, levels, q, d);
    if (count == 64) return dot_of_tables<4>(codes, levels, q, d);
    if (count == 128) return dot_of_tables<8>(codes, levels, q, d);
    return dot_of_tables<16>(codes, levels, q, d);
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
