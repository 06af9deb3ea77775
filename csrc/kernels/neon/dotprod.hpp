// Integer dot products by the armv8.2 dot product instructions (sdot): 16 dims in one.
#pragma once

#include <arm_neon.h>

#include "kernels/neon/planes.hpp"
#include "kernels/table.hpp"

namespace vsearch::neondot {
namespace {

// Codes below 128 read as signed bytes are themselves.
void dot_u7(const std::int8_t* query, const std::uint8_t* rows, std::size_t stride, std::size_t n, std::size_t d, std::int32_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* row = rows + i * stride;
        int32x4_t even = vdupq_n_s32(0), odd = even;
        for (std::size_t j = 0; j < d; j += 32) {
            even = vdotq_s32(even, vreinterpretq_s8_u8(vld1q_u8(row + j)), vld1q_s8(query + j));
            odd = vdotq_s32(odd, vreinterpretq_s8_u8(vld1q_u8(row + j + 16)), vld1q_s8(query + j + 16));
        }
        out[i] = vaddvq_s32(vaddq_s32(even, odd));
    }
}

struct MultiplyDot {
    static int32x4_t add(int32x4_t sum, int8x16_t codes, int8x16_t query) { return vdotq_s32(sum, codes, query); }
};

}  // namespace

inline void install_dotprod(KernelTable& table) {
    table.dot_u7 = dot_u7;
    table.dot_planes = neon::dot_planes<MultiplyDot>;
}

}  // namespace vsearch::neondot
