// What is stored beside a code so that inner products become distances: the one estimator of every codec.
//
// A codec gives a residual o = P(x - c) a reconstruction direction y. With a scale S the estimate is <o, q> ~ S <y, q>; S = |o|^2 / <o, y>
// makes it unbiased under a random rotation P, and its standard deviation is |o||q| sqrt(kappa / (D - 1)), kappa = (1 - cos^2)/cos^2 of
// the angle between o and y (arXiv 2405.12497, theorem 3.2; arXiv 2409.09913 for more bits).
//
// The query is transformed once; what depends on the list is folded into the factors (raw-query form, specs section 1.1):
//   l2   distance = add + |q - c|^2 + rescale * <y, q'>   add = |o|^2 + 2 S <y, Pc>             rescale = -2 S
//   ip   distance = add - <c, q>    + rescale * <y, q'>   add = -<o, P(c + mean)> + S <y, Pc>   rescale = -S
// where everything is centred on the mean of the data (c and q' are without it; for ip the mean's share is put back).
// A codec whose grid is not centred on zero (an interval for each vector) adds a constant to every coordinate of y: y + t 1. Its share of
// <y, q'> is shift * sum(q') with shift = t * rescale, a third factor.
//
// The bound needs |o| sqrt(kappa), and |o|/cos = S |y|: so |o| sqrt(kappa) = S |y| sin, with sin concentrated (0.603 at 1 bit).
// One constant per stage and index, spread = |y| sin / sqrt(D - 1) averaged over the data, stands for it, and the lower bound
//   estimate - epsilon * |rescale| * sqrt((spread |q - c|)^2 + noise^2)
// costs no factor of its own. `noise` is what rounding the query adds to <y, q'>; it grows with |q'| and not with |q - c|, so it
// is what counts in a tight list far from the mean.
#pragma once

#include <cstddef>

namespace vsearch {

enum class Metric { kL2, kInnerProduct, kCosine };

struct Factors {
    float add = 0.0f;
    float rescale = 0.0f;
    float shift = 0.0f;
};

// Of one vector: the code that a block holds, and all of it.
struct EncodedVector {
    Factors first, full;
    float first_spread = 0, full_spread = 0;
};

// What a vector is coded against: its list's centroid and the mean of the data, both transformed, the centroid without the mean.
struct Origin {
    const float* centroid;
    const float* mean;
    Metric metric;
};

// Inner products of a residual o that both stages share.
struct ResidualMoments {
    double norm2 = 0;            // |o|^2
    double residual_center = 0;  // <o, P(c + mean)>

    ResidualMoments() = default;
    ResidualMoments(const float* residual, const Origin& origin, std::size_t dim);
};

// Inner products of the direction y + t 1 of a code.
struct Direction {
    double residual_dot = 0;  // with o
    double center = 0;        // with Pc
    double norm2 = 0;         // with itself
};

// Factors for such a direction, whose shift is t, and the spread of its estimates.
Factors factors_of(const ResidualMoments& moments, const Direction& direction, float t, Metric metric, std::size_t dim, double scale, float* spread);

// The same for the direction y + t 1 (dim floats), and the spread of its estimates. `scale` is S; 0 asks for the unbiased one.
Factors factors_of(const ResidualMoments& moments, const float* residual, const float* y, float t, const Origin& origin, std::size_t dim,
                   double scale, float* spread);

}  // namespace vsearch
