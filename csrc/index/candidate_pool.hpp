// The candidates of a graph walk, and which vertices it has visited.
//
// A visit brings several candidates and takes one, so what must be cheap is to put one in: candidates are appended in no order, and the
// nearest is found by one pass of vector minima over a few hundred floats. (A sorted array costs a mispredicted search and two moves for
// each candidate, half of the time of a walk.) A vertex is estimated from each of its neighbours that is visited and may
// be there several times; the least estimate comes out first, the others meet the visited bit.
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
        size_ = 0;
        tidy_at_ = kTidy;
        reserve(kTidy);
        fill_lanes(0);
    }

    std::size_t size() const { return size_; }

    // Room for `more` candidates; put() does not check.
    void reserve(std::size_t more) {
        if (size_ + more + kLanes <= distances_.size()) return;
        grow(std::max(2 * distances_.size(), round_up(size_ + more + kLanes, kLanes)));
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
        fill_lanes(size_);
        if (size_ == 0) return kNone;
        at_ = kernels().argmin_f32(distances_.data(), round_up(size_, kLanes));
        *distance = distances_[at_];
        return slots_[at_];
    }
    // Takes out what nearest() found.
    void take() {
        --size_;
        distances_[at_] = distances_[size_];
        slots_[at_] = slots_[size_];
    }

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
        size_ = kept;
        if (size_ > 4 * turns + kTidy) keep_nearest(2 * turns + kTidy / 2);  // a vertex may be there several times
        tidy_at_ = std::max(kTidy, 2 * size_);
    }

private:
    static constexpr std::size_t kLanes = 16;  // of argmin_f32
    static constexpr std::size_t kTidy = 128;

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
        size_ = kept;
    }

    // Infinity up to a whole number of lanes.
    void fill_lanes(std::size_t from) {
        for (std::size_t i = from; i < round_up(from, kLanes); ++i) distances_[i] = std::numeric_limits<float>::infinity();
    }
    void grow(std::size_t capacity) {
        AlignedArray<float> distances(capacity);
        AlignedArray<std::uint32_t> slots(capacity);
        std::copy(distances_.data(), distances_.data() + size_, distances.data());
        std::copy(slots_.data(), slots_.data() + size_, slots.data());
        distances_.swap(distances);
        slots_.swap(slots);
    }

    AlignedArray<float> distances_;
    AlignedArray<std::uint32_t> slots_;
    std::vector<float> order_;
    std::size_t size_ = 0, at_ = 0, tidy_at_ = kTidy;
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
