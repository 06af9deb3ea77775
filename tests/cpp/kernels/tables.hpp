// The kernel tables under test, and what their tests share: random values and names for what failed.
//
// Every program brings its own candidates(): native.cpp those that this CPU can run, emulated/ those it cannot.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/table.hpp"

namespace vsearch::test {

struct Candidate {
    std::string name;
    KernelTable table;
};

const std::vector<Candidate>& candidates();

inline const KernelTable& reference() {
    static const KernelTable table = [] {
        KernelTable scalar;
        install_scalar(scalar);
        return scalar;
    }();
    return table;
}

constexpr std::size_t kDims[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 100, 128, 200, 384, 900, 1536};

inline std::mt19937& generator() {
    static std::mt19937 engine(20240521);
    return engine;
}

inline int random_int(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator()); }
inline float random_float() { return std::normal_distribution<float>()(generator()); }

template <class Array, class Make>
void fill(Array& array, Make make) {
    for (std::size_t i = 0; i < array.size(); ++i) array[i] = make();
}

inline std::string at(const std::string& candidate, std::size_t first, std::size_t second = 0) {
    return "(" + candidate + ", " + std::to_string(first) + ", " + std::to_string(second) + ")";
}

// Equal to the last bit, so that 0 and -0 differ.
template <class T>
bool same_bits(const T* a, const T* b, std::size_t n) {
    return n == 0 || std::memcmp(a, b, n * sizeof(T)) == 0;
}

}  // namespace vsearch::test
