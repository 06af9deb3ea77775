// The block interface: what an index knows of a quantizer.
//
// A code is a row of 4-bit symbols and, where that is not all, `extra` bytes. Blocks of 32 vectors hold the symbols in FastScan order
// (block.hpp); the extra bytes lie apart, one row a vector, and are read only for candidates that the symbols' bound does not exclude.
// A prepared query is 16 table entries for each symbol, so that one kernel scans them all:
//
//   codec     symbol                                     extra
//   rabitq    sign bits of 4 dims                        the other bits of every dim
//   levels    4 dims x 1 bit, 2 x 2 or 1 x 4, by segment the rest of the segments that have more
//   table     one sub-quantizer of 16 centroids          the other 4 bits where there are 256
//
// estimate = base + add + rescale * (scale * sums + offset) + shift * sum(q'), with base the list's part (factors.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/aligned.hpp"
#include "quantize/factors.hpp"

namespace vsearch {

// Sizes of a codec. `dim` is that of transformed vectors; symbols are a multiple of 4, so that the rows of a block stay aligned.
struct CodeShape {
    std::size_t dim = 0;
    std::size_t symbols = 0;
    std::size_t extra_bytes = 0;
    std::size_t lead = 0;   // first symbols that hold most of the variance, scanned alone at first; 0: no such
    bool shifted = false;   // whether the third factor is in use
    bool one_scale = false;  // whether the estimate of the symbols has the factors of the whole code's
    bool exact_tables = false;  // whether survivors are worth estimating again from tables that are not rounded to 6 bits
    double length2 = 0;  // mean |o|^2, where estimates of <o, q> are made for queries q' of about that length; 0: for any
};

// A query prepared for a codec, after transforming and centring.
class PreparedQuery {
public:
    virtual ~PreparedQuery() = default;
    virtual void prepare(const float* transformed) = 0;

    // <y, q'> of all of a code, from the vector's lane in its block and its extra bytes.
    virtual float full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const = 0;

    // <y, q'> of the symbols is scale() * sums + offset() with the FastScan sums over lut().
    const std::uint8_t* lut() const { return lut_.data(); }
    float scale() const { return scale_; }
    float offset() const { return offset_; }

    // The same of the leading symbols alone, and how much the others can add to it. A standard deviation would not do: the neighbours
    // of a query agree with it in all segments, so what they add is as large as it can be (Cauchy and Schwarz, segment by segment).
    float lead_offset() const { return lead_offset_; }
    float lead_reach() const { return lead_reach_; }

    // Standard deviation of <y, q'> from the rounding of the query, of the symbols and of all bits.
    float first_noise() const { return first_noise_; }
    float full_noise() const { return full_noise_; }

    // How much larger than the mean the error of a code is in the directions of this query; 1 for codes after a random rotation.
    float first_tilt() const { return first_tilt_; }
    float full_tilt() const { return full_tilt_; }

    float sum() const { return sum_; }  // of q'

protected:
    // Rounds float tables (16 entries a symbol, each symbol's smallest 0) to 6 bits: lut_, scale_ and first_noise_. Entries of 6 bits
    // can be added four at a time as bytes, and sums over all symbols fit in 16 bits. The rounding adds an error of widest/63/sqrt(12)
    // a symbol, about a twentieth of a 1-bit estimator's own (specs section 1.4); the bounds know of it.
    void round_tables(const float* tables, std::size_t symbols, float widest);

    // What that takes from the sums of symbols first .. last - 1 on average. Nothing where tables are alike; but where a few are much
    // wider than the others, as of principal axes, all entries of a narrow one become 0, and not their mean.
    float rounded_off(const float* tables, std::size_t first, std::size_t last) const;

    AlignedArray<std::uint8_t> lut_;
    float scale_ = 0, offset_ = 0, first_noise_ = 0, full_noise_ = 0, sum_ = 0;
    float lead_offset_ = 0, lead_reach_ = 0;
    float first_tilt_ = 1, full_tilt_ = 1;
};

// Scratch of an encoder, one a thread.
struct EncodeScratch {
    AlignedArray<float> values, y;
    AlignedArray<std::uint8_t> codes;
    AlignedArray<std::int16_t> small;  // coordinates in 16 bits, for the search of a scale
    const std::uint8_t* found = nullptr;  // what search() found for this residual
};

class Codec {
public:
    virtual ~Codec() = default;
    const CodeShape& shape() const { return shape_; }
    std::size_t symbol_bytes() const { return shape_.symbols / 2; }

    // Codes one residual into symbol_bytes() and extra_bytes. `residual` may be changed.
    virtual EncodedVector encode(float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const = 0;

    // A codec that searches many residuals at once quicker than one by one does so here, and leaves search_bytes() of each for encode().
    virtual std::size_t search_bytes() const { return 0; }
    virtual void search(const float* residuals, std::size_t n, std::uint8_t* found, std::size_t threads) const {
        (void)residuals, (void)n, (void)found, (void)threads;
    }

    // The index of every coordinate's (or sub-quantizer's) level, one byte each; `count` of them.
    virtual std::size_t level_count() const = 0;
    virtual void unpack(const std::uint8_t* symbols, const std::uint8_t* extra, std::uint8_t* levels) const = 0;

    // The direction y (dim floats) of all of a code.
    virtual void decode(const std::uint8_t* symbols, const std::uint8_t* extra, float* y) const = 0;

    // Mean squared error of each coordinate in whole codes, over their mean; null where it is even.
    virtual const float* error_profile() const { return nullptr; }

    virtual std::unique_ptr<PreparedQuery> make_query() const = 0;

protected:
    CodeShape shape_;
};

inline unsigned symbol_at(const std::uint8_t* symbols, std::size_t g) { return (symbols[g / 2] >> (g % 2 * 4)) & 15u; }
inline void set_symbol(std::uint8_t* symbols, std::size_t g, unsigned value) {
    symbols[g / 2] = static_cast<std::uint8_t>((symbols[g / 2] & (g % 2 ? 15u : 240u)) | (value << (g % 2 * 4)));
}

}  // namespace vsearch
