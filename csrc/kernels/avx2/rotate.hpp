// Hadamard transforms and rounds of the random rotation, AVX2. Same results as kernels/scalar, bit for bit: each output is a tree of
// additions and subtractions whose order the stages fix, from neighbours to halves.
//
// Bound by loads and stores of L1, so the passes over a vector are few: six stages in registers for each 64 values, three more in each
// further pass; where the dimension is 3/2 of the span (384, 768, 1536), the last two stages and the Kac step are one pass.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/codes.hpp"
#include "kernels/ops/hadamard.hpp"
#include "kernels/ops/unroll.hpp"
#include "kernels/table.hpp"

namespace vsearch::avx2 {
namespace {

// A stage within a register: the partner, and the value with the sign of the lane. A product with 1 or -1 is exact, so the fused form
// rounds as an addition does.
inline __m256 stage(__m256 x, __m256 partner, __m256 sign) { return _mm256_fmadd_ps(x, sign, partner); }

struct Floats {
    using Vector = __m256;
    static constexpr std::size_t kLanes = 8;
    static __m256 load(const float* x) { return _mm256_loadu_ps(x); }
    static void store(float* x, __m256 v) { _mm256_storeu_ps(x, v); }
    static __m256 add(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
    static __m256 sub(__m256 a, __m256 b) { return _mm256_sub_ps(a, b); }
    static __m256 within(__m256 x) {
        x = stage(x, _mm256_permute_ps(x, 0xb1), _mm256_setr_ps(1.f, -1.f, 1.f, -1.f, 1.f, -1.f, 1.f, -1.f));
        x = stage(x, _mm256_permute_ps(x, 0x4e), _mm256_setr_ps(1.f, 1.f, -1.f, -1.f, 1.f, 1.f, -1.f, -1.f));
        return stage(x, _mm256_permute2f128_ps(x, x, 0x01), _mm256_setr_ps(1.f, 1.f, 1.f, 1.f, -1.f, -1.f, -1.f, -1.f));
    }
};

inline __m256 flipped(const float* x, const std::uint32_t* flips) {
    return _mm256_xor_ps(_mm256_loadu_ps(x), _mm256_castsi256_ps(load256(flips)));
}

inline void flip(float* x, std::size_t n, const std::uint32_t* flips) {
    for (std::size_t j = 0; j < n; j += 8) _mm256_storeu_ps(x + j, flipped(x + j, flips + j));
}

// The stages within each 64 values, after their flips.
inline void flip_and_transform64(float* x, std::size_t n, const std::uint32_t* flips) {
    kernel_ops::fht_eights<Floats>(x, n, [=](std::size_t j) { return flipped(x + j, flips + j); });
}

inline void flip_and_transform(float* x, std::size_t n, const std::uint32_t* flips, float scale) {
    if (n < 128) {
        flip(x, n, flips);
        kernel_ops::fht_f32<Floats>(x, n);
        for (std::size_t j = 0; j < n; j += 8) _mm256_storeu_ps(x + j, _mm256_mul_ps(_mm256_loadu_ps(x + j), _mm256_set1_ps(scale)));
        return;
    }
    flip_and_transform64(x, n, flips);
    const __m256 scale8 = _mm256_set1_ps(scale);
    std::size_t half = 64;
    while (n / half > 8) half = kernel_ops::fht_next<Floats>(x, n, half, [](__m256 v) { return v; });
    kernel_ops::fht_next<Floats>(x, n, half, [scale8](__m256 v) { return _mm256_mul_ps(v, scale8); });
}

// The last two stages of a span of four quarters, the flips of the two quarters beside it and the Kac step. kFirst: the quarter that the
// span begins with.
template <std::size_t kFirst>
inline void finish_three_halves(float* x, std::size_t quarter, const std::uint32_t* flips, float scale) {
    constexpr std::size_t kBeside = kFirst == 0 ? 4 : 0;
    const __m256 scale8 = _mm256_set1_ps(scale);
    for (std::size_t j = 0; j < quarter; j += 8) {
        __m256 row[6];
        VSEARCH_UNROLL
        for (std::size_t r = kFirst; r < kFirst + 4; ++r) row[r] = _mm256_loadu_ps(x + j + r * quarter);
        kernel_ops::butterflies<Floats, 2>(row + kFirst);
        VSEARCH_UNROLL
        for (std::size_t r = kFirst; r < kFirst + 4; ++r) row[r] = _mm256_mul_ps(row[r], scale8);
        VSEARCH_UNROLL
        for (std::size_t r = kBeside; r < kBeside + 2; ++r) row[r] = flipped(x + j + r * quarter, flips + j + r * quarter);
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < 3; ++r) {
            _mm256_storeu_ps(x + j + r * quarter, _mm256_add_ps(row[r], row[r + 3]));
            _mm256_storeu_ps(x + j + (r + 3) * quarter, _mm256_sub_ps(row[r], row[r + 3]));
        }
    }
}

void rotate_round(float* x, std::size_t d, std::size_t offset, std::size_t span, const std::uint32_t* flips, float scale) {
    const std::size_t beside = d - span;
    if (2 * beside == span && span >= 256 && (offset == 0 || offset == beside)) {
        const std::size_t quarter = span / 4;
        flip_and_transform64(x + offset, span, flips + offset);
        for (std::size_t first = offset; first < offset + span; first += quarter) kernel_ops::fht_on<Floats>(x + first, quarter, 64);
        return offset == 0 ? finish_three_halves<0>(x, quarter, flips, scale) : finish_three_halves<2>(x, quarter, flips, scale);
    }
    flip(x, offset, flips);
    flip(x + offset + span, d - offset - span, flips + offset + span);
    flip_and_transform(x + offset, span, flips + offset, scale);
    if (span == d) return;
    for (std::size_t j = 0, half = d / 2; j < half; j += 8) {
        const __m256 a = _mm256_loadu_ps(x + j), b = _mm256_loadu_ps(x + j + half);
        _mm256_storeu_ps(x + j, _mm256_add_ps(a, b));
        _mm256_storeu_ps(x + j + half, _mm256_sub_ps(a, b));
    }
}

}  // namespace

inline void install_rotate(KernelTable& table) {
    table.fht_f32 = kernel_ops::fht_f32<Floats>;
    table.rotate_round = rotate_round;
}

}  // namespace vsearch::avx2
