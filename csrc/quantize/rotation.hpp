// A seeded random rotation in O(D log D): sign flips, Walsh-Hadamard transforms and Kac steps.
//
// With T the largest power of two <= D, one round is: flip signs by a stored Rademacher mask; transform the first T
// coordinates (even rounds) or the last T (odd rounds) by an orthonormal Hadamard matrix; where T < D, rotate the pairs
// (j, j + D/2) by 45 degrees. Four rounds where T < D, three where T = D. (The "FhtKac" rotation of the RaBitQ library; Kac's
// walk mixes what the two overlapping transforms leave apart.) Vectors are padded with zeros to a multiple of 16, no more.
//
// Every step adds or subtracts in a fixed order, so all ISAs and the Numba twin give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quantize/transform.hpp"

namespace vsearch {

class Rotation : public Transform {
public:
    // signs: rounds(padded dim) rows of padded/8 bytes; a set bit flips the coordinate.
    Rotation(std::size_t dim, const std::uint8_t* signs, std::size_t sign_bytes);

    static std::size_t padded_dim(std::size_t dim);
    static std::size_t rounds(std::size_t dim);

    void apply(const float* x, float* out) const override;
    void apply_inverse(const float* y, float* out) const override;

private:
    void flip_signs(std::size_t round, float* x) const;
    void transform(std::size_t round, float* x) const;

    std::size_t span_;  // T
    std::vector<std::uint32_t> flips_;  // one word a coordinate and round: 0 or the sign bit
};

}  // namespace vsearch
