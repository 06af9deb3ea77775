// A vertex of the fast graph: everything that a visit reads, in one aligned row.
//
//   +------------------+----------------------+-----+----------------------+
//   | stored vector    | block of neighbours  | ... | block of neighbours  |
//   +------------------+----------------------+-----+----------------------+
//     f32, f16, bf16     quantize/block.hpp: codes of the residuals to this vertex, factors in f16, slots
//     or int8
//
// One random read per visit in place of one per neighbour (SymphonyQG, arXiv 2411.12229, section 3). A neighbour's code is that of
// P(neighbour - vertex), and the factors hold what depends on the vertex, so that one prepared query serves all rows.
// A lane without a neighbour holds the vertex itself, which is visited by then and never entered again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/aligned.hpp"
#include "quantize/block.hpp"
#include "quantize/factors.hpp"

namespace vsearch {

// Factors are stored as f16 times these, which are chosen so that the largest of them is far from the largest f16.
struct FactorScales {
    float add = 1, rescale = 1;
};

struct GraphLayout {
    BlockLayout block;
    std::size_t degree = 0;
    std::size_t blocks = 0;
    std::size_t vector_bytes = 0;  // rounded up, so that the blocks start aligned
    std::size_t bytes = 0;

    GraphLayout() = default;
    GraphLayout(std::size_t symbols, std::size_t columns, std::size_t neighbours, std::size_t stored_bytes)
        : block(symbols, columns, sizeof(std::uint16_t)), degree(neighbours), blocks(neighbours / kBlock),
          vector_bytes(round_up(stored_bytes, kAlignment)), bytes(vector_bytes + blocks * block.bytes) {}

    const std::uint8_t* block_of(const std::uint8_t* row, std::size_t b) const { return row + vector_bytes + b * block.bytes; }
    std::uint8_t* block_of(std::uint8_t* row, std::size_t b) const { return row + vector_bytes + b * block.bytes; }

    std::uint32_t neighbour(const std::uint8_t* row, std::size_t i) const { return block.slot(block_of(row, i / kBlock))[i % kBlock]; }
    void set_neighbour(std::uint8_t* row, std::size_t i, std::uint32_t slot) const { block.slot(block_of(row, i / kBlock))[i % kBlock] = slot; }
};

}  // namespace vsearch
