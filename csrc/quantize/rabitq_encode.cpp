#include <algorithm>
#include <cmath>

#include "kernels/table.hpp"
#include "quantize/planes.hpp"
#include "quantize/rabitq.hpp"

namespace vsearch {
namespace {

// Clip of the uniform B-bit quantiser that is best for a unit Gaussian, B = 1..8 (specs section 1.2).
constexpr float kGaussianClip[9] = {0.0f, 1.599f, 1.991f, 2.348f, 2.683f, 3.006f, 3.328f, 3.640f, 3.939f};

// The search: clips over the whole range, then some more between the neighbours of the best. The more bits, the more the score jumps from
// clip to clip and the more of them it takes. (Steps on to the scale that fits the best code itself gained nothing after these.)
struct Effort {
    int coarse, fine;
};
constexpr Effort kFew = {8, 4}, kMany = {16, 8};
constexpr int kFewBits = 4;  // up to here kFew does: 1 - cos^2 within 0.1 % of what 64 and 16 clips find, from 48 dims on

constexpr float kPeak = 32767.0f;  // what the largest magnitude becomes

// t_j = min(|a_j| * scale >> (16 + shift), top): the grid's point is t + 1/2.
struct Grid {
    std::uint16_t scale = 0;
    int shift = 0, top = 0;
    double norm2 = 1;  // of the point
};

// The grid whose nearest point has the largest cosine with magnitudes of 15 bits, of which `sum` is the sum and `peak` the largest over
// the root mean square. Scores are sums of integers, so that the search goes the same way on every instruction set.
class GridSearch {
public:
    GridSearch(const std::int16_t* a, std::size_t dim, int bits, double sum, float peak)
        : a_(a), dim_(dim), levels_(static_cast<float>(1 << bits)), sum_(sum) {
        unit_ = levels_ / 2 * peak / kPeak * 65536.0f;
        low_ = 0.85f * std::min(kGaussianClip[bits], peak);
        high_ = std::max(1.02f * peak, 1.1f * kGaussianClip[bits]);
        best_.top = static_cast<int>(levels_ / 2) - 1;
        const float most = unit_ / (0.5f * low_);
        while (most * static_cast<float>(2 << best_.shift) <= 65535.0f) ++best_.shift;
    }

    Grid run(const Effort& effort) {
        try_range(low_, high_, effort.coarse);
        const float step = (high_ - low_) / static_cast<float>(effort.coarse - 1), middle = clip_;
        const float inner = 2 * step / static_cast<float>(effort.fine + 1);
        try_range(std::max(middle - step + inner, 0.5f * low_), middle + step - inner, effort.fine);
        return best_;
    }

private:
    std::uint16_t scale_of(float clip) const {
        return static_cast<std::uint16_t>(std::min(unit_ / clip * static_cast<float>(1 << best_.shift), 65535.0f));
    }

    // `count` is a multiple of 4.
    void try_range(float from, float to, int count) {
        for (int first = 0; first < count; first += 4) {
            float clips[4];
            for (int i = 0; i < 4; ++i) clips[i] = from + (to - from) * static_cast<float>(first + i) / static_cast<float>(count - 1);
            try_clips(clips);
        }
    }

    void try_clips(const float* clips) {
        std::uint16_t scales[4];
        std::int64_t dots[4], norms[4];
        for (int i = 0; i < 4; ++i) scales[i] = scale_of(clips[i]);
        kernels().grid_scores(a_, dim_, scales, best_.shift, best_.top, dots, norms);
        for (int i = 0; i < 4; ++i) {
            const double dot = static_cast<double>(dots[i]) + 0.5 * sum_, norm2 = static_cast<double>(norms[i]) + 0.25 * static_cast<double>(dim_);
            if (!(dot * dot * best_.norm2 > dot_ * dot_ * norm2)) continue;
            dot_ = dot, clip_ = clips[i];
            best_.scale = scales[i];
            best_.norm2 = norm2;
        }
    }

    const std::int16_t* a_;
    std::size_t dim_;
    float levels_, unit_;  // unit_ / clip is the scale of a clip, times 2^16
    double sum_;
    float low_ = 0, high_ = 0;
    Grid best_;
    float clip_ = 1;
    double dot_ = 0;
};

}  // namespace

EncodedVector RabitqCodec::encode(float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const {
    const std::size_t dim = shape_.dim;
    float sums[5];
    kernels().sign_moments(residual, origin.centroid, origin.mean, dim, symbols, sums);
    ResidualMoments moments;
    moments.norm2 = sums[0];
    moments.residual_center = origin.metric == Metric::kL2 ? 0.0 : sums[3];
    const float absolute = sums[1], peak = sums[4];
    EncodedVector out;
    const Direction first{0.5 * absolute, 0.5 * sums[2], 0.25 * static_cast<double>(dim)};
    out.first = factors_of(moments, first, 0.0f, origin.metric, dim, 0.0, &out.first_spread);
    out.full = out.first;
    out.full_spread = out.first_spread;
    if (bits_ == 1) return out;

    scratch.small.resize(dim);
    scratch.codes.resize(dim);
    std::int16_t* small = scratch.small.data();
    const bool zero = !(moments.norm2 > 0 && std::isfinite(moments.norm2));
    const float unit = zero ? 0.0f : kPeak / peak;
    kernels().quantize_i16(residual, dim, unit, small);
    Grid grid;
    grid.top = (1 << (bits_ - 1)) - 1;
    if (!zero) {
        const float width = static_cast<float>(dim), most = std::sqrt(width), over_mean = peak / std::sqrt(sums[0] / width);
        const double sum = static_cast<double>(absolute) * unit;
        grid = GridSearch(small, dim, bits_, sum, std::min(std::max(over_mean, 1.0f), most)).run(bits_ <= kFewBits ? kFew : kMany);
    }
    float dots[2];
    kernels().grid_codes(residual, origin.centroid, small, dim, grid.scale, grid.shift, grid.top, scratch.codes.data(), dots);
    pack_planes(scratch.codes.data(), dim, bits_ - 1, extra);
    const Direction full{dots[0], dots[1], grid.norm2};
    out.full = factors_of(moments, full, 0.0f, origin.metric, dim, 0.0, &out.full_spread);
    return out;
}

}  // namespace vsearch
