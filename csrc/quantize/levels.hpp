// Codes of 1..8 bits by level tables, with bits that differ by segment: Lloyd-Max (EDEN, TurboQuant), LVQ, OSQ and SAQ.
//
// The transformed coordinates are cut into segments. Segment s has b_s bits a dim, 2^b_s ascending levels for coordinates of unit
// variance, and two constants: `sigma`, by which coordinates are divided before coding, and `weight`, what a level stands for in the
// direction y (sigma, or sigma over the mean shrinkage of the levels so that no segment is estimated short of another). Coordinates
// outside every segment have no bits and count as zero.
//
// Of the b_s bits the leading `prefix` (1, 2 or 4) are a symbol's share, so a symbol is 4 dims of 1 bit, 2 of 2 or 1 of 4 (the idea of
// FastScan tables of any 4 bits); the others are extra, in units of 16 dims: one 16-bit word a bit, lowest bit first.
//
// Errors differ between segments, and so does what queries ask of them: `profile` is the mean squared error of each coordinate, of the
// symbols alone and of the whole code, over its mean; a query's tilt is the error that it meets over the mean one.
//
// Encoding, one scale f and one interval rule for each vector (specs sections 3.4, 4.1, 6.3):
//   kScaled    coordinates / (sigma g f), g their root mean square and f the best of a few by the cosine of o and y
//   kPlain     the same with f = 1, and the scale of the estimate is g and not the unbiased one (TurboQuant as published)
//   kInterval  levels span [min, max] of the vector (LVQ); kClipped: a narrower interval where that has the better cosine;
//   kOptimized the interval refined by Newton steps on the anisotropic loss (Lucene's OSQ)
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quantize/codec.hpp"

namespace vsearch {

enum class LevelRule { kScaled, kPlain, kInterval, kClipped, kOptimized };

struct Segment {
    std::size_t begin = 0, length = 0;  // multiples of 16
    int bits = 0, prefix = 0;
    float sigma = 1, weight = 1;
    float prefix_energy = 0;           // mean square of a prefix level
    std::vector<float> levels;         // 2^bits, ascending
    std::vector<float> prefix_levels;  // 2^prefix: what a prefix stands for alone
};

// Integer levels in -2048..2047 as level_dot reads them, padded to level_room(count): 16 times a power of two.
std::size_t level_room(std::size_t count);
std::vector<std::uint8_t> level_bytes(const std::int16_t* levels, std::size_t count);

class LevelsCodec : public Codec {
public:
    // unbiased: whether interval rules scale their estimate (kScaled always does, kPlain never). lead_segments: how many of the first
    // are the lead. Throws std::invalid_argument where segments do not fit `dim` or each other.
    // profile: 2 x dim, or null for an even one.
    LevelsCodec(std::size_t dim, const std::vector<Segment>& segments, const float* profile, LevelRule rule, bool unbiased,
                std::size_t lead_segments);

    EncodedVector encode(float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const override;
    std::size_t level_count() const override { return coded_; }
    void unpack(const std::uint8_t* symbols, const std::uint8_t* extra, std::uint8_t* levels) const override;
    void decode(const std::uint8_t* symbols, const std::uint8_t* extra, float* y) const override;
    std::unique_ptr<PreparedQuery> make_query() const override;

    // A segment, where its bits lie, and its levels as the kernels read them.
    struct Part : Segment {
        std::size_t symbol = 0;  // first symbol
        std::size_t extra = 0;   // first extra byte
        std::size_t code = 0;    // first of the unpacked levels
        std::vector<float> thresholds;   // between neighbouring levels
        std::vector<float> bin_levels;   // level nearest to the middle of each of kBins bins of values, for scores alone
        float bin_scale = 0, bin_offset = 0;
        std::vector<std::int16_t> small_levels;  // up to 16 levels as integers of at most 2047, small_unit to one
        float small_unit = 0;
        // What queries meet: dot_step * (integer level of the code - dot_center) + dot_middle. Integer levels are those of level_bytes, or
        // of evenly spaced levels the codes themselves.
        std::vector<std::uint8_t> dot_levels;
        float dot_step = 0, dot_center = 0, dot_middle = 0;

        int rest() const { return bits - prefix; }
        std::size_t symbols() const { return length * static_cast<std::size_t>(prefix) / 4; }
        std::size_t bin(float value) const;
        bool small() const { return !small_levels.empty(); }
    };
    const std::vector<Part>& parts() const { return parts_; }
    const float* error_profile() const override { return profile_.empty() ? nullptr : profile_.data() + shape_.dim; }
    const std::vector<float>& profile() const { return profile_; }  // empty, or 2 x dim

private:
    EncodedVector encode_scaled(const float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const;
    EncodedVector encode_interval(const float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const;
    EncodedVector finish(const float* residual, const Origin& origin, EncodeScratch& scratch, float t, double scale, std::uint8_t* symbols,
                         std::uint8_t* extra) const;
    float best_scale(const float* values, const float* weighted, float g, EncodeScratch& scratch) const;
    void choose_codes(const float* values, float factor, EncodeScratch& scratch) const;
    void pack(const std::uint8_t* levels, std::uint8_t* symbols, std::uint8_t* extra) const;

    std::vector<Part> parts_;
    std::vector<float> profile_;
    LevelRule rule_;
    bool unbiased_;
    std::size_t coded_ = 0;
};

}  // namespace vsearch
