#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/table.hpp"
#include "quantize/planes.hpp"
#include "quantize/rabitq.hpp"

namespace vsearch {
namespace {

// Clip of the uniform B-bit quantiser that is best for a unit Gaussian, B = 1..8 (specs section 1.2).
constexpr float kGaussianClip[9] = {0.0f, 1.599f, 1.991f, 2.348f, 2.683f, 3.006f, 3.328f, 3.640f, 3.939f};
constexpr int kScaleSteps = 16;

float cosine_score(float dot, float norm) { return norm > 0.0f ? dot / std::sqrt(norm) : 0.0f; }

// The inverse step 1/Delta of the B-bit grid whose nearest point has the largest cosine with the magnitudes: 16 clips around
// the Gaussian one, then 8 between the neighbours of the best.
float best_inverse_step(const float* magnitude, std::size_t dim, int bits) {
    const float levels = static_cast<float>(1 << bits);
    const float top = levels / 2 - 1;
    const float peak = *std::max_element(magnitude, magnitude + dim);
    const float low = 0.85f * std::min(kGaussianClip[bits], peak);
    const float high = std::max(1.02f * peak, 1.1f * kGaussianClip[bits]);
    const auto search = [&](float from, float to, int steps, float& best_clip, float& best_score) {
        for (int i = 0; i < steps; ++i) {
            const float clip = from + (to - from) * static_cast<float>(i) / static_cast<float>(steps - 1);
            float dot = 0, norm = 0;
            kernels().grid_score(magnitude, dim, levels / (2 * clip), top, &dot, &norm);
            const float score = cosine_score(dot, norm);
            if (score > best_score) best_score = score, best_clip = clip;
        }
    };
    float clip = low, score = -1.0f;
    search(low, high, kScaleSteps, clip, score);
    const float step = (high - low) / (kScaleSteps - 1);
    search(std::max(clip - step, 0.5f * low), clip + step, kScaleSteps / 2, clip, score);
    return levels / (2 * clip);
}

// One sweep of coordinate ascent on the cosine (CAQ, arXiv 2509.12086, algorithm 1): each level may move by one.
void sweep_levels(const float* magnitude, std::size_t dim, int top, std::uint8_t* level, float& dot, float& norm) {
    for (std::size_t j = 0; j < dim; ++j) {
        const float m = static_cast<float>(level[j]) + 0.5f;
        const float up_dot = dot + magnitude[j], up_norm = norm + 2 * m + 1;
        const float down_dot = dot - magnitude[j], down_norm = norm - 2 * m + 1;
        if (level[j] < top && up_dot * up_dot * norm > dot * dot * up_norm * 1.0000001f) {
            ++level[j], dot = up_dot, norm = up_norm;
        } else if (level[j] > 0 && down_dot * down_dot * norm > dot * dot * down_norm * 1.0000001f) {
            --level[j], dot = down_dot, norm = down_norm;
        }
    }
}

// levels[j] = m_j of the code (0 .. 2^(B-1)-1), the distance of u_j from the sign boundary.
void choose_levels(const float* magnitude, std::size_t dim, int bits, std::uint8_t* level) {
    const int top = (1 << (bits - 1)) - 1;
    const float inverse_step = best_inverse_step(magnitude, dim, bits);
    float dot = 0, norm = 0;
    for (std::size_t j = 0; j < dim; ++j) {
        const float scaled = std::min(magnitude[j] * inverse_step, static_cast<float>(top));
        level[j] = static_cast<std::uint8_t>(scaled);
        const float m = static_cast<float>(level[j]) + 0.5f;
        dot += magnitude[j] * m;
        norm += m * m;
    }
    sweep_levels(magnitude, dim, top, level, dot, norm);
}

}  // namespace

EncodedVector RabitqCodec::encode(float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const {
    const std::size_t dim = shape_.dim;
    scratch.values.resize(dim);
    scratch.y.resize(dim);
    scratch.codes.resize(dim);
    float *magnitude = scratch.values.data(), *y = scratch.y.data();
    std::uint8_t* level = scratch.codes.data();
    const ResidualMoments moments(residual, origin, dim);
    const float unit = moments.norm2 > 0 ? static_cast<float>(std::sqrt(static_cast<double>(dim) / moments.norm2)) : 0.0f;
    std::memset(symbols, 0, symbol_bytes());
    for (std::size_t j = 0; j < dim; ++j) {
        magnitude[j] = std::fabs(residual[j]) * unit;
        y[j] = residual[j] > 0 ? 0.5f : -0.5f;
        symbols[j / 8] = static_cast<std::uint8_t>(symbols[j / 8] | (residual[j] > 0) << (j % 8));
    }
    EncodedVector out;
    out.first = factors_of(moments, residual, y, 0.0f, origin, dim, 0.0, &out.first_spread);
    out.full = out.first;
    out.full_spread = out.first_spread;
    if (bits_ == 1) return out;
    if (moments.norm2 > 0)
        choose_levels(magnitude, dim, bits_, level);
    else
        std::memset(level, 0, dim);
    const int half = 1 << (bits_ - 1);  // codes below it are negative
    for (std::size_t j = 0; j < dim; ++j) {
        const float m = static_cast<float>(level[j]) + 0.5f;
        const bool positive = residual[j] > 0;
        y[j] = positive ? m : -m;
        level[j] = static_cast<std::uint8_t>(positive ? level[j] : half - 1 - level[j]);
    }
    pack_planes(level, dim, bits_ - 1, extra);
    out.full = factors_of(moments, residual, y, 0.0f, origin, dim, 0.0, &out.full_spread);
    return out;
}

}  // namespace vsearch
