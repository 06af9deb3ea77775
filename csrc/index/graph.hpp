// The graph walk: from a few entry vertices towards the query, one row (graph_layout.hpp) a step.
//
//   1. rotate the query and build its tables once; estimate the entry vertices, whose codes are relative to the mean
//   2. visit the nearest candidate: its exact distance from the stored vector is at once the result's and the base of the estimates
//      of its neighbours, 32 in one pass over a block
//   3. neighbours below a limit, `effort` times the distance of the k-th best, enter the pool; stop when none is left there or `most`
//      vertices are visited
//   4. where that found fewer than k though there are more, as under a filter whose matches are all far away, look at every one
//
// Inside the walk distances are squared Euclidean ones. Under cosine vectors have length 1 and |q - x|^2 = 2 (1 - <q, x>). Under ip they
// have one more coordinate, lift = sqrt(M^2 - |x|^2), which queries have as 0: |q - x|^2 = |q|^2 + M^2 - 2 <q, x>, so that the nearest has
// the largest inner product and a graph finds it. The lift is not stored, for the distance to a query does not need it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "base/shelf.hpp"
#include "base/topk.hpp"
#include "index/candidate_pool.hpp"
#include "index/filter.hpp"
#include "index/given_query.hpp"
#include "index/graph_layout.hpp"
#include "index/pace.hpp"
#include "index/rows.hpp"
#include "quantize/codec.hpp"
#include "quantize/transform.hpp"

namespace vsearch {

struct GraphArrays {
    std::size_t n = 0;
    std::size_t hidden = 0;                 // the last slots, which walks pass through and do not return: more is to join them
    const std::int64_t* ids = nullptr;      // n
    const std::uint8_t* rows = nullptr;     // n x layout.bytes
    const float* factors = nullptr;         // of int8 vectors
    const std::uint8_t* entries = nullptr;  // blocks of entry vertices, relative to the mean
    std::size_t entry_count = 0;
    FactorScales scales;
    const float* lifts = nullptr;  // ip: n, for the builder alone
    float reach2 = 0;              // ip: M^2

    std::size_t shown() const { return n - hidden; }
};

struct GraphQuery {
    std::size_t k = 10;
    float effort = 1;                       // candidates are visited up to this times the squared distance of the k-th best
    std::size_t most = 100;                 // visits
    Pace pace;                              // more of both for queries that are far from their neighbours
    const std::uint8_t* filter = nullptr;   // packed bitmap by slot, or null
    std::size_t matches = 0;
    bool given = false;                     // queries as the user gave them
    std::size_t shown = std::numeric_limits<std::size_t>::max();  // slots from here on are not returned

    bool may_return(std::uint32_t slot) const { return slot < shown && (filter == nullptr || filter_bit(filter, slot)); }
    // Fewer than there are to return: what is left lies where no walk leads, or beyond all its visits.
    bool is_short(std::size_t found) const { return found < std::min(k, filter != nullptr ? matches : shown); }

    // Of n vertices: a walk under a filter meets a match in n / matches, and makes that many times more visits.
    std::size_t most_visits(std::size_t n) const {
        if (filter == nullptr) return most;
        return static_cast<std::size_t>(static_cast<double>(most) * static_cast<double>(n) / static_cast<double>(std::max<std::size_t>(matches, 1)));
    }
};

struct GraphCounters {
    std::uint64_t visited = 0, entered = 0;

    GraphCounters& operator+=(const GraphCounters& more) {
        visited += more.visited;
        entered += more.entered;
        return *this;
    }
};

// A vertex and its squared distance to something.
struct Edge {
    float distance;
    std::uint32_t slot;
};

// What one walk needs, kept between queries so that a search allocates nothing.
struct GraphWalk {
    GivenQuery given;
    AlignedArray<float> lifted, rotated;
    std::unique_ptr<PreparedQuery> query;
    RowScorer scorer;
    TopK best;
    CandidatePool pool;
    VisitedSet visited;
    AlignedArray<float> estimates;  // of the entry vertices, infinite for those that were in the pool
    float entry_base = 0;           // what is added to them
    float shift = 0, scale = 1;     // squared distance = shift + scale * score
    float lift = 0;
    float least = 0;        // the smallest squared distance there could be, 0 but under ip
    std::size_t visits = 0;
    Allowance allowed;
    std::uint32_t pending = 0;  // whose row is being fetched
    float limit = 0;  // squared distance from which candidates are not looked at
    GraphCounters counters;
    alignas(kAlignment) float add[kBlock], rescale[kBlock], bound[kBlock];
};

class GraphScan {
public:
    static constexpr float kLengthened = 4;  // queries under ip, over the longest vector

    // Transform and codec must outlive the scan. `dim` is that of stored vectors, one less than the transform's under ip.
    GraphScan(Metric metric, const Transform& transform, const Codec& codec, RowType row_type, std::size_t degree);
    ~GraphScan();

    void bind_mean(const float* transformed_mean);
    void bind(const GraphArrays& arrays);

    // False where a query of those `given` cannot be searched for; what the answers hold is then without meaning.
    bool search(const float* queries, std::size_t nq, GraphQuery options, std::size_t threads, std::int64_t* ids, float* distances);

    // Whether every slot that a walk follows is in range.
    bool consistent() const;

    using Walk = GraphWalk;
    std::unique_ptr<Walk> borrow();
    void give_back(std::unique_ptr<Walk> walk) { shelf_.put(std::move(walk)); }

    // For the builder: all vertices that a search for `query` (dim() floats and, under ip, its lift) visits, with squared distances.
    void collect(const float* query, const GraphQuery& options, Walk& walk, std::vector<Edge>& visited);

    std::size_t dim() const { return dim_; }
    Metric metric() const { return metric_; }
    const Transform& transform() const { return transform_; }
    const Codec& codec() const { return codec_; }
    const GraphLayout& layout() const { return layout_; }
    const GraphArrays& arrays() const { return arrays_; }
    const Rows& rows() const { return rows_; }
    const std::vector<float>& mean() const { return mean_; }
    GraphCounters counters() const { return shelf_.total(); }

private:
    void begin(const float* query, const float* lift, const GraphQuery& options, Walk& w) const;
    bool matches_are_few(const GraphQuery& options) const;
    void scan(const float* query, const GraphQuery& options, Walk& w) const;
    bool step(const GraphQuery& options, Walk& w, std::vector<Edge>* visited) const;
    void enter(const std::uint8_t* block, float base, Ahead ahead, Walk& w) const;
    std::uint32_t estimate(const std::uint8_t* block, float limit, Ahead ahead, Walk& w, float* estimates) const;
    bool start(std::size_t count, Walk& w) const;
    std::uint32_t take_next(Walk& w) const;
    Ahead ahead(std::uint32_t slot, std::size_t from, std::size_t to) const;

    Metric metric_;
    const Transform& transform_;
    const Codec& codec_;
    std::size_t dim_;
    GraphLayout layout_;
    Rows rows_;  // the stored vectors, in their places in the rows
    std::vector<float> mean_;
    GraphArrays arrays_;
    Shelf<Walk, GraphCounters> shelf_;
};

}  // namespace vsearch
