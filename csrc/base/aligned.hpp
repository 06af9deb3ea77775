// A 64-byte aligned, uninitialised array: the scratch space of queries and the home of packed codes.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

namespace vsearch {

constexpr std::size_t kAlignment = 64;

inline constexpr std::size_t round_up(std::size_t value, std::size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

template <class T>
class AlignedArray {
public:
    AlignedArray() = default;
    explicit AlignedArray(std::size_t size) { resize(size); }
    AlignedArray(AlignedArray&& other) noexcept { swap(other); }
    AlignedArray& operator=(AlignedArray&& other) noexcept {
        swap(other);
        return *this;
    }
    AlignedArray(const AlignedArray&) = delete;
    AlignedArray& operator=(const AlignedArray&) = delete;
    ~AlignedArray() { ::operator delete(data_, std::align_val_t(kAlignment)); }

    // Contents are not kept when the array grows.
    void resize(std::size_t size) {
        if (size > capacity_) {
            T* fresh = static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t(kAlignment)));
            ::operator delete(data_, std::align_val_t(kAlignment));
            data_ = fresh;
            capacity_ = size;
        }
        size_ = size;
    }
    void swap(AlignedArray& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }
    T* data() { return data_; }
    const T* data() const { return data_; }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) { return data_[i]; }
    const T& operator[](std::size_t i) const { return data_[i]; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

}  // namespace vsearch
