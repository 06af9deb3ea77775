// Which of its near neighbours a vertex keeps: the relative neighbourhood rule.
//
// Candidates come nearest first. One is dropped where a kept neighbour is nearer to it than the vertex is, for a walk gets there by way of
// that neighbour (Toussaint 1980; NSG, arXiv 1707.00143; with slack `alpha`, DiskANN, NeurIPS 2019). Lanes of a block cost the same
// whether they are used or not, so what is left of the degree is filled with the nearest few of the dropped, and then with those that the
// rule would keep with a little slack, then with more: they lead in other directions than the kept, where the nearest crowd around these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "index/graph.hpp"

namespace vsearch {

// Squared distances between vertices: from one to some others.
class PairDistances {
public:
    virtual ~PairDistances() = default;
    virtual void from(std::uint32_t slot) = 0;
    virtual void to(const std::uint32_t* slots, std::size_t n, float* out) = 0;
};

// Stored vectors as the builder wants them: as floats (with their lift under ip), and squared distances between them.
class StoredVectors {
public:
    // `rows` may be bound to other memory later; `reach2` is the squared length of lifted vectors under ip.
    StoredVectors(const Rows& rows, Metric metric, const float* lifts, float reach2) : rows_(rows), metric_(metric), lifts_(lifts), reach2_(reach2) {}
    StoredVectors(const GraphScan& scan, const float* lifts) : StoredVectors(scan.rows(), scan.metric(), lifts, scan.arrays().reach2) {}

    std::size_t width() const { return rows_.dim + (metric_ == Metric::kInnerProduct ? 1 : 0); }
    void read(std::uint32_t slot, float* out) const;
    void prepare(const float* vector, RowScorer& scorer) const { scorer.prepare(rows_, metric_, vector); }
    // Squared distances from a vector that `scorer` was prepared for.
    void distances(const float* vector, RowScorer& scorer, const std::uint32_t* slots, std::size_t n, float* out) const;

private:
    const Rows& rows_;
    Metric metric_;
    const float* lifts_;
    float reach2_;
};

// Distances by stored vectors.
class StoredPairs : public PairDistances {
public:
    explicit StoredPairs(const StoredVectors& vectors) : vectors_(vectors), vector_(vectors.width()) {}

    void from(std::uint32_t slot) override;
    void to(const std::uint32_t* slots, std::size_t n, float* out) override { vectors_.distances(vector_.data(), scorer_, slots, n, out); }

    const StoredVectors& vectors() const { return vectors_; }

private:
    StoredVectors vectors_;
    RowScorer scorer_;
    std::vector<float> vector_;
};

class Pruner {
public:
    Pruner(const GraphScan& scan, const float* lifts, float alpha) : Pruner(nullptr, scan.layout().degree, alpha) {
        auto stored = std::make_unique<StoredPairs>(StoredVectors(scan, lifts));
        stored_ = &stored->vectors();
        pairs_ = std::move(stored);
    }
    Pruner(std::unique_ptr<PairDistances> pairs, std::size_t degree, float alpha) : pairs_(std::move(pairs)), degree_(degree), alpha2_(alpha * alpha) {}

    // Sorts `candidates` of a vertex, drops doubles, and writes at most `degree` of them to `out`, those that the rule keeps first.
    // Returns how many in all; *kept gets how many the rule kept, where it is asked for.
    std::size_t select(std::uint32_t vertex, std::vector<Edge>& candidates, Edge* out, std::size_t* kept = nullptr);

    const StoredVectors& vectors() const { return *stored_; }  // of a pruner that was made for a GraphScan
    PairDistances& pairs() { return *pairs_; }

private:
    bool occluded(const Edge& candidate, std::size_t count, float alpha2);
    bool known(std::uint32_t slot) const;
    std::size_t spread(Edge* out, std::size_t count);

    std::unique_ptr<PairDistances> pairs_;
    const StoredVectors* stored_ = nullptr;
    std::size_t degree_;
    float alpha2_;
    std::vector<float> distances_;
    std::vector<std::uint32_t> slots_;  // of those kept
    std::vector<Edge> dropped_;
};

}  // namespace vsearch
