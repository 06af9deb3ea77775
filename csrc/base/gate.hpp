// A many-readers, one-writer gate that lets a waiting writer in first.
//
// std::shared_mutex on glibc prefers readers: under eight searching threads a writer could wait for ever. Here a
// writer that waits closes the door to new readers, so a commit is delayed by the searches in flight and no others. A writer that
// comes again and again keeps no reader out either: as many as waited while it wrote enter before the next one.
// Invariants: (1) readers_ > 0 excludes writing_; (2) while writers_waiting_ > 0 no reader enters but those owed_; (3) while any are
// owed_ no writer enters.
#pragma once

#include <condition_variable>
#include <mutex>

namespace vsearch {

class Gate {
public:
    void enter_shared() {
        std::unique_lock<std::mutex> lock(mutex_);
        ++readers_waiting_;
        changed_.wait(lock, [this] { return !writing_ && (writers_waiting_ == 0 || owed_ > 0); });
        --readers_waiting_;
        if (owed_ > 0) --owed_;
        ++readers_;
    }
    // Never waits: for callers that hold something the writer may need.
    bool try_enter_shared() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (writing_ || writers_waiting_ > 0) return false;
        ++readers_;
        return true;
    }
    void leave_shared() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (--readers_ == 0 && writers_waiting_ > 0) changed_.notify_all();
    }
    void enter_exclusive() {
        std::unique_lock<std::mutex> lock(mutex_);
        ++writers_waiting_;
        changed_.wait(lock, [this] { return !writing_ && readers_ == 0 && owed_ == 0; });
        --writers_waiting_;
        writing_ = true;
    }
    void leave_exclusive() {
        std::lock_guard<std::mutex> lock(mutex_);
        writing_ = false;
        owed_ = readers_waiting_;
        changed_.notify_all();
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int readers_ = 0;
    int readers_waiting_ = 0;
    int owed_ = 0;  // of those that wait, how many enter before any writer
    int writers_waiting_ = 0;
    bool writing_ = false;
};

class SharedPass {
public:
    explicit SharedPass(Gate& gate) : gate_(gate) { gate_.enter_shared(); }
    ~SharedPass() { gate_.leave_shared(); }
    SharedPass(const SharedPass&) = delete;
    SharedPass& operator=(const SharedPass&) = delete;

private:
    Gate& gate_;
};

}  // namespace vsearch
