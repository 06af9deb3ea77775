// A few queries against all rows: each block of rows is read once from memory and scored for every query by the row kernels.
//
// The bus is the limit (512 bytes a row at d = 128 f32, about 25 ns), so the arithmetic of up to 7 queries hides behind it.
// Distances of a block stay in L1, where a vectorised compare against the k-th best finds the few that matter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "base/topk.hpp"
#include "index/rows.hpp"

namespace vsearch {

class StreamScan {
public:
    // `queries` (count x rows.dim) and `ids` (by slot, or null) must outlive the scan.
    void prepare(const Rows& rows, Metric metric, const std::int64_t* ids, const float* queries, std::size_t count, std::size_t k);

    // Rows begin .. end - 1 that `filter` lets through (null: all); begin a multiple of 64.
    void scan(std::size_t begin, std::size_t end, const std::uint8_t* filter);

    TopK& best(std::size_t query) { return best_[query]; }

private:
    void scan_block(std::size_t begin, std::size_t end, const std::uint8_t* filter);
    void score_waiting();

    Rows rows_;
    std::size_t count_ = 0;
    std::vector<RowScorer> scorers_;
    std::vector<TopK> best_;
    std::vector<std::uint32_t> waiting_;  // slots of matches where they are sparse
    AlignedArray<float> distances_;
    AlignedArray<std::uint32_t> hits_;
};

}  // namespace vsearch
