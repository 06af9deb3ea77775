// Exact search over stored rows, and the nearest-centroid assignment that k-means is made of.
//
// Few queries stream the rows (stream.hpp), many are a fused matrix product (tiles.hpp); this file divides the work among threads,
// by queries where there are enough of them, else by rows with a merge at the end. The answer does not depend on either choice.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/shelf.hpp"
#include "index/rows.hpp"

namespace vsearch {

struct FlatArrays {
    Rows rows;
    const std::int64_t* ids = nullptr;  // by slot
    std::size_t n = 0;
};

struct FlatQuery {
    std::size_t k = 10;
    std::size_t threads = 1;
    const std::uint8_t* filter = nullptr;  // packed bitmap by slot, or null
};

class FlatScan {
public:
    explicit FlatScan(Metric metric);
    ~FlatScan();  // where Workspace is complete

    void bind(const FlatArrays& arrays) { arrays_ = arrays; }
    const FlatArrays& arrays() const { return arrays_; }

    // nq x k ids and distances, ascending, padded with -1 and infinity.
    void search(const float* queries, std::size_t nq, const FlatQuery& options, std::int64_t* ids, float* distances);

private:
    struct Workspace;
    class Borrowed;

    void search_few(const float* queries, std::size_t nq, const FlatQuery& options, std::int64_t* ids, float* distances);
    void search_many(const float* queries, std::size_t nq, const FlatQuery& options, std::int64_t* ids, float* distances);

    Metric metric_;
    FlatArrays arrays_;
    Shelf<Workspace> shelf_;
};

// nearest[i] = the row of `centroids` nearest to vector i in squared Euclidean distance (the first of several), distances[i] = that.
void assign_nearest(const float* vectors, std::size_t n, const float* centroids, std::size_t count, std::size_t d, std::size_t threads,
                    std::uint32_t* nearest, float* distances);

}  // namespace vsearch
