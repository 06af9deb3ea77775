// Packed codes against int8 queries, NEON: a 64-dim chunk of a plane is four registers of 16 codes.
//
// Shared by the plain unit and by dotprod, which differ in the multiplication alone: Op::add(sum, codes, query) adds 16
// products of codes <= 15 and int8 to 4 partial sums. Each plane keeps sums of its own, weighed once at the end.
// `query` points at the 64 query values of the chunk.
#pragma once

#include <arm_neon.h>

#include "kernels/table.hpp"

namespace vsearch::neon {
namespace {

template <class Op>
inline int32x4_t add_plane4(int32x4_t sum, const std::uint8_t* plane, const std::int8_t* query) {
    const uint8x16_t nibble = vdupq_n_u8(15);
    for (int half = 0; half < 2; ++half) {
        const uint8x16_t bytes = vld1q_u8(plane + 16 * half);
        sum = Op::add(sum, vreinterpretq_s8_u8(vandq_u8(bytes, nibble)), vld1q_s8(query + 16 * half));
        sum = Op::add(sum, vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4)), vld1q_s8(query + 32 + 16 * half));
    }
    return sum;
}

template <class Op>
inline int32x4_t add_plane2(int32x4_t sum, const std::uint8_t* plane, const std::int8_t* query) {
    const uint8x16_t bytes = vld1q_u8(plane), two_bits = vdupq_n_u8(3);
    sum = Op::add(sum, vreinterpretq_s8_u8(vandq_u8(bytes, two_bits)), vld1q_s8(query));
    sum = Op::add(sum, vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(bytes, 2), two_bits)), vld1q_s8(query + 16));
    sum = Op::add(sum, vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(bytes, 4), two_bits)), vld1q_s8(query + 32));
    return Op::add(sum, vreinterpretq_s8_u8(vshrq_n_u8(bytes, 6)), vld1q_s8(query + 48));
}

// Each step spreads two bytes over 16 lanes and tests one bit in each.
template <class Op>
inline int32x4_t add_plane1(int32x4_t sum, const std::uint8_t* plane, const std::int8_t* query) {
    const uint8x16_t select = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201ull)), one = vdupq_n_u8(1);
    for (int step = 0; step < 4; ++step) {
        const uint8x16_t bytes = vcombine_u8(vdup_n_u8(plane[2 * step]), vdup_n_u8(plane[2 * step + 1]));
        const uint8x16_t bits = vandq_u8(vtstq_u8(bytes, select), one);
        sum = Op::add(sum, vreinterpretq_s8_u8(bits), vld1q_s8(query + 16 * step));
    }
    return sum;
}

template <class Op, int kBits>
std::int32_t dot_planes_of(const std::uint8_t* code, const std::int8_t* query, std::size_t chunks) {
    constexpr bool kHasPlane2 = kBits == 2 || kBits == 3 || kBits == 6 || kBits == 7;
    int32x4_t low4 = vdupq_n_s32(0), high4 = low4, two = low4, one = low4;
    for (std::size_t c = 0; c < chunks; ++c, query += 64) {
        if constexpr (kBits >= 4) {
            low4 = add_plane4<Op>(low4, code, query);
            code += 32;
        }
        if constexpr (kBits == 8) {
            high4 = add_plane4<Op>(high4, code, query);
            code += 32;
        }
        if constexpr (kHasPlane2) {
            two = add_plane2<Op>(two, code, query);
            code += 16;
        }
        if constexpr (kBits % 2 == 1) {
            one = add_plane1<Op>(one, code, query);
            code += 8;
        }
    }
    const int32x4_t fours = vaddq_s32(low4, vshlq_n_s32(high4, 4));
    const int32x4_t rest = vaddq_s32(vshlq_n_s32(two, kBits >= 4 ? 4 : 0), vshlq_n_s32(one, kBits - 1));
    return vaddvq_s32(vaddq_s32(fours, rest));
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
}  // namespace vsearch::neon
