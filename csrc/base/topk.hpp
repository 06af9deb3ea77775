// The k best candidates seen so far, ordered by (distance, id).
//
// Small k keeps a sorted array: most pushes late in a search are refused by one compare, and an accepted one moves a few
// entries. Large k keeps a binary max-heap. Equal distances are decided by the smaller id, so that the answer does not depend
// on the order of the scan; the id of a slot is looked up only for ties and at the end.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace vsearch {

struct Neighbour {
    float distance;
    std::uint32_t slot;
};

class TopK {
public:
    // Empties the set; k >= 1. `ids` maps slots to the caller's ids; null where slots are ids.
    void reset(std::size_t k, const std::int64_t* ids = nullptr) {
        k_ = k;
        ids_ = ids;
        entries_.clear();
        if (entries_.capacity() < std::min<std::size_t>(k + 1, 4096)) entries_.reserve(std::min<std::size_t>(k + 1, 4096));
        threshold_ = std::numeric_limits<float>::infinity();
    }

    // The k-th best distance, infinite until k candidates are known. A candidate farther than this cannot enter.
    float threshold() const { return threshold_; }
    std::size_t size() const { return entries_.size(); }

    // The same for strict comparisons (value < bound): lets ties at the threshold through.
    float bound() const { return std::nextafter(threshold_, std::numeric_limits<float>::infinity()); }

    void push(float distance, std::uint32_t slot) {
        if (!(distance <= threshold_)) return;  // also refuses NaN
        const Neighbour entry{distance, slot};
        if (entries_.size() == k_ && !before(entry, worst())) return;
        k_ <= kSortedLimit ? insert_sorted(entry) : insert_heap(entry);
        if (entries_.size() == k_) threshold_ = worst().distance;
    }

    // Takes over what another set holds, for instance another thread's.
    void merge(const TopK& other) {
        for (const Neighbour& entry : other.entries_) push(entry.distance, entry.slot);
    }

    // The size() entries, nearest first. Closes the set: only reset() may follow.
    const Neighbour* sorted() {
        if (k_ > kSortedLimit) std::sort(entries_.begin(), entries_.end(), [this](const Neighbour& a, const Neighbour& b) { return before(a, b); });
        return entries_.data();
    }

    // Writes k ids and distances, nearest first, padded with -1 and infinity. Closes the set.
    void sort_into(std::int64_t* ids, float* distances) {
        sorted();
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            ids[i] = id(entries_[i].slot);
            distances[i] = entries_[i].distance;
        }
        for (std::size_t i = entries_.size(); i < k_; ++i) {
            ids[i] = -1;
            distances[i] = std::numeric_limits<float>::infinity();
        }
    }

    // The slots held, in no particular order.
    template <class Visit>
    void for_each(Visit visit) const {
        for (const Neighbour& entry : entries_) visit(entry.slot, entry.distance);
    }

private:
    static constexpr std::size_t kSortedLimit = 64;

    std::int64_t id(std::uint32_t slot) const { return ids_ != nullptr ? ids_[slot] : static_cast<std::int64_t>(slot); }
    bool before(const Neighbour& a, const Neighbour& b) const { return a.distance < b.distance || (a.distance == b.distance && id(a.slot) < id(b.slot)); }
    const Neighbour& worst() const { return k_ <= kSortedLimit ? entries_.back() : entries_.front(); }

    void insert_sorted(const Neighbour& entry) {
        if (entries_.size() < k_) entries_.push_back(entry);
        std::size_t at = entries_.size() - 1;
        for (; at > 0 && before(entry, entries_[at - 1]); --at) entries_[at] = entries_[at - 1];
        entries_[at] = entry;
    }
    void insert_heap(const Neighbour& entry) {
        const auto less = [this](const Neighbour& a, const Neighbour& b) { return before(a, b); };
        if (entries_.size() == k_) {
            std::pop_heap(entries_.begin(), entries_.end(), less);
            entries_.back() = entry;
        } else {
            entries_.push_back(entry);
        }
        std::push_heap(entries_.begin(), entries_.end(), less);
    }

    std::size_t k_ = 0;
    const std::int64_t* ids_ = nullptr;
    float threshold_ = std::numeric_limits<float>::infinity();
    std::vector<Neighbour> entries_;
};

}  // namespace vsearch
