// Queries as the user gave them, made ready where they are searched for: proven finite, and of length 1 under cosine.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/aligned.hpp"
#include "quantize/factors.hpp"

namespace vsearch {

inline bool all_finite(const float* x, std::size_t n) {
    std::uint32_t bad = 0;
    for (std::size_t i = 0; i < n; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, x + i, sizeof(bits));
        bad |= static_cast<std::uint32_t>((bits & 0x7f800000u) == 0x7f800000u);
    }
    return bad == 0;
}

// Scales rows to length 1, each by its own norm in double; returns the first row without a direction (zero, or not finite), or n. A product
// with 1 / norm costs a fraction of a division, and in double its error is far below float's, and no norm overflows.
inline std::size_t scale_rows(const float* from, std::size_t n, std::size_t d, float* to) {
    for (std::size_t i = 0; i < n; ++i, from += d, to += d) {
        double sum[4] = {};
        const auto add = [&](std::size_t lane, float x) { sum[lane] += static_cast<double>(x) * x; };
        std::size_t j = 0;
        for (; j + 4 <= d; j += 4)
            for (std::size_t lane = 0; lane < 4; ++lane) add(lane, from[j + lane]);
        for (std::size_t lane = 0; j < d; ++j, ++lane) add(lane, from[j]);
        const double norm = std::sqrt((sum[0] + sum[1]) + (sum[2] + sum[3]));
        if (!(norm > 0) || !std::isfinite(norm)) return i;
        const double inverse = 1.0 / norm;
        for (j = 0; j < d; ++j) to[j] = static_cast<float>(from[j] * inverse);
    }
    return n;
}

// Whether queries can be searched for: all are finite and, under cosine, have a direction; `units` are they then, at length 1.
inline bool make_ready(const float* queries, std::size_t n, std::size_t d, Metric metric, float* units) {
    return metric == Metric::kCosine ? scale_rows(queries, n, d, units) == n : all_finite(queries, n * d);
}

// Room for one at a time: a batch that is made ready as a whole is read twice, and the threads wait meanwhile.
class GivenQuery {
public:
    // Null where the query cannot be searched for.
    const float* ready(const float* query, std::size_t dim, Metric metric) {
        const bool cosine = metric == Metric::kCosine;
        if (cosine) unit_.resize(dim);
        if (!make_ready(query, 1, dim, metric, unit_.data())) return nullptr;
        return cosine ? unit_.data() : query;
    }

private:
    AlignedArray<float> unit_;
};

}  // namespace vsearch
