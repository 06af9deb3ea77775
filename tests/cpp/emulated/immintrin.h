// Stands in for the compiler's header of this name: AVX-512 by loops over lanes, on a machine that lacks it.
//
// Only what the AVX-512 kernels use, each written from its definition in Intel's intrinsics guide. SSE and AVX2 stay the
// compiler's own (GCC alone lets its parts be included one by one). Masked-out lanes are not touched in memory, so the
// fences of guarded.hpp work here too. A kernel that uses a new intrinsic adds its line.
#pragma once

#define _IMMINTRIN_H_INCLUDED
// clang-format off: each needs the one before
#include <nmmintrin.h>
#include <popcntintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>
#include <fmaintrin.h>
#include <x86gprintrin.h>
#include <f16cintrin.h>
// clang-format on
#include <cmath>
#include <cstdint>
#include <cstring>

using __mmask8 = std::uint8_t;
using __mmask16 = std::uint16_t;
using __mmask32 = std::uint32_t;
using __mmask64 = std::uint64_t;

namespace emulated {

template <class T, std::size_t kBytes = 64>
struct Lanes {
    static constexpr std::size_t kCount = kBytes / sizeof(T);
    T lane[kCount];
};

template <class To, class From>
To bits(const From& from) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

}  // namespace emulated

struct __m512 : emulated::Lanes<float> {};
struct __m512i : emulated::Lanes<std::uint64_t> {};
struct __m512bh : emulated::Lanes<std::uint16_t> {};

namespace emulated {

inline bool on(std::uint64_t mask, std::size_t i) { return mask >> i & 1; }

// out[i] = f(i) for each lane of type T.
template <class T, class Vector, class F>
Vector make(F f) {
    Lanes<T, sizeof(Vector)> out;
    for (std::size_t i = 0; i < out.kCount; ++i) out.lane[i] = static_cast<T>(f(i));
    return bits<Vector>(out);
}

template <class F>
__m512 floats(F f) {
    return make<float, __m512>(f);
}
template <class T, class F>
__m512i integers(F f) {
    return make<T, __m512i>(f);
}
template <class T, class Vector>
T lane(const Vector& v, std::size_t i) {
    return bits<Lanes<T, sizeof(Vector)>>(v).lane[i];
}
template <class T, class Vector>
Vector load(std::uint64_t mask, const void* p) {
    return make<T, Vector>([&](std::size_t i) {
        T value{};
        if (on(mask, i)) std::memcpy(&value, static_cast<const char*>(p) + i * sizeof(T), sizeof(T));
        return value;
    });
}
template <class T, class Vector>
void store(void* p, std::uint64_t mask, const Vector& v) {
    for (std::size_t i = 0; i < sizeof(Vector) / sizeof(T); ++i) {
        const T value = lane<T>(v, i);
        if (on(mask, i)) std::memcpy(static_cast<char*>(p) + i * sizeof(T), &value, sizeof(T));
    }
}
template <class T>
T saturated(std::int64_t value, std::int64_t low, std::int64_t high) {
    return static_cast<T>(value < low ? low : value > high ? high : value);
}
// A bf16 operand of vdpbf16ps: denormals count as zero.
inline float bf16(std::uint16_t half) {
    const float value = bits<float>(static_cast<std::uint32_t>(half) << 16);
    return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
}

constexpr std::uint64_t kAll = ~std::uint64_t{0};

}  // namespace emulated

// clang-format off: one intrinsic a line
#define VS inline
namespace em = emulated;
using std::size_t; using std::int8_t; using std::int16_t; using std::int32_t; using std::int64_t;
using std::uint8_t; using std::uint16_t; using std::uint32_t; using std::uint64_t;

VS __m512 _mm512_setzero_ps() { return em::floats([](size_t) { return 0.0f; }); }
VS __m512 _mm512_set1_ps(float a) { return em::floats([&](size_t) { return a; }); }
VS __m512 _mm512_loadu_ps(const void* p) { return em::load<float, __m512>(em::kAll, p); }
VS __m512 _mm512_load_ps(const void* p) { return em::load<float, __m512>(em::kAll, p); }
VS __m512 _mm512_maskz_loadu_ps(__mmask16 m, const void* p) { return em::load<float, __m512>(m, p); }
VS void _mm512_storeu_ps(void* p, __m512 a) { em::store<float>(p, em::kAll, a); }
VS void _mm512_mask_storeu_ps(void* p, __mmask16 m, __m512 a) { em::store<float>(p, m, a); }
VS __m512 _mm512_add_ps(__m512 a, __m512 b) { return em::floats([&](size_t i) { return a.lane[i] + b.lane[i]; }); }
VS __m512 _mm512_sub_ps(__m512 a, __m512 b) { return em::floats([&](size_t i) { return a.lane[i] - b.lane[i]; }); }
VS __m512 _mm512_mul_ps(__m512 a, __m512 b) { return em::floats([&](size_t i) { return a.lane[i] * b.lane[i]; }); }
VS __m512 _mm512_min_ps(__m512 a, __m512 b) { return em::floats([&](size_t i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; }); }
VS __m512 _mm512_max_ps(__m512 a, __m512 b) { return em::floats([&](size_t i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; }); }
VS __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) { return em::floats([&](size_t i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); }); }
VS __m512 _mm512_mask_add_ps(__m512 s, __mmask16 m, __m512 a, __m512 b) { return em::floats([&](size_t i) { return em::on(m, i) ? a.lane[i] + b.lane[i] : s.lane[i]; }); }
VS __m512 _mm512_roundscale_ps(__m512 a, int) { return em::floats([&](size_t i) { return std::trunc(a.lane[i]); }); }
VS __m512 _mm512_permute_ps(__m512 a, int how) { return em::floats([&](size_t i) { return a.lane[i / 4 * 4 + (how >> (i % 4 * 2) & 3)]; }); }
VS __m512 _mm512_shuffle_f32x4(__m512 a, __m512 b, int how) { return em::floats([&](size_t i) { return (i < 8 ? a : b).lane[(how >> (i / 4 * 2) & 3) * 4 + i % 4]; }); }
VS __m256 _mm512_castps512_ps256(__m512 a) { return em::make<float, __m256>([&](size_t i) { return a.lane[i]; }); }
VS __m256 _mm512_extractf32x8_ps(__m512 a, int half) { return em::make<float, __m256>([&](size_t i) { return a.lane[i + 8 * half]; }); }
VS __m512 _mm512_castsi512_ps(__m512i a) { return em::bits<__m512>(a); }
VS __m512i _mm512_castps_si512(__m512 a) { return em::bits<__m512i>(a); }
VS __m512 _mm512_xor_ps(__m512 a, __m512 b) { return em::floats([&](size_t i) { return em::bits<float>(em::bits<uint32_t>(a.lane[i]) ^ em::bits<uint32_t>(b.lane[i])); }); }
VS __mmask16 _mm512_mask_cmp_ps_mask(__mmask16 m, __m512 a, __m512 b, int how) {
    unsigned out = 0;
    for (size_t i = 0; i < 16; ++i) {
        const bool less = a.lane[i] < b.lane[i];
        const bool met = how == _CMP_EQ_OQ ? a.lane[i] == b.lane[i] : how == _CMP_LT_OQ ? less : !less;  // else _CMP_NLT_UQ
        out |= static_cast<unsigned>(em::on(m, i) && met) << i;
    }
    return static_cast<__mmask16>(out);
}
VS __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int how) { return _mm512_mask_cmp_ps_mask(0xffff, a, b, how); }

VS __m512i _mm512_setzero_si512() { return em::integers<uint64_t>([](size_t) { return 0; }); }
VS __m512i _mm512_set1_epi8(int8_t a) { return em::integers<int8_t>([&](size_t) { return a; }); }
VS __m512i _mm512_set1_epi16(int16_t a) { return em::integers<int16_t>([&](size_t) { return a; }); }
VS __m512i _mm512_set1_epi32(int32_t a) { return em::integers<int32_t>([&](size_t) { return a; }); }
VS __m512i _mm512_maskz_set1_epi8(__mmask64 m, int8_t a) { return em::integers<int8_t>([&](size_t i) { return em::on(m, i) ? a : 0; }); }
VS __m512i _mm512_maskz_set1_epi32(__mmask16 m, int32_t a) { return em::integers<int32_t>([&](size_t i) { return em::on(m, i) ? a : 0; }); }
template <class... T> VS __m512i _mm512_setr_epi32(T... v) { const int32_t all[] = {v...}; static_assert(sizeof(all) == 64, ""); return em::bits<__m512i>(all); }
template <class... T> VS __m512i _mm512_setr_epi64(T... v) { const int64_t all[] = {v...}; static_assert(sizeof(all) == 64, ""); return em::bits<__m512i>(all); }
VS __m512i _mm512_loadu_si512(const void* p) { return em::load<uint64_t, __m512i>(em::kAll, p); }
VS __m512i _mm512_maskz_loadu_epi8(__mmask64 m, const void* p) { return em::load<uint8_t, __m512i>(m, p); }
VS __m512i _mm512_maskz_loadu_epi16(__mmask32 m, const void* p) { return em::load<uint16_t, __m512i>(m, p); }
VS __m512i _mm512_maskz_loadu_epi64(__mmask8 m, const void* p) { return em::load<uint64_t, __m512i>(m, p); }
VS __m256i _mm256_maskz_loadu_epi8(__mmask32 m, const void* p) { return em::load<uint8_t, __m256i>(m, p); }
VS __m256i _mm256_maskz_loadu_epi16(__mmask16 m, const void* p) { return em::load<uint16_t, __m256i>(m, p); }
VS __m128i _mm_maskz_loadu_epi8(__mmask16 m, const void* p) { return em::load<uint8_t, __m128i>(m, p); }
VS void _mm512_mask_storeu_epi32(void* p, __mmask16 m, __m512i a) { em::store<uint32_t>(p, m, a); }
VS __m512i _mm512_and_si512(__m512i a, __m512i b) { return em::integers<uint64_t>([&](size_t i) { return a.lane[i] & b.lane[i]; }); }
VS __m512i _mm512_xor_si512(__m512i a, __m512i b) { return em::integers<uint64_t>([&](size_t i) { return a.lane[i] ^ b.lane[i]; }); }
VS __m512i _mm512_add_epi8(__m512i a, __m512i b) { return em::integers<uint8_t>([&](size_t i) { return em::lane<uint8_t>(a, i) + em::lane<uint8_t>(b, i); }); }
VS __m512i _mm512_add_epi16(__m512i a, __m512i b) { return em::integers<uint16_t>([&](size_t i) { return em::lane<uint16_t>(a, i) + em::lane<uint16_t>(b, i); }); }
VS __m512i _mm512_sub_epi16(__m512i a, __m512i b) { return em::integers<uint16_t>([&](size_t i) { return em::lane<uint16_t>(a, i) - em::lane<uint16_t>(b, i); }); }
VS __m512i _mm512_add_epi32(__m512i a, __m512i b) { return em::integers<uint32_t>([&](size_t i) { return em::lane<uint32_t>(a, i) + em::lane<uint32_t>(b, i); }); }
VS __m512i _mm512_add_epi64(__m512i a, __m512i b) { return em::integers<uint64_t>([&](size_t i) { return a.lane[i] + b.lane[i]; }); }
VS __m512i _mm512_slli_epi16(__m512i a, unsigned by) { return em::integers<uint16_t>([&](size_t i) { return em::lane<uint16_t>(a, i) << by; }); }
VS __m512i _mm512_srli_epi16(__m512i a, unsigned by) { return em::integers<uint16_t>([&](size_t i) { return em::lane<uint16_t>(a, i) >> by; }); }
VS __m512i _mm512_slli_epi32(__m512i a, unsigned by) { return em::integers<uint32_t>([&](size_t i) { return em::lane<uint32_t>(a, i) << by; }); }
VS __m512i _mm512_srli_epi32(__m512i a, unsigned by) { return em::integers<uint32_t>([&](size_t i) { return em::lane<uint32_t>(a, i) >> by; }); }
VS __m512i _mm512_slli_epi64(__m512i a, unsigned by) { return em::integers<uint64_t>([&](size_t i) { return a.lane[i] << by; }); }
VS __m512i _mm512_srlv_epi64(__m512i a, __m512i by) { return em::integers<uint64_t>([&](size_t i) { return by.lane[i] < 64 ? a.lane[i] >> by.lane[i] : 0; }); }
VS __m512i _mm512_shuffle_epi8(__m512i a, __m512i at) { return em::integers<uint8_t>([&](size_t i) { const uint8_t x = em::lane<uint8_t>(at, i); return x & 128 ? 0 : em::lane<uint8_t>(a, i / 16 * 16 + (x & 15)); }); }
VS __m512i _mm512_popcnt_epi64(__m512i a) { return em::integers<uint64_t>([&](size_t i) { return __builtin_popcountll(a.lane[i]); }); }
VS __m512i _mm512_madd_epi16(__m512i a, __m512i b) {
    return em::integers<int32_t>([&](size_t i) { return em::lane<int16_t>(a, 2 * i) * em::lane<int16_t>(b, 2 * i) + em::lane<int16_t>(a, 2 * i + 1) * em::lane<int16_t>(b, 2 * i + 1); });
}
VS __m512i _mm512_maddubs_epi16(__m512i a, __m512i b) {
    return em::integers<int16_t>([&](size_t i) {
        return em::saturated<int16_t>(em::lane<uint8_t>(a, 2 * i) * em::lane<int8_t>(b, 2 * i) + em::lane<uint8_t>(a, 2 * i + 1) * em::lane<int8_t>(b, 2 * i + 1), -32768, 32767);
    });
}
VS __m512i _mm512_dpbusd_epi32(__m512i s, __m512i a, __m512i b) {
    return em::integers<int32_t>([&](size_t i) {
        int32_t sum = em::lane<int32_t>(s, i);
        for (size_t j = 4 * i; j < 4 * i + 4; ++j) sum += em::lane<uint8_t>(a, j) * em::lane<int8_t>(b, j);
        return sum;
    });
}
VS __m512i _mm512_dpwssd_epi32(__m512i s, __m512i a, __m512i b) { return _mm512_add_epi32(s, _mm512_madd_epi16(a, b)); }
VS __m512 _mm512_dpbf16_ps(__m512 s, __m512bh a, __m512bh b) {
    return em::floats([&](size_t i) {
        const float odd = em::bf16(a.lane[2 * i + 1]) * em::bf16(b.lane[2 * i + 1]);
        return s.lane[i] + em::bf16(a.lane[2 * i]) * em::bf16(b.lane[2 * i]) + odd;
    });
}
VS int32_t _mm512_reduce_add_epi32(__m512i a) { uint32_t sum = 0; for (size_t i = 0; i < 16; ++i) sum += em::lane<uint32_t>(a, i); return static_cast<int32_t>(sum); }
VS int64_t _mm512_reduce_add_epi64(__m512i a) { uint64_t sum = 0; for (size_t i = 0; i < 8; ++i) sum += a.lane[i]; return static_cast<int64_t>(sum); }
VS __m512i _mm512_maskz_compress_epi32(__mmask16 m, __m512i a) {
    uint32_t out[16] = {};
    size_t next = 0;
    for (size_t i = 0; i < 16; ++i) if (em::on(m, i)) out[next++] = em::lane<uint32_t>(a, i);
    return em::bits<__m512i>(out);
}

VS __m512i _mm512_castsi256_si512(__m256i a) { return em::integers<uint64_t>([&](size_t i) { return i < 4 ? em::lane<uint64_t>(a, i) : 0xdeadull; }); }
VS __m256i _mm512_castsi512_si256(__m512i a) { return em::make<uint64_t, __m256i>([&](size_t i) { return a.lane[i]; }); }
VS __m256i _mm512_extracti64x4_epi64(__m512i a, int half) { return em::make<uint64_t, __m256i>([&](size_t i) { return a.lane[i + 4 * half]; }); }
VS __m512i _mm512_inserti64x4(__m512i a, __m256i b, int half) { return em::integers<uint64_t>([&](size_t i) { return static_cast<int>(i / 4) == half ? em::lane<uint64_t>(b, i % 4) : a.lane[i]; }); }
VS __m512i _mm512_broadcast_i32x4(__m128i a) { return em::integers<uint64_t>([&](size_t i) { return em::lane<uint64_t>(a, i % 2); }); }
VS __m512 _mm512_cvtepi32_ps(__m512i a) { return em::floats([&](size_t i) { return static_cast<float>(em::lane<int32_t>(a, i)); }); }
VS __m512i _mm512_cvttps_epi32(__m512 a) { return em::integers<int32_t>([&](size_t i) { return static_cast<int32_t>(a.lane[i]); }); }
VS __m512i _mm512_cvtepi8_epi16(__m256i a) { return em::integers<int16_t>([&](size_t i) { return em::lane<int8_t>(a, i); }); }
VS __m512i _mm512_cvtepi8_epi32(__m128i a) { return em::integers<int32_t>([&](size_t i) { return em::lane<int8_t>(a, i); }); }
VS __m512i _mm512_cvtepu16_epi32(__m256i a) { return em::integers<uint32_t>([&](size_t i) { return em::lane<uint16_t>(a, i); }); }
VS __m256i _mm512_cvtepi32_epi16(__m512i a) { return em::make<uint16_t, __m256i>([&](size_t i) { return em::lane<uint32_t>(a, i); }); }
VS __m128i _mm512_cvtusepi32_epi8(__m512i a) { return em::make<uint8_t, __m128i>([&](size_t i) { return em::saturated<uint8_t>(em::lane<uint32_t>(a, i), 0, 255); }); }
VS __m512 _mm512_cvtph_ps(__m256i a) { return em::floats([&](size_t i) { return _cvtsh_ss(em::lane<uint16_t>(a, i)); }); }
#undef VS
// clang-format on
