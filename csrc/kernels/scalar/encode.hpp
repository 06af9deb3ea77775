// Encoder kernels, scalar: the reference for every other unit. Layouts: quantize/rabitq.hpp, quantize/levels.hpp.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/ops/hadamard.hpp"
#include "kernels/ops/rotate.hpp"
#include "kernels/scalar/codes.hpp"
#include "kernels/table.hpp"

namespace vsearch::scalar {
namespace {

// Sixteen partial sums, folded as a tree: the order every unit keeps, so that all units choose the same code.
float fold16(float* lane) {
    for (std::size_t width = 8; width > 0; width /= 2)
        for (std::size_t i = 0; i < width; ++i) lane[i] += lane[i + width];
    return lane[0];
}

void sign_moments(const float* x, const float* c, const float* mean, std::size_t d, std::uint8_t* signs, float* out) {
    float norm2[16] = {}, absolute[16] = {}, sign_center[16] = {}, center[16] = {}, peak = 0;
    for (std::size_t j = 0; j < d; ++j) {
        const float magnitude = std::fabs(x[j]);
        norm2[j % 16] += x[j] * x[j];
        absolute[j % 16] += magnitude;
        sign_center[j % 16] += x[j] > 0 ? c[j] : -c[j];
        center[j % 16] += x[j] * (c[j] + mean[j]);
        peak = magnitude > peak ? magnitude : peak;
        if (j % 8 == 0) signs[j / 8] = 0;
        signs[j / 8] = static_cast<std::uint8_t>(signs[j / 8] | (x[j] > 0) << (j % 8));
    }
    out[0] = fold16(norm2);
    out[1] = fold16(absolute);
    out[2] = fold16(sign_center);
    out[3] = fold16(center);
    out[4] = peak;
}

void quantize_i16(const float* x, std::size_t n, float factor, std::int16_t* out) {
    constexpr float kTop = 32767.0f;
    for (std::size_t i = 0; i < n; ++i) {
        float scaled = x[i] * factor;
        scaled = scaled < kTop ? scaled : kTop;
        scaled = scaled > -kTop ? scaled : -kTop;
        out[i] = static_cast<std::int16_t>(std::nearbyint(scaled));
    }
}

int grid_level(int magnitude, unsigned scale, int shift, int top) {
    return std::min(static_cast<int>(static_cast<unsigned>(magnitude) * scale >> 16 >> shift), top);
}

void grid_scores(const std::int16_t* a, std::size_t d, const std::uint16_t* scales, int shift, int top, std::int64_t* dots, std::int64_t* norms) {
    for (int i = 0; i < 4; ++i) {
        dots[i] = norms[i] = 0;
        for (std::size_t j = 0; j < d; ++j) {
            const int magnitude = std::abs(a[j]), level = grid_level(magnitude, scales[i], shift, top);
            dots[i] += magnitude * level;
            norms[i] += level * (level + 1);
        }
    }
}

void grid_codes(const float* x, const float* c, const std::int16_t* a, std::size_t d, std::uint16_t scale, int shift, int top, std::uint8_t* codes, float* out) {
    float dots[16] = {}, centers[16] = {};
    for (std::size_t j = 0; j < d; ++j) {
        const int level = grid_level(std::abs(a[j]), scale, shift, top);
        const float y = static_cast<float>(level) + 0.5f;
        dots[j % 16] += std::fabs(x[j]) * y;
        centers[j % 16] += (x[j] > 0 ? c[j] : -c[j]) * y;
        codes[j] = static_cast<std::uint8_t>(x[j] > 0 ? level : top - level);
    }
    out[0] = fold16(dots);
    out[1] = fold16(centers);
}

void rotate_round(float* x, std::size_t d, std::size_t offset, std::size_t span, const std::uint32_t* flips, float scale) {
    kernel_ops::rotate_by(kernel_ops::fht_plain, x, d, offset, span, flips, scale);
}

void level_scores(const std::int16_t* v, std::size_t d, const std::int16_t* thresholds, const std::int16_t* levels, int count, std::int64_t* out) {
    out[0] = out[1] = 0;
    for (std::size_t j = 0; j < d; ++j) {
        int u = 0;
        for (int k = 0; k + 1 < count; ++k) u += v[j] > thresholds[k];
        const int y = levels[u], w = (v[j] * 2048 + 16384) >> 15;
        out[0] += w * y;
        out[1] += y * y;
    }
}

void bin_scores(const float* x, const float* w, std::size_t d, float scale, float offset, float last, const float* table, float* out) {
    float dots[16] = {}, norms[16] = {};
    for (std::size_t j = 0; j < d; ++j) {
        float at = x[j] * scale + offset;
        at = at > 0 ? at : 0.0f;
        const float y = table[static_cast<std::size_t>(at < last ? at : last)];
        dots[j % 16] += w[j] * y;
        norms[j % 16] += y * y;
    }
    out[0] = fold16(dots);
    out[1] = fold16(norms);
}

void level_codes(const float* x, std::size_t n, float factor, const float* thresholds, int count, std::uint8_t* codes) {
    for (std::size_t j = 0; j < n; ++j) {
        const float value = x[j] * factor;
        int u = 0;
        for (int step = count / 2; step > 0; step /= 2)
            if (value > thresholds[u + step - 1]) u += step;
        codes[j] = static_cast<std::uint8_t>(u);
    }
}

void unpack_levels(const std::uint8_t* symbols, const std::uint8_t* extra, int prefix, int rest, std::size_t units, std::uint8_t* codes) {
    const std::size_t dims = 8 / static_cast<std::size_t>(prefix);  // of a byte
    for (std::size_t j = 0; j < 16 * units; ++j) {
        const std::uint8_t* word = extra + j / 16 * 2 * static_cast<std::size_t>(rest) + j % 16 / 8;
        int u = symbols[j / dims] >> (static_cast<int>(j % dims) * prefix) & ((1 << prefix) - 1);
        for (int b = rest; b-- > 0;) u = 2 * u + (word[2 * b] >> (j % 8) & 1);
        codes[j] = static_cast<std::uint8_t>(u);
    }
}

std::int32_t level_dot(const std::uint8_t* codes, const std::uint8_t* levels, std::size_t count, const std::int16_t* q, std::size_t d) {
    std::int32_t sum = 0;
    if (levels == nullptr) {
        for (std::size_t j = 0; j < d; ++j) sum += codes[j] * q[j];
        return sum;
    }
    for (std::size_t j = 0; j < d; ++j) {
        const std::size_t u = codes[j];
        const int upper = levels[count + u / 32 * 16 + u % 16] >> (u & 16 ? 4 : 0) & 15;
        sum += ((levels[u] | upper << 8) - 2048) * q[j];
    }
    return sum;
}

}  // namespace

inline void install_encode(KernelTable& table) {
    table.sign_moments = sign_moments;
    table.quantize_i16 = quantize_i16;
    table.grid_scores = grid_scores;
    table.grid_codes = grid_codes;
    table.rotate_round = rotate_round;
    table.level_scores = level_scores;
    table.bin_scores = bin_scores;
    table.level_codes = level_codes;
    table.unpack_levels = unpack_levels;
    table.level_dot = level_dot;
}

}  // namespace vsearch::scalar
