// What the searching bindings share: queries that need no Python to be understood, arrays for the answers, and the order in
// which gate and GIL are taken.
#pragma once

#include <cstdint>
#include <utility>

#include "base/gate.hpp"
#include "bindings/arrays.hpp"
#include "index/given_query.hpp"

namespace vsearch::bindings {

constexpr long kMostNeighbours = 65536;

// Whether an object is a float32 array, contiguous and aligned, of `ndim` dimensions, the last of `dim`.
inline bool is_ready_array(const py::object& given, py::ssize_t ndim, std::size_t dim) {
    if (!py::isinstance<Array<float>>(given)) return false;
    const auto array = py::reinterpret_borrow<py::array>(given);
    return array.ndim() == ndim && static_cast<std::size_t>(array.shape(ndim - 1)) == dim && reinterpret_cast<std::uintptr_t>(array.data()) % alignof(float) == 0;
}

// One query in no need of conversion: float32, contiguous, finite, of the right dimension, with an int k. For cosine it is scaled to
// length 1. Where ready() is false the caller checks the arguments at length, and tells the user what is wrong with them.
class ReadyQuery {
public:
    ReadyQuery(const py::object& query, const py::object& k, std::size_t dim, Metric metric) {
        if (!PyLong_CheckExact(k.ptr()) || !is_ready_array(query, 1, dim)) return;
        const long wanted = PyLong_AsLong(k.ptr());
        if (wanted < 1 || wanted > kMostNeighbours) {
            PyErr_Clear();
            return;
        }
        const auto* data = static_cast<const float*>(py::reinterpret_borrow<py::array>(query).data());
        const bool cosine = metric == Metric::kCosine;
        if ((cosine && dim > kOnStack) || !make_ready(data, 1, dim, metric, unit_)) return;
        data_ = cosine ? unit_ : data;
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

// The same of many, in one pass over them and without BLAS, whose workers would spin beside the search: the array itself, for cosine a copy
// of rows of length 1, or None.
inline py::object ready_queries(const py::object& queries, std::size_t dim, Metric metric) {
    if (!is_ready_array(queries, 2, dim)) return py::none();
    const auto given = py::reinterpret_borrow<Array<float>>(queries);
    const std::size_t n = rows_of(given);
    const float* data = given.data();
    const bool cosine = metric == Metric::kCosine;
    Array<float> units({cosine ? n : 0, dim});
    float* to = units.mutable_data();
    bool ready;
    {
        py::gil_scoped_release unlocked;
        ready = make_ready(data, n, dim, metric, to);
    }
    if (!ready) return py::none();
    return cosine ? py::object(std::move(units)) : queries;
}

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

// A search for many queries as the user gave them, which the workers make ready; None where one of them cannot be searched for.
template <class Scan, class Options, class Size>
py::object search_given(Scan& scan, Gate& gate, Size size, std::size_t short_size, const py::object& queries, Options options, std::size_t threads) {
    if (!is_ready_array(queries, 2, scan.dim())) return py::none();
    const auto given = py::reinterpret_borrow<Array<float>>(queries);
    const std::size_t nq = rows_of(given);
    options.given = true;
    Answer answer(nq, options.k, false);
    bool ready = false;
    run_shared(gate, size() * nq <= short_size, [&] { ready = scan.search(given.data(), nq, options, threads, answer.ids, answer.distances); });
    return ready ? py::object(answer.take()) : py::none();
}

}  // namespace vsearch::bindings
