// The codec of table quantizers (table.hpp) behind the block interface.
//
//   16 centroids    a symbol is a code; nothing is extra
//   256 centroids   a symbol is the upper half of a code, and names a group of 16 centroids whose mean stands for it (derived
//                   codebooks, Andre et al., arXiv 1905.06900); the lower halves are extra, two a byte
//   correction      what an estimate adds for each vector whatever the query, in 256 equal steps, beside the codes and like one: a
//                   table of 256 entries that no query changes. With 16 centroids it is two symbols.
//
// Estimates of <o, q> are scale * <y, q>, y the sum of centroids. Codes by nearest centroids shrink towards zero, <o, y> ~ |y|^2 < |o|^2,
// so that neighbours, for whom <q, o - y> ~ |o - y|^2 > 0, seem farther than they are:
//   ip, cosine   scale = E|o|^2 / E<o, y>, and `tilt` (|o|^2 - |y|^2) is added for each vector, less its mean: a vector that its code
//                gets worse than others is estimated shorter than others, and takes the difference with it
//   l2           |q - y|^2 itself: scale 1, and |y|^2 in place of |o|^2 (measured: the unbiased form has up to a tenth less recall)
// What remains of the bias for the mean vector is in the bounds, as a noise that no query lessens.
#pragma once

#include <memory>
#include <vector>

#include "quantize/codec.hpp"
#include "quantize/table.hpp"

namespace vsearch {

struct TableModel {
    float rescale = -2;      // the factor of every vector: -2 under l2, -scale otherwise
    float symbol_scale = 1;  // of the groups' means, to the same end
    float tilt = 0;          // of |o|^2 - |y|^2, in the estimate of <o, q>
    float tilt_mean = 0;     // the mean of |o|^2 - |y|^2
    float symbol_bias = 0, code_bias = 0;  // how far <y, q> falls short for neighbours
    float low = 0, step = 0;               // levels of the correction; step 0: no such
};

class TableCodec : public Codec {
public:
    // centroids: of `books`, copied. norms: whether tables hold -|c|^2 / 2, which needs one codebook a split. Throws std::invalid_argument.
    // eta: of the anisotropic loss, 1 for the plain one; for one codebook a split.
    TableCodec(std::size_t dim, Codebooks books, const TableModel& model, bool norms, std::size_t beam, std::size_t sweeps, float eta);

    EncodedVector encode(float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const override;
    std::size_t level_count() const override { return codes_; }
    void unpack(const std::uint8_t* symbols, const std::uint8_t* extra, std::uint8_t* levels) const override;
    void decode(const std::uint8_t* symbols, const std::uint8_t* extra, float* y) const override;
    std::unique_ptr<PreparedQuery> make_query() const override;

    // Codes, one byte a codebook.
    std::size_t search_bytes() const override { return books_.books(); }
    void search(const float* residuals, std::size_t n, std::uint8_t* found, std::size_t threads) const override;

    // The direction of the symbols alone.
    void decode_symbols(const std::uint8_t* symbols, float* y) const;

    const Codebooks& books() const { return books_; }
    const TableModel& model() const { return model_; }
    bool norms() const { return norms_; }
    bool halves() const { return books_.count > 16; }  // whether a code is a symbol and half a byte more
    std::size_t corrections() const { return codes_ - books_.books(); }

    // For queries: the centroids of a split, and the means of their groups, as columns, with what is added to their inner products.
    struct Columns {
        AlignedArray<float> table, bias;
        std::size_t count = 0;
    };
    const Columns& columns(std::size_t split) const { return columns_[split]; }
    const Columns& group_columns(std::size_t split) const { return group_columns_[split]; }

private:
    void pack(const std::uint8_t* codes, unsigned correction, std::uint8_t* symbols, std::uint8_t* extra) const;
    bool single() const;
    void make_groups();
    Columns make_columns(std::size_t split, const float* centroids, std::size_t count, const std::vector<float>& bias) const;

    Codebooks books_;
    TableModel model_;
    bool norms_;
    std::size_t beam_, sweeps_, codes_;
    float eta_;
    AlignedArray<float> centroids_, groups_;  // codebooks x count, or x 16, x width
    std::vector<Columns> columns_, group_columns_;
};

}  // namespace vsearch
