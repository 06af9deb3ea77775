// An order of vectors in which near ones are mostly close to one another: that of a graph's rows in memory.
//
// A walk goes from a vertex to near ones. Rows that are close in memory share pages, and the address of a row on a page that was not seen
// lately takes as long to translate as the row takes to come, which no prefetch hides.
//
// The vectors are halved across the direction between two means, again and again (2-means on a sample, balanced by the median).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vsearch {

// Positions of the n vectors of d floats in that order; the same for every number of threads.
std::vector<std::uint32_t> near_order(const float* vectors, std::size_t n, std::size_t d, std::uint64_t seed, std::size_t threads);

}  // namespace vsearch
