#include "index/coarse.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/table.hpp"

namespace vsearch {
namespace {

// Vectors near the end of float32's range overflow in their products. Such a list is far, not nowhere: selecting and sorting
// need numbers that compare.
float ordered(float key) {
    constexpr float kFar = std::numeric_limits<float>::max();
    return key < kFar ? std::max(key, -kFar) : kFar;
}

}  // namespace

void CoarseQuantizer::bind(const float* centroids, const float* mean, std::size_t lists, std::size_t dim, Metric metric) {
    centroids_ = centroids;
    lists_ = lists;
    dim_ = dim;
    metric_ = metric;
    code_stride_ = round_up(dim, 32);
    codes_.resize(lists * code_stride_);
    step_.resize(lists);
    low_.resize(lists);
    norm2_.resize(lists);
    dot_mean_.resize(lists);
    key_.resize(lists);
    for (std::size_t i = 0; i < lists; ++i) {
        const float* c = centroids + i * dim;
        const auto [low, high] = std::minmax_element(c, c + dim);
        low_[i] = *low;
        step_[i] = (*high - *low) / 127.0f;
        const float inverse = step_[i] > 0 && std::isfinite(step_[i]) ? 1.0f / step_[i] : 0.0f;
        double norm2 = 0, dot_mean = 0;
        std::uint8_t* code = codes_.data() + i * code_stride_;
        std::memset(code, 0, code_stride_);
        for (std::size_t j = 0; j < dim; ++j) {
            const float level = (c[j] - low_[i]) * inverse + 0.5f;
            code[j] = static_cast<std::uint8_t>(level < 127.0f ? std::max(level, 0.0f) : 127.0f);
            norm2 += static_cast<double>(c[j]) * c[j];
            dot_mean += static_cast<double>(c[j]) * mean[j];
        }
        norm2_[i] = static_cast<float>(norm2);
        dot_mean_[i] = static_cast<float>(dot_mean);
        key_[i] = metric == Metric::kL2 ? 0.5f * norm2_[i] : -dot_mean_[i];
    }
}

void CoarseQuantizer::rank(const float* query, Scratch& scratch) const {
    scratch.query.resize(code_stride_);
    scratch.dots.resize(lists_);
    scratch.keys.resize(lists_);
    float peak = 0, sum = 0;
    for (std::size_t j = 0; j < dim_; ++j) {
        peak = std::max(peak, std::fabs(query[j]));
        sum += query[j];
    }
    const float scale = peak / 127.0f, inverse = peak > 0 ? 127.0f / peak : 0.0f;
    std::memset(scratch.query.data(), 0, code_stride_);
    for (std::size_t j = 0; j < dim_; ++j) scratch.query[j] = static_cast<std::int8_t>(std::lrint(query[j] * inverse));
    kernels().dot_u7(scratch.query.data(), codes_.data(), code_stride_, lists_, code_stride_, scratch.dots.data());
    for (std::size_t i = 0; i < lists_; ++i)
        scratch.keys[i] = ordered(key_[i] - sum * low_[i] - scale * step_[i] * static_cast<float>(scratch.dots[i]));
}

// The `probes` smallest keys, sorted. The p-th smallest of the minima of groups of four bounds the p-th smallest key from above,
// so one vectorised pass leaves little more than p keys to sort.
void CoarseQuantizer::select(std::size_t probes, Scratch& scratch) const {
    constexpr std::size_t kGroup = 4;
    const std::size_t groups = lists_ / kGroup;
    scratch.selected.resize(lists_);
    std::size_t count = 0;
    if (probes < groups) {
        scratch.minima.resize(groups);
        float* minima = scratch.minima.data();
        const float* keys = scratch.keys.data();
        for (std::size_t g = 0; g < groups; ++g) minima[g] = std::min(std::min(keys[g], keys[g + groups]), std::min(keys[g + 2 * groups], keys[g + 3 * groups]));
        std::nth_element(minima, minima + probes, minima + groups);
        count = kernels().select_below(keys, lists_, std::nextafter(minima[probes], std::numeric_limits<float>::infinity()), scratch.selected.data());
    } else {
        for (; count < lists_; ++count) scratch.selected[count] = static_cast<std::uint32_t>(count);
    }
    auto& nearest = scratch.nearest;
    nearest.clear();
    for (std::size_t i = 0; i < count; ++i) nearest.emplace_back(scratch.keys[scratch.selected[i]], scratch.selected[i]);
    const auto cut = nearest.begin() + static_cast<std::ptrdiff_t>(probes);
    if (cut != nearest.end()) std::nth_element(nearest.begin(), cut, nearest.end());
    std::sort(nearest.begin(), cut);
}

void CoarseQuantizer::probe(const float* query, std::size_t probes, Scratch& scratch) const {
    probes = std::min(probes, lists_);
    scratch.lists.resize(probes);
    scratch.distances.resize(probes);
    if (lists_ > 1) {
        rank(query, scratch);
        select(probes, scratch);
    } else {
        scratch.nearest.assign(1, {0.0f, 0});
    }
    for (std::size_t i = 0; i < probes; ++i) scratch.lists[i] = scratch.nearest[i].second;
    kernels().l2_f32(query, centroids_, dim_ * sizeof(float), scratch.lists.data(), probes, dim_, scratch.distances.data());
}

}  // namespace vsearch
