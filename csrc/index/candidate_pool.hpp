// The candidates of a graph walk, and which vertices it has visited.
//
// A visit brings several candidates and takes one, so what must be cheap is to put one in: candidates are appended in no order, and the
// nearest is found by one pass of vector minima over some hundred floats. (A sorted array costs a mispredicted search and two moves for
// each candidate, half of the time of a walk.) A vertex is estimated from each of its neighbours that is visited and may be there several
// times; the least estimate comes out first, and the pass that looks for the next one puts the others out of reach. No branch of it depends
// on the distances: a mispredicted one costs as much as a pass over a hundred.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/table.hpp"

namespace vsearch {

class CandidatePool {
public:
    static constexpr std::uint32_t kNone = 0xffffffffu;

    void reset() {
        forget_from(0);
        tidy_at_ = kTidy;
        taken_ = kNone;
        reserve(kTidy);
    }

    std::size_t size() const { return size_; }

    // Room for `more` candidates; put() does not check.
    void reserve(std::size_t more) {
        if (size_ + more < distances_.size()) return;
        grow(std::max(2 * distances_.size(), round_up(size_ + more + 1, kLanes)));
    }
    void put(float distance, std::uint32_t slot) {
        distances_[size_] = distance;
        slots_[size_++] = slot;
    }

    // The same where `known` is false, without a branch: which of a block's vertices were visited is past prediction.
    void put_unless(bool known, float distance, std::uint32_t slot) {
        distances_[size_] = distance;
        slots_[size_] = slot;
        size_ += known ? 0u : 1u;
    }

    // The nearest candidate, which stays in; kNone where there is none.
    std::uint32_t nearest(float* distance) {
        if (size_ == 0) return kNone;
        distances_[size_] = kNowhere;  // put_unless() may have left a known one there
        at_ = kernels().nearest_f32(distances_.data(), slots_.data(), round_up(size_, kLanes), taken_);
        *distance = distances_[at_];
        if (*distance < kNowhere) return slots_[at_];
        forget_from(0);  // all of them were taken
        return kNone;
    }
    // Takes out what nearest() found, wherever it is in the pool.
    void take() { taken_ = slots_[at_]; }

    // Forgets candidates that are not below `limit`, and those that cannot have their turn within `turns` more; once there are so many
    // that it pays.
    void tidy(float limit, std::size_t turns) {
        if (size_ < tidy_at_) return;
        std::size_t kept = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            distances_[kept] = distances_[i];
            slots_[kept] = slots_[i];
            kept += distances_[i] < limit ? 1u : 0u;
        }
        forget_from(kept);
        if (size_ > 4 * turns + kTidy) keep_nearest(2 * turns + kTidy / 2);  // a vertex may be there several times
        tidy_at_ = std::max(kTidy, 2 * size_);
    }

private:
    static constexpr std::size_t kLanes = 64;  // of nearest_f32
    static constexpr std::size_t kTidy = 128;
    static constexpr float kNowhere = std::numeric_limits<float>::infinity();

    void keep_nearest(std::size_t count) {
        order_.assign(distances_.data(), distances_.data() + size_);
        std::nth_element(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(count), order_.end());
        const float cut = order_[count];
        const auto below = std::count_if(order_.begin(), order_.end(), [&](float distance) { return distance < cut; });
        std::size_t ties = count - static_cast<std::size_t>(below);
        std::size_t kept = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            if (distances_[i] > cut || (distances_[i] == cut && ties == 0)) continue;
            if (distances_[i] == cut) --ties;
            distances_[kept] = distances_[i];
            slots_[kept++] = slots_[i];
        }
        forget_from(kept);
    }

    // All candidates from this one on.
    void forget_from(std::size_t kept) {
        if (distances_.size() > 0) std::fill(distances_.data() + kept, distances_.data() + size_ + 1, kNowhere);
        size_ = kept;
    }
    void grow(std::size_t capacity) {
        AlignedArray<float> distances(capacity);
        AlignedArray<std::uint32_t> slots(capacity);
        std::copy(distances_.data(), distances_.data() + size_, distances.data());
        std::fill(distances.data() + size_, distances.data() + capacity, kNowhere);
        std::copy(slots_.data(), slots_.data() + size_, slots.data());
        std::fill(slots.data() + size_, slots.data() + capacity, kNone);
        distances_.swap(distances);
        slots_.swap(slots);
    }

    AlignedArray<float> distances_;  // infinite beyond the last candidate, but for one place
    AlignedArray<std::uint32_t> slots_;
    std::vector<float> order_;
    std::size_t size_ = 0, at_ = 0, tidy_at_ = kTidy;
    std::uint32_t taken_ = kNone;  // out of the pool from the next nearest() on
};

// Visited slots: a bit each, cleared by going over those that were set.
class VisitedSet {
public:
    void reset(std::size_t n) {
        if (words_.size() < (n + 63) / 64) words_.resize((n + 63) / 64, 0);
        for (std::uint32_t slot : touched_) words_[slot / 64] = 0;
        touched_.clear();
    }
    bool contains(std::uint32_t slot) const { return (words_[slot / 64] >> (slot % 64) & 1u) != 0; }
    void insert(std::uint32_t slot) {
        words_[slot / 64] |= std::uint64_t{1} << (slot % 64);
        touched_.push_back(slot);
    }

private:
    std::vector<std::uint64_t> words_;
    std::vector<std::uint32_t> touched_;
};

}  // namespace vsearch
