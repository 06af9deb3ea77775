#include "quantize/levels.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels/table.hpp"
#include "quantize/interval.hpp"
#include "quantize/planes.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kUnit = 16;  // dims of an extra word
constexpr std::size_t kBins = 1024;
constexpr std::size_t kSmallLevels = 16;
constexpr float kSmallLevel = 2047.0f, kPeak = 32767.0f;  // largest integers of levels and of values
constexpr float kEven = 1e-3f;  // of a step: what levels may lie off an even grid
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

// Bins reach one mean step beyond the outer levels.
void build_bins(LevelsCodec::Part& part) {
    const float low = part.levels.front(), high = part.levels.back();
    const float margin = (high - low) / static_cast<float>(part.levels.size());
    part.bin_scale = static_cast<float>(kBins) / (high - low + 2 * margin);
    part.bin_offset = -(low - margin) * part.bin_scale;
    part.bin_levels.resize(kBins);
    std::size_t u = 0;
    for (std::size_t b = 0; b < kBins; ++b) {
        const float value = (static_cast<float>(b) + 0.5f - part.bin_offset) / part.bin_scale;
        while (u < part.thresholds.size() && value > part.thresholds[u]) ++u;
        part.bin_levels[b] = part.levels[u];
    }
}

bool on_even_grid(const std::vector<float>& levels) {
    const float low = levels.front(), step = (levels.back() - low) / static_cast<float>(levels.size() - 1);
    for (std::size_t u = 0; u < levels.size(); ++u)
        if (std::fabs(levels[u] - (low + step * static_cast<float>(u))) > kEven * step) return false;
    return true;
}

std::vector<std::int16_t> rounded_levels(const std::vector<float>& levels, float peak) {
    const float unit = kSmallLevel / peak;
    std::vector<std::int16_t> rounded;
    for (const float level : levels) rounded.push_back(static_cast<std::int16_t>(std::lrint(level * unit)));
    return rounded;
}

float peak_level(const std::vector<float>& levels) { return std::max(std::fabs(levels.front()), std::fabs(levels.back())); }

// Levels as multiples of their peak over kSmallLevel, before anything is coded by them. So the integers that queries meet stand for the very
// levels that a vector's factors are made for: what they were off would not vanish between near vectors, as the error of a code does.
void round_levels(std::vector<float>& levels) {
    if (on_even_grid(levels)) return;
    const float peak = peak_level(levels), step = peak / kSmallLevel;
    const std::vector<std::int16_t> rounded = rounded_levels(levels, peak);
    for (std::size_t u = 0; u < levels.size(); ++u) levels[u] = step * static_cast<float>(rounded[u]);
}

// Levels for the products with queries: multiples of dot_step, or an even grid.
void build_dot_levels(LevelsCodec::Part& part) {
    const std::vector<float>& levels = part.rest() > 0 ? part.levels : part.prefix_levels;
    if (on_even_grid(levels)) {
        const float low = levels.front(), high = levels.back(), last = static_cast<float>(levels.size() - 1);
        part.dot_step = (high - low) / last, part.dot_center = 0.5f * last, part.dot_middle = 0.5f * (low + high);
        return;
    }
    const float peak = peak_level(levels);
    const std::vector<std::int16_t> rounded = rounded_levels(levels, peak);
    part.dot_levels = level_bytes(rounded.data(), rounded.size());
    part.dot_step = peak / kSmallLevel;
}

void build_tables(LevelsCodec::Part& part) {
    round_levels(part.levels);
    if (part.rest() == 0) round_levels(part.prefix_levels);
    build_dot_levels(part);
    for (std::size_t u = 0; u + 1 < part.levels.size(); ++u) part.thresholds.push_back(0.5f * (part.levels[u] + part.levels[u + 1]));
    build_bins(part);
    if (part.levels.size() > kSmallLevels) return;
    part.small_unit = kSmallLevel / std::max(std::fabs(part.levels.front()), std::fabs(part.levels.back()));
    for (const float level : part.levels) part.small_levels.push_back(static_cast<std::int16_t>(std::lrint(level * part.small_unit)));
}

// The cosine of o and y, up to a factor, at any scale. Segments of few levels are scored with integers, where `small` holds `values`
// times `unit`; the others by bins.
class ScaleScore {
public:
    ScaleScore(const std::vector<LevelsCodec::Part>& parts, const float* values, const float* weighted, const std::int16_t* small, float unit, float g)
        : parts_(parts), values_(values), weighted_(weighted), small_(small), unit_(unit), g_(g) {}

    // `inverse`: what values are multiplied by before they are coded.
    double at(float inverse) const {
        double dot = 0, norm2 = 0;
        for (const LevelsCodec::Part& part : parts_) {
            if (part.small())
                add_small(part, inverse, dot, norm2);
            else
                add_bins(part, inverse, dot, norm2);
        }
        return norm2 > 0 ? dot / std::sqrt(norm2) : 0.0;
    }

private:
    void add_small(const LevelsCodec::Part& part, float inverse, double& dot, double& norm2) const {
        std::int16_t thresholds[kSmallLevels];
        const float scale = unit_ / inverse;
        for (std::size_t k = 0; k < part.thresholds.size(); ++k)
            thresholds[k] = static_cast<std::int16_t>(std::min(std::max(part.thresholds[k] * scale, -32768.0f), 32767.0f));
        std::int64_t sums[2];
        kernels().level_scores(small_ + part.code, part.length, thresholds, part.small_levels.data(), static_cast<int>(part.levels.size()), sums);
        const double level = part.weight / part.small_unit;
        dot += static_cast<double>(sums[0]) * level * 16.0 / unit_ * g_ * part.sigma;
        norm2 += static_cast<double>(sums[1]) * level * level;
    }

    void add_bins(const LevelsCodec::Part& part, float inverse, double& dot, double& norm2) const {
        float sums[2];
        kernels().bin_scores(values_ + part.code, weighted_ + part.code, part.length, part.bin_scale * inverse, part.bin_offset, kBins - 1,
                             part.bin_levels.data(), sums);
        dot += sums[0];
        norm2 += static_cast<double>(part.weight) * part.weight * sums[1];
    }

    const std::vector<LevelsCodec::Part>& parts_;
    const float *values_, *weighted_;
    const std::int16_t* small_;
    float unit_, g_;
};

// Sums of eight interleaved parts, so that a compiler can add them side by side.
double energy_of(const float* values, std::size_t n) {
    double parts[8] = {};
    for (std::size_t j = 0; j < n; j += 8)
        for (std::size_t i = 0; i < 8; ++i) parts[i] += static_cast<double>(values[j + i]) * values[j + i];
    return ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7]));
}

float peak_of(const float* values, std::size_t n) {
    float parts[8] = {};
    for (std::size_t j = 0; j < n; j += 8)
        for (std::size_t i = 0; i < 8; ++i) parts[i] = std::max(parts[i], std::fabs(values[j + i]));
    return *std::max_element(parts, parts + 8);
}

}  // namespace

std::size_t level_room(std::size_t count) {
    std::size_t room = 16;
    while (room < count) room *= 2;
    return room;
}

std::vector<std::uint8_t> level_bytes(const std::int16_t* levels, std::size_t count) {
    const std::size_t room = level_room(count);
    std::vector<std::uint8_t> bytes(room + std::max<std::size_t>(room / 2, 16) + 1);
    bool mirrored = count == room;
    for (std::size_t u = 0; u < count; ++u) {
        const unsigned word = static_cast<unsigned>(levels[u] + 2048);
        bytes[u] = static_cast<std::uint8_t>(word & 255);
        std::uint8_t& upper = bytes[room + u / 32 * 16 + u % 16];
        upper = static_cast<std::uint8_t>(upper | (word >> 8 & 15) << (u & 16 ? 4 : 0));
        mirrored = mirrored && levels[count - 1 - u] == -levels[u] && (u < count / 2 || levels[u] >= 0);
    }
    bytes.back() = mirrored ? 1 : 0;
    return bytes;
}

std::size_t LevelsCodec::Part::bin(float value) const {
    const float at = value * bin_scale + bin_offset;
    return static_cast<std::size_t>(std::min(std::max(0.0f, at), static_cast<float>(kBins - 1)));  // in this order no number becomes 0
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
        build_tables(part);
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

// 1/f of the best scale: seven over the range, then four between the neighbours of the best.
float LevelsCodec::best_scale(const float* values, const float* weighted, float g, EncodeScratch& scratch) const {
    scratch.small.resize(coded_);
    const float peak = peak_of(values, coded_), unit = peak > 0 ? kPeak / peak : 0.0f;
    kernels().quantize_i16(values, coded_, unit, scratch.small.data());
    const ScaleScore score(parts_, values, weighted, scratch.small.data(), unit, g);
    float best = 1;
    double highest = -1;
    const auto search = [&](float from, float to, int steps) {
        for (int i = 0; i < steps; ++i) {
            const float inverse = 1.0f / (from + (to - from) * static_cast<float>(i) / static_cast<float>(steps - 1));
            const double cosine = score.at(inverse);
            if (cosine > highest) highest = cosine, best = inverse;
        }
    };
    search(kNarrowest, kWidest, kCoarseSteps);
    const float step = (kWidest - kNarrowest) / (kCoarseSteps - 1), middle = 1.0f / best;
    search(middle - 0.6f * step, middle + 0.6f * step, kFineSteps);
    return best;
}

void LevelsCodec::choose_codes(const float* values, float factor, EncodeScratch& scratch) const {
    for (const Part& part : parts_)
        kernels().level_codes(values + part.code, part.length, factor, part.thresholds.data(), static_cast<int>(part.levels.size()),
                              scratch.codes.data() + part.code);
}

EncodedVector LevelsCodec::encode_scaled(const float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols,
                                         std::uint8_t* extra) const {
    float *values = scratch.values.data(), *weighted = values + coded_;
    for (const Part& part : parts_) {
        const float *o = residual + part.begin, inverse = 1.0f / part.sigma;
        for (std::size_t j = 0; j < part.length; ++j) values[part.code + j] = o[j] * inverse;
        for (std::size_t j = 0; j < part.length; ++j) weighted[part.code + j] = o[j] * part.weight;
    }
    const float g = static_cast<float>(std::sqrt(energy_of(values, coded_) / static_cast<double>(coded_)));
    const float unit = g > 0 ? 1.0f / g : 0.0f;
    for (std::size_t j = 0; j < coded_; ++j) values[j] *= unit;
    const float inverse = rule_ == LevelRule::kScaled && g > 0 ? best_scale(values, weighted, g, scratch) : 1.0f;
    choose_codes(values, inverse, scratch);
    return finish(residual, origin, scratch, 0.0f, rule_ == LevelRule::kPlain ? g : 0.0, symbols, extra);
}

EncodedVector LevelsCodec::encode_interval(const float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols,
                                           std::uint8_t* extra) const {
    const Part& part = parts_[0];
    const float* o = residual + part.begin;
    const Interval interval = choose_interval(o, part, rule_);
    const float inverse = interval.step > 0 ? 1.0f / interval.step : 0.0f;
    float* values = scratch.values.data();
    for (std::size_t j = 0; j < part.length; ++j) values[j] = o[j] - interval.middle;
    choose_codes(values, inverse, scratch);
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
    for (const Part& part : parts_) {
        const int rest = part.rest(), prefix = part.prefix;
        const std::uint8_t* code = levels + part.code;
        std::uint8_t* bytes = symbols + part.symbol / 2;
        if (prefix == 1) {
            for (std::size_t j = 0; j < part.length; j += 8) bytes[j / 8] = gather_bits(load8(code + j) >> rest);
        } else if (prefix == 2) {
            for (std::size_t j = 0; j < part.length; j += 4)
                bytes[j / 4] = static_cast<std::uint8_t>(code[j] >> rest | code[j + 1] >> rest << 2 | code[j + 2] >> rest << 4 | code[j + 3] >> rest << 6);
        } else {
            for (std::size_t j = 0; j < part.length; j += 2) bytes[j / 2] = static_cast<std::uint8_t>(code[j] >> rest | code[j + 1] >> rest << 4);
        }
        std::uint8_t* word = extra + part.extra;
        for (std::size_t j = 0; j < part.length; j += kUnit)
            for (int b = 0; b < rest; ++b, word += 2) {
                word[0] = gather_bits(load8(code + j) >> b);
                word[1] = gather_bits(load8(code + j + 8) >> b);
            }
    }
}

void LevelsCodec::unpack(const std::uint8_t* symbols, const std::uint8_t* extra, std::uint8_t* levels) const {
    for (const Part& part : parts_)
        kernels().unpack_levels(symbols + part.symbol / 2, extra + part.extra, part.prefix, part.rest(), part.length / kUnit, levels + part.code);
}

void LevelsCodec::decode(const std::uint8_t* symbols, const std::uint8_t* extra, float* y) const {
    AlignedArray<std::uint8_t> levels(coded_);
    unpack(symbols, extra, levels.data());
    std::memset(y, 0, shape_.dim * sizeof(float));
    for (const Part& part : parts_)
        for (std::size_t j = 0; j < part.length; ++j) y[part.begin + j] = part.weight * part.levels[levels[part.code + j]];
}

}  // namespace vsearch
