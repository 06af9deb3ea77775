// The Walsh-Hadamard transform in vectors of any width. Each output is a tree of additions and subtractions whose order the stages fix,
// from neighbours to halves, so that every unit gives the same bits in however many passes over memory.
//
// Bound by loads and stores of L1, so the passes are few: three stages between eight registers in each. A unit says Vector, kLanes, load,
// store, add, sub and within(vector), the stages inside one register.
//
// Everything is in an anonymous namespace: each ISA unit gets its own copy, compiled with its own flags.
#pragma once

#include <cstddef>

#include "kernels/ops/unroll.hpp"

namespace vsearch::kernel_ops {
namespace {

// Value by value.
inline void fht_plain(float* x, std::size_t n) {
    for (std::size_t half = 1; half < n; half *= 2) {
        for (std::size_t start = 0; start < n; start += 2 * half) {
            for (std::size_t j = start; j < start + half; ++j) {
                const float a = x[j], b = x[j + half];
                x[j] = a + b;
                x[j + half] = a - b;
            }
        }
    }
}

// Stages between registers.
template <class Unit, int kStages>
inline void butterflies(typename Unit::Vector* row) {
    constexpr std::size_t kRows = std::size_t{1} << kStages;
    VSEARCH_UNROLL
    for (std::size_t apart = 1; apart < kRows; apart *= 2) {
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) {
            if ((r & apart) != 0) continue;
            const typename Unit::Vector a = row[r], b = row[r + apart];
            row[r] = Unit::add(a, b);
            row[r + apart] = Unit::sub(a, b);
        }
    }
}

// The stages within each eight vectors; load(j) gives the vector at j.
template <class Unit, class Load>
inline void fht_eights(float* x, std::size_t n, Load load) {
    for (std::size_t j = 0; j < n; j += 8 * Unit::kLanes) {
        typename Unit::Vector row[8];
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < 8; ++r) row[r] = Unit::within(load(j + r * Unit::kLanes));
        butterflies<Unit, 3>(row);
        VSEARCH_UNROLL
        for (std::size_t r = 0; r < 8; ++r) Unit::store(x + j + r * Unit::kLanes, row[r]);
    }
}

// Stages of `half`, 2 half, ... in one pass over memory; finish(vector) is what is stored.
template <class Unit, int kStages, class Finish>
inline void fht_pass(float* x, std::size_t n, std::size_t half, Finish finish) {
    constexpr std::size_t kRows = std::size_t{1} << kStages;
    for (std::size_t start = 0; start < n; start += kRows * half) {
        for (std::size_t j = start; j < start + half; j += Unit::kLanes) {
            typename Unit::Vector row[kRows];
            VSEARCH_UNROLL
            for (std::size_t r = 0; r < kRows; ++r) row[r] = Unit::load(x + j + r * half);
            butterflies<Unit, kStages>(row);
            VSEARCH_UNROLL
            for (std::size_t r = 0; r < kRows; ++r) Unit::store(x + j + r * half, finish(row[r]));
        }
    }
}

// As many stages as a pass takes, so that none is left with one of two; returns the half of the next pass.
template <class Unit, class Finish>
inline std::size_t fht_next(float* x, std::size_t n, std::size_t half, Finish finish) {
    const std::size_t left = n / half;
    if (left == 2) return fht_pass<Unit, 1>(x, n, half, finish), 2 * half;
    if (left == 4 || left == 16) return fht_pass<Unit, 2>(x, n, half, finish), 4 * half;
    return fht_pass<Unit, 3>(x, n, half, finish), 8 * half;
}

template <class Unit>
inline void fht_on(float* x, std::size_t n, std::size_t half) {
    while (half < n) half = fht_next<Unit>(x, n, half, [](typename Unit::Vector v) { return v; });
}

// The kernel.
template <class Unit>
void fht_f32(float* x, std::size_t n) {
    if (n < Unit::kLanes) return fht_plain(x, n);
    if (n >= 8 * Unit::kLanes) {
        fht_eights<Unit>(x, n, [x](std::size_t j) { return Unit::load(x + j); });
        return fht_on<Unit>(x, n, 8 * Unit::kLanes);
    }
    for (std::size_t j = 0; j < n; j += Unit::kLanes) Unit::store(x + j, Unit::within(Unit::load(x + j)));
    fht_on<Unit>(x, n, Unit::kLanes);
}

}  // namespace
}  // namespace vsearch::kernel_ops
