// Where an index keeps the factors of its codes, and how they are read.
//
// A code of symbols alone has one set of factors. One with extra bits has two: those of its symbols are in the block, those of the whole code
// stand before the extra bits of its row, so that a block has nothing in it that few survivors need. A compact index has one set for both, in
// 16 bits: what the two differ by is nearly the same for all of its codes, and is kept once (CompactFactors).
#pragma once

#include <cstddef>
#include <cstdint>

#include "quantize/block.hpp"
#include "quantize/codec.hpp"
#include "quantize/factors.hpp"

namespace vsearch {

// How the 16-bit factors of a compact index are read: column i is low[i] + step[i] times the uint16 that is stored, or where step[i] is
// negative, low[i] - step[i] times the f16 (coarser for the many, but wide enough for outliers).
//
// Such an index has one list, whose centroid is the mean, so `add` of a code's symbols is that of the whole code. Their `rescale` is, but
// for `wobble` (the standard deviation of its relative error), `ratio` times that of the whole code. Where |o|^2 can be had from `add` (it is
// add under l2, and under cosine |x| = 1 gives |o|^2 = 1 - |mean|^2 + 2 add) `root` is not 0, and it is root * |o| with
// |o|^2 = norm2 + norm2_add * add.
struct CompactFactors {
    float low[3] = {0, 0, 0};  // the factor itself in columns that are not stored
    float step[3] = {0, 0, 0};
    float ratio = 1;
    float root = 0, norm2 = 0, norm2_add = 0;
    float wobble = 0;
};

// The factors of a block's symbols, kBlock of each.
struct BlockFactors {
    const float *add, *rescale;
};

class CodeFactors {
public:
    // Room for factors that a block does not hold as floats.
    struct Room {
        alignas(kAlignment) float columns[3][kBlock];
    };

    CodeFactors() : layout_(0, 0, sizeof(float)) {}  // blocks of slots alone
    // `columns` says which factors a compact index stores (bit 0 add, bit 1 rescale, bit 2 shift).
    CodeFactors(const CodeShape& shape, bool compact, unsigned columns);

    const BlockLayout& layout() const { return layout_; }
    std::size_t extra_stride() const { return extra_stride_; }  // bytes of a row: factors, and the extra bits after them
    const std::uint8_t* extra_bits(const std::uint8_t* row) const { return row + factor_bytes_; }

    // Whether all vectors have the same factors: then they are written into the room once, by fill(), and found there.
    bool uniform() const { return uniform_; }
    void fill(const CompactFactors& compact, Room& room) const;

    // `query_sum` is what shifts are multiplied by.
    BlockFactors of_symbols(const std::uint8_t* block, const CompactFactors& compact, float query_sum, Room& room) const {
        if (uniform_) return {room.columns[0], room.columns[1]};
        if (compact_ || column_[2] >= 0) return computed(block, compact, query_sum, room);
        return {column(block, 0), column(block, 1)};
    }

    // Of one vector; `row` holds its extra bits, null where there are none.
    Factors of_whole(const std::uint8_t* block, std::size_t lane, const std::uint8_t* row, const CompactFactors& compact) const;

private:
    const float* column(const std::uint8_t* block, int i) const { return layout_.floats(block, static_cast<std::size_t>(column_[i])); }
    BlockFactors computed(const std::uint8_t* block, const CompactFactors& compact, float query_sum, Room& room) const;

    BlockLayout layout_;
    bool compact_ = false;
    bool uniform_ = false;
    int column_[3] = {-1, -1, -1};  // of add, rescale and shift in a block
    std::size_t factor_bytes_ = 0;  // before the extra bits of a row
    std::size_t extra_stride_ = 0;
};

}  // namespace vsearch
