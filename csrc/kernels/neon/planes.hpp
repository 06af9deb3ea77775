// Packed codes against int8 queries, NEON: a 64-dim chunk of a plane is four registers of 16 codes.
//
// Shared by the plain unit and by dotprod, which differ in the multiplication alone: Op::add(sum, codes, query) adds 16
// products of codes <= 15 and int8 to 4 partial sums.
#pragma once

#include <arm_neon.h>

#include "kernels/ops/planes.hpp"
#include "kernels/table.hpp"

namespace vsearch::neon {
namespace {

template <class Op>
struct PlaneUnit {
    using Vector = int32x4_t;
    static int32x4_t zero() { return vdupq_n_s32(0); }
    static const std::int8_t* chunk(const std::int8_t* query) { return query; }
    static int32x4_t add4(int32x4_t sum, const std::uint8_t* plane, const std::int8_t* query) {
        const uint8x16_t nibble = vdupq_n_u8(15);
        for (int half = 0; half < 2; ++half) {
            const uint8x16_t bytes = vld1q_u8(plane + 16 * half);
            sum = Op::add(sum, vreinterpretq_s8_u8(vandq_u8(bytes, nibble)), vld1q_s8(query + 16 * half));
            sum = Op::add(sum, vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4)), vld1q_s8(query + 32 + 16 * half));
        }
        return sum;
    }
    static int32x4_t add2(int32x4_t sum, const std::uint8_t* plane, const std::int8_t* query) {
        const uint8x16_t bytes = vld1q_u8(plane), two_bits = vdupq_n_u8(3);
        sum = Op::add(sum, vreinterpretq_s8_u8(vandq_u8(bytes, two_bits)), vld1q_s8(query));
        sum = Op::add(sum, vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(bytes, 2), two_bits)), vld1q_s8(query + 16));
        sum = Op::add(sum, vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(bytes, 4), two_bits)), vld1q_s8(query + 32));
        return Op::add(sum, vreinterpretq_s8_u8(vshrq_n_u8(bytes, 6)), vld1q_s8(query + 48));
    }
    // Each step spreads two bytes over 16 lanes and tests one bit in each.
    static int32x4_t add1(int32x4_t sum, const std::uint8_t* plane, const std::int8_t* query) {
        const uint8x16_t select = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201ull)), one = vdupq_n_u8(1);
        for (int step = 0; step < 4; ++step) {
            const uint8x16_t bytes = vcombine_u8(vdup_n_u8(plane[2 * step]), vdup_n_u8(plane[2 * step + 1]));
            const uint8x16_t bits = vandq_u8(vtstq_u8(bytes, select), one);
            sum = Op::add(sum, vreinterpretq_s8_u8(bits), vld1q_s8(query + 16 * step));
        }
        return sum;
    }
    template <int kShift>
    static int32x4_t weighed(int32x4_t total, int32x4_t sum) {
        return vaddq_s32(total, vshlq_n_s32(sum, kShift));
    }
    static std::int32_t reduced(int32x4_t total) { return vaddvq_s32(total); }
};

template <class Op>
constexpr PlanesKernel dot_planes = kernel_ops::dot_planes<kernel_ops::RowByRow<PlaneUnit<Op>>>;

}  // namespace
}  // namespace vsearch::neon
