// The gate's invariants, and its promises to writers and to readers (base/gate.hpp).
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/gate.hpp"
#include "check.hpp"

using vsearch::Gate;
using vsearch::SharedPass;

TEST(gate_readers_share) {
    Gate gate;
    SharedPass first(gate);
    std::atomic<bool> entered{false};
    std::thread second([&] {
        SharedPass pass(gate);
        entered = true;
    });
    second.join();  // would hang if the second reader had to wait for the first
    CHECK(entered);
}

TEST(gate_writer_is_alone) {
    Gate gate;
    int value = 0;  // not atomic on purpose: ThreadSanitizer watches the gate through it
    std::atomic<int> inside{0};
    std::atomic<bool> shared_with_writer{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 500; ++i) {
                if (t == 0) {
                    gate.enter_exclusive();
                    if (inside != 0) shared_with_writer = true;
                    ++value;
                    gate.leave_exclusive();
                } else {
                    SharedPass pass(gate);
                    ++inside;
                    if (value < 0) shared_with_writer = true;
                    --inside;
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(!shared_with_writer);
    CHECK(value == 500);
}

TEST(gate_writers_exclude_each_other) {
    Gate gate;
    int value = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 1000; ++i) {
                gate.enter_exclusive();
                ++value;
                gate.leave_exclusive();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(value == 4000);
}

// Readers that overlap for ever would starve a writer of a lock that prefers readers.
TEST(gate_writer_gets_in_between_endless_readers) {
    Gate gate;
    std::atomic<bool> stop{false};
    std::vector<std::thread> readers;
    for (int t = 0; t < 4; ++t) {
        readers.emplace_back([&] {
            while (!stop) {
                SharedPass pass(gate);
                std::this_thread::sleep_for(std::chrono::microseconds(200));
            }
        });
    }
    for (int i = 0; i < 20; ++i) {
        gate.enter_exclusive();
        gate.leave_exclusive();
    }
    stop = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(true);  // reached at all: that is the law
}

// A writer that comes back at once would find the gate open before those that it kept waiting are awake.
TEST(gate_readers_that_waited_enter_between_two_writers) {
    for (int readers : {1, 3}) {
        Gate gate;
        std::atomic<int> entered{0};
        gate.enter_exclusive();
        std::vector<std::thread> waiting;
        for (int t = 0; t < readers; ++t)
            waiting.emplace_back([&] {
                SharedPass pass(gate);
                ++entered;
            });
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        gate.leave_exclusive();
        gate.enter_exclusive();
        CHECK(entered == readers);
        gate.leave_exclusive();
        for (std::thread& reader : waiting) reader.join();
    }
}
