#include "base/pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace vsearch {
namespace {

// One parallel call. Helpers that arrive after the last task was taken find nothing to do and leave.
struct Job {
    std::size_t tasks = 0;
    const std::function<void(std::size_t, std::size_t)>* body = nullptr;
    std::atomic<std::size_t> next_task{0};
    std::atomic<std::size_t> next_worker{1};  // 0 is the caller
    std::mutex mutex;
    std::condition_variable finished;
    std::size_t helpers_active = 0;
    bool closed = false;  // no helper may join any more
    std::exception_ptr error;

    void work(std::size_t worker) {
        try {
            for (std::size_t task; (task = next_task.fetch_add(1)) < tasks;) (*body)(task, worker);
        } catch (...) {
            std::lock_guard<std::mutex> lock(mutex);
            if (!error) error = std::current_exception();
            next_task.store(tasks);
        }
    }
};

class Pool {
public:
    void offer(const std::shared_ptr<Job>& job, std::size_t helpers) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (workers_ < helpers) {
                try {
                    std::thread([this] { run(); }).detach();
                } catch (const std::system_error&) {
                    break;  // the system has no more threads to give; the caller and those there are do the work
                }
                ++workers_;
            }
            for (std::size_t i = 0; i < helpers; ++i) queue_.push_back(job);
        }
        helpers == 1 ? wake_.notify_one() : wake_.notify_all();
    }

private:
    void run() {
        for (;;) {
            std::shared_ptr<Job> job;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [this] { return !queue_.empty(); });
                job = std::move(queue_.front());
                queue_.pop_front();
            }
            std::size_t worker = 0;
            {
                std::lock_guard<std::mutex> lock(job->mutex);
                if (job->closed) continue;
                ++job->helpers_active;
                worker = job->next_worker.fetch_add(1);
            }
            job->work(worker);
            std::lock_guard<std::mutex> lock(job->mutex);
            if (--job->helpers_active == 0) job->finished.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<Job>> queue_;
    std::size_t workers_ = 0;
};

std::atomic<Pool*> current_pool{nullptr};

// Never destroyed: detached workers may outlive static destruction. A forked child forgets its parent's pool.
Pool& pool() {
#if !defined(_WIN32)
    static const int registered = pthread_atfork(nullptr, nullptr, [] { current_pool.store(nullptr); });
    (void)registered;
#endif
    Pool* existing = current_pool.load();
    if (existing == nullptr) {
        auto* fresh = new Pool;
        if (current_pool.compare_exchange_strong(existing, fresh)) return *fresh;
        delete fresh;
    }
    return *existing;
}

}  // namespace

void parallel_for(std::size_t tasks, std::size_t threads, const std::function<void(std::size_t, std::size_t)>& body) {
    threads = std::min(threads, tasks);
    if (threads <= 1) {
        for (std::size_t task = 0; task < tasks; ++task) body(task, 0);
        return;
    }
    auto job = std::make_shared<Job>();
    job->tasks = tasks;
    job->body = &body;
    pool().offer(job, threads - 1);
    job->work(0);
    std::unique_lock<std::mutex> lock(job->mutex);
    job->closed = true;
    job->finished.wait(lock, [&] { return job->helpers_active == 0; });
    const std::exception_ptr error = std::exchange(job->error, nullptr);  // not left to a helper, which may be the last to let go of the job
    lock.unlock();
    if (error) std::rethrow_exception(error);
}

}  // namespace vsearch
