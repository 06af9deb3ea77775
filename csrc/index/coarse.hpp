// The coarse step of an IVF: which lists are nearest to a query.
//
// Centroids are kept twice: in f32 (rotated, without the mean) for the exact distance of the lists that are probed, and in 7 bits
// to rank them all. Ranking reads a quarter of the bytes, and its error (about 0.1 % of |q||c|) only swaps lists that are
// equally far; 7 and not 8 bits, so that `vpmaddubsw` cannot saturate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "quantize/factors.hpp"

namespace vsearch {

class CoarseQuantizer {
public:
    // centroids: lists x dim f32, rotated and without the mean; not copied, must outlive this object.
    void bind(const float* centroids, const float* mean, std::size_t lists, std::size_t dim, Metric metric);

    struct Scratch {
        AlignedArray<std::int8_t> query;
        AlignedArray<std::int32_t> dots;
        AlignedArray<float> keys, minima;
        AlignedArray<std::uint32_t> selected;
        std::vector<std::pair<float, std::uint32_t>> nearest;
        AlignedArray<std::uint32_t> lists;
        AlignedArray<float> distances;  // exact |q - c|^2 of `lists`
    };

    // Fills scratch.lists with the `probes` nearest lists, nearest first, and scratch.distances with their exact |q - c|^2 (the
    // ranking's own error is small beside that of one code, but all codes of a list would share it).
    // For ip and cosine nearest means the largest <q, c + mean>; `query` is rotated and without the mean.
    void probe(const float* query, std::size_t probes, Scratch& scratch) const;

    std::size_t lists() const { return lists_; }
    const float* centroid(std::size_t list) const { return centroids_ + list * dim_; }
    float norm2(std::size_t list) const { return norm2_[list]; }
    float dot_mean(std::size_t list) const { return dot_mean_[list]; }

private:
    void rank(const float* query, Scratch& scratch) const;
    void select(std::size_t probes, Scratch& scratch) const;

    const float* centroids_ = nullptr;
    std::size_t lists_ = 0, dim_ = 0, code_stride_ = 0;
    Metric metric_ = Metric::kL2;
    AlignedArray<std::uint8_t> codes_;  // 7-bit, lists x code_stride
    std::vector<float> step_, low_;     // c_j ~ low + step * code_j
    std::vector<float> norm2_;          // |c|^2
    std::vector<float> dot_mean_;       // <c, P mean>
    std::vector<float> key_;            // what the ranking adds to -<c, q>: |c|^2 / 2 for l2, -dot_mean for ip
};

}  // namespace vsearch
