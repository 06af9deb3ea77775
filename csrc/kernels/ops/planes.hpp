// Codes of planes (layout: quantize/planes.hpp) against int8 queries: which planes a code has and what their sums weigh, for every unit.
//
// A unit says how it adds a plane of a 64-dim chunk: Vector zero(), add4, add2 and add1(sum, plane, q), q the chunk of the query in whatever
// form it likes to have it, and weighed<kShift>(total, sum) = total + (sum << kShift).
//
// Everything is in an anonymous namespace: each ISA unit gets its own copy, compiled with its own flags.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vsearch::kernel_ops {
namespace {

// Sums of each plane, on their own until they are weighed.
template <class Unit>
struct PlaneSums {
    typename Unit::Vector low4 = Unit::zero(), high4 = Unit::zero(), two = Unit::zero(), one = Unit::zero();
};

template <int kBits>
struct Planes {
    static constexpr bool k4 = kBits >= 4, k8 = kBits == 8, k2 = kBits == 2 || kBits == 3 || kBits == 6 || kBits == 7, k1 = kBits % 2 == 1;
    static constexpr std::size_t kBytes = 8 * kBits;  // of a chunk

    template <class Unit, class Query>
    static void add(PlaneSums<Unit>& s, const std::uint8_t* code, const Query& q) {
        if constexpr (k4) s.low4 = Unit::add4(s.low4, code, q);
        if constexpr (k8) s.high4 = Unit::add4(s.high4, code + 32, q);
        if constexpr (k2) s.two = Unit::add2(s.two, code + (k4 ? 32 : 0), q);
        if constexpr (k1) s.one = Unit::add1(s.one, code + 8 * (kBits - 1), q);
    }
    template <class Unit, class Total>
    static Total weighed(Total total, const PlaneSums<Unit>& s) {
        if constexpr (k4) total = Unit::template weighed<0>(total, s.low4);
        if constexpr (k8) total = Unit::template weighed<4>(total, s.high4);
        if constexpr (k2) total = Unit::template weighed<k4 ? 4 : 0>(total, s.two);
        if constexpr (k1) total = Unit::template weighed<kBits - 1>(total, s.one);
        return total;
    }
};

// Code after code, for a unit whose sums hold any number of chunks; Unit::chunk(query) is its form of 64 values, Unit::reduced(total) the
// sum of the lanes.
template <class Unit>
struct RowByRow {
    template <int kBits>
    static void dot(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t n, std::size_t chunks, std::int32_t* out) {
        using P = Planes<kBits>;
        for (std::size_t i = 0; i < n; ++i, codes += stride) {
            PlaneSums<Unit> sums;
            for (std::size_t c = 0; c < chunks; ++c) P::add(sums, codes + P::kBytes * c, Unit::chunk(query + 64 * c));
            out[i] = Unit::reduced(P::weighed(Unit::zero(), sums));
        }
    }
};

// The kernel: Rows::dot<kBits> of the bits at hand.
template <class Rows>
void dot_planes(int bits, const std::int8_t* query, const std::uint8_t* codes, std::size_t stride, std::size_t n, std::size_t chunks, std::int32_t* out) {
    switch (bits) {
        case 1: return Rows::template dot<1>(query, codes, stride, n, chunks, out);
        case 2: return Rows::template dot<2>(query, codes, stride, n, chunks, out);
        case 3: return Rows::template dot<3>(query, codes, stride, n, chunks, out);
        case 4: return Rows::template dot<4>(query, codes, stride, n, chunks, out);
        case 5: return Rows::template dot<5>(query, codes, stride, n, chunks, out);
        case 6: return Rows::template dot<6>(query, codes, stride, n, chunks, out);
        case 7: return Rows::template dot<7>(query, codes, stride, n, chunks, out);
        default: return Rows::template dot<8>(query, codes, stride, n, chunks, out);
    }
}

}  // namespace
}  // namespace vsearch::kernel_ops
