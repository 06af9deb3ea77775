// Which of its near neighbours a vertex keeps: the relative neighbourhood rule.
//
// Candidates come nearest first. One is dropped where a kept neighbour is nearer to it than the vertex is, for a walk gets there by way of
// that neighbour (Toussaint 1980; NSG, arXiv 1707.00143; with slack `alpha`, DiskANN, NeurIPS 2019). Lanes of a block cost the same
// whether they are used or not, so what is left of the degree is filled with the nearest of the dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/graph.hpp"

namespace vsearch {

// Stored vectors as the builder wants them: as floats (with their lift under ip), and squared distances between them.
class StoredVectors {
public:
    StoredVectors(const GraphScan& scan, const float* lifts) : scan_(scan), lifts_(lifts) {}

    std::size_t width() const { return scan_.transform().dim(); }  // dim, and one more under ip
    void read(std::uint32_t slot, float* out) const;
    void prepare(const float* vector, RowScorer& scorer) const { scorer.prepare(scan_.rows(), scan_.metric(), vector); }
    // Squared distances from a vector that `scorer` was prepared for.
    void distances(const float* vector, RowScorer& scorer, const std::uint32_t* slots, std::size_t n, float* out) const;

private:
    const GraphScan& scan_;
    const float* lifts_;
};

class Pruner {
public:
    Pruner(const GraphScan& scan, const float* lifts, float alpha) : vectors_(scan, lifts), degree_(scan.layout().degree), alpha2_(alpha * alpha) {}

    // Sorts `candidates` of a vertex, drops doubles, and writes at most `degree` of them to `out`, those that the rule keeps first.
    // Returns how many in all; *kept gets how many the rule kept.
    std::size_t select(std::uint32_t vertex, std::vector<Edge>& candidates, Edge* out, std::size_t* kept);

    const StoredVectors& vectors() const { return vectors_; }

private:
    bool occluded(const Edge& candidate, std::size_t count);

    StoredVectors vectors_;
    std::size_t degree_;
    float alpha2_;
    RowScorer scorer_;
    std::vector<float> vector_, distances_;
    std::vector<std::uint32_t> slots_;  // of those kept
    std::vector<Edge> dropped_;
};

}  // namespace vsearch
