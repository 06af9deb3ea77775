// Bindings of csrc/quantize/table.hpp: encoders of the table quantizers and the update step of their training.
#include "quantize/table.hpp"

#include <algorithm>

#include "bindings/arrays.hpp"

namespace vsearch::bindings {
namespace {

using Starts = Array<std::int64_t>;

// Ascending from 0 to at most `last`, in steps of at most `most`.
std::vector<std::size_t> ascending(const Starts& starts, std::size_t last, std::size_t most, bool to_the_end) {
    require(starts.ndim() == 1 && starts.size() >= 2, "tables: no splits");
    std::vector<std::size_t> out;
    for (py::ssize_t i = 0; i < starts.size(); ++i) {
        const std::int64_t at = starts.data()[i], before = i > 0 ? starts.data()[i - 1] : 0;
        require(at >= before && at - before <= static_cast<std::int64_t>(most) && (i > 0 || at == 0), "tables: splits out of order");
        out.push_back(static_cast<std::size_t>(at));
    }
    require(to_the_end ? out.back() == last : out.back() <= last, "tables: splits out of range");
    return out;
}

// centroids: (codebooks, count, width); starts, first: (splits + 1,); vectors have `columns` dims.
Codebooks books_from(std::size_t columns, const Starts& starts, const Starts& first, const Array<float>& centroids) {
    require(centroids.ndim() == 3, "tables: wrong shape");
    Codebooks books;
    books.centroids = centroids.data();
    books.count = static_cast<std::size_t>(centroids.shape(1));
    books.width = static_cast<std::size_t>(centroids.shape(2));
    books.start = ascending(starts, columns, books.width, false);
    books.first = ascending(first, static_cast<std::size_t>(centroids.shape(0)), static_cast<std::size_t>(centroids.shape(0)), true);
    require(books.start.size() == books.first.size(), "tables: wrong shape");
    require(books.count > 0 && books.count <= kMostCentroids && books.count % kCentroidMultiple == 0, "tables: wrong number of centroids");
    return books;
}


Array<std::uint8_t> table_nearest(const Array<float>& x, const Starts& starts, const Array<float>& centroids, std::size_t threads) {
    require(x.ndim() == 2 && centroids.ndim() == 3, "table_nearest: wrong shape");
    Starts first(centroids.shape(0) + 1);
    for (py::ssize_t i = 0; i < first.size(); ++i) first.mutable_data()[i] = i;
    const Codebooks books = books_from(columns_of(x), starts, first, centroids);
    Array<std::uint8_t> codes({rows_of(x), books.books()});
    const float* rows = x.data();
    std::uint8_t* out = codes.mutable_data();
    const std::size_t n = rows_of(x), stride = columns_of(x);
    {
        py::gil_scoped_release unlocked;
        encode_nearest(books, rows, stride, n, out, threads);
    }
    return codes;
}

Array<std::uint8_t> table_beam(const Array<float>& x, const Starts& starts, const Starts& first, const Array<float>& centroids, std::size_t beam,
                               std::size_t sweeps, std::size_t threads) {
    require(x.ndim() == 2, "table_beam: wrong shape");
    require(beam >= 1 && beam <= kMostCentroids, "table_beam: beam out of range");
    const Codebooks books = books_from(columns_of(x), starts, first, centroids);
    Array<std::uint8_t> codes({rows_of(x), books.books()});
    const float* rows = x.data();
    std::uint8_t* out = codes.mutable_data();
    const std::size_t n = rows_of(x), stride = columns_of(x);
    {
        py::gil_scoped_release unlocked;
        encode_beam(books, rows, stride, n, beam, sweeps, out, threads);
    }
    return codes;
}

void check_codes(const Array<std::uint8_t>& codes, std::size_t books, std::size_t count) {
    require(codes.ndim() == 2 && columns_of(codes) == books, "tables: wrong shape of codes");
    for (py::ssize_t i = 0; i < codes.size(); ++i) require(codes.data()[i] < count, "tables: code out of range");
}

// (n, starts[-1])
Array<float> table_decode(const Array<std::uint8_t>& codes, const Starts& starts, const Starts& first, const Array<float>& centroids, std::size_t threads) {
    require(starts.ndim() == 1 && starts.size() >= 2 && starts.data()[starts.size() - 1] >= 0, "tables: no splits");
    const auto dim = static_cast<std::size_t>(starts.data()[starts.size() - 1]);
    const Codebooks books = books_from(dim, starts, first, centroids);
    check_codes(codes, books.books(), books.count);
    Array<float> out({rows_of(codes), dim});
    const std::uint8_t* from = codes.data();
    float* to = out.mutable_data();
    const std::size_t n = rows_of(codes);
    {
        py::gil_scoped_release unlocked;
        decode_rows(books, from, n, to, dim, threads);
    }
    return out;
}

// (sums (splits, count, width) float64, sizes (splits, count) int64)
py::tuple table_sums(const Array<float>& x, const Starts& starts, const Array<std::uint8_t>& codes, std::size_t count, std::size_t width,
                     std::size_t threads) {
    require(x.ndim() == 2 && codes.ndim() == 2 && rows_of(codes) == rows_of(x), "table_sums: wrong shape");
    require(count >= 1 && count <= kMostCentroids, "table_sums: wrong number of centroids");
    Codebooks shape;
    shape.count = count;
    shape.width = width;
    shape.start = ascending(starts, columns_of(x), width, false);
    check_codes(codes, shape.splits(), count);
    Array<double> sums({shape.splits(), count, width});
    Array<std::int64_t> sizes({shape.splits(), count});
    const float* rows = x.data();
    const std::uint8_t* from = codes.data();
    double* to = sums.mutable_data();
    std::int64_t* counted = sizes.mutable_data();
    const std::size_t n = rows_of(x), stride = columns_of(x);
    {
        py::gil_scoped_release unlocked;
        sum_clusters(shape, rows, stride, from, n, to, counted, threads);
    }
    return py::make_tuple(sums, sizes);
}

Array<float> table_refine(const Array<float>& x, const Starts& starts, const Starts& first, const Array<float>& centroids,
                          const Array<std::uint8_t>& codes, std::size_t passes, std::size_t threads) {
    require(x.ndim() == 2, "table_refine: wrong shape");
    const Codebooks books = books_from(columns_of(x), starts, first, centroids);
    check_codes(codes, books.books(), books.count);
    require(rows_of(codes) == rows_of(x), "table_refine: wrong shape");
    Array<float> out({books.books(), books.count, books.width});
    std::copy(centroids.data(), centroids.data() + centroids.size(), out.mutable_data());
    const float* rows = x.data();
    const std::uint8_t* from = codes.data();
    float* to = out.mutable_data();
    const std::size_t n = rows_of(x), stride = columns_of(x);
    {
        py::gil_scoped_release unlocked;
        refine_codebooks(books, to, rows, stride, from, n, passes, threads);
    }
    return out;
}

}  // namespace

void register_table(py::module_& m) {
    m.def("table_nearest", &table_nearest, py::arg("x"), py::arg("starts"), py::arg("centroids"), py::arg("threads") = 1);
    m.def("table_beam", &table_beam, py::arg("x"), py::arg("starts"), py::arg("first"), py::arg("centroids"), py::arg("beam"), py::arg("sweeps"),
          py::arg("threads") = 1);
    m.def("table_decode", &table_decode, py::arg("codes"), py::arg("starts"), py::arg("first"), py::arg("centroids"), py::arg("threads") = 1);
    m.def("table_refine", &table_refine, py::arg("x"), py::arg("starts"), py::arg("first"), py::arg("centroids"), py::arg("codes"), py::arg("passes"),
          py::arg("threads") = 1);
    m.def("table_sums", &table_sums, py::arg("x"), py::arg("starts"), py::arg("codes"), py::arg("count"), py::arg("width"), py::arg("threads") = 1);
}

}  // namespace vsearch::bindings
