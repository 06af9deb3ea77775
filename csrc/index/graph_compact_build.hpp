// Mending the compact graph: vertices join it and leave it. The first links are those of a fast graph over the same vectors.
//
// Vertices are compared by the stored vectors where there are some, else by their codes: the difference of two is then that of what their
// codes stand for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "index/graph_compact.hpp"
#include "index/graph_prune.hpp"

namespace vsearch {

// Distances by codes.
class CodePairs : public PairDistances {
public:
    CodePairs(const GraphCompactScan& scan, const float* lifts);

    void from(std::uint32_t slot) override;
    void to(const std::uint32_t* slots, std::size_t n, float* out) override;

private:
    const GraphCompactScan& scan_;
    const float* lifts_;
    double mean2_ = 0;  // of the mean, under ip
    float lift_ = 0;
    CompactScorer scorer_;
};

class GraphCompactBuilder {
public:
    // `rows` are those that `scan` is bound to, and so are `lifts` under ip.
    GraphCompactBuilder(GraphCompactScan& scan, std::uint8_t* rows, float alpha, std::size_t threads);
    ~GraphCompactBuilder();

    // Links vertices first .. first + count - 1, whose codes are in their rows and which no other row knows, and the neighbours that take them
    // in. `vectors` are the vertices' own, count x dim. They do not see each other.
    void insert(std::size_t first, std::size_t count, const float* vectors, const CompactQuery& search);

    // Gives every vertex with a neighbour in `dead` (packed bitmap by slot) the live neighbours of that one to choose from instead (FreshDiskANN,
    // arXiv 2105.09613).
    void forget(const std::uint8_t* dead);

    // Renames neighbours: `renamed[slot]` is the new slot of each; for the first `count` rows.
    void rename(const std::uint32_t* renamed, std::size_t count);

    // Slots that cannot be reached from the entry vertices, one for each group of them.
    std::vector<std::uint32_t> unreached() const;

private:
    struct Worker;

    void measure(std::uint32_t slot, Worker& worker) const;
    void choose(std::uint32_t slot, Worker& worker) const;
    void write(std::uint32_t slot, const Edge* list, std::size_t count);

    GraphCompactScan& scan_;
    std::uint8_t* rows_;
    std::size_t n_, degree_, threads_;
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace vsearch
