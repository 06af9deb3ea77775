// The k nearest seen so far, ordered by (distance, id), with the k-th distance at hand for pruning.
//
// Small k: a sorted array, inserted into from the back. Large k: a binary heap with the worst on top, sorted once at
// the end. Both keep the same set whatever the order of arrival: of two candidates at one distance the smaller id
// stays (the smaller slot where no ids are given). A NaN distance never enters. Entries are 8 bytes: k = 10 is two
// cache lines.
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
    TopK() = default;
    explicit TopK(std::size_t k, const std::int64_t* ids = nullptr) { reset(k, ids); }

    // Empties the set. `ids` (by slot) decides ties and must outlive the use of the set.
    void reset(std::size_t k, const std::int64_t* ids = nullptr) {
        if (entries_.size() < k) entries_.resize(k);
        k_ = k;
        size_ = 0;
        ids_ = ids;
        threshold_ = k > 0 ? kInfinity : -kInfinity;
    }

    std::size_t size() const { return size_; }
    std::size_t capacity() const { return k_; }

    // Nothing farther than this can enter; at exactly this distance a smaller id still can. Infinite until full.
    float threshold() const { return threshold_; }

    // The same for a strict comparison (value < bound), letting ties through.
    float bound() const { return std::nextafter(threshold_, kInfinity); }

    void push(float distance, std::uint32_t slot) {
        if (!(distance <= threshold_)) return;
        const Neighbour fresh{distance, slot};
        if (k_ <= kSorted)
            insert_sorted(fresh);
        else
            insert_heap(fresh);
    }

    // The entries, ascending, size() of them. Closes the set: only reset() may follow.
    const Neighbour* sorted() {
        if (k_ > kSorted) std::sort(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(size_), Before{ids_});
        return entries_.data();
    }

    // Writes k ids (slots where there are no ids) and distances, padded with -1 and infinity. Closes the set.
    void sort_into(std::int64_t* ids, float* distances) {
        const Neighbour* entries = sorted();
        for (std::size_t i = 0; i < size_; ++i) {
            ids[i] = ids_ != nullptr ? ids_[entries[i].slot] : static_cast<std::int64_t>(entries[i].slot);
            distances[i] = entries[i].distance;
        }
        std::fill(ids + size_, ids + k_, std::int64_t{-1});
        std::fill(distances + size_, distances + k_, kInfinity);
    }

    // Takes over what another open set holds, for instance another thread's.
    void merge(const TopK& other) {
        for (std::size_t i = 0; i < other.size_; ++i) push(other.entries_[i].distance, other.entries_[i].slot);
    }

private:
    static constexpr float kInfinity = std::numeric_limits<float>::infinity();
    static constexpr std::size_t kSorted = 64;  // beyond this the shifting costs more than a heap's log k

    struct Before {
        const std::int64_t* ids;
        bool operator()(const Neighbour& a, const Neighbour& b) const {
            if (a.distance != b.distance) return a.distance < b.distance;
            return ids != nullptr ? ids[a.slot] < ids[b.slot] : a.slot < b.slot;
        }
    };

    void insert_sorted(const Neighbour& fresh) {
        const Before before{ids_};
        std::size_t position = size_;
        if (size_ == k_) {
            if (!before(fresh, entries_[k_ - 1])) return;
            --position;
        } else {
            ++size_;
        }
        for (; position > 0 && before(fresh, entries_[position - 1]); --position) entries_[position] = entries_[position - 1];
        entries_[position] = fresh;
        if (size_ == k_) threshold_ = entries_[k_ - 1].distance;
    }

    void insert_heap(const Neighbour& fresh) {
        const Before before{ids_};
        const auto first = entries_.begin();
        if (size_ < k_) {
            entries_[size_++] = fresh;
            std::push_heap(first, first + static_cast<std::ptrdiff_t>(size_), before);
        } else {
            if (!before(fresh, entries_[0])) return;
            replace_worst(fresh);
        }
        if (size_ == k_) threshold_ = entries_[0].distance;
    }

    // pop_heap and push_heap in one descent.
    void replace_worst(const Neighbour& fresh) {
        const Before before{ids_};
        std::size_t hole = 0;
        for (std::size_t child; (child = 2 * hole + 1) < size_; hole = child) {
            if (child + 1 < size_ && before(entries_[child], entries_[child + 1])) ++child;
            if (!before(fresh, entries_[child])) break;
            entries_[hole] = entries_[child];
        }
        entries_[hole] = fresh;
    }

    std::vector<Neighbour> entries_;
    std::size_t k_ = 0;
    std::size_t size_ = 0;
    const std::int64_t* ids_ = nullptr;
    float threshold_ = kInfinity;
};

}  // namespace vsearch
