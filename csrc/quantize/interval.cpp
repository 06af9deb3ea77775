#include "quantize/interval.hpp"

#include <algorithm>
#include <cmath>

namespace vsearch {
namespace {

constexpr int kClips = 16;
constexpr int kNewtonSteps = 5;
constexpr double kAnisotropy = 0.1;  // lambda: weight of the error across the vector beside that along it
// Half-widths in standard deviations of the interval that is best for a Gaussian, 1..8 bits (the outermost Lloyd-Max-uniform levels).
constexpr double kGaussianInterval[9] = {0, 0.798, 1.493, 2.051, 2.514, 2.916, 3.278, 3.611, 3.922};

Interval between(double low, double high, float sigma) {
    return {static_cast<float>((low + high) / 2), static_cast<float>((high - low) * sigma)};
}

// Squared cosine of o and middle + step * (nearest level), up to |o|^2.
double score(const float* o, const LevelsCodec::Part& part, const Interval& interval) {
    const float inverse = 1.0f / interval.step;
    double dot = 0, norm2 = 0;
    for (std::size_t j = 0; j < part.length; ++j) {
        const double y = interval.middle + interval.step * part.bin_levels[part.bin((o[j] - interval.middle) * inverse)];
        dot += o[j] * y;
        norm2 += y * y;
    }
    return norm2 > 0 ? dot * dot / norm2 : 0.0;
}

Interval best_clip(const float* o, const LevelsCodec::Part& part, double low, double high, double deviation) {
    const double middle = (low + high) / 2, half = (high - low) / 2;
    const double narrow = std::min(half, 0.8 * kGaussianInterval[part.bits] * deviation);
    Interval best = between(low, high, part.sigma);
    double highest = score(o, part, best);
    for (int i = 0; i < kClips; ++i) {
        const double width = narrow + (half - narrow) * i / kClips;
        if (!(width > 0)) continue;
        const Interval tried = between(middle - width, middle + width, part.sigma);
        const double now = score(o, part, tried);
        if (now > highest) highest = now, best = tried;
    }
    return best;
}

// OSQ (Lucene's optimized scalar quantisation): the ends a, b of the interval minimise (1 - lambda) <o, e>^2 / |o|^2 + lambda |e|^2
// for given levels, a 2 x 2 system; levels and ends take turns while the loss falls.
class NewtonInterval {
public:
    NewtonInterval(const float* o, const LevelsCodec::Part& part) : o_(o), part_(part), top_((1 << part.bits) - 1) {
        for (std::size_t j = 0; j < part.length; ++j) norm2_ += static_cast<double>(o[j]) * o[j];
    }

    void run(double& a, double& b) {
        double loss = collect(a, b);
        for (int step = 0; step < kNewtonSteps; ++step) {
            const double g = (1 - kAnisotropy) / norm2_;
            const double m00 = g * dax_ * dax_ + kAnisotropy * daa_, m01 = g * dax_ * dbx_ + kAnisotropy * dab_;
            const double m11 = g * dbx_ * dbx_ + kAnisotropy * dbb_, determinant = m00 * m11 - m01 * m01;
            if (!(std::fabs(determinant) > 1e-12 * m00 * m11)) return;
            const double next_a = (m11 * dax_ - m01 * dbx_) / determinant, next_b = (m00 * dbx_ - m01 * dax_) / determinant;
            if (!(next_b > next_a)) return;
            const double next = collect(next_a, next_b);
            if (!(next < loss)) return;
            loss = next;
            a = next_a;
            b = next_b;
        }
    }

private:
    // Sums over the levels of the interval [a, b], and its loss.
    double collect(double a, double b) {
        daa_ = dab_ = dbb_ = dax_ = dbx_ = 0;
        double along = 0, all = 0;
        const double scale = top_ / (b - a);
        for (std::size_t j = 0; j < part_.length; ++j) {
            const double k = std::min(std::max(std::floor((o_[j] - a) * scale + 0.5), 0.0), top_), s = k / top_, e = o_[j] - (a + (b - a) * s);
            daa_ += (1 - s) * (1 - s);
            dab_ += s * (1 - s);
            dbb_ += s * s;
            dax_ += o_[j] * (1 - s);
            dbx_ += o_[j] * s;
            along += o_[j] * e;
            all += e * e;
        }
        return (1 - kAnisotropy) * along * along / norm2_ + kAnisotropy * all;
    }

    const float* o_;
    const LevelsCodec::Part& part_;
    double top_;
    double norm2_ = 0, daa_ = 0, dab_ = 0, dbb_ = 0, dax_ = 0, dbx_ = 0;
};

}  // namespace

Interval choose_interval(const float* o, const LevelsCodec::Part& part, LevelRule rule) {
    const auto ends = std::minmax_element(o, o + part.length);
    double low = *ends.first, high = *ends.second, mean = 0, square = 0;
    if (!(high > low)) return {static_cast<float>(low), 0.0f};
    if (rule == LevelRule::kInterval) return between(low, high, part.sigma);
    for (std::size_t j = 0; j < part.length; ++j) mean += o[j], square += static_cast<double>(o[j]) * o[j];
    mean /= static_cast<double>(part.length);
    const double deviation = std::sqrt(std::max(0.0, square / static_cast<double>(part.length) - mean * mean));
    if (rule == LevelRule::kClipped) return best_clip(o, part, low, high, deviation);
    double a = std::max(low, mean - kGaussianInterval[part.bits] * deviation), b = std::min(high, mean + kGaussianInterval[part.bits] * deviation);
    if (!(b > a)) return between(low, high, part.sigma);
    NewtonInterval(o, part).run(a, b);
    return between(a, b, part.sigma);
}

}  // namespace vsearch
