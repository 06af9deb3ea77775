// New vertices as they are offered to those that they have for neighbours.
//
// A new vertex offers itself to all of its list, not to those alone that the pruning rule kept: a full build looks for the neighbours of
// every vertex, and what is near an old one and came later reaches its list in no other way. With the kept alone lists lost their near
// vertices: a graph of 30,000 embeddings, half of them added later, found .012 less at an effort of 40 than one that was built at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/graph.hpp"

namespace vsearch {

class Offers {
public:
    void add(std::uint32_t target, const Edge& edge) { all_.push_back({target, edge}); }

    // Brings those to one target together, in the order of their vertices whatever the order they came in.
    void group() {
        std::sort(all_.begin(), all_.end(),
                  [](const Offer& a, const Offer& b) { return a.target < b.target || (a.target == b.target && a.edge.slot < b.edge.slot); });
        starts_.clear();
        for (std::size_t i = 0; i < all_.size(); ++i)
            if (i == 0 || all_[i].target != all_[i - 1].target) starts_.push_back(i);
        starts_.push_back(all_.size());
    }

    std::size_t groups() const { return starts_.size() - 1; }
    std::uint32_t target(std::size_t group) const { return all_[starts_[group]].target; }

    template <class Body>
    void each(std::size_t group, Body body) const {
        for (std::size_t i = starts_[group]; i < starts_[group + 1]; ++i) body(all_[i].edge);
    }

private:
    struct Offer {
        std::uint32_t target;
        Edge edge;
    };
    std::vector<Offer> all_;
    std::vector<std::size_t> starts_ = {0};
};

}  // namespace vsearch
