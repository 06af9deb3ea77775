// Working memory that is lent: each piece to one borrower at a time, and nothing that was counted is lost.
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/shelf.hpp"
#include "check.hpp"

using vsearch::Shelf;

namespace {

struct Count {
    std::uint64_t done = 0;
    Count& operator+=(const Count& more) {
        done += more.done;
        return *this;
    }
};

struct Work {
    Count counters;
    std::atomic<bool> lent{false};
};

}  // namespace

TEST(shelf_is_empty_at_first_and_gives_what_was_put) {
    Shelf<Work, Count> shelf;
    CHECK(shelf.take() == nullptr);
    auto work = std::make_unique<Work>();
    const Work* known = work.get();
    work->counters.done = 3;
    shelf.put(std::move(work));
    CHECK(shelf.total().done == 3);
    auto again = shelf.take();
    CHECK(again.get() == known);
    CHECK(again->counters.done == 0);
    CHECK(shelf.take() == nullptr);
    shelf.put(std::move(again));
    CHECK(shelf.total().done == 3);
}

TEST(shelf_without_counters) {
    Shelf<int> shelf;
    shelf.put(std::make_unique<int>(7));
    const auto seven = shelf.take();
    CHECK(seven != nullptr && *seven == 7);
}

TEST(shelf_lends_to_one_at_a_time) {
    constexpr std::size_t kThreads = 4, kTurns = 500;
    Shelf<Work, Count> shelf;
    std::atomic<bool> twice{false};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t)
        threads.emplace_back([&] {
            for (std::size_t i = 0; i < kTurns; ++i) {
                auto work = shelf.take();
                if (work == nullptr) work = std::make_unique<Work>();
                if (work->lent.exchange(true)) twice = true;
                ++work->counters.done;
                work->lent = false;
                shelf.put(std::move(work));
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(!twice);
    CHECK(shelf.total().done == kThreads * kTurns);
}
