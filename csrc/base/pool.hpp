// A small pool of std::threads for data-parallel loops. No OpenMP: two OpenMP runtimes in one process (beside PyTorch on
// macOS) are this field's best-known crash.
//
// Invariants: (1) workers start at the first parallel call, never at import; (2) after fork() the child starts its own
// workers, for threads do not survive a fork; (3) the calling thread works too, so `threads` = 1 never wakes anybody;
// (4) the first exception thrown by a task is rethrown in the caller, after all tasks have stopped; (5) concurrent
// parallel calls from several Python threads share the workers, and each call finishes even when no worker is free.
#pragma once

#include <cstddef>
#include <functional>

namespace vsearch {

// Runs body(task, worker) for every task in [0, tasks); worker is in [0, threads) and no two tasks run with the same
// worker number at once, so it can index scratch space.
void parallel_for(std::size_t tasks, std::size_t threads, const std::function<void(std::size_t, std::size_t)>& body);

}  // namespace vsearch
