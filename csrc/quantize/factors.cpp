#include "quantize/factors.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/table.hpp"

namespace vsearch {
namespace {

double dot(const float* a, const float* b, std::size_t dim) {
    float out = 0;
    kernels().dot_f32(a, b, 0, nullptr, 1, dim, &out);
    return out;
}

double sum(const float* a, std::size_t dim) {
    double out = 0;
    for (std::size_t j = 0; j < dim; ++j) out += a[j];
    return out;
}

}  // namespace

ResidualMoments::ResidualMoments(const float* residual, const Origin& origin, std::size_t dim)
    : norm2(dot(residual, residual, dim)),
      residual_center(origin.metric == Metric::kL2 ? 0.0 : dot(residual, origin.centroid, dim) + dot(residual, origin.mean, dim)) {}

Factors factors_of(const ResidualMoments& moments, const Direction& y, float t, Metric metric, std::size_t dim, double scale, float* spread) {
    *spread = 0.0f;
    if (!(y.residual_dot > 0)) {  // a zero residual: its distance is that of the centroid
        if (metric == Metric::kL2) return {static_cast<float>(moments.norm2), 0.0f, 0.0f};
        return {static_cast<float>(-moments.residual_center), 0.0f, 0.0f};
    }
    const double cos2 = std::min(1.0, y.residual_dot * y.residual_dot / (moments.norm2 * y.norm2));
    *spread = static_cast<float>(std::sqrt(y.norm2 * (1 - cos2) / static_cast<double>(dim - 1)));
    const double s = scale > 0 ? scale : moments.norm2 / y.residual_dot;
    if (metric == Metric::kL2) return {static_cast<float>(moments.norm2 + 2 * s * y.center), static_cast<float>(-2 * s), static_cast<float>(-2 * s * t)};
    return {static_cast<float>(-moments.residual_center + s * y.center), static_cast<float>(-s), static_cast<float>(-s * t)};
}

Factors factors_of(const ResidualMoments& moments, const float* residual, const float* y, float t, const Origin& origin, std::size_t dim,
                   double scale, float* spread) {
    Direction direction{dot(residual, y, dim), dot(y, origin.centroid, dim), dot(y, y, dim)};
    if (t != 0.0f) {
        direction.residual_dot += t * sum(residual, dim);
        direction.center += t * sum(origin.centroid, dim);
        direction.norm2 += 2 * t * sum(y, dim) + static_cast<double>(t) * t * static_cast<double>(dim);
    }
    return factors_of(moments, direction, t, origin.metric, dim, scale, spread);
}

}  // namespace vsearch
