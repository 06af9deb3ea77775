// RaBitQ with 1..8 bits a dim: a uniform grid, and of its points the one nearest in angle.
//
// A residual o = P(x - c) is coded by the grid point y = u - (2^B - 1)/2 (u in 0..2^B-1 per dim) nearest to it in angle
// (arXiv 2405.12497; arXiv 2409.09913 for B > 1). The top bit of u is the sign of o, so the 1-bit code is a prefix of the B-bit code;
// the other B - 1 bits ("extra" bits, planes.hpp) are stored apart and read only for candidates that the 1-bit bound does not exclude.
#pragma once

#include "quantize/codec.hpp"

namespace vsearch {

class RabitqCodec : public Codec {
public:
    RabitqCodec(std::size_t dim, int bits);

    EncodedVector encode(float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const override;
    std::size_t level_count() const override { return shape_.dim; }
    void unpack(const std::uint8_t* symbols, const std::uint8_t* extra, std::uint8_t* levels) const override;
    void decode(const std::uint8_t* symbols, const std::uint8_t* extra, float* y) const override;
    std::unique_ptr<PreparedQuery> make_query() const override;

private:
    int bits_;
};

}  // namespace vsearch
