// What the searching bindings share: queries that need no Python to be understood, arrays for the answers, and the order in
// which gate and GIL are taken.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/gate.hpp"
#include "bindings/arrays.hpp"

namespace vsearch::bindings {

constexpr long kMostNeighbours = 65536;

inline bool all_finite(const float* x, std::size_t n) {
    std::uint32_t bad = 0;
    for (std::size_t i = 0; i < n; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, x + i, sizeof(bits));
        bad |= static_cast<std::uint32_t>((bits & 0x7f800000u) == 0x7f800000u);
    }
    return bad == 0;
}

// Scales rows to length 1, each by its own norm in double; returns the first row without a direction, or n. A product with 1 / norm costs a
// fraction of a division, and in double its error is far below float's.
inline std::size_t scale_rows(const float* from, std::size_t n, std::size_t d, float* to) {
    for (std::size_t i = 0; i < n; ++i, from += d, to += d) {
        double sum[4] = {};
        const auto add = [&](std::size_t lane, float x) { sum[lane] += static_cast<double>(x) * x; };
        std::size_t j = 0;
        for (; j + 4 <= d; j += 4)
            for (std::size_t lane = 0; lane < 4; ++lane) add(lane, from[j + lane]);
        for (std::size_t lane = 0; j < d; ++j, ++lane) add(lane, from[j]);
        const double norm = std::sqrt((sum[0] + sum[1]) + (sum[2] + sum[3]));
        if (norm == 0) return i;
        const double inverse = 1.0 / norm;
        for (j = 0; j < d; ++j) to[j] = static_cast<float>(from[j] * inverse);
    }
    return n;
}

// One query in no need of conversion: float32, contiguous, finite, of the right dimension, with an int k. For cosine it is scaled to
// length 1. Where ready() is false the caller checks the arguments at length, and tells the user what is wrong with them.
class ReadyQuery {
public:
    ReadyQuery(const py::object& query, const py::object& k, std::size_t dim, Metric metric) {
        if (!PyLong_CheckExact(k.ptr()) || !py::isinstance<Array<float>>(query)) return;
        const long wanted = PyLong_AsLong(k.ptr());
        if (wanted < 1 || wanted > kMostNeighbours) {
            PyErr_Clear();
            return;
        }
        const auto array = py::reinterpret_borrow<py::array>(query);
        if (array.ndim() != 1 || static_cast<std::size_t>(array.shape(0)) != dim) return;
        const auto* data = static_cast<const float*>(array.data());
        if (reinterpret_cast<std::uintptr_t>(data) % alignof(float) != 0 || !all_finite(data, dim)) return;
        if (metric == Metric::kCosine) {
            if (dim > kOnStack || scale_rows(data, 1, dim, unit_) == 0) return;
            data = unit_;
        }
        data_ = data;
        k_ = static_cast<std::size_t>(wanted);
    }
    ReadyQuery(const ReadyQuery&) = delete;
    ReadyQuery& operator=(const ReadyQuery&) = delete;

    bool ready() const { return data_ != nullptr; }
    const float* data() const { return data_; }
    std::size_t k() const { return k_; }

private:
    static constexpr std::size_t kOnStack = 4096;

    const float* data_ = nullptr;
    std::size_t k_ = 0;
    float unit_[kOnStack];
};

// Ids and distances of nq queries; one-dimensional for a single one.
class Answer {
public:
    Answer(std::size_t nq, std::size_t k, bool single) : ids_(shape(nq, k, single)), distances_(shape(nq, k, single)) {
        ids = ids_.mutable_data();
        distances = distances_.mutable_data();
    }
    py::tuple take() { return py::make_tuple(std::move(ids_), std::move(distances_)); }

    std::int64_t* ids;
    float* distances;

private:
    static py::array::ShapeContainer shape(std::size_t nq, std::size_t k, bool single) {
        const auto rows = static_cast<py::ssize_t>(nq), columns = static_cast<py::ssize_t>(k);
        return single ? py::array::ShapeContainer{columns} : py::array::ShapeContainer{rows, columns};
    }

    Array<std::int64_t> ids_;
    Array<float> distances_;
};

// Runs a search with writers kept out. Short ones keep the GIL: handing it over and taking it back costs 0.2 us, or a tick of the
// scheduler where it is contended. Never waits for the gate with the GIL in hand, for the writer may need it to finish.
template <class Run>
void run_shared(Gate& gate, bool is_short, Run run) {
    struct Leave {
        Gate& gate;
        ~Leave() { gate.leave_shared(); }
    };
    if (is_short && gate.try_enter_shared()) {
        const Leave pass{gate};
        return run();
    }
    py::gil_scoped_release unlocked;
    const SharedPass pass(gate);
    run();
}

// A search for one query or many, with writers kept out: checks, the answer's arrays, and the filter's place in `options`, whose k is set.
// `size()` tells how many vectors there are, and a search that looks at `short_size` of them or fewer is a short one.
template <class Scan, class Options, class Size>
py::tuple search_shared(Scan& scan, Gate& gate, std::size_t dim, Size size, std::size_t short_size, const Array<float>& queries, Options options,
                        std::size_t threads, const py::object& filter, std::size_t matches) {
    const bool single = queries.ndim() == 1;
    require(queries.ndim() == (single ? 1 : 2) && static_cast<std::size_t>(queries.shape(single ? 0 : 1)) == dim, "queries: wrong shape");
    const std::size_t nq = single ? 1 : rows_of(queries);
    Array<std::uint8_t> bitmap;
    if (!filter.is_none()) {
        bitmap = py::cast<Array<std::uint8_t>>(filter);
        options.filter = bitmap.data();
        options.matches = matches;
    }
    Answer answer(nq, options.k, single);
    run_shared(gate, size() * nq <= short_size, [&] {
        require(options.filter == nullptr || static_cast<std::size_t>(bitmap.size()) >= (size() + 7) / 8, "filter: wrong length");
        scan.search(queries.data(), nq, options, threads, answer.ids, answer.distances);
    });
    return answer.take();
}

}  // namespace vsearch::bindings
