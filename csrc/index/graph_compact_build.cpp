#include "index/graph_compact_build.hpp"

#include <algorithm>
#include <limits>

#include "base/pool.hpp"
#include "index/filter.hpp"
#include "index/graph_offers.hpp"

namespace vsearch {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

// ---------------------------------------------------------------------------------------------------- distances by codes

CodePairs::CodePairs(const GraphCompactScan& scan, const float* lifts) : scan_(scan), lifts_(lifts) {
    if (scan.metric() != Metric::kInnerProduct) return;
    for (const float x : scan.mean()) mean2_ += static_cast<double>(x) * x;
}

// What the code of a vertex stands for, as a query.
void CodePairs::from(std::uint32_t slot) {
    const CompactLayout& layout = scan_.layout();
    const std::uint8_t* row = scan_.arrays().rows + slot * layout.bytes;
    const float* factors = layout.factors(row);
    const float scale = factors[1] * (scan_.metric() == Metric::kL2 ? -0.5f : -1.0f), shift = factors[2] * (scan_.metric() == Metric::kL2 ? -0.5f : -1.0f);
    lift_ = lifts_ != nullptr ? lifts_[slot] : 0.0f;
    const bool is_ip = scan_.metric() == Metric::kInnerProduct;
    const double base = is_ip ? factors[0] - mean2_ : factors[0];
    scorer_.prepare_code(layout, scan_.coding(), row, scale, shift, scan_.transform().padded(), base, is_ip ? -kInfinity : 0.0f);
}

void CodePairs::to(const std::uint32_t* slots, std::size_t n, float* out) {
    scorer_.score(scan_.arrays().rows, slots, n, out);
    if (scan_.metric() == Metric::kCosine) {
        for (std::size_t i = 0; i < n; ++i) out[i] *= 2.0f;
    } else if (scan_.metric() == Metric::kInnerProduct) {
        const float norms = 2.0f * scan_.arrays().reach2;
        for (std::size_t i = 0; i < n; ++i) out[i] = std::max(0.0f, norms + 2.0f * (out[i] - lift_ * lifts_[slots[i]]));
    }
}

namespace {

std::unique_ptr<PairDistances> pairs_of(const GraphCompactScan& scan) {
    const CompactArrays& arrays = scan.arrays();
    if (arrays.store.data == nullptr) return std::make_unique<CodePairs>(scan, arrays.lifts);
    return std::make_unique<StoredPairs>(StoredVectors(arrays.store, scan.metric(), arrays.lifts, arrays.reach2));
}

}  // namespace

// --------------------------------------------------------------------------------------------------------------- builder

struct GraphCompactBuilder::Worker {
    Pruner pruner;
    std::unique_ptr<CompactWalk> walk;
    std::vector<Edge> candidates, list;
    std::vector<std::uint32_t> slots;
    std::vector<float> distances;
    std::size_t count = 0;  // of the list

    Worker(GraphCompactScan& scan, float alpha) : pruner(pairs_of(scan), scan.layout().degree, alpha), walk(scan.borrow()), list(scan.layout().degree) {}
};

GraphCompactBuilder::GraphCompactBuilder(GraphCompactScan& scan, std::uint8_t* rows, float alpha, std::size_t threads)
    : scan_(scan), rows_(rows), n_(scan.arrays().n), degree_(scan.layout().degree), threads_(threads) {
    for (std::size_t t = 0; t < threads; ++t) workers_.push_back(std::make_unique<Worker>(scan, alpha));
}

GraphCompactBuilder::~GraphCompactBuilder() {
    for (auto& worker : workers_) scan_.give_back(std::move(worker->walk));
}

// Candidates of a vertex from w.slots, with their distances to it.
void GraphCompactBuilder::measure(std::uint32_t slot, Worker& w) const {
    std::sort(w.slots.begin(), w.slots.end());
    w.slots.erase(std::unique(w.slots.begin(), w.slots.end()), w.slots.end());
    w.distances.resize(w.slots.size());
    w.pruner.pairs().from(slot);
    w.pruner.pairs().to(w.slots.data(), w.slots.size(), w.distances.data());
    w.candidates.resize(w.slots.size());
    for (std::size_t i = 0; i < w.slots.size(); ++i) {
        const float distance = w.distances[i];
        w.candidates[i] = {distance < kInfinity ? distance : kInfinity, w.slots[i]};  // NaN cannot be sorted
    }
}

// The list of a vertex, from w.slots.
void GraphCompactBuilder::choose(std::uint32_t slot, Worker& w) const {
    measure(slot, w);
    w.count = w.pruner.select(slot, w.candidates, w.list.data());
}

// The vertex itself where it has fewer neighbours: it is known by then to who follows it.
void GraphCompactBuilder::write(std::uint32_t slot, const Edge* list, std::size_t count) {
    std::uint32_t* neighbours = scan_.layout().neighbours(rows_ + slot * scan_.layout().bytes);
    for (std::size_t i = 0; i < degree_; ++i) neighbours[i] = i < count ? list[i].slot : slot;
}

void GraphCompactBuilder::insert(std::size_t first, std::size_t count, const float* vectors, const CompactQuery& search) {
    const CompactArrays& arrays = scan_.arrays();
    const CompactLayout& layout = scan_.layout();
    std::vector<Edge> lists(count * degree_);
    std::vector<std::size_t> counts(count);
    parallel_for(count, threads_, [&](std::size_t i, std::size_t t) {
        Worker& w = *workers_[t];
        const auto slot = static_cast<std::uint32_t>(first + i);
        scan_.collect(vectors + i * scan_.dim(), arrays.lifts != nullptr ? arrays.lifts + slot : nullptr, search, *w.walk, w.slots);
        choose(slot, w);
        std::copy(w.list.begin(), w.list.begin() + static_cast<std::ptrdiff_t>(w.count), lists.begin() + static_cast<std::ptrdiff_t>(i * degree_));
        counts[i] = w.count;
    });
    Offers offers;
    for (std::size_t i = 0; i < count; ++i) {
        const auto slot = static_cast<std::uint32_t>(first + i);
        write(slot, lists.data() + i * degree_, counts[i]);
        for (std::size_t j = 0; j < counts[i]; ++j) offers.add(lists[i * degree_ + j].slot, {lists[i * degree_ + j].distance, slot});
    }
    offers.group();
    parallel_for(offers.groups(), threads_, [&](std::size_t group, std::size_t t) {
        Worker& w = *workers_[t];
        const std::uint32_t target = offers.target(group);
        const std::uint32_t* neighbours = layout.neighbours(rows_ + target * layout.bytes);
        w.slots.assign(neighbours, neighbours + degree_);
        offers.each(group, [&](const Edge& edge) { w.slots.push_back(edge.slot); });
        choose(target, w);
        write(target, w.list.data(), w.count);
    });
}

void GraphCompactBuilder::forget(const std::uint8_t* dead) {
    const CompactLayout& layout = scan_.layout();
    const auto neighbours_of = [&](std::uint32_t slot) { return layout.neighbours(rows_ + slot * layout.bytes); };
    constexpr std::size_t kGrain = 64;
    parallel_for((n_ + kGrain - 1) / kGrain, threads_, [&](std::size_t task, std::size_t t) {
        Worker& w = *workers_[t];
        for (std::size_t v = task * kGrain; v < std::min(n_, (task + 1) * kGrain); ++v) {
            if (filter_bit(dead, v)) continue;
            const auto slot = static_cast<std::uint32_t>(v);
            const std::uint32_t* neighbours = neighbours_of(slot);
            if (std::none_of(neighbours, neighbours + degree_, [&](std::uint32_t other) { return filter_bit(dead, other); })) continue;
            w.slots.clear();
            const auto offer = [&](std::uint32_t other) {
                if (other != slot && !filter_bit(dead, other)) w.slots.push_back(other);
            };
            for (std::size_t i = 0; i < degree_; ++i) {
                offer(neighbours[i]);
                if (filter_bit(dead, neighbours[i])) std::for_each(neighbours_of(neighbours[i]), neighbours_of(neighbours[i]) + degree_, offer);
            }
            choose(slot, w);
            write(slot, w.list.data(), w.count);
        }
    });
}

void GraphCompactBuilder::rename(const std::uint32_t* renamed, std::size_t count) {
    for (std::size_t v = 0; v < count; ++v) {
        std::uint32_t* neighbours = scan_.layout().neighbours(rows_ + v * scan_.layout().bytes);
        for (std::size_t i = 0; i < degree_; ++i) neighbours[i] = renamed[neighbours[i]];
    }
}

std::vector<std::uint32_t> GraphCompactBuilder::unreached() const {
    const CompactArrays& arrays = scan_.arrays();
    std::vector<bool> reached(n_, false);
    std::vector<std::uint32_t> stack, roots;
    const auto visit = [&](std::uint32_t slot) {
        if (reached[slot]) return false;
        reached[slot] = true;
        stack.push_back(slot);
        return true;
    };
    const auto spread = [&] {
        while (!stack.empty()) {
            const std::uint32_t* neighbours = scan_.layout().neighbours(arrays.rows + stack.back() * scan_.layout().bytes);
            stack.pop_back();
            for (std::size_t i = 0; i < degree_; ++i) visit(neighbours[i]);
        }
    };
    for (std::size_t i = 0; i < arrays.entry_count; ++i) visit(arrays.entries[i]);
    spread();
    for (std::uint32_t v = 0; v < n_; ++v) {
        if (!visit(v)) continue;
        roots.push_back(v);
        spread();
    }
    return roots;
}

}  // namespace vsearch
