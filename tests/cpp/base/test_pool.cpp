// The five invariants of base/pool.hpp.
#include <atomic>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/pool.hpp"
#include "check.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/wait.h>
#include <unistd.h>
#endif

using vsearch::parallel_for;

namespace {

std::size_t sum_of_tasks(std::size_t tasks, std::size_t threads) {
    std::atomic<std::size_t> sum{0};
    parallel_for(tasks, threads, [&](std::size_t task, std::size_t) { sum += task + 1; });
    return sum;
}

}  // namespace

TEST(pool_runs_every_task_once) {
    for (std::size_t threads : {0, 1, 2, 3, 8, 33}) {
        for (std::size_t tasks : {0, 1, 2, 3, 31, 1000}) {
            std::vector<std::atomic<int>> seen(tasks);
            parallel_for(tasks, threads, [&](std::size_t task, std::size_t) { ++seen[task]; });
            for (const std::atomic<int>& count : seen) CHECK(count == 1);
        }
    }
}

TEST(pool_worker_numbers_index_scratch) {
    constexpr std::size_t kThreads = 5;
    std::vector<std::atomic<int>> busy(kThreads);
    std::atomic<bool> clash{false}, out_of_range{false};
    parallel_for(500, kThreads, [&](std::size_t, std::size_t worker) {
        if (worker >= kThreads) {
            out_of_range = true;
            return;
        }
        if (busy[worker].fetch_add(1) != 0) clash = true;
        std::this_thread::yield();
        --busy[worker];
    });
    CHECK(!clash);
    CHECK(!out_of_range);
}

TEST(pool_one_thread_is_the_caller) {
    const std::thread::id caller = std::this_thread::get_id();
    bool elsewhere = false;
    parallel_for(10, 1, [&](std::size_t, std::size_t worker) { elsewhere = elsewhere || worker != 0 || std::this_thread::get_id() != caller; });
    CHECK(!elsewhere);
}

TEST(pool_rethrows_the_exception_and_stays_usable) {
    for (std::size_t threads : {1, 2, 4}) {
        std::atomic<int> running{0};
        std::string message;
        try {
            parallel_for(1000, threads, [&](std::size_t task, std::size_t) {
                ++running;
                if (task == 17) {
                    --running;
                    throw std::runtime_error("task 17");
                }
                --running;
            });
        } catch (const std::runtime_error& error) {
            message = error.what();
        }
        CHECK(message == "task 17");
        CHECK(running == 0);  // nothing is left running behind the caller's back
        CHECK(sum_of_tasks(100, threads) == 5050);
    }
}

TEST(pool_nested_calls_finish) {
    std::atomic<std::size_t> sum{0};
    parallel_for(8, 4, [&](std::size_t, std::size_t) { sum += sum_of_tasks(50, 4); });
    CHECK(sum == 8 * 1275);
}

TEST(pool_concurrent_callers_finish) {
    std::vector<std::thread> callers;
    std::atomic<int> wrong{0};
    for (int c = 0; c < 6; ++c) {
        callers.emplace_back([&] {
            for (int i = 0; i < 200; ++i)
                if (sum_of_tasks(64, 3) != 2080) ++wrong;
        });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(wrong == 0);
}

TEST(pool_results_are_visible_to_the_caller) {
    std::vector<int> written(5000);  // not atomic on purpose: ThreadSanitizer watches the hand-over
    parallel_for(written.size(), 4, [&](std::size_t task, std::size_t) { written[task] = static_cast<int>(task); });
    CHECK(std::accumulate(written.begin(), written.end(), 0L) == 5000L * 4999 / 2);
}

#if defined(__unix__) || defined(__APPLE__)
// Python's multiprocessing forks: the child must not wait for workers that exist only in its parent.
TEST(fork_child_starts_its_own_workers) {
    CHECK(sum_of_tasks(100, 4) == 5050);
    const pid_t child = fork();
    if (child == 0) _exit(sum_of_tasks(100, 4) == 5050 && sum_of_tasks(1000, 2) == 500500 ? 0 : 1);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(sum_of_tasks(100, 4) == 5050);
}
#endif
