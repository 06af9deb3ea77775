// How a row kernel walks n rows: four at a time, so that a load of the query serves four rows and four sums are reduced together.
//
//   without slots   rows i, i + n/4, i + 2n/4, i + 3n/4: four streams far apart. A prefetcher follows each of them, and while one
//                   waits at the end of a page the others flow: 1.3 to 2.4 x the bandwidth of rows i .. i+3, which look to
//                   it like one stream read out of order (bench/flat.py)
//   with slots      rows in the order of slots, those to come prefetched whole
//
// Everything is in an anonymous namespace: each ISA unit gets its own copy, compiled with its own flags.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(_MSC_VER) && !defined(__clang__)
#include <xmmintrin.h>
#endif

namespace vsearch::kernel_ops {
namespace {

inline void prefetch_line(const char* p) {
#if defined(_MSC_VER) && !defined(__clang__)
    _mm_prefetch(p, _MM_HINT_T0);
#else
    __builtin_prefetch(p);
#endif
}

inline void prefetch_row(const char* row, std::size_t bytes) {
    constexpr std::size_t kMost = 2048;  // the hardware prefetcher has caught on by then
    for (std::size_t i = 0; i < bytes && i < kMost; i += 64) prefetch_line(row + i);
}

// four(pointers, result) scores 4 rows, one(pointers, result) a single row; results go to out[0 .. n-1].
template <class Element, class Result, class Four, class One>
inline void walk_rows(const void* rows, std::size_t stride, const std::uint32_t* slots, std::size_t n, std::size_t d, Result* out,
                      Four four, One one) {
    constexpr std::size_t kAhead = 8;
    const char* base = static_cast<const char*>(rows);
    const std::size_t quarter = n / 4;
    const Element* pointers[4];
    Result result[4];
    if (slots == nullptr) {
        for (std::size_t i = 0; i < quarter; ++i) {
            for (std::size_t r = 0; r < 4; ++r) pointers[r] = reinterpret_cast<const Element*>(base + stride * (i + r * quarter));
            four(pointers, result);
            for (std::size_t r = 0; r < 4; ++r) out[i + r * quarter] = result[r];
        }
    } else {
        const std::size_t bytes = d * sizeof(Element);
        for (std::size_t i = 0; i < n && i < kAhead; ++i) prefetch_row(base + stride * slots[i], bytes);
        for (std::size_t i = 0; i < 4 * quarter; i += 4) {
            for (std::size_t next = i + kAhead; next < i + kAhead + 4 && next < n; ++next) prefetch_row(base + stride * slots[next], bytes);
            for (std::size_t r = 0; r < 4; ++r) pointers[r] = reinterpret_cast<const Element*>(base + stride * slots[i + r]);
            four(pointers, out + i);
        }
    }
    for (std::size_t i = 4 * quarter; i < n; ++i) {
        pointers[0] = reinterpret_cast<const Element*>(base + stride * (slots != nullptr ? slots[i] : i));
        one(pointers, out + i);
    }
}

}  // namespace
}  // namespace vsearch::kernel_ops
