// Many queries against all rows: a matrix product fused with the k-th best of each query, so that no distance is written out.
//
//   queries, packed 16 to a panel:   panel[p][j][0..15] = element j of queries 16p .. 16p+15
//   for each block of rows that fits half of L2 (widened to f32 there when stored smaller):
//       for each panel:  the tile kernel computes bias[i] + <x_i, q> and reports only what may enter a result
//       each report is scored again by the row kernel and pushed
//
// With bias = -|x|^2/2 (l2) or 0 (ip, cosine), "may enter" is one compare against a bound per query. The bound gives way
// by the largest error that d float32 products can have (gamma_d = d * 2^-24 times the norms; Higham, Accuracy and
// Stability of Numerical Algorithms, section 3.1), so nothing that the row kernel would keep is missed: a batch
// returns exactly, to the last bit, what its queries return one by one. Reports are rare: about k ln(n/k) for each query.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "base/topk.hpp"
#include "index/rows.hpp"

namespace vsearch {

class TileScan {
public:
    // `queries` (count x rows.dim) and `ids` (by slot, or null) must outlive the scan.
    void prepare(const Rows& rows, Metric metric, const std::int64_t* ids, const float* queries, std::size_t count, std::size_t k);

    // Rows begin .. end - 1 that `filter` lets through (null: all); begin a multiple of 64.
    void scan(std::size_t begin, std::size_t end, const std::uint8_t* filter);

    TopK& best(std::size_t query) { return best_[query]; }

private:
    struct Block;

    void pack();
    void fill(Block& block);
    void measure(const Block& block);
    void scan_block(Block block);
    void scan_panel(const Block& block, std::size_t panel);
    void set_bounds(std::size_t panel, float* bounds) const;
    void report(std::size_t query, std::uint32_t slot);

    Rows rows_;
    Metric metric_ = Metric::kL2;
    std::size_t count_ = 0;
    std::size_t block_rows_ = 0;
    std::size_t seen_ = 0;     // rows scanned so far
    double error_ = 0;         // gamma_d
    double largest_norm_ = 0;  // of the rows of the present block
    std::vector<RowScorer> scorers_;
    std::vector<TopK> best_;
    std::vector<double> norm_, norm2_;  // |q| of the packed query, |q|^2 in its distances
    AlignedArray<float> panels_;
    AlignedArray<float> widened_;
    AlignedArray<float> bias_;
    AlignedArray<std::uint32_t> slots_;
    AlignedArray<std::uint32_t> hits_;
};

}  // namespace vsearch
