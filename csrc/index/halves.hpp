// Vectors halved again and again: the parts that near_order() and NearLists are made of. What a part is halved by is theirs.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/mix.hpp"
#include "base/pool.hpp"

namespace vsearch {

// Consecutive places of an order of slots. Every part has a seed of its own, so that the result does not depend on threads.
struct Part {
    std::size_t first, size;
    std::uint64_t seed;

    static Part whole(std::size_t n, std::uint64_t seed) { return {0, n, mixed(seed)}; }
    std::array<Part, 2> halves() const {
        const std::size_t half = size / 2;
        return {Part{first, half, mixed(seed)}, Part{first + half, size - half, mixed(seed + 1)}};
    }
};

// Brings the half of n slots to the front that has the lesser keys.
inline void halve(std::uint32_t* slots, const float* keys, std::size_t n, std::vector<std::pair<float, std::uint32_t>>& keyed) {
    keyed.resize(n);
    for (std::size_t i = 0; i < n; ++i) keyed[i] = {keys[i], slots[i]};
    std::nth_element(keyed.begin(), keyed.begin() + static_cast<std::ptrdiff_t>(n / 2), keyed.end());
    for (std::size_t i = 0; i < n; ++i) slots[i] = keyed[i].second;
}

// Halves a part by split(part, worker) until none has more than `most` slots; what is left.
template <class Split>
std::vector<Part> halve_until(const Part& whole, std::size_t most, std::size_t threads, Split split) {
    std::vector<Part> parts{whole}, small;
    while (!parts.empty()) {
        parallel_for(parts.size(), threads, [&](std::size_t i, std::size_t worker) {
            if (parts[i].size > most) split(parts[i], worker);
        });
        std::vector<Part> smaller;
        for (const Part& part : parts) {
            if (part.size <= most)
                small.push_back(part);
            else
                for (const Part& half : part.halves()) smaller.push_back(half);
        }
        parts.swap(smaller);
    }
    return small;
}

}  // namespace vsearch
