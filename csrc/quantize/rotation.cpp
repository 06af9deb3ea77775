#include "quantize/rotation.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "base/aligned.hpp"
#include "kernels/table.hpp"
#include "quantize/block.hpp"

namespace vsearch {
namespace {

std::size_t power_of_two_below(std::size_t x) {
    std::size_t t = 1;
    while (2 * t <= x) t *= 2;
    return t;
}

void kac_step(float* x, std::size_t half) {
    for (std::size_t j = 0; j < half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
    }
}

void scale(float* x, std::size_t n, float factor) {
    for (std::size_t j = 0; j < n; ++j) x[j] *= factor;
}

}  // namespace

std::size_t Rotation::padded_dim(std::size_t dim) { return round_up(dim, kDimMultiple); }

std::size_t Rotation::rounds(std::size_t dim) {
    const std::size_t padded = padded_dim(dim);
    return power_of_two_below(padded) == padded ? 3 : 4;
}

Rotation::Rotation(std::size_t dim, const std::uint8_t* signs, std::size_t sign_bytes)
    : Transform(dim, padded_dim(dim)), span_(power_of_two_below(padded_)) {
    if (sign_bytes != rounds(dim) * padded_ / 8) throw std::invalid_argument("rotation signs have the wrong length");
    flips_.resize(rounds(dim) * padded_);
    for (std::size_t i = 0; i < flips_.size(); ++i) flips_[i] = (signs[i / 8] >> (i % 8) & 1u) << 31;
}

void Rotation::flip_signs(std::size_t round, float* x) const {
    const std::uint32_t* flips = flips_.data() + round * padded_;
    for (std::size_t j = 0; j < padded_; ++j) {
        std::uint32_t bits;
        std::memcpy(&bits, x + j, sizeof(bits));
        bits ^= flips[j];
        std::memcpy(x + j, &bits, sizeof(bits));
    }
}

void Rotation::transform(std::size_t round, float* x) const {
    float* part = round % 2 == 0 ? x : x + (padded_ - span_);
    kernels().fht_f32(part, span_);
    scale(part, span_, 1.0f / std::sqrt(static_cast<float>(span_)));
}

// The four Kac steps double lengths twice: (1/sqrt 2)^4 is taken off first, with the copy, which as a power of two changes no digit.
void Rotation::apply(const float* x, float* out) const {
    if (span_ == padded_)
        std::memcpy(out, x, dim_ * sizeof(float));
    else
        for (std::size_t j = 0; j < dim_; ++j) out[j] = 0.25f * x[j];
    std::memset(out + dim_, 0, (padded_ - dim_) * sizeof(float));
    const float factor = 1.0f / std::sqrt(static_cast<float>(span_));
    for (std::size_t round = 0, count = rounds(dim_); round < count; ++round)
        kernels().rotate_round(out, padded_, round % 2 == 0 ? 0 : padded_ - span_, span_, flips_.data() + round * padded_, factor);
}

void Rotation::apply_inverse(const float* y, float* out) const {
    AlignedArray<float> work(padded_);
    std::memcpy(work.data(), y, padded_ * sizeof(float));
    for (std::size_t round = rounds(dim_); round-- > 0;) {
        if (span_ != padded_) kac_step(work.data(), padded_ / 2);  // its own inverse up to the factor 2
        transform(round, work.data());
        flip_signs(round, work.data());
    }
    if (span_ != padded_) scale(work.data(), padded_, 0.25f);
    std::memcpy(out, work.data(), dim_ * sizeof(float));
}

}  // namespace vsearch
