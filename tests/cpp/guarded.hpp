// An array whose last byte lies against a page that may not be touched: one byte read too far kills the test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace vsearch::test {

template <class T>
class Guarded {
public:
    explicit Guarded(std::size_t size) : size_(size) {
        const std::size_t bytes = size * sizeof(T);
#if defined(__unix__) || defined(__APPLE__)
        const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        mapped_ = (bytes + page - 1) / page * page + page;
        base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base_ == MAP_FAILED) std::abort();
        std::uint8_t* fence = static_cast<std::uint8_t*>(base_) + mapped_ - page;
        if (mprotect(fence, page, PROT_NONE) != 0) std::abort();
        data_ = reinterpret_cast<T*>(fence - bytes);
#else
        base_ = std::malloc(bytes + 1);
        data_ = static_cast<T*>(base_);
#endif
    }
    ~Guarded() {
#if defined(__unix__) || defined(__APPLE__)
        munmap(base_, mapped_);
#else
        std::free(base_);
#endif
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    T* data() { return data_; }
    const T* data() const { return data_; }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) { return data_[i]; }
    const T& operator[](std::size_t i) const { return data_[i]; }
    T* begin() { return data_; }
    T* end() { return data_ + size_; }

private:
    std::size_t size_;
    std::size_t mapped_ = 0;
    void* base_ = nullptr;
    T* data_ = nullptr;
};

}  // namespace vsearch::test
