// The encoder's kernels one by one, for tests against NumPy oracles.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "bindings/arrays.hpp"
#include "kernels/table.hpp"
#include "quantize/block.hpp"
#include "quantize/levels.hpp"

namespace vsearch::bindings {
namespace {

template <class T>
bool whole_units(const Array<T>& x) {
    return x.ndim() == 1 && rows_of(x) % kDimMultiple == 0;
}

py::tuple sign_moments(const Array<float>& x, const Array<float>& center, const Array<float>& mean) {
    require(whole_units(x) && center.ndim() == 1 && mean.ndim() == 1 && rows_of(center) == rows_of(x) && rows_of(mean) == rows_of(x), "sign_moments: wrong shape");
    Array<std::uint8_t> signs(static_cast<py::ssize_t>(rows_of(x) / 8));
    Array<float> sums(5);
    kernels().sign_moments(x.data(), center.data(), mean.data(), rows_of(x), signs.mutable_data(), sums.mutable_data());
    return py::make_tuple(signs, sums);
}

Array<std::int16_t> quantize_i16(const Array<float>& x, float factor) {
    require(whole_units(x), "quantize_i16: length must be a multiple of 16");
    Array<std::int16_t> out(x.shape(0));
    kernels().quantize_i16(x.data(), rows_of(x), factor, out.mutable_data());
    return out;
}

// (dots, norms) of four scales.
py::tuple grid_scores(const Array<std::int16_t>& a, const Array<std::uint16_t>& scales, int shift, int top) {
    require(whole_units(a) && scales.ndim() == 1 && rows_of(scales) == 4 && shift >= 0 && shift < 16 && top >= 0 && top <= 127, "grid_scores: out of range");
    Array<std::int64_t> dots(4), norms(4);
    kernels().grid_scores(a.data(), rows_of(a), scales.data(), shift, top, dots.mutable_data(), norms.mutable_data());
    return py::make_tuple(dots, norms);
}

// (codes, sums).
py::tuple grid_codes(const Array<float>& x, const Array<float>& center, const Array<std::int16_t>& a, std::uint16_t scale, int shift, int top) {
    require(whole_units(x) && center.ndim() == 1 && a.ndim() == 1 && rows_of(center) == rows_of(x) && rows_of(a) == rows_of(x), "grid_codes: wrong shape");
    require(shift >= 0 && shift < 16 && top >= 0 && top <= 127 && (top & (top + 1)) == 0, "grid_codes: out of range");
    Array<std::uint8_t> codes(x.shape(0));
    Array<float> sums(2);
    kernels().grid_codes(x.data(), center.data(), a.data(), rows_of(x), scale, shift, top, codes.mutable_data(), sums.mutable_data());
    return py::make_tuple(codes, sums);
}

Array<float> rotate_round(const Array<float>& x, std::size_t offset, std::size_t span, const Array<std::uint32_t>& flips, float scale) {
    require(whole_units(x) && flips.ndim() == 1 && rows_of(flips) == rows_of(x), "rotate_round: wrong shape");
    const std::size_t d = rows_of(x);
    require(span >= 16 && (span & (span - 1)) == 0 && offset % 16 == 0 && span <= d && offset <= d - span && d % 16 == 0, "rotate_round: wrong span");
    Array<float> out(x.shape(0));
    std::memcpy(out.mutable_data(), x.data(), d * sizeof(float));
    kernels().rotate_round(out.mutable_data(), d, offset, span, flips.data(), scale);
    return out;
}

template <class T>
bool is_table(const Array<T>& thresholds, std::size_t levels, std::size_t most) {
    return thresholds.ndim() == 1 && rows_of(thresholds) + 1 == levels && levels >= 2 && levels <= most && (levels & (levels - 1)) == 0;
}

// (sum w y, sum y^2).
py::tuple level_scores(const Array<std::int16_t>& values, const Array<std::int16_t>& thresholds, const Array<std::int16_t>& levels) {
    require(whole_units(values) && levels.ndim() == 1 && is_table(thresholds, rows_of(levels), 16), "level_scores: wrong shape");
    std::int64_t sums[2];
    kernels().level_scores(values.data(), rows_of(values), thresholds.data(), levels.data(), static_cast<int>(rows_of(levels)), sums);
    return py::make_tuple(sums[0], sums[1]);
}

py::tuple bin_scores(const Array<float>& x, const Array<float>& w, float scale, float offset, const Array<float>& table) {
    require(whole_units(x) && w.ndim() == 1 && rows_of(w) == rows_of(x) && table.ndim() == 1 && rows_of(table) > 0, "bin_scores: wrong shape");
    float sums[2];
    kernels().bin_scores(x.data(), w.data(), rows_of(x), scale, offset, static_cast<float>(rows_of(table) - 1), table.data(), sums);
    return py::make_tuple(sums[0], sums[1]);
}

Array<std::uint8_t> level_codes(const Array<float>& x, float factor, const Array<float>& thresholds) {
    require(whole_units(x) && is_table(thresholds, rows_of(thresholds) + 1, 256), "level_codes: wrong shape");
    Array<std::uint8_t> codes(x.shape(0));
    kernels().level_codes(x.data(), rows_of(x), factor, thresholds.data(), static_cast<int>(rows_of(thresholds) + 1), codes.mutable_data());
    return codes;
}

// symbols: two a byte; extra: 2 * rest bytes for each 16 dims.
Array<std::uint8_t> unpack_levels(const Array<std::uint8_t>& symbols, const Array<std::uint8_t>& extra, int prefix, int rest) {
    require(symbols.ndim() == 1 && extra.ndim() == 1, "unpack_levels: wrong shape");
    require((prefix == 1 || prefix == 2 || prefix == 4) && rest >= 0 && prefix + rest <= 8, "unpack_levels: out of range");
    const std::size_t per_unit = 2 * static_cast<std::size_t>(prefix), units = rows_of(symbols) / per_unit;
    require(rows_of(symbols) % per_unit == 0 && rows_of(extra) == 2 * static_cast<std::size_t>(rest) * units, "unpack_levels: wrong shape");
    Array<std::uint8_t> codes(static_cast<py::ssize_t>(16 * units));
    kernels().unpack_levels(symbols.data(), extra.data(), prefix, rest, units, codes.mutable_data());
    return codes;
}

std::int32_t level_dot(const Array<std::uint8_t>& codes, const Array<std::int16_t>& levels, const Array<std::int16_t>& query) {
    require(whole_units(codes) && query.ndim() == 1 && rows_of(query) == rows_of(codes) && levels.ndim() == 1 && rows_of(levels) <= 256, "level_dot: wrong shape");
    for (py::ssize_t j = 0; j < codes.size(); ++j) require(codes.data()[j] < rows_of(levels), "level_dot: code out of range");
    std::int64_t peak = 0, sum = 0;
    for (py::ssize_t i = 0; i < levels.size(); ++i) peak = std::max<std::int64_t>(peak, std::abs(std::int64_t{levels.data()[i]}));
    for (py::ssize_t j = 0; j < query.size(); ++j) sum += std::abs(std::int64_t{query.data()[j]});
    require(peak <= 2047, "level_dot: levels must lie in -2047..2047");
    require(peak * sum <= std::numeric_limits<std::int32_t>::max(), "level_dot: the sum may not fit in 32 bits");
    const std::vector<std::uint8_t> bytes = level_bytes(levels.data(), rows_of(levels));
    return kernels().level_dot(codes.data(), bytes.data(), level_room(rows_of(levels)), query.data(), rows_of(codes));
}

}  // namespace

void register_encode(py::module_& m) {
    m.def("sign_moments", &sign_moments, py::arg("x"), py::arg("center"), py::arg("mean"));
    m.def("quantize_i16", &quantize_i16, py::arg("x"), py::arg("factor"));
    m.def("grid_scores", &grid_scores, py::arg("a"), py::arg("scales"), py::arg("shift"), py::arg("top"));
    m.def("grid_codes", &grid_codes, py::arg("x"), py::arg("center"), py::arg("a"), py::arg("scale"), py::arg("shift"), py::arg("top"));
    m.def("rotate_round", &rotate_round, py::arg("x"), py::arg("offset"), py::arg("span"), py::arg("flips"), py::arg("scale"));
    m.def("level_scores", &level_scores, py::arg("values"), py::arg("thresholds"), py::arg("levels"));
    m.def("bin_scores", &bin_scores, py::arg("x"), py::arg("w"), py::arg("scale"), py::arg("offset"), py::arg("table"));
    m.def("level_codes", &level_codes, py::arg("x"), py::arg("factor"), py::arg("thresholds"));
    m.def("unpack_levels", &unpack_levels, py::arg("symbols"), py::arg("extra"), py::arg("prefix"), py::arg("rest"));
    m.def("level_dot", &level_dot, py::arg("codes"), py::arg("levels"), py::arg("query"));
}

}  // namespace vsearch::bindings
