// The code kernels one by one, over many rows in a call: for tests against NumPy oracles and for bench/kernels.py.
#include <cstring>
#include <vector>

#include "bindings/arrays.hpp"
#include "kernels/table.hpp"
#include "quantize/block.hpp"
#include "quantize/planes.hpp"

namespace vsearch::bindings {
namespace {

// codes: (blocks, groups * 16) in FastScan order, lut: (groups, 16); sums: (blocks, 32).
Array<std::uint16_t> fastscan(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& lut) {
    require(codes.ndim() == 2 && lut.ndim() == 2 && columns_of(lut) == 16 && columns_of(codes) == 16 * rows_of(lut), "fastscan: wrong shape");
    require(rows_of(lut) % 4 == 0 && rows_of(lut) <= 257, "fastscan: groups must be a multiple of 4, at most 257");
    const std::size_t blocks = rows_of(codes), groups = rows_of(lut);
    Array<std::uint16_t> sums({blocks, kBlock});
    std::uint16_t* out = sums.mutable_data();
    const std::uint8_t *from = codes.data(), *table = lut.data();
    {
        py::gil_scoped_release unlocked;
        for (std::size_t b = 0; b < blocks; ++b) kernels().fastscan(from + b * groups * 16, table, groups, out + b * kBlock);
    }
    return sums;
}

// codes: (n, plane_bytes) of `bits`, query: int8, a multiple of 64 long.
Array<std::int32_t> dot_planes(int bits, const Array<std::uint8_t>& codes, const Array<std::int8_t>& query) {
    require(bits >= 1 && bits <= 8 && codes.ndim() == 2 && query.ndim() == 1 && rows_of(query) % kChunk == 0, "dot_planes: wrong shape");
    require(columns_of(codes) == plane_bytes(rows_of(query), bits), "dot_planes: wrong shape");
    const std::size_t n = rows_of(codes), stride = columns_of(codes), chunks = rows_of(query) / kChunk;
    Array<std::int32_t> dots(static_cast<py::ssize_t>(n));
    std::int32_t* out = dots.mutable_data();
    const std::uint8_t* from = codes.data();
    const std::int8_t* q = query.data();
    {
        py::gil_scoped_release unlocked;
        kernels().dot_planes(bits, q, from, stride, n, chunks, out);
    }
    return dots;
}

// codes: (groups, 16), a block in FastScan order; the symbols of a lane, two a byte.
Array<std::uint8_t> lane_symbols(const Array<std::uint8_t>& codes, std::size_t lane) {
    require(codes.ndim() == 2 && columns_of(codes) == 16 && rows_of(codes) % 4 == 0 && lane < kBlock, "lane_symbols: wrong shape");
    Array<std::uint8_t> symbols(static_cast<py::ssize_t>(rows_of(codes) / 2));
    kernels().lane_symbols(codes.data(), lane, rows_of(codes), symbols.mutable_data());
    return symbols;
}

// bits: an eighth as many bytes as the query has values.
std::int32_t dot_bits(const Array<std::uint8_t>& bits, const Array<std::int16_t>& query) {
    require(bits.ndim() == 1 && query.ndim() == 1 && rows_of(query) % kDimMultiple == 0 && 8 * rows_of(bits) == rows_of(query), "dot_bits: wrong shape");
    require(rows_of(query) < 65536, "dot_bits: too long");
    return kernels().dot_bits(bits.data(), query.data(), rows_of(query));
}

Array<std::uint8_t> pack(int bits, const Array<std::uint8_t>& values) {
    require(bits >= 1 && bits <= 8 && values.ndim() == 2, "pack_planes: wrong shape");
    const std::size_t n = rows_of(values), d = columns_of(values), stride = plane_bytes(d, bits);
    Array<std::uint8_t> codes({n, stride});
    for (std::size_t i = 0; i < n; ++i) pack_planes(values.data() + i * d, d, bits, codes.mutable_data() + i * stride);
    return codes;
}

Array<std::uint8_t> unpack(int bits, const Array<std::uint8_t>& codes, std::size_t d) {
    require(bits >= 1 && bits <= 8 && codes.ndim() == 2 && columns_of(codes) == plane_bytes(d, bits), "unpack_planes: wrong shape");
    const std::size_t n = rows_of(codes);
    Array<std::uint8_t> values({n, d});
    for (std::size_t i = 0; i < n; ++i) unpack_planes(codes.data() + i * columns_of(codes), d, bits, values.mutable_data() + i * d);
    return values;
}

// codes: (n, words), planes: (bits, words) of the query, lowest bit first.
Array<std::uint32_t> popcount_planes(const Array<std::uint64_t>& codes, const Array<std::uint64_t>& planes) {
    require(codes.ndim() == 2 && planes.ndim() == 2 && columns_of(codes) == columns_of(planes) && rows_of(planes) <= 16, "popcount_planes: wrong shape");
    const std::size_t n = rows_of(codes), words = columns_of(codes);
    Array<std::uint32_t> sums(static_cast<py::ssize_t>(n));
    std::uint32_t* out = sums.mutable_data();
    const std::uint64_t *from = codes.data(), *query = planes.data();
    const int bits = static_cast<int>(rows_of(planes));
    {
        py::gil_scoped_release unlocked;
        kernels().popcount_planes(query, bits, from, words, n, out);
    }
    return sums;
}

Array<std::uint32_t> hamming(const Array<std::uint64_t>& query, const Array<std::uint64_t>& codes) {
    require(codes.ndim() == 2 && query.ndim() == 1 && columns_of(codes) == rows_of(query), "hamming: wrong shape");
    Array<std::uint32_t> distances(codes.shape(0));
    std::uint32_t* out = distances.mutable_data();
    const std::uint64_t *q = query.data(), *from = codes.data();
    const std::size_t words = rows_of(query), n = rows_of(codes);
    {
        py::gil_scoped_release unlocked;
        kernels().hamming(q, from, words, n, out);
    }
    return distances;
}

// Rows are transformed on a copy; their length must be a power of two.
Array<float> fht(const Array<float>& x) {
    require(x.ndim() == 2 && columns_of(x) > 0 && (columns_of(x) & (columns_of(x) - 1)) == 0, "fht: rows must have a power of two of values");
    Array<float> out({rows_of(x), columns_of(x)});
    std::memcpy(out.mutable_data(), x.data(), static_cast<std::size_t>(x.size()) * sizeof(float));
    float* rows = out.mutable_data();
    const std::size_t n = rows_of(x), d = columns_of(x);
    {
        py::gil_scoped_release unlocked;
        for (std::size_t i = 0; i < n; ++i) kernels().fht_f32(rows + i * d, d);
    }
    return out;
}

// (table (groups, 16), sum of the negative values, widest range, the table in 8 bits)
py::tuple lookup_tables(const Array<float>& query) {
    require(query.ndim() == 1 && rows_of(query) % kDimMultiple == 0, "lookup_tables: length must be a multiple of 16");
    const std::size_t groups = rows_of(query) / 4;
    Array<float> table({groups, std::size_t{16}});
    Array<std::uint8_t> small({groups, std::size_t{16}});
    float low = 0, widest = 0;
    kernels().subset_sums(query.data(), groups, table.mutable_data(), &low, &widest);
    kernels().quantize_u8(table.data(), groups * 16, widest > 0 ? 255.0f / widest : 0.0f, 255.0f, small.mutable_data());
    return py::make_tuple(table, low, widest, small);
}

}  // namespace

void register_codes(py::module_& m) {
    m.def("fastscan", &fastscan, py::arg("codes"), py::arg("lut"));
    m.def("dot_planes", &dot_planes, py::arg("bits"), py::arg("codes"), py::arg("query"));
    m.def("pack_planes", &pack, py::arg("bits"), py::arg("values"));
    m.def("unpack_planes", &unpack, py::arg("bits"), py::arg("codes"), py::arg("dim"));
    m.def("popcount_planes", &popcount_planes, py::arg("codes"), py::arg("planes"));
    m.def("hamming", &hamming, py::arg("query"), py::arg("codes"));
    m.def("lane_symbols", &lane_symbols, py::arg("codes"), py::arg("lane"));
    m.def("dot_bits", &dot_bits, py::arg("bits"), py::arg("query"));
    m.def("fht", &fht, py::arg("x"));
    m.def("lookup_tables", &lookup_tables, py::arg("query"));
}

}  // namespace vsearch::bindings
