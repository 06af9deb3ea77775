// Rough nearest neighbours of all vectors at once, from which a graph starts.
//
// The vectors are split in two by a random direction, again and again, until a part has a few hundred; within a part all pairs are
// compared with integer arithmetic. Every repetition, with other directions, improves the lists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/graph_prune.hpp"
#include "index/halves.hpp"

namespace vsearch {

class NearLists {
public:
    NearLists(const GraphScan& scan, const float* lifts, std::size_t width);

    // One repetition.
    void improve(std::uint64_t seed, std::size_t threads);

    std::size_t width() const { return width_; }
    // Sorted, count(slot) of them; distances are squared, to 8 bits.
    const Edge* list(std::size_t slot) const { return edges_.data() + slot * width_; }
    std::size_t count(std::size_t slot) const { return counts_[slot]; }

private:
    struct Scratch;

    void split(const Part& part, Scratch& scratch);
    void compare(const Part& part, Scratch& scratch);
    void offer(std::uint32_t slot, const Edge& edge);

    const GraphScan& scan_;
    StoredVectors vectors_;
    std::size_t n_, width_;
    std::vector<Edge> edges_;
    std::vector<std::uint32_t> counts_;
    std::vector<std::uint32_t> order_;
};

}  // namespace vsearch
