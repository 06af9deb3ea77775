// The compact graph: a vertex is its code and its neighbours' slots, in one aligned row.
//
//   +---------------------+-----------------------+----------------------------+-----------------+
//   | code, 8 bits a dim  | code, 4 bits a dim    | add, rescale, shift (f32)  | slots (uint32)  |
//   +---------------------+-----------------------+----------------------------+-----------------+
//
// A visit reads its vertex's slots and the codes of those neighbours that no visit met before, 32 random reads where the fast layout makes
// one, of a fifth of the memory (the arrangement of LVQ graphs, arXiv 2304.04759). The row that is read next is on its way while the one
// before is scored.
//
// Which coordinates have 8 bits and which 4, and what a code stands for, is told by a CompactCoding: value = offset + step * code. Steps are
// multiplied into the query, which is rounded to 16 bits beside codes of 8 and to 8 bits beside codes of 4, so that dot products are exact
// integers. With q' and x' the query and the vector without the mean,
//   l2      |q - x|^2  = |q'|^2 + add + rescale * <code, q'> + shift * sum(q')      add = |x'|^2
//   cosine  1 - <q, x> = half of that
//   ip      -<q, x>    = -<q, mean> + the same                                      add = -<x', mean>
//
// Scores are those of the metric throughout. Under ip the walk measures how far beyond the best there is from the least that a score can be,
// -|q| M with M the longest vector: that is the lifted distance of graph.hpp, which the codes need no coordinate for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/shelf.hpp"
#include "base/topk.hpp"
#include "index/candidate_pool.hpp"
#include "index/given_query.hpp"
#include "index/graph.hpp"
#include "index/rows.hpp"
#include "quantize/transform.hpp"

namespace vsearch {

struct CompactLayout {
    std::size_t wide = 0, narrow = 0;  // dims of 8 bits, and of 4 bits: those a multiple of 64
    std::size_t degree = 0;
    std::size_t factors_at = 0, neighbours_at = 0, bytes = 0;

    CompactLayout() = default;
    CompactLayout(std::size_t wide_dims, std::size_t narrow_dims, std::size_t neighbours)
        : wide(wide_dims), narrow(narrow_dims), degree(neighbours), factors_at(round_up(wide + narrow / 2, sizeof(float))),
          neighbours_at(round_up(factors_at + 3 * sizeof(float), kAlignment)), bytes(round_up(neighbours_at + degree * sizeof(std::uint32_t), kAlignment)) {}

    const float* factors(const std::uint8_t* row) const { return reinterpret_cast<const float*>(row + factors_at); }
    const std::uint32_t* neighbours(const std::uint8_t* row) const { return reinterpret_cast<const std::uint32_t*>(row + neighbours_at); }
    std::uint32_t* neighbours(std::uint8_t* row) const { return reinterpret_cast<std::uint32_t*>(row + neighbours_at); }
};

// What the positions of a code stand for, first those of 8 bits and then those of 4: the coordinate `source` of the transformed vector is
// offset + step * code.
struct CompactCoding {
    std::vector<std::uint32_t> source;
    std::vector<float> step, offset;
};

// One query in the form that the codes want.
class CompactScorer {
public:
    // `transformed` is the query without the mean; `base` what all scores begin with, `least` the smallest that they may be.
    void prepare(const CompactLayout& layout, const CompactCoding& coding, const float* transformed, std::size_t d, double base, float least);
    // The same for what a code stands for: every coordinate is shift + scale * (offset + step * code).
    void prepare_code(const CompactLayout& layout, const CompactCoding& coding, const std::uint8_t* row, float scale, float shift, std::size_t d, double base, float least);

    // out[i] = score of the vertex slots[i].
    void score(const std::uint8_t* rows, const std::uint32_t* slots, std::size_t n, float* out);

private:
    void fold(const CompactCoding& coding);

    CompactLayout layout_;
    AlignedArray<float> values_;  // by position, and as products with the steps
    AlignedArray<std::int16_t> wide_, halves_;
    AlignedArray<std::int8_t> narrow_;
    AlignedArray<std::int32_t> dots_, more_;
    double wide_scale_ = 0, narrow_scale_ = 0, constant_ = 0, sum_ = 0, base_ = 0;
    float least_ = 0;
};

struct CompactArrays {
    std::size_t n = 0;
    std::size_t hidden = 0;                  // the last slots, which walks pass through and do not return: more is to join them
    const std::int64_t* ids = nullptr;       // n
    const std::uint8_t* rows = nullptr;      // n x layout.bytes
    const std::uint32_t* entries = nullptr;  // slots
    std::size_t entry_count = 0;
    const float* lifts = nullptr;  // ip: n, for the builder alone
    float reach2 = 0;              // ip: M^2
    Rows store;                    // better vectors, data == nullptr where there are none

    std::size_t shown() const { return n - hidden; }
};

struct CompactQuery : GraphQuery {
    std::size_t window = 0;  // of the best by their codes, how many the stored vectors decide among; at least k
};

// What one walk needs, kept between queries so that a search allocates nothing.
struct CompactWalk {
    GivenQuery given;
    AlignedArray<float> centered, transformed, estimates;  // estimates: of the entry vertices, infinite for those that were in the pool
    CompactScorer scorer;
    RowScorer refiner;
    TopK best, window;
    CandidatePool pool;
    VisitedSet seen;  // those scored
    std::vector<std::uint32_t> slots, expanded;
    std::vector<float> scores;
    float lift = 0, least = 0, limit = 0;  // scores from `limit` on are not looked at
    double longer = 1;                     // under ip: the query in the walk, over the query
    std::size_t visits = 0;
    Allowance allowed;
    std::uint32_t pending = 0;  // whose slots are being fetched
    GraphCounters counters;
};

class GraphCompactScan {
public:
    // The transform must outlive the scan.
    GraphCompactScan(Metric metric, const Transform& transform, std::size_t wide, std::size_t narrow, std::size_t degree);

    void bind_coding(CompactCoding coding, const float* mean);
    void bind(const CompactArrays& arrays) { arrays_ = arrays; }

    // False where a query of those `given` cannot be searched for; what the answers hold is then without meaning.
    bool search(const float* queries, std::size_t nq, CompactQuery options, std::size_t threads, std::int64_t* ids, float* distances);

    // Whether every slot that a walk follows is in range.
    bool consistent() const;

    using Walk = CompactWalk;
    std::unique_ptr<Walk> borrow();
    void give_back(std::unique_ptr<Walk> walk) { shelf_.put(std::move(walk)); }

    // For the builder: slots of the k best of a search for a vector (with its lift under ip), and of all those it visits.
    void collect(const float* vector, const float* lift, const CompactQuery& options, Walk& walk, std::vector<std::uint32_t>& found);

    std::size_t dim() const { return transform_.dim(); }
    Metric metric() const { return metric_; }
    const Transform& transform() const { return transform_; }
    const CompactLayout& layout() const { return layout_; }
    const CompactCoding& coding() const { return coding_; }
    const CompactArrays& arrays() const { return arrays_; }
    const std::vector<float>& mean() const { return mean_; }
    GraphCounters counters() const { return shelf_.total(); }

private:
    void prepare(const float* query, const float* lift, const CompactQuery& options, Walk& w) const;
    void walk(const CompactQuery& options, Walk& w) const;
    bool start(std::size_t count, const CompactQuery& options, Walk& w) const;
    std::uint32_t fetch_next(const CompactQuery& options, Walk& w) const;
    void gather(std::uint32_t slot, Walk& w) const;
    void enter(const CompactQuery& options, Walk& w) const;
    void keep(std::uint32_t slot, float score, const CompactQuery& options, Walk& w) const;
    void set_limit(const CompactQuery& options, Walk& w) const;
    bool matches_are_few(const CompactQuery& options) const;
    void scan(const CompactQuery& options, Walk& w) const;
    void finish(const float* query, const CompactQuery& options, Walk& w) const;

    Metric metric_;
    const Transform& transform_;
    CompactLayout layout_;
    CompactCoding coding_;
    std::vector<float> mean_;
    CompactArrays arrays_;
    Shelf<Walk, GraphCounters> shelf_;
};

}  // namespace vsearch
