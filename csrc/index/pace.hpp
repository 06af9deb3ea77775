// How much more than others a query gets that is far from its neighbours.
//
// At one effort the recall of a query falls with the distance at which it finds its neighbours, and falls alike whether the query is one
// of the base's own distribution or not: so what held-out vectors teach (vsearch/index/pace.py) serves queries from elsewhere, of which
// more are far. Such a query may make f times the visits, f = (distance of the k-th best / usual)^steepness, and looks farther.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace vsearch {

struct Pace {
    float usual = 0;      // distance from which on a query gets more
    float steepness = 0;  // 0: all queries are alike
    float slack = 0;      // added to the effort for each factor e of f

    static constexpr double kMost = 8;  // of f

    // ln f for a walk whose k-th best is that far away, infinity where it has not found k.
    double of(float distance) const {
        const double nearest = 1e-37;  // equals are not nearer than nothing
        const double far = steepness * std::log(std::max(static_cast<double>(distance), nearest) / usual);
        return std::min(std::max(far, 0.0), std::log(kMost));
    }
};

// Effort and visits of one query, while its k-th best comes nearer.
class Allowance {
public:
    void begin(float effort, std::size_t most) {
        usual_effort_ = effort_ = effort;
        usual_most_ = most_ = most;
        known_ = std::numeric_limits<float>::quiet_NaN();
    }

    // `distance` of the k-th best.
    void follow(const Pace& pace, float distance) {
        if (!(pace.steepness > 0) || distance == known_) return;
        known_ = distance;
        const double more = pace.of(distance);
        effort_ = usual_effort_ + pace.slack * static_cast<float>(more);
        most_ = static_cast<std::size_t>(static_cast<double>(usual_most_) * std::exp(more));
    }

    float effort() const { return effort_; }
    std::size_t most() const { return most_; }
    std::size_t left(std::size_t visits) const { return most_ - std::min(most_, visits); }

private:
    float usual_effort_ = 1, effort_ = 1, known_ = 0;
    std::size_t usual_most_ = 0, most_ = 0;
};

}  // namespace vsearch
