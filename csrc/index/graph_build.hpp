// Building and mending the graph: candidates, pruning, edges in both directions, codes.
//
// A full build works on neighbour lists of its own and writes the rows at the end of each round, so that searches of a round see one
// finished graph: rough neighbours (graph_near.hpp) -> prune -> reverse edges -> rows; then, for every vertex, a walk towards it over
// that graph -> prune -> reverse edges -> rows. Every step is parallel over vertices and gives the same result with any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "index/graph.hpp"
#include "index/graph_near.hpp"
#include "index/graph_prune.hpp"

namespace vsearch {

class GraphBuilder {
public:
    // `rows` are those that `scan` is bound to; `lifts` those of ip, else null; `transformed` (n x padded, without the mean) spares
    // transforming stored vectors again and again, or null.
    GraphBuilder(GraphScan& scan, std::uint8_t* rows, const float* lifts, const float* transformed, float alpha, std::size_t threads);
    ~GraphBuilder();

    // Rough neighbours: one repetition.
    void improve_near(std::size_t width, std::uint64_t seed);

    // Neighbour lists of the vertices [first, last), from the rough neighbours or by walks of this effort.
    void link_near(std::size_t first, std::size_t last);
    void link_by_walks(std::size_t first, std::size_t last, const GraphQuery& search);

    // Ends a round: the new lists, and with them the edges in the other direction.
    void reverse();

    // Writes the lists of [first, last) to their rows, as slots and codes.
    void write(std::size_t first, std::size_t last);

    // Links vertices first .. first + count - 1, whose vectors are in their rows and which no other row knows, and writes their rows and
    // those of the neighbours that take them in. They do not see each other.
    void insert(std::size_t first, std::size_t count, const GraphQuery& search);

    // Gives every vertex with a neighbour in `dead` (packed bitmap by slot) the live neighbours of that one to choose from instead (FreshDiskANN,
    // arXiv 2105.09613).
    void forget(const std::uint8_t* dead);

    // Renames neighbours: `renamed[slot]` is the new slot of each; for the first `count` rows.
    void rename(const std::uint32_t* renamed, std::size_t count);

    // Codes `count` entry vertices against the mean.
    void write_entries(const std::uint32_t* slots, std::size_t count, std::uint8_t* blocks);

    // Slots that cannot be reached from the entry vertices, one for each group of them.
    std::vector<std::uint32_t> unreached() const;

private:
    struct Worker;

    void use_lists();
    void prune(std::uint32_t slot, Worker& worker);
    void encode(const float* center, std::uint32_t slot, std::uint8_t* block, std::size_t lane, Worker& worker);
    void read_list(std::uint32_t slot, Worker& worker) const;
    void measure(std::uint32_t slot, Worker& worker) const;
    void patch(std::uint32_t slot, const Edge* list, std::size_t count, Worker& worker);
    const float* transformed(std::uint32_t slot, float* scratch, Worker& worker) const;

    GraphScan& scan_;
    std::uint8_t* rows_;
    const float* lifts_;
    const float* transformed_;
    std::size_t n_, degree_, threads_;
    std::unique_ptr<NearLists> near_;
    std::vector<Edge> lists_, fresh_;               // n x degree
    std::vector<std::uint32_t> counts_, fresh_counts_, kept_;  // kept_: by the rule, of the fresh ones
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace vsearch
