// Stored vectors and their exact distances: the refine step of every index, and all of a Flat one.
//
// Rows are f32, f16, bf16, or int8 with a scale and a squared norm for each row (x ~ scale * code). A RowScorer holds one
// query in the form its rows want and answers for any slots. Smaller is nearer: l2 is squared, ip is negated, cosine is
// 1 - dot of unit vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/aligned.hpp"
#include "kernels/table.hpp"
#include "quantize/factors.hpp"

namespace vsearch {

enum class RowType { kF32, kF16, kBf16, kInt8 };

struct Rows {
    RowType type = RowType::kF32;
    const std::uint8_t* data = nullptr;
    std::size_t stride = 0;  // bytes
    std::size_t dim = 0;
    const float* factors = nullptr;  // int8 only: {scale, squared norm} of each row

    // The view that starts at row `first`.
    Rows from(std::size_t first) const {
        Rows view = *this;
        view.data += first * stride;
        if (factors != nullptr) view.factors += 2 * first;
        return view;
    }

    void prefetch(std::size_t slot) const {
#if defined(__GNUC__)
        const std::uint8_t* row = data + slot * stride;
        for (std::size_t at = 0; at < stride; at += 64) __builtin_prefetch(row + at);
#else
        (void)slot;
#endif
    }
};

class RowScorer {
public:
    void prepare(const Rows& rows, Metric metric, const float* query) {
        metric_ = metric;
        query_ = query;
        codes_in_use_ = rows.type == RowType::kInt8;
        if (codes_in_use_) quantize(rows.dim);
    }

    // out[i] = distance of row slots[i], or of row i where slots is null (then `rows.data` may point at any first row).
    void score(const Rows& rows, const std::uint32_t* slots, std::size_t n, float* out) {
        if (rows.type == RowType::kInt8) return score_int8(rows, slots, n, out);
        const KernelTable& k = kernels();
        const bool l2 = metric_ == Metric::kL2;
        const RowsKernel kernel = rows.type == RowType::kF32   ? (l2 ? k.l2_f32 : k.dot_f32)
                                  : rows.type == RowType::kF16 ? (l2 ? k.l2_f16 : k.dot_f16)
                                                               : (l2 ? k.l2_bf16 : k.dot_bf16);
        kernel(query_, rows.data, rows.stride, slots, n, rows.dim, out);
        if (l2) return;
        const float shift = metric_ == Metric::kCosine ? 1.0f : 0.0f;
        for (std::size_t i = 0; i < n; ++i) out[i] = shift - out[i];
    }

    // The query as the rows see it: element j of what is multiplied with them, and |q|^2 in the distances.
    float element(std::size_t j) const { return codes_in_use_ ? scale_ * static_cast<float>(codes_[j]) : query_[j]; }
    double norm2() const { return norm2_; }

private:
    // int16 with the largest scale at which dot products of `dim` terms stay exact in int32. A query of integers in range keeps
    // scale 1, so integer data gives exact integer distances.
    void quantize(std::size_t dim) {
        const float top = std::min(32767.0f, std::floor(2147483647.0f / (128.0f * static_cast<float>(dim))) - 1);
        codes_.resize(dim);
        float peak = 0;
        double norm2 = 0;
        bool integral = true;
        for (std::size_t j = 0; j < dim; ++j) {
            peak = std::max(peak, std::fabs(query_[j]));
            norm2 += static_cast<double>(query_[j]) * query_[j];
            integral = integral && query_[j] == std::nearbyint(query_[j]);
        }
        scale_ = integral && peak <= top ? 1.0f : peak / top;
        norm2_ = norm2;
        const float inverse = scale_ > 0 ? 1.0f / scale_ : 0.0f;
        for (std::size_t j = 0; j < dim; ++j) codes_[j] = static_cast<std::int16_t>(std::lrint(query_[j] * inverse));
    }

    void score_int8(const Rows& rows, const std::uint32_t* slots, std::size_t n, float* out) {
        dots_.resize(n);
        kernels().dot_i8(codes_.data(), reinterpret_cast<const std::int8_t*>(rows.data), rows.stride, slots, n, rows.dim, dots_.data());
        const double shift = metric_ == Metric::kCosine ? 1 : 0;
        for (std::size_t i = 0; i < n; ++i) {  // in double: a sum of large squares must not cost the last bits of a small distance
            const float* factor = rows.factors + 2 * (slots != nullptr ? slots[i] : i);
            const double dot = static_cast<double>(scale_) * factor[0] * dots_[i];
            const double distance = metric_ == Metric::kL2 ? std::max(0.0, norm2_ + factor[1] - 2 * dot) : shift - dot;
            out[i] = static_cast<float>(distance);
        }
    }

    Metric metric_ = Metric::kL2;
    const float* query_ = nullptr;
    bool codes_in_use_ = false;
    float scale_ = 1;
    double norm2_ = 0;
    AlignedArray<std::int16_t> codes_;
    AlignedArray<std::int32_t> dots_;
};

}  // namespace vsearch
