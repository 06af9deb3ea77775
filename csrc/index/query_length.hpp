// How long a query is searched under ip.
//
// The order of answers does not depend on the query's length, but codes estimate <o, q - mean>: of a query much shorter than the mean they
// would see the mean alone, and what a much longer one has in common with the mean, which is known exactly, they would estimate. So q
// is searched as `longer` * q, and distances are divided by it in the end. |q - mean / longer|, to which the error is proportional, is
// least at longer = |mean|^2 / <q, mean>. A power of two changes no bit of a product, so queries that differ by one are answered alike.
#pragma once

#include <algorithm>
#include <cmath>

namespace vsearch {

// Of an index: |mean|^2; the same with coordinates weighed by the squares of their errors, where these differ (and then <q, mean> and |q| are
// weighed for the above too: what q shares with the mean matters where codes are coarse); and the square of what q must be as long as:
// the farthest centroid of a list, for <c, q> is made of differences of |c|^2 and |c - q|^2, in which q must not drown, and the vectors,
// where a codec's estimates are made for such.
struct MeanLengths {
    double norm2 = 0, weighed2 = 0, spread2 = 0;
};

// `norm2` is |q|^2; `weighed2` and `along` are |q|^2 and <q, mean> of weighed coordinates.
inline float query_scale(double norm2, double weighed2, double along, const MeanLengths& mean) {
    constexpr double kAway = 8;  // times the mean's length: it adds less than 1 % to the error of a query at right angles to it
    constexpr double kLeast = 0x1p-40, kMost = 0x1p60;  // lengths whose squares float32 holds, beside those of vectors
    const double norm = std::sqrt(norm2), spread = std::sqrt(mean.spread2), reach = std::max(std::sqrt(mean.norm2), spread);
    double longer = kAway * std::sqrt(mean.weighed2 / weighed2);
    if (along > 0) longer = std::min(longer, mean.weighed2 / along);
    const double length = std::min({std::max({longer * norm, spread, kLeast}), kMost, kMost * kMost / reach});
    const double ratio = length / norm;
    if (!(ratio > 0 && std::isfinite(ratio) && weighed2 > 0)) return 1.0f;
    return std::ldexp(1.0f, std::clamp(std::ilogb(1.5 * ratio), -126, 126));  // 3/4 to 3/2 of the ratio: least |1 - ratio / longer|
}

}  // namespace vsearch
