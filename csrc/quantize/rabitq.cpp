#include "quantize/rabitq.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/table.hpp"
#include "quantize/block.hpp"
#include "quantize/planes.hpp"

namespace vsearch {
namespace {

// Clip of the uniform B-bit quantiser that is best for a unit Gaussian, B = 1..8 (specs section 1.2).
constexpr float kGaussianClip[9] = {0.0f, 1.599f, 1.991f, 2.348f, 2.683f, 3.006f, 3.328f, 3.640f, 3.939f};
constexpr int kScaleSteps = 16;
constexpr int kPlainQueryBits = 5;  // codes of more bits see the query in two int8 halves

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

struct Moments {
    double norm2 = 0;            // |o|^2
    double residual_center = 0;  // <o, P(c + mean)>
    double sign_dot = 0, full_dot = 0;        // <o, y>
    double sign_center = 0, full_center = 0;  // <y, Pc>
    double full_norm2 = 0;                    // |y|^2
};

CodeFactors factors_of(const Moments& m, double dot, double center, Metric metric) {
    if (dot <= 0) return {0.0f, 0.0f};  // a zero residual: its distance is that of the centroid
    const double s = m.norm2 / dot;
    if (metric == Metric::kL2) return {static_cast<float>(m.norm2 + 2 * s * center), static_cast<float>(-2 * s)};
    return {static_cast<float>(-m.residual_center + s * center), static_cast<float>(-s)};
}

float spread_of(const Moments& m, double dot, double y_norm2, std::size_t dim) {
    if (dot <= 0) return 0.0f;
    const double cos2 = std::min(1.0, dot * dot / (m.norm2 * y_norm2));
    return static_cast<float>(std::sqrt(y_norm2 * (1 - cos2) / static_cast<double>(dim - 1)));
}

}  // namespace

EncodedVector encode_rabitq(const float* residual, const float* centroid, const float* mean, std::size_t dim, int bits, Metric metric,
                            std::uint8_t* codes, float* magnitude) {
    Moments m;
    for (std::size_t j = 0; j < dim; ++j) m.norm2 += static_cast<double>(residual[j]) * residual[j];
    const float unit = m.norm2 > 0 ? static_cast<float>(std::sqrt(static_cast<double>(dim) / m.norm2)) : 0.0f;
    for (std::size_t j = 0; j < dim; ++j) magnitude[j] = std::fabs(residual[j]) * unit;

    const int half = 1 << (bits - 1);  // codes below it are negative
    if (bits > 1 && m.norm2 > 0)
        choose_levels(magnitude, dim, bits, codes);
    else
        std::memset(codes, 0, dim);
    const double center_of_grid = (static_cast<double>(1 << bits) - 1) / 2;
    for (std::size_t j = 0; j < dim; ++j) {
        const bool positive = residual[j] > 0;
        codes[j] = static_cast<std::uint8_t>(positive ? half + codes[j] : half - 1 - codes[j]);
        const double y = codes[j] - center_of_grid, y1 = positive ? 0.5 : -0.5;
        m.full_dot += residual[j] * y;
        m.sign_dot += residual[j] * y1;
        m.full_center += y * centroid[j];
        m.sign_center += y1 * centroid[j];
        m.full_norm2 += y * y;
        m.residual_center += static_cast<double>(residual[j]) * (static_cast<double>(centroid[j]) + mean[j]);
    }
    EncodedVector out;
    out.sign = factors_of(m, m.sign_dot, m.sign_center, metric);
    out.full = factors_of(m, m.full_dot, m.full_center, metric);
    out.sign_spread = spread_of(m, m.sign_dot, static_cast<double>(dim) / 4, dim);
    out.full_spread = spread_of(m, m.full_dot, m.full_norm2, dim);
    return out;
}

void PreparedQuery::prepare(const float* rotated, std::size_t dim, int bits) {
    dim_ = dim;
    groups_ = dim / 4;
    bits_ = bits;
    table_.resize(groups_ * 16);
    lut_.resize(groups_ * 16);
    query_sum_ = 0;
    for (std::size_t j = 0; j < dim; ++j) query_sum_ += rotated[j];
    build_tables(rotated);
    if (bits > 1) quantize_query(rotated);
}

void PreparedQuery::build_tables(const float* q) {
    float widest = 0, lowest_sum = 0;
    kernels().subset_sums(q, groups_, table_.data(), &lowest_sum, &widest);
    // Entries of 6 bits can be added four at a time as bytes, and sums over all groups fit in 16 bits. The rounding adds an error of
    // widest/63/sqrt(12) a group, about a twentieth of the 1-bit estimator's own (specs section 1.4); the bounds know of it.
    const float levels = std::min<float>(63.0f, std::floor(65535.0f / static_cast<float>(groups_)));
    kernels().quantize_u8(table_.data(), groups_ * 16, widest > 0 ? levels / widest : 0.0f, levels, lut_.data());
    scale_ = widest > 0 ? widest / levels : 0.0f;
    offset_ = lowest_sum - 0.5f * query_sum_;
    sign_noise_ = scale_ * std::sqrt(static_cast<float>(groups_) / 12.0f);
    if (bits_ == 1) return;
    constexpr float kFine = 32000.0f;
    fine_.resize(groups_ * 16);
    const float fine_inverse = widest > 0 ? kFine / widest : 0.0f;
    for (std::size_t i = 0; i < groups_ * 16; ++i) fine_[i] = static_cast<std::int16_t>(std::max(table_[i] * fine_inverse, 0.0f) + 0.5f);
    fine_scale_ = widest > 0 ? widest / kFine : 0.0f;
    fine_offset_ = lowest_sum;
}

// A query needs three bits more than the codes: eight with the sign serve codes of up to 5 bits, two int8 halves the others.
// The extra bits u are about their middle m more often than not: sum u q = sum (u - m) q + m sum q, with the last sum exact,
// has a third of the rounding error of sum u q.
void PreparedQuery::quantize_query(const float* q) {
    const std::size_t padded = plane_chunks(dim_) * kChunk;
    high_.resize(padded);
    low_.resize(padded);
    std::memset(high_.data(), 0, padded);
    std::memset(low_.data(), 0, padded);
    float peak = 0;
    for (std::size_t j = 0; j < dim_; ++j) peak = std::max(peak, std::fabs(q[j]));
    const float top = bits_ > kPlainQueryBits ? 127.0f * 128.0f : 127.0f;
    query_scale_ = peak / top;
    const float inverse = peak > 0 ? top / peak : 0.0f;
    std::int64_t rounded_sum = 0;
    for (std::size_t j = 0; j < dim_; ++j) {
        const int value = static_cast<int>(std::lrint(q[j] * inverse));
        rounded_sum += value;
        if (bits_ > kPlainQueryBits) {
            const int high = (value + 64 + (1 << 20)) / 128 - (1 << 13);  // floor((value + 64) / 128)
            high_[j] = static_cast<std::int8_t>(high);
            low_[j] = static_cast<std::int8_t>(value - 128 * high);
        } else {
            high_[j] = static_cast<std::int8_t>(value);
        }
    }
    const float half = static_cast<float>(1 << (bits_ - 1));
    const float middle = (half - 1.0f) / 2;
    full_offset_ = middle * (query_sum_ - query_scale_ * static_cast<float>(rounded_sum)) - (half - 0.5f) * query_sum_;
    full_noise_ = query_scale_ * half * std::sqrt(static_cast<float>(dim_) / 120.0f);  // of u - m: half^2 / 10, measured
}

float PreparedQuery::full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const {
    const std::size_t byte = lane_byte(lane);
    const unsigned shift = lane_shift(lane);
    std::int32_t signs = 0;
    for (std::size_t g = 0; g < groups_; ++g) signs += fine_[g * 16 + ((block_codes[g * 16 + byte] >> shift) & 15u)];
    const std::size_t chunks = plane_chunks(dim_);
    float planes = static_cast<float>(kernels().dot_planes(bits_ - 1, extra, high_.data(), chunks));
    if (bits_ > kPlainQueryBits) planes = 128.0f * planes + static_cast<float>(kernels().dot_planes(bits_ - 1, extra, low_.data(), chunks));
    const float half = static_cast<float>(1 << (bits_ - 1));
    const float sign_dot = fine_scale_ * static_cast<float>(signs) + fine_offset_;
    return half * sign_dot + query_scale_ * planes + full_offset_;
}

}  // namespace vsearch
