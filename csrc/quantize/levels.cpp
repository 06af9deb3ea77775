#include "quantize/levels.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "quantize/interval.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kUnit = 16;  // dims of an extra word
constexpr std::size_t kBins = 1024;
constexpr int kCoarseSteps = 7, kFineSteps = 4;
constexpr float kNarrowest = 0.80f, kWidest = 1.22f;  // of the scale, around the root mean square

void check(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(what);
}

void check_segment(const Segment& s, std::size_t dim) {
    check(s.begin % kUnit == 0 && s.length % kUnit == 0 && s.length > 0 && s.begin <= dim && s.length <= dim - s.begin, "segment out of range");
    check(s.bits >= 1 && s.bits <= 8 && (s.prefix == 1 || s.prefix == 2 || s.prefix == 4) && s.prefix <= s.bits, "segment bits out of range");
    check(s.levels.size() == std::size_t{1} << s.bits && s.prefix_levels.size() == std::size_t{1} << s.prefix, "segment levels of the wrong length");
    check(std::is_sorted(s.levels.begin(), s.levels.end()) && s.levels.front() < s.levels.back(), "segment levels must ascend");
    check(std::isfinite(s.levels.front()) && std::isfinite(s.levels.back()) && s.sigma > 0 && s.weight > 0 && std::isfinite(s.sigma) && std::isfinite(s.weight),
          "segment scales must be positive");
}

// Bins reach one mean step beyond the outer levels; nearest() walks on from a bin's level, so its answer does not depend on them.
void build_bins(LevelsCodec::Part& part) {
    const float low = part.levels.front(), high = part.levels.back();
    const float margin = (high - low) / static_cast<float>(part.levels.size());
    part.bin_scale = static_cast<float>(kBins) / (high - low + 2 * margin);
    part.bin_offset = -(low - margin) * part.bin_scale;
    part.bins.resize(kBins);
    part.bin_levels.resize(kBins);
    std::size_t u = 0;
    for (std::size_t b = 0; b < kBins; ++b) {
        const float value = (static_cast<float>(b) + 0.5f - part.bin_offset) / part.bin_scale;
        while (u + 1 < part.levels.size() && value > 0.5f * (part.levels[u] + part.levels[u + 1])) ++u;
        part.bins[b] = static_cast<std::uint8_t>(u);
        part.bin_levels[b] = part.levels[u];
    }
}

}  // namespace

std::size_t LevelsCodec::Part::bin(float value) const {
    const float at = value * bin_scale + bin_offset;
    return static_cast<std::size_t>(std::min(std::max(at, 0.0f), static_cast<float>(kBins - 1)));
}

std::uint8_t LevelsCodec::Part::nearest(float value) const {
    std::size_t u = bins[bin(value)];
    while (u + 1 < levels.size() && value > 0.5f * (levels[u] + levels[u + 1])) ++u;
    while (u > 0 && value < 0.5f * (levels[u - 1] + levels[u])) --u;
    return static_cast<std::uint8_t>(u);
}

LevelsCodec::LevelsCodec(std::size_t dim, const std::vector<Segment>& segments, const float* profile, LevelRule rule, bool unbiased,
                         std::size_t lead_segments)
    : rule_(rule), unbiased_(unbiased) {
    if (profile != nullptr) profile_.assign(profile, profile + 2 * dim);
    check(dim % kUnit == 0 && !segments.empty() && lead_segments < segments.size() + 1, "no segments");
    std::size_t end = 0;
    for (const Segment& s : segments) {
        check_segment(s, dim);
        check(s.begin >= end, "segments must ascend");
        end = s.begin + s.length;
        Part part;
        static_cast<Segment&>(part) = s;
        part.symbol = shape_.symbols;
        part.extra = shape_.extra_bytes;
        part.code = coded_;
        build_bins(part);
        shape_.symbols += part.symbols();
        shape_.extra_bytes += s.length * static_cast<std::size_t>(part.rest()) / 8;
        coded_ += s.length;
        parts_.push_back(std::move(part));
        if (parts_.size() == lead_segments) shape_.lead = shape_.symbols;
    }
    if (lead_segments == segments.size()) shape_.lead = 0;
    shape_.dim = dim;
    shape_.exact_tables = true;
    shape_.shifted = rule == LevelRule::kInterval || rule == LevelRule::kClipped || rule == LevelRule::kOptimized;
    check(!shape_.shifted || parts_.size() == 1, "interval rules have one segment");
}

EncodedVector LevelsCodec::encode(float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const {
    scratch.values.resize(2 * coded_);
    scratch.y.resize(shape_.dim);
    scratch.codes.resize(coded_);
    return shape_.shifted ? encode_interval(residual, origin, scratch, symbols, extra) : encode_scaled(residual, origin, scratch, symbols, extra);
}

// The cosine of o and y (up to |o|) when coordinates are divided by g / inverse before coding.
float LevelsCodec::cosine_at(const float* values, const float* weighted, float inverse) const {
    float dot = 0, norm2 = 0;
    for (const Part& part : parts_) {
        const float scale = part.bin_scale * inverse, offset = part.bin_offset;
        const float* level = part.bin_levels.data();
        float part_dot = 0, part_norm2 = 0;
        for (std::size_t j = part.code; j < part.code + part.length; ++j) {
            const float at = std::min(std::max(values[j] * scale + offset, 0.0f), static_cast<float>(kBins - 1));
            const float y = level[static_cast<std::size_t>(at)];
            part_dot += weighted[j] * y;
            part_norm2 += y * y;
        }
        dot += part_dot;
        norm2 += part.weight * part.weight * part_norm2;
    }
    return norm2 > 0 ? dot / std::sqrt(norm2) : 0.0f;
}

// 1/f of the best scale: seven over the range, then four between the neighbours of the best.
float LevelsCodec::best_scale(const float* values, const float* weighted) const {
    float best = 1, score = -1;
    const auto search = [&](float from, float to, int steps) {
        for (int i = 0; i < steps; ++i) {
            const float inverse = 1.0f / (from + (to - from) * static_cast<float>(i) / static_cast<float>(steps - 1));
            const float cosine = cosine_at(values, weighted, inverse);
            if (cosine > score) score = cosine, best = inverse;
        }
    };
    search(kNarrowest, kWidest, kCoarseSteps);
    const float step = (kWidest - kNarrowest) / (kCoarseSteps - 1), middle = 1.0f / best;
    search(middle - 0.6f * step, middle + 0.6f * step, kFineSteps);
    return best;
}

EncodedVector LevelsCodec::encode_scaled(const float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols,
                                         std::uint8_t* extra) const {
    float *values = scratch.values.data(), *weighted = values + coded_;
    double energy = 0;
    for (const Part& part : parts_)
        for (std::size_t j = 0; j < part.length; ++j) {
            const float o = residual[part.begin + j], z = o / part.sigma;
            values[part.code + j] = z;
            weighted[part.code + j] = o * part.weight;
            energy += static_cast<double>(z) * z;
        }
    const float g = static_cast<float>(std::sqrt(energy / static_cast<double>(coded_)));
    const float unit = g > 0 ? 1.0f / g : 0.0f;
    for (std::size_t j = 0; j < coded_; ++j) values[j] *= unit;
    const float inverse = rule_ == LevelRule::kScaled && g > 0 ? best_scale(values, weighted) : 1.0f;
    for (const Part& part : parts_)
        for (std::size_t j = part.code; j < part.code + part.length; ++j) scratch.codes[j] = part.nearest(values[j] * inverse);
    return finish(residual, origin, scratch, 0.0f, rule_ == LevelRule::kPlain ? g : 0.0, symbols, extra);
}

EncodedVector LevelsCodec::encode_interval(const float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols,
                                           std::uint8_t* extra) const {
    const Part& part = parts_[0];
    const float* o = residual + part.begin;
    const Interval interval = choose_interval(o, part, rule_);
    const float inverse = interval.step > 0 ? 1.0f / interval.step : 0.0f;
    for (std::size_t j = 0; j < part.length; ++j) scratch.codes[j] = part.nearest((o[j] - interval.middle) * inverse);
    return finish(residual, origin, scratch, interval.middle * inverse, unbiased_ ? 0.0 : interval.step, symbols, extra);
}

// Packs scratch.codes and works out the factors of both stages.
EncodedVector LevelsCodec::finish(const float* residual, const Origin& origin, EncodeScratch& scratch, float t, double scale, std::uint8_t* symbols,
                                  std::uint8_t* extra) const {
    pack(scratch.codes.data(), symbols, extra);
    const ResidualMoments moments(residual, origin, shape_.dim);
    float* y = scratch.y.data();
    std::memset(y, 0, shape_.dim * sizeof(float));
    for (const Part& part : parts_)
        for (std::size_t j = 0; j < part.length; ++j) y[part.begin + j] = part.weight * part.levels[scratch.codes[part.code + j]];
    EncodedVector out;
    out.full = factors_of(moments, residual, y, t, origin, shape_.dim, scale, &out.full_spread);
    out.first = out.full;
    out.first_spread = out.full_spread;
    if (shape_.extra_bytes == 0) return out;
    for (const Part& part : parts_)
        for (std::size_t j = 0; j < part.length; ++j)
            y[part.begin + j] = part.weight * part.prefix_levels[scratch.codes[part.code + j] >> part.rest()];
    out.first = factors_of(moments, residual, y, t, origin, shape_.dim, 0.0, &out.first_spread);
    return out;
}

void LevelsCodec::pack(const std::uint8_t* levels, std::uint8_t* symbols, std::uint8_t* extra) const {
    std::memset(symbols, 0, symbol_bytes());
    std::memset(extra, 0, shape_.extra_bytes);
    for (const Part& part : parts_) {
        const int rest = part.rest();
        const std::size_t dims = 4 / static_cast<std::size_t>(part.prefix);  // of a symbol
        for (std::size_t j = 0; j < part.length; ++j) {
            const unsigned u = levels[part.code + j];
            const std::size_t g = part.symbol + j / dims;
            symbols[g / 2] = static_cast<std::uint8_t>(symbols[g / 2] | (u >> rest) << (g % 2 * 4 + j % dims * static_cast<std::size_t>(part.prefix)));
            std::uint8_t* word = extra + part.extra + j / kUnit * 2 * static_cast<std::size_t>(rest) + j % kUnit / 8;
            for (int b = 0; b < rest; ++b) word[2 * b] = static_cast<std::uint8_t>(word[2 * b] | (u >> b & 1u) << (j % 8));
        }
    }
}

void LevelsCodec::unpack(const std::uint8_t* symbols, const std::uint8_t* extra, std::uint8_t* levels) const {
    for (const Part& part : parts_) {
        const int rest = part.rest();
        const std::size_t dims = 4 / static_cast<std::size_t>(part.prefix);
        const unsigned mask = (1u << part.prefix) - 1u;
        for (std::size_t j = 0; j < part.length; ++j) {
            unsigned u = (symbol_at(symbols, part.symbol + j / dims) >> (j % dims * static_cast<std::size_t>(part.prefix)) & mask) << rest;
            const std::uint8_t* word = extra + part.extra + j / kUnit * 2 * static_cast<std::size_t>(rest) + j % kUnit / 8;
            for (int b = 0; b < rest; ++b) u |= (word[2 * b] >> (j % 8) & 1u) << b;
            levels[part.code + j] = static_cast<std::uint8_t>(u);
        }
    }
}

void LevelsCodec::decode(const std::uint8_t* symbols, const std::uint8_t* extra, float* y) const {
    AlignedArray<std::uint8_t> levels(coded_);
    unpack(symbols, extra, levels.data());
    std::memset(y, 0, shape_.dim * sizeof(float));
    for (const Part& part : parts_)
        for (std::size_t j = 0; j < part.length; ++j) y[part.begin + j] = part.weight * part.levels[levels[part.code + j]];
}

}  // namespace vsearch
