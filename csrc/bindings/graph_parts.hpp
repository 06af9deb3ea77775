// What the bindings of the two graphs and of their builders share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "bindings/arrays.hpp"
#include "index/graph.hpp"

namespace vsearch::bindings {

constexpr std::size_t kShortGraph = 32;  // vertices: a microsecond or two

// The lifts of n vertices, null for None.
inline const float* lifts_of(const py::object& lifts, std::size_t n) {
    if (lifts.is_none()) return nullptr;
    const auto table = py::cast<Array<float>>(lifts);
    require(table.ndim() == 1 && rows_of(table) >= n, "lifts: wrong shape");
    return table.data();
}

inline py::dict counters_of(const GraphCounters& counters) {
    py::dict out;
    out["visited"] = counters.visited;
    out["entered"] = counters.entered;
    return out;
}

// Has a builder take the vertices of a packed bitmap out, of n.
template <class Builder>
void forget(Builder& builder, const Array<std::uint8_t>& dead, std::size_t n) {
    require(dead.ndim() == 1 && rows_of(dead) >= (n + 7) / 8, "dead: wrong length");
    const std::uint8_t* bits = dead.data();
    py::gil_scoped_release unlocked;
    builder.forget(bits);
}

// Has a builder call the n vertices by other slots, of which `count` are left.
template <class Builder>
void rename(Builder& builder, const Array<std::uint32_t>& renamed, std::size_t n, std::size_t count) {
    require(renamed.ndim() == 1 && rows_of(renamed) == n && count <= n, "renamed: wrong length");
    const std::uint32_t* to = renamed.data();
    py::gil_scoped_release unlocked;
    builder.rename(to, count);
}

template <class Builder>
Array<std::uint32_t> unreached(const Builder& builder) {
    const auto found = builder.unreached();
    Array<std::uint32_t> out(static_cast<py::ssize_t>(found.size()));
    std::copy(found.begin(), found.end(), out.mutable_data());
    return out;
}

}  // namespace vsearch::bindings
