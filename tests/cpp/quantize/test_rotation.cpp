// The rotation is one: it keeps lengths and angles, its inverse undoes it, and it mixes every coordinate.
#include <cmath>
#include <vector>

#include "check.hpp"
#include "guarded.hpp"
#include "kernels/tables.hpp"
#include "quantize/rotation.hpp"

using namespace vsearch;
using namespace vsearch::test;

namespace {

Rotation make_rotation(std::size_t dim) {
    std::vector<std::uint8_t> signs(Rotation::rounds(dim) * Rotation::padded_dim(dim) / 8);
    fill(signs, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
    return Rotation(dim, signs.data(), signs.size());
}

double dot(const Guarded<float>& a, const Guarded<float>& b) {
    double sum = 0;
    for (std::size_t j = 0; j < a.size(); ++j) sum += static_cast<double>(a[j]) * b[j];
    return sum;
}

}  // namespace

TEST(rotation_keeps_inner_products_and_is_undone) {
    for (const std::size_t dim : {1, 2, 3, 15, 16, 17, 31, 48, 96, 100, 128, 200, 384, 900, 1536}) {
        const Rotation rotation = make_rotation(dim);
        Guarded<float> x(dim), y(dim), back(dim), px(rotation.padded()), py(rotation.padded());
        fill(x, [] { return random_float(); });
        fill(y, [] { return random_float(); });
        rotation.apply(x.data(), px.data());
        rotation.apply(y.data(), py.data());
        rotation.apply_inverse(px.data(), back.data());
        const double scale = std::sqrt(dot(x, x) * dot(y, y));
        CHECK_AT(std::abs(dot(px, py) - dot(x, y)) <= 1e-5 * scale, at("rotation", dim));
        CHECK_AT(std::abs(dot(px, px) - dot(x, x)) <= 1e-5 * dot(x, x), at("rotation", dim));
        for (std::size_t j = 0; j < dim; ++j) CHECK_AT(std::abs(back[j] - x[j]) <= 1e-4f, at("rotation", dim, j));
    }
}

TEST(rotation_spreads_a_unit_vector) {
    for (const std::size_t dim : {64, 100, 384, 900}) {
        const Rotation rotation = make_rotation(dim);
        Guarded<float> x(dim), px(rotation.padded());
        for (std::size_t unit = 0; unit < dim; unit += dim / 7) {
            fill(x, [] { return 0.f; });
            x[unit] = 1;
            rotation.apply(x.data(), px.data());
            float largest = 0;
            for (std::size_t j = 0; j < px.size(); ++j) largest = std::max(largest, std::abs(px[j]));
            // Uniform on the sphere it would be about 4 / sqrt(d). Where d is no power of two, a lone coordinate that the first
            // transform misses is mixed less: up to 8.5 / sqrt(d) at d = 900.
            CHECK_AT(largest <= 10 / std::sqrt(static_cast<float>(dim)), at("rotation", dim, unit));
        }
    }
}
