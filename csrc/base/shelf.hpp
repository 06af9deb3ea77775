// Working memory kept between searches, so that a search allocates nothing after the first few.
#pragma once

#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

namespace vsearch {

struct Uncounted {};

// Pieces of work that lie idle. What each of them counted (its member `counters`, which can be added up) joins the total when it comes back.
template <class Work, class Counters = Uncounted>
class Shelf {
public:
    // One that lies idle, or null.
    std::unique_ptr<Work> take() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (idle_.empty()) return nullptr;
        auto work = std::move(idle_.back());
        idle_.pop_back();
        return work;
    }

    void put(std::unique_ptr<Work> work) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if constexpr (!std::is_same_v<Counters, Uncounted>) total_ += std::exchange(work->counters, Counters{});
        idle_.push_back(std::move(work));
    }

    Counters total() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return total_;
    }

private:
    mutable std::mutex mutex_;  // of the two below
    std::vector<std::unique_ptr<Work>> idle_;
    Counters total_;
};

}  // namespace vsearch
