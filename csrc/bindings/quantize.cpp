// Bindings of csrc/quantize: the rotation, the RaBitQ encoder, and reading and writing lanes of blocks.
#include <algorithm>
#include <vector>

#include "base/pool.hpp"
#include "bindings/arrays.hpp"
#include "quantize/block.hpp"
#include "quantize/planes.hpp"
#include "quantize/rabitq.hpp"
#include "quantize/rotation.hpp"

namespace vsearch::bindings {
namespace {

constexpr std::size_t kRowsPerTask = 256;

// Runs body(begin, end) over [0, n) in pieces, without the GIL.
template <class Body>
void over_rows(std::size_t n, std::size_t threads, Body body) {
    py::gil_scoped_release unlocked;
    parallel_for((n + kRowsPerTask - 1) / kRowsPerTask, threads, [&](std::size_t task, std::size_t) {
        body(task * kRowsPerTask, std::min(n, (task + 1) * kRowsPerTask));
    });
}

Array<float> rotate(const Rotation& rotation, const Array<float>& x, std::size_t threads) {
    require(x.ndim() == 2 && columns_of(x) == rotation.dim(), "rotate: wrong shape");
    Array<float> out({rows_of(x), rotation.padded()});
    const float* from = x.data();
    float* to = out.mutable_data();
    over_rows(rows_of(x), threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) rotation.apply(from + i * rotation.dim(), to + i * rotation.padded());
    });
    return out;
}

Array<float> rotate_back(const Rotation& rotation, const Array<float>& y, std::size_t threads) {
    require(y.ndim() == 2 && columns_of(y) == rotation.padded(), "rotate_back: wrong shape");
    Array<float> out({rows_of(y), rotation.dim()});
    const float* from = y.data();
    float* to = out.mutable_data();
    over_rows(rows_of(y), threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) rotation.apply_inverse(from + i * rotation.padded(), to + i * rotation.dim());
    });
    return out;
}

std::size_t extra_stride(std::size_t padded, int bits) { return bits > 1 ? 2 * sizeof(float) + plane_bytes(padded, bits - 1) : 0; }

// rotated: (n, padded), without the mean; assign: list of each row; centroids: (lists, padded), without the mean.
py::dict rabitq_encode(const Array<float>& rotated, const Array<std::uint32_t>& assign, const Array<float>& centroids, const Array<float>& mean,
                       int bits, const std::string& metric_name, std::size_t threads) {
    require(rotated.ndim() == 2 && centroids.ndim() == 2 && columns_of(centroids) == columns_of(rotated), "encode: wrong shape");
    require(bits >= 1 && bits <= 8 && columns_of(rotated) % kDimMultiple == 0, "encode: wrong bits or dim");
    require(assign.ndim() == 1 && rows_of(assign) == rows_of(rotated) && mean.ndim() == 1 && rows_of(mean) == columns_of(rotated), "encode: wrong shape");
    const std::size_t n = rows_of(rotated), d = columns_of(rotated), stride = extra_stride(d, bits), lists = rows_of(centroids);
    for (std::size_t i = 0; i < n; ++i) require(assign.data()[i] < lists, "encode: list out of range");
    const Metric metric = metric_from(metric_name);
    Array<std::uint8_t> signs({n, d / 8}), extra({n, stride});
    Array<float> add(static_cast<py::ssize_t>(n)), rescale(static_cast<py::ssize_t>(n)), spreads({n, std::size_t{2}});
    const float* x = rotated.data();
    const float* c = centroids.data();
    const float* mu = mean.data();
    const std::uint32_t* list = assign.data();
    std::uint8_t *sign_out = signs.mutable_data(), *extra_out = extra.mutable_data();
    float *add_out = add.mutable_data(), *rescale_out = rescale.mutable_data(), *spread_out = spreads.mutable_data();
    over_rows(n, threads, [&](std::size_t begin, std::size_t end) {
        std::vector<float> residual(d), magnitude(d);
        std::vector<std::uint8_t> codes(d);
        for (std::size_t i = begin; i < end; ++i) {
            const float* centroid = c + list[i] * d;
            for (std::size_t j = 0; j < d; ++j) residual[j] = x[i * d + j] - centroid[j];
            const EncodedVector e = encode_rabitq(residual.data(), centroid, mu, d, bits, metric, codes.data(), magnitude.data());
            const unsigned top = static_cast<unsigned>(bits - 1);
            std::uint8_t* sign_row = sign_out + i * (d / 8);
            for (std::size_t j = 0; j < d; j += 8) {
                unsigned byte = 0;
                for (std::size_t b = 0; b < 8; ++b) byte |= (codes[j + b] >> top & 1u) << b;
                sign_row[j / 8] = static_cast<std::uint8_t>(byte);
            }
            if (bits > 1) {
                float* factor = reinterpret_cast<float*>(extra_out + i * stride);
                factor[0] = e.full.add;
                factor[1] = e.full.rescale;
                for (std::size_t j = 0; j < d; ++j) codes[j] = static_cast<std::uint8_t>(codes[j] & ((1u << top) - 1u));
                pack_planes(codes.data(), d, bits - 1, extra_out + i * stride + 2 * sizeof(float));
            }
            add_out[i] = e.sign.add;
            rescale_out[i] = e.sign.rescale;
            spread_out[2 * i] = e.sign_spread;
            spread_out[2 * i + 1] = e.full_spread;
        }
    });
    py::dict out;
    out["signs"] = signs;
    out["extra"] = extra;
    out["add"] = add;
    out["rescale"] = rescale;
    out["spreads"] = spreads;
    return out;
}

// The unsigned codes u (n, padded) from sign rows and extra rows: what decode() and the tests look at.
Array<std::uint8_t> rabitq_levels(const Array<std::uint8_t>& signs, const Array<std::uint8_t>& extra, int bits) {
    require(signs.ndim() == 2 && extra.ndim() == 2 && bits >= 1 && bits <= 8, "levels: wrong shape");
    const std::size_t n = rows_of(signs), d = columns_of(signs) * 8;
    require(rows_of(extra) == n && columns_of(extra) == extra_stride(d, bits), "levels: wrong shape");
    Array<std::uint8_t> out({n, d});
    for (std::size_t i = 0; i < n; ++i) {
        std::uint8_t* row = out.mutable_data() + i * d;
        if (bits > 1)
            unpack_planes(extra.data() + i * columns_of(extra) + 2 * sizeof(float), d, bits - 1, row);
        else
            std::fill(row, row + d, std::uint8_t{0});
        for (std::size_t j = 0; j < d; ++j) row[j] = static_cast<std::uint8_t>(row[j] | (signs.data()[i * (d / 8) + j / 8] >> (j % 8) & 1u) << (bits - 1));
    }
    return out;
}

void check_positions(const Array<std::uint8_t>& blocks, std::size_t block_bytes, const Array<std::int64_t>& positions) {
    require(blocks.ndim() == 2 && columns_of(blocks) == block_bytes, "blocks: wrong shape");
    const auto limit = static_cast<std::int64_t>(rows_of(blocks) * kBlock);
    for (py::ssize_t i = 0; i < positions.size(); ++i) require(positions.data()[i] >= 0 && positions.data()[i] < limit, "blocks: position out of range");
}

void write_blocks(Array<std::uint8_t>& blocks, std::size_t padded, const Array<std::int64_t>& positions, const Array<std::uint32_t>& slots,
                  const Array<std::uint8_t>& signs, const Array<float>& add, const Array<float>& rescale) {
    const BlockLayout layout(padded);
    check_positions(blocks, layout.bytes, positions);
    const std::size_t n = rows_of(positions);
    require(rows_of(slots) == n && rows_of(signs) == n && rows_of(add) == n && rows_of(rescale) == n && columns_of(signs) == padded / 8, "write_blocks: wrong shape");
    for (std::size_t i = 0; i < n; ++i) {
        const auto position = static_cast<std::size_t>(positions.data()[i]);
        std::uint8_t* block = blocks.mutable_data() + position / kBlock * layout.bytes;
        const std::size_t lane = position % kBlock;
        write_lane(block, layout.groups, lane, signs.data() + i * (padded / 8));
        layout.add(block)[lane] = add.data()[i];
        layout.rescale(block)[lane] = rescale.data()[i];
        layout.slot(block)[lane] = slots.data()[i];
    }
}

py::tuple read_blocks(const Array<std::uint8_t>& blocks, std::size_t padded, const Array<std::int64_t>& positions) {
    const BlockLayout layout(padded);
    check_positions(blocks, layout.bytes, positions);
    const std::size_t n = rows_of(positions);
    Array<std::uint32_t> slots(static_cast<py::ssize_t>(n));
    Array<std::uint8_t> signs({n, padded / 8});
    Array<float> add(static_cast<py::ssize_t>(n)), rescale(static_cast<py::ssize_t>(n));
    for (std::size_t i = 0; i < n; ++i) {
        const auto position = static_cast<std::size_t>(positions.data()[i]);
        const std::uint8_t* block = blocks.data() + position / kBlock * layout.bytes;
        const std::size_t lane = position % kBlock;
        read_lane(block, layout.groups, lane, signs.mutable_data() + i * (padded / 8));
        add.mutable_data()[i] = layout.add(block)[lane];
        rescale.mutable_data()[i] = layout.rescale(block)[lane];
        slots.mutable_data()[i] = layout.slot(block)[lane];
    }
    return py::make_tuple(slots, signs, add, rescale);
}

}  // namespace

void register_quantize(py::module_& m) {
    py::class_<Rotation>(m, "Rotation")
        .def(py::init([](std::size_t dim, const Array<std::uint8_t>& signs) { return Rotation(dim, signs.data(), static_cast<std::size_t>(signs.size())); }),
             py::arg("dim"), py::arg("signs"))
        .def_static("sign_bytes", [](std::size_t dim) { return Rotation::rounds(dim) * Rotation::padded_dim(dim) / 8; }, py::arg("dim"))
        .def_property_readonly("dim", &Rotation::dim)
        .def_property_readonly("padded", &Rotation::padded)
        .def("apply", &rotate, py::arg("x"), py::arg("threads") = 1)
        .def("apply_inverse", &rotate_back, py::arg("y"), py::arg("threads") = 1);
    m.def("rabitq_encode", &rabitq_encode, py::arg("rotated"), py::arg("assign"), py::arg("centroids"), py::arg("mean"), py::arg("bits"),
          py::arg("metric"), py::arg("threads") = 1);
    m.def("rabitq_levels", &rabitq_levels, py::arg("signs"), py::arg("extra"), py::arg("bits"));
    m.def("block_bytes", [](std::size_t padded) { return BlockLayout(padded).bytes; }, py::arg("padded"));
    m.def("write_blocks", &write_blocks, py::arg("blocks").noconvert(), py::arg("padded"), py::arg("positions"), py::arg("slots"), py::arg("signs"),
          py::arg("add"), py::arg("rescale"));
    m.def("read_blocks", &read_blocks, py::arg("blocks").noconvert(), py::arg("padded"), py::arg("positions"));
}

}  // namespace vsearch::bindings
