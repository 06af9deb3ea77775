// One round of a Kac rotation around a unit's own Hadamard transform: the order of operations that every unit keeps.
//
// Everything is in an anonymous namespace: each ISA unit gets its own copy, compiled with its own flags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vsearch::kernel_ops {
namespace {

template <class Transform>
inline void rotate_by(Transform transform, float* x, std::size_t d, std::size_t offset, std::size_t span, const std::uint32_t* flips, float scale) {
    for (std::size_t j = 0; j < d; ++j) {
        std::uint32_t bits;
        std::memcpy(&bits, x + j, sizeof(bits));
        bits ^= flips[j];
        std::memcpy(x + j, &bits, sizeof(bits));
    }
    transform(x + offset, span);
    for (std::size_t j = offset; j < offset + span; ++j) x[j] *= scale;
    if (span == d) return;
    for (std::size_t j = 0, half = d / 2; j < half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
    }
}

}  // namespace
}  // namespace vsearch::kernel_ops
