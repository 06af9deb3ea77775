// Centroid kernels, scalar: scores of vectors against a codebook, the least of them, sums of table rows. The reference.
#pragma once

#include <limits>

#include "kernels/table.hpp"

namespace vsearch::scalar {
namespace {

void scores_f32(const float* rows, std::size_t stride, std::size_t n, std::size_t d, const float* table, const float* bias,
                std::size_t count, float* out) {
    for (std::size_t i = 0; i < n; ++i, rows += stride, out += count) {
        for (std::size_t k = 0; k < count; ++k) out[k] = bias[k];
        for (std::size_t j = 0; j < d; ++j)
            for (std::size_t k = 0; k < count; ++k) out[k] -= rows[j] * table[j * count + k];
    }
}

std::size_t argmin_f32(const float* values, std::size_t n) {
    float least = values[0];
    for (std::size_t k = 1; k < n; ++k) least = values[k] < least ? values[k] : least;
    std::size_t at = 0;
    while (at < n && values[at] != least) ++at;
    return at < n ? at : 0;
}

std::size_t nearest_f32(float* distances, const std::uint32_t* slots, std::size_t n, std::uint32_t taken) {
    for (std::size_t k = 0; k < n; ++k) distances[k] = slots[k] == taken ? std::numeric_limits<float>::infinity() : distances[k];
    return argmin_f32(distances, n);
}

void sum_rows_f32(const float* const* rows, std::size_t count, float start, std::size_t n, float* out) {
    for (std::size_t k = 0; k < n; ++k) {
        float sum = start;
        for (std::size_t r = 0; r < count; ++r) sum += rows[r][k];
        out[k] = sum;
    }
}

}  // namespace

inline void install_centroids(KernelTable& table) {
    table.scores_f32 = scores_f32;
    table.argmin_f32 = argmin_f32;
    table.nearest_f32 = nearest_f32;
    table.sum_rows_f32 = sum_rows_f32;
}

}  // namespace vsearch::scalar
