// Bindings of csrc/quantize: transforms, codecs, and reading and writing lanes of blocks.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/pool.hpp"
#include "bindings/arrays.hpp"
#include "quantize/block.hpp"
#include "quantize/levels.hpp"
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

// Rows of x through one of a transform's three maps.
template <class Map>
Array<float> map_rows(const Array<float>& x, std::size_t in, std::size_t out_dim, std::size_t threads, Map map) {
    require(x.ndim() == 2 && columns_of(x) == in, "transform: wrong shape");
    Array<float> out({rows_of(x), out_dim});
    const float* from = x.data();
    float* to = out.mutable_data();
    over_rows(rows_of(x), threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) map(from + i * in, to + i * out_dim);
    });
    return out;
}

Array<float> transform_base(const Transform& t, const Array<float>& x, std::size_t threads) {
    return map_rows(x, t.dim(), t.padded(), threads, [&](const float* from, float* to) { t.apply(from, to); });
}

Array<float> transform_query(const Transform& t, const Array<float>& x, std::size_t threads) {
    return map_rows(x, t.dim(), t.padded(), threads, [&](const float* from, float* to) { t.apply_query(from, to); });
}

Array<float> transform_back(const Transform& t, const Array<float>& y, std::size_t threads) {
    return map_rows(y, t.padded(), t.dim(), threads, [&](const float* from, float* to) { t.apply_inverse(from, to); });
}

std::unique_ptr<MatrixTransform> make_matrix(const Array<float>& base, const std::optional<Array<float>>& query, const std::optional<Array<float>>& inverse) {
    require(base.ndim() == 2 && rows_of(base) % kDimMultiple == 0 && rows_of(base) > 0, "matrix: wrong shape");
    const std::size_t padded = rows_of(base), dim = columns_of(base);
    const auto is_of = [](const Array<float>& part, std::size_t rows, std::size_t columns) {
        return part.ndim() == 2 && rows_of(part) == rows && columns_of(part) == columns;
    };
    require((!query || is_of(*query, padded, dim)) && (!inverse || is_of(*inverse, dim, padded)), "matrix: wrong shape");
    return std::make_unique<MatrixTransform>(dim, padded, base.data(), query ? query->data() : nullptr, inverse ? inverse->data() : nullptr);
}

LevelRule rule_from(const std::string& name) {
    if (name == "scaled") return LevelRule::kScaled;
    if (name == "plain") return LevelRule::kPlain;
    if (name == "interval") return LevelRule::kInterval;
    if (name == "clipped") return LevelRule::kClipped;
    require(name == "optimized", "levels: unknown rule");
    return LevelRule::kOptimized;
}

// segments: begin, length, bits, prefix of each; scales: sigma, weight, prefix energy; levels and prefix_levels one segment after
// another; profile: (2, dim) or None.
std::unique_ptr<LevelsCodec> make_levels(std::size_t dim, const Array<std::int64_t>& segments, const Array<float>& scales, const Array<float>& levels,
                                         const Array<float>& prefix_levels, const py::object& profile, const std::string& rule, bool unbiased,
                                         std::size_t lead) {
    require(segments.ndim() == 2 && columns_of(segments) == 4 && scales.ndim() == 2 && columns_of(scales) == 3 && rows_of(scales) == rows_of(segments) &&
                levels.ndim() == 1 && prefix_levels.ndim() == 1,
            "levels: wrong shape");
    std::vector<Segment> parts(rows_of(segments));
    std::size_t at = 0, prefix_at = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const std::int64_t* row = segments.data() + 4 * i;
        require(row[0] >= 0 && row[1] > 0 && row[2] >= 1 && row[2] <= 8 && row[3] >= 1 && row[3] <= 4, "levels: segment out of range");
        Segment& part = parts[i];
        part.begin = static_cast<std::size_t>(row[0]);
        part.length = static_cast<std::size_t>(row[1]);
        part.bits = static_cast<int>(row[2]);
        part.prefix = static_cast<int>(row[3]);
        part.sigma = scales.data()[3 * i];
        part.weight = scales.data()[3 * i + 1];
        part.prefix_energy = scales.data()[3 * i + 2];
        const std::size_t count = std::size_t{1} << part.bits, prefixes = std::size_t{1} << part.prefix;
        require(at + count <= rows_of(levels) && prefix_at + prefixes <= rows_of(prefix_levels), "levels: too few");
        part.levels.assign(levels.data() + at, levels.data() + at + count);
        part.prefix_levels.assign(prefix_levels.data() + prefix_at, prefix_levels.data() + prefix_at + prefixes);
        at += count;
        prefix_at += prefixes;
    }
    Array<float> errors;
    if (!profile.is_none()) {
        errors = py::cast<Array<float>>(profile);
        require(errors.ndim() == 2 && rows_of(errors) == 2 && columns_of(errors) == dim, "levels: wrong shape");
    }
    return std::make_unique<LevelsCodec>(dim, parts, profile.is_none() ? nullptr : errors.data(), rule_from(rule), unbiased, lead);
}

// What the codec finds for all residuals together, in pieces that bound the memory.
template <class Subtract>
std::vector<std::uint8_t> search(const Codec& codec, std::size_t n, std::size_t threads, Subtract subtract) {
    constexpr std::size_t kPiece = 65536;
    const std::size_t d = codec.shape().dim, bytes = codec.search_bytes();
    std::vector<std::uint8_t> found(n * bytes);
    if (found.empty()) return found;
    py::gil_scoped_release unlocked;
    AlignedArray<float> residuals(std::min(n, kPiece) * d);
    for (std::size_t first = 0; first < n; first += kPiece) {
        const std::size_t some = std::min(kPiece, n - first);
        for (std::size_t i = 0; i < some; ++i) subtract(first + i, residuals.data() + i * d);
        codec.search(residuals.data(), some, found.data() + first * bytes, threads);
    }
    return found;
}

// Codes and factors of n vectors: residual_of(i, out) writes the residual of one to the list whose origin origin_of(i) is.
template <class ResidualOf, class OriginOf>
py::dict encode_all(const Codec& codec, std::size_t n, std::size_t threads, ResidualOf residual_of, OriginOf origin_of) {
    const std::size_t d = codec.shape().dim, symbol_bytes = codec.symbol_bytes(), extra_bytes = codec.shape().extra_bytes;
    Array<std::uint8_t> symbols({n, symbol_bytes}), extra({n, extra_bytes});
    Array<float> first({n, std::size_t{3}}), full({n, std::size_t{3}}), spreads({n, std::size_t{2}});
    std::uint8_t *symbol_out = symbols.mutable_data(), *extra_out = extra.mutable_data();
    float *first_out = first.mutable_data(), *full_out = full.mutable_data(), *spread_out = spreads.mutable_data();
    const std::vector<std::uint8_t> found = search(codec, n, threads, residual_of);
    over_rows(n, threads, [&](std::size_t begin, std::size_t end) {
        AlignedArray<float> residual(d);
        EncodeScratch scratch;
        const auto put = [](const Factors& f, float* out) { out[0] = f.add, out[1] = f.rescale, out[2] = f.shift; };
        for (std::size_t i = begin; i < end; ++i) {
            residual_of(i, residual.data());
            if (!found.empty()) scratch.found = found.data() + i * codec.search_bytes();
            const EncodedVector e = codec.encode(residual.data(), origin_of(i), scratch, symbol_out + i * symbol_bytes, extra_out + i * extra_bytes);
            put(e.first, first_out + 3 * i);
            put(e.full, full_out + 3 * i);
            spread_out[2 * i] = e.first_spread;
            spread_out[2 * i + 1] = e.full_spread;
        }
    });
    py::dict out;
    out["symbols"] = symbols;
    out["extra"] = extra;
    out["first"] = first;
    out["full"] = full;
    out["spreads"] = spreads;
    return out;
}

// transformed: (n, dim), without the mean; assign: list of each row; centroids: (lists, dim), without the mean.
py::dict encode(const Codec& codec, const Array<float>& transformed, const Array<std::uint32_t>& assign, const Array<float>& centroids,
                const Array<float>& mean, const std::string& metric_name, std::size_t threads) {
    const std::size_t d = codec.shape().dim;
    require(transformed.ndim() == 2 && columns_of(transformed) == d && centroids.ndim() == 2 && columns_of(centroids) == d, "encode: wrong shape");
    require(assign.ndim() == 1 && rows_of(assign) == rows_of(transformed) && mean.ndim() == 1 && rows_of(mean) == d, "encode: wrong shape");
    const std::size_t n = rows_of(transformed), lists = rows_of(centroids);
    for (std::size_t i = 0; i < n; ++i) require(assign.data()[i] < lists, "encode: list out of range");
    const Metric metric = metric_from(metric_name);
    const float *x = transformed.data(), *c = centroids.data(), *mu = mean.data();
    const std::uint32_t* list = assign.data();
    const auto residual_of = [=](std::size_t i, float* residual) {
        for (std::size_t j = 0; j < d; ++j) residual[j] = x[i * d + j] - c[list[i] * d + j];
    };
    return encode_all(codec, n, threads, residual_of, [=](std::size_t i) { return Origin{c + list[i] * d, mu, metric}; });
}

// Vectors as they come, (n, transform.dim()), each in one go: transformed, less the transformed mean, encoded for l2 about the origin.
py::dict compress(const Codec& codec, const Transform& transform, const Array<float>& x, const Array<float>& mean, std::size_t threads) {
    const std::size_t d = codec.shape().dim, in = transform.dim();
    require(transform.padded() == d && x.ndim() == 2 && columns_of(x) == in && mean.ndim() == 1 && rows_of(mean) == d, "compress: wrong shape");
    const float *rows = x.data(), *mu = mean.data();
    const std::vector<float> origin(d);
    const auto residual_of = [&transform, rows, mu, d, in](std::size_t i, float* residual) {
        transform.apply(rows + i * in, residual);
        for (std::size_t j = 0; j < d; ++j) residual[j] -= mu[j];
    };
    return encode_all(codec, rows_of(x), threads, residual_of, [&](std::size_t) { return Origin{origin.data(), mu, Metric::kL2}; });
}

void check_codes(const Codec& codec, const Array<std::uint8_t>& symbols, const Array<std::uint8_t>& extra) {
    require(symbols.ndim() == 2 && columns_of(symbols) == codec.symbol_bytes() && extra.ndim() == 2 && rows_of(extra) == rows_of(symbols) &&
                columns_of(extra) == codec.shape().extra_bytes,
            "codes: wrong shape");
}

Array<std::uint8_t> unpack_levels(const Codec& codec, const Array<std::uint8_t>& symbols, const Array<std::uint8_t>& extra) {
    check_codes(codec, symbols, extra);
    const std::size_t n = rows_of(symbols), count = codec.level_count();
    Array<std::uint8_t> out({n, count});
    for (std::size_t i = 0; i < n; ++i)
        codec.unpack(symbols.data() + i * codec.symbol_bytes(), extra.data() + i * codec.shape().extra_bytes, out.mutable_data() + i * count);
    return out;
}

Array<float> decode(const Codec& codec, const Array<std::uint8_t>& symbols, const Array<std::uint8_t>& extra) {
    check_codes(codec, symbols, extra);
    const std::size_t n = rows_of(symbols), d = codec.shape().dim;
    Array<float> out({n, d});
    for (std::size_t i = 0; i < n; ++i)
        codec.decode(symbols.data() + i * codec.symbol_bytes(), extra.data() + i * codec.shape().extra_bytes, out.mutable_data() + i * d);
    return out;
}

void check_positions(const Array<std::uint8_t>& blocks, std::size_t block_bytes, const Array<std::int64_t>& positions) {
    require(blocks.ndim() == 2 && columns_of(blocks) == block_bytes, "blocks: wrong shape");
    const auto limit = static_cast<std::int64_t>(rows_of(blocks) * kBlock);
    for (py::ssize_t i = 0; i < positions.size(); ++i) require(positions.data()[i] >= 0 && positions.data()[i] < limit, "blocks: position out of range");
}

// symbols: (n, symbols / 2) rows of 4-bit symbols; factors: (n, columns * factor_size) bytes, the columns of each vector one after another.
void write_blocks(Array<std::uint8_t>& blocks, const Array<std::int64_t>& positions, const Array<std::uint32_t>& slots,
                  const Array<std::uint8_t>& symbols, const Array<std::uint8_t>& factors, std::size_t factor_size) {
    require(symbols.ndim() == 2 && factors.ndim() == 2 && factor_size > 0 && columns_of(factors) % factor_size == 0, "write_blocks: wrong shape");
    const BlockLayout layout(2 * columns_of(symbols), columns_of(factors) / factor_size, factor_size);
    check_positions(blocks, layout.bytes, positions);
    const std::size_t n = rows_of(positions);
    require(rows_of(slots) == n && rows_of(symbols) == n && rows_of(factors) == n, "write_blocks: wrong shape");
    for (std::size_t i = 0; i < n; ++i) {
        const auto position = static_cast<std::size_t>(positions.data()[i]);
        std::uint8_t* block = blocks.mutable_data() + position / kBlock * layout.bytes;
        const std::size_t lane = position % kBlock;
        write_lane(block, layout.symbols, lane, symbols.data() + i * columns_of(symbols));
        for (std::size_t f = 0; f < layout.columns; ++f)
            std::memcpy(block + (layout.column(block, f) - block) + lane * factor_size, factors.data() + (i * layout.columns + f) * factor_size, factor_size);
        layout.slot(block)[lane] = slots.data()[i];
    }
}

py::tuple read_blocks(const Array<std::uint8_t>& blocks, std::size_t symbols, std::size_t columns, std::size_t factor_size,
                      const Array<std::int64_t>& positions) {
    const BlockLayout layout(symbols, columns, factor_size);
    check_positions(blocks, layout.bytes, positions);
    const std::size_t n = rows_of(positions);
    Array<std::uint32_t> slots(static_cast<py::ssize_t>(n));
    Array<std::uint8_t> rows({n, symbols / 2}), factors({n, columns * factor_size});
    for (std::size_t i = 0; i < n; ++i) {
        const auto position = static_cast<std::size_t>(positions.data()[i]);
        const std::uint8_t* block = blocks.data() + position / kBlock * layout.bytes;
        const std::size_t lane = position % kBlock;
        read_lane(block, layout.symbols, lane, rows.mutable_data() + i * (symbols / 2));
        for (std::size_t f = 0; f < columns; ++f)
            std::memcpy(factors.mutable_data() + (i * columns + f) * factor_size, layout.column(block, f) + lane * factor_size, factor_size);
        slots.mutable_data()[i] = layout.slot(block)[lane];
    }
    return py::make_tuple(slots, rows, factors);
}

}  // namespace

void register_quantize(py::module_& m) {
    py::class_<Transform>(m, "Transform")
        .def_property_readonly("dim", &Transform::dim)
        .def_property_readonly("padded", &Transform::padded)
        .def("apply", &transform_base, py::arg("x"), py::arg("threads") = 1)
        .def("apply_query", &transform_query, py::arg("x"), py::arg("threads") = 1)
        .def("apply_inverse", &transform_back, py::arg("y"), py::arg("threads") = 1);
    py::class_<Rotation, Transform>(m, "Rotation")
        .def(py::init([](std::size_t dim, const Array<std::uint8_t>& signs) {
                 return std::make_unique<Rotation>(dim, signs.data(), static_cast<std::size_t>(signs.size()));
             }),
             py::arg("dim"), py::arg("signs"))
        .def_static("sign_bytes", [](std::size_t dim) { return Rotation::rounds(dim) * Rotation::padded_dim(dim) / 8; }, py::arg("dim"));
    py::class_<MatrixTransform, Transform>(m, "Matrix").def(py::init(&make_matrix), py::arg("base"), py::arg("query") = py::none(), py::arg("inverse") = py::none());
    py::class_<Padding, Transform>(m, "Padding").def(py::init<std::size_t>(), py::arg("dim"));
    py::class_<Codec>(m, "Codec")
        .def_property_readonly("dim", [](const Codec& c) { return c.shape().dim; })
        .def_property_readonly("symbols", [](const Codec& c) { return c.shape().symbols; })
        .def_property_readonly("extra_bytes", [](const Codec& c) { return c.shape().extra_bytes; })
        .def_property_readonly("lead", [](const Codec& c) { return c.shape().lead; })
        .def_property_readonly("shifted", [](const Codec& c) { return c.shape().shifted; })
        .def("encode", &encode, py::arg("transformed"), py::arg("assign"), py::arg("centroids"), py::arg("mean"), py::arg("metric"),
             py::arg("threads") = 1)
        .def("compress", &compress, py::arg("transform"), py::arg("x"), py::arg("mean"), py::arg("threads") = 1)
        .def("unpack", &unpack_levels, py::arg("symbols"), py::arg("extra"))
        .def("decode", &decode, py::arg("symbols"), py::arg("extra"));
    py::class_<RabitqCodec, Codec>(m, "RabitqCodec").def(py::init([](std::size_t dim, int bits) {
        require(dim > 0 && dim % kDimMultiple == 0 && bits >= 1 && bits <= 8, "rabitq: dim or bits out of range");
        return std::make_unique<RabitqCodec>(dim, bits);
    }), py::arg("dim"), py::arg("bits"));
    py::class_<LevelsCodec, Codec>(m, "LevelsCodec")
        .def(py::init(&make_levels), py::arg("dim"), py::arg("segments"), py::arg("scales"), py::arg("levels"), py::arg("prefix_levels"), py::arg("profile"), py::arg("rule"),
             py::arg("unbiased"), py::arg("lead"));
    m.def("block_bytes", [](std::size_t symbols, std::size_t columns, std::size_t factor_size) { return BlockLayout(symbols, columns, factor_size).bytes; },
          py::arg("symbols"), py::arg("columns"), py::arg("factor_size"));
    m.def("write_blocks", &write_blocks, py::arg("blocks").noconvert(), py::arg("positions"), py::arg("slots"), py::arg("symbols"), py::arg("factors"),
          py::arg("factor_size"));
    m.def("read_blocks", &read_blocks, py::arg("blocks").noconvert(), py::arg("symbols"), py::arg("columns"), py::arg("factor_size"), py::arg("positions"));
}

}  // namespace vsearch::bindings
