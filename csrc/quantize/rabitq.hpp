// RaBitQ with 1..8 bits a dim: encoder, factors, and the prepared query.
//
// A residual o = P(x - c) is coded by the grid point y = u - (2^B - 1)/2 (u in 0..2^B-1 per dim) nearest to it in angle. With
// S = |o|^2 / <o, y> the estimate <o, q> ~ S <y, q> is unbiased under a random rotation P, and its standard deviation is
// |o||q| sqrt(kappa / (D - 1)), kappa = (1 - cos^2)/cos^2 of the angle between o and y (arXiv 2405.12497, theorem 3.2;
// arXiv 2409.09913 for B > 1). The top bit of u is the sign of o, so the 1-bit code is a prefix of the B-bit code; the other
// B - 1 bits ("extra" bits, planes.hpp) are stored apart and read only for candidates that the 1-bit bound does not exclude.
//
// The query is rotated once; what depends on the list is folded into the factors (raw-query form, specs section 1.1):
//   l2   distance = add + |q - c|^2 + rescale * <y, q'>   add = |o|^2 + 2 S <y, Pc>             rescale = -2 S
//   ip   distance = add - <c, q>    + rescale * <y, q'>   add = -<r, c + mean> + S <y, Pc>      rescale = -S
// where everything is centred on the mean of the data (c and q' are without it; for ip the mean's share is put back).
//
// The bound needs |o| sqrt(kappa), and |o|/cos = S |y|: so |o| sqrt(kappa) = S |y| sin, with sin concentrated (0.603 at 1 bit).
// One constant per stage and index, spread = |y| sin / sqrt(D - 1) averaged over the data, stands for it, and the lower bound
//   estimate - epsilon * |rescale| * sqrt((spread |q - c|)^2 + noise^2)
// costs no factor of its own. `noise` is what rounding the query adds to <y, q'>; it grows with |q'| and not with |q - c|, so it
// is what counts in a tight list far from the mean.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/aligned.hpp"

namespace vsearch {

enum class Metric { kL2, kInnerProduct, kCosine };

struct CodeFactors {
    float add = 0.0f;
    float rescale = 0.0f;
};

struct EncodedVector {
    CodeFactors sign;       // of the 1-bit code
    CodeFactors full;       // of all bits; equals `sign` at 1 bit
    float sign_spread = 0;  // |y| sin / sqrt(D - 1) of each
    float full_spread = 0;
};

// Encodes one rotated residual. `centroid` is Pc and `mean` is P(mean), both rotated; `codes` receives u, one byte a dim.
// `magnitude` is scratch for dim floats.
EncodedVector encode_rabitq(const float* residual, const float* centroid, const float* mean, std::size_t dim, int bits, Metric metric,
                            std::uint8_t* codes, float* magnitude);

// A query prepared for one-bit blocks and for the extra bits, after rotation and centring.
class PreparedQuery {
public:
    void prepare(const float* rotated, std::size_t dim, int bits);

    // <y, q'> of the 1-bit code (y = +-1/2) is scale() * sums + offset() with the FastScan sums over lut().
    const std::uint8_t* lut() const { return lut_.data(); }
    float scale() const { return scale_; }
    float offset() const { return offset_; }

    // Standard deviation of <y, q'> from the rounding of the query, of the 1-bit code and of all bits.
    float sign_noise() const { return sign_noise_; }
    float full_noise() const { return full_noise_; }

    // <y, q'> of all bits, from the vector's lane in its block and its extra bits. In units of the B-bit grid.
    float full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const;

private:
    void build_tables(const float* q);
    void quantize_query(const float* q);

    std::size_t dim_ = 0;
    std::size_t groups_ = 0;
    int bits_ = 1;
    float scale_ = 0, offset_ = 0;
    AlignedArray<float> table_;        // 16 subset sums for each group of 4 dims
    AlignedArray<std::uint8_t> lut_;   // the same in 6 bits, for FastScan
    AlignedArray<std::int16_t> fine_;  // the same in 15 bits, for the survivors
    float fine_scale_ = 0, fine_offset_ = 0;
    AlignedArray<std::int8_t> high_, low_;  // the query in 7 + 7 bits: q' ~ query_scale * (128 high + low)
    float query_scale_ = 0, query_sum_ = 0;
    float full_offset_ = 0;  // what full_dot adds to the two parts
    float sign_noise_ = 0, full_noise_ = 0;
};

}  // namespace vsearch
