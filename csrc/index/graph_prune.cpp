#include "index/graph_prune.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/table.hpp"

namespace vsearch {
namespace {

// These save a tenth of the visits at recall 0.99 over filling with the nearest alone (wordnet-minilm).
constexpr std::size_t kNearest = 4;
constexpr float kSlack = 1.05f;
constexpr int kSlackSteps = 5;
constexpr std::size_t kDroppedShare = 2;  // dropped candidates that are remembered, over the degree

}  // namespace

void StoredVectors::read(std::uint32_t slot, float* out) const {
    const std::uint8_t* row = rows_.data + slot * rows_.stride;
    switch (rows_.type) {
        case RowType::kF32: std::memcpy(out, row, rows_.dim * sizeof(float)); break;
        case RowType::kF16: kernels().widen_f16(row, rows_.dim, 1.0f, out); break;
        case RowType::kBf16: kernels().widen_bf16(row, rows_.dim, 1.0f, out); break;
        case RowType::kInt8: kernels().widen_i8(row, rows_.dim, rows_.factors[2 * slot], out); break;
    }
    if (metric_ == Metric::kInnerProduct) out[rows_.dim] = lifts_[slot];
}

void StoredVectors::distances(const float* vector, RowScorer& scorer, const std::uint32_t* slots, std::size_t n, float* out) const {
    scorer.score(rows_, slots, n, out);
    if (metric_ == Metric::kCosine) {
        for (std::size_t i = 0; i < n; ++i) out[i] *= 2.0f;
    } else if (metric_ == Metric::kInnerProduct) {
        const float lift = vector[rows_.dim], norms = 2.0f * reach2_;
        for (std::size_t i = 0; i < n; ++i) out[i] = norms + 2.0f * (out[i] - lift * lifts_[slots[i]]);
    }
}

void StoredPairs::from(std::uint32_t slot) {
    vectors_.read(slot, vector_.data());
    vectors_.prepare(vector_.data(), scorer_);
}

// Whether one of the first `count` kept neighbours is nearer to the candidate than the vertex is.
bool Pruner::occluded(const Edge& candidate, std::size_t count, float alpha2) {
    constexpr std::size_t kStep = 8;
    if (count == 0) return false;
    pairs_->from(candidate.slot);
    for (std::size_t first = 0; first < count; first += kStep) {
        const std::size_t n = std::min(kStep, count - first);
        pairs_->to(slots_.data() + first, n, distances_.data());
        for (std::size_t i = 0; i < n; ++i)
            if (alpha2 * distances_[i] < candidate.distance) return true;
    }
    return false;
}

// Whether a vertex was kept or dropped already. Distances from different sources differ in their last bits, and then doubles are not beside
// each other.
bool Pruner::known(std::uint32_t slot) const {
    return std::find(slots_.begin(), slots_.end(), slot) != slots_.end() ||
           std::any_of(dropped_.begin(), dropped_.end(), [&](const Edge& edge) { return edge.slot == slot; });
}

// Adds to the first `count` of `out` those of the dropped that the rule would keep with more and more slack; but first the nearest few, for in
// a small dense group the rule leaves a single path through it.
std::size_t Pruner::spread(Edge* out, std::size_t count) {
    const std::size_t near = std::min({kNearest, dropped_.size(), degree_ - count});
    for (std::size_t i = 0; i < near; ++i) {
        slots_.push_back(dropped_[i].slot);
        out[count++] = dropped_[i];
    }
    dropped_.erase(dropped_.begin(), dropped_.begin() + static_cast<std::ptrdiff_t>(near));
    float alpha2 = alpha2_;
    for (int step = 0; step < kSlackSteps && count < degree_; ++step) {
        alpha2 *= kSlack * kSlack;
        std::size_t left = 0;
        for (const Edge& candidate : dropped_) {
            if (count == degree_ || occluded(candidate, count, alpha2)) {
                dropped_[left++] = candidate;
                continue;
            }
            slots_.push_back(candidate.slot);
            out[count++] = candidate;
        }
        dropped_.resize(left);
    }
    return count;
}

std::size_t Pruner::select(std::uint32_t vertex, std::vector<Edge>& candidates, Edge* out, std::size_t* kept) {
    distances_.resize(degree_);
    slots_.clear();
    dropped_.clear();
    const auto nearer = [](const Edge& a, const Edge& b) { return a.distance < b.distance || (a.distance == b.distance && a.slot < b.slot); };
    std::sort(candidates.begin(), candidates.end(), nearer);
    std::size_t count = 0;
    for (std::size_t i = 0; i < candidates.size() && count < degree_; ++i) {
        const Edge& candidate = candidates[i];
        if (candidate.slot == vertex || (i > 0 && candidate.slot == candidates[i - 1].slot)) continue;
        const bool drop = occluded(candidate, count, alpha2_);
        if ((drop && dropped_.size() >= kDroppedShare * degree_) || known(candidate.slot)) continue;
        if (drop) {
            dropped_.push_back(candidate);
            continue;
        }
        slots_.push_back(candidate.slot);
        out[count++] = candidate;
    }
    if (kept != nullptr) *kept = count;
    count = spread(out, count);
    for (std::size_t i = 0; i < dropped_.size() && count < degree_; ++i) out[count++] = dropped_[i];
    return count;
}

}  // namespace vsearch
