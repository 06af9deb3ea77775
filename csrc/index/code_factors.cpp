#include "index/code_factors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/table.hpp"

namespace vsearch {
namespace {

void read_column(const std::uint8_t* stored, std::size_t n, float low, float step, float* out) {
    if (step < 0) {
        kernels().widen_f16(stored, n, -step, out);
        for (std::size_t v = 0; v < n; ++v) out[v] += low;
        return;
    }
    const auto* steps = reinterpret_cast<const std::uint16_t*>(stored);
    for (std::size_t v = 0; v < n; ++v) out[v] = low + step * static_cast<float>(steps[v]);
}

}  // namespace

CodeFactors::CodeFactors(const CodeShape& shape, bool compact, unsigned columns) : compact_(compact) {
    const unsigned stored = compact ? columns : shape.shifted ? 7u : 3u;
    int count = 0;
    for (int i = 0; i < 3; ++i)
        if (stored >> i & 1u) column_[i] = count++;
    layout_ = BlockLayout(shape.symbols, static_cast<std::size_t>(count), compact ? sizeof(std::uint16_t) : sizeof(float));
    uniform_ = compact && count == 0;
    if (!compact && shape.extra_bytes > 0) factor_bytes_ = static_cast<std::size_t>(count) * sizeof(float);
    if (shape.extra_bytes > 0) extra_stride_ = factor_bytes_ + shape.extra_bytes;
}

void CodeFactors::fill(const CompactFactors& compact, Room& room) const {
    std::fill(room.columns[0], room.columns[0] + kBlock, compact.low[0]);
    std::fill(room.columns[1], room.columns[1] + kBlock, compact.low[1] * compact.ratio);
}

BlockFactors CodeFactors::computed(const std::uint8_t* block, const CompactFactors& compact, float query_sum, Room& room) const {
    const auto widen = [&](int i) {
        float* out = room.columns[i];
        if (column_[i] >= 0)
            read_column(layout_.column(block, static_cast<std::size_t>(column_[i])), kBlock, compact.low[i], compact.step[i], out);
        else
            std::fill(out, out + kBlock, compact.low[i]);
        return out;
    };
    const float *add = nullptr, *rescale = nullptr;
    if (compact_) {
        add = widen(0);
        float* scale = room.columns[1];
        if (compact.root != 0) {
            for (std::size_t v = 0; v < kBlock; ++v) scale[v] = compact.root * std::sqrt(std::max(compact.norm2 + compact.norm2_add * add[v], 0.0f));
        } else {
            widen(1);
            for (std::size_t v = 0; v < kBlock; ++v) scale[v] *= compact.ratio;
        }
        rescale = scale;
    } else {
        add = column(block, 0);
        rescale = column(block, 1);
    }
    if (column_[2] >= 0) {  // a grid that is not centred on zero: its constant joins `add`
        const float* shift = compact_ ? widen(2) : column(block, 2);
        for (std::size_t v = 0; v < kBlock; ++v) room.columns[0][v] = add[v] + query_sum * shift[v];
        add = room.columns[0];
    }
    return {add, rescale};
}

Factors CodeFactors::of_whole(const std::uint8_t* block, std::size_t lane, const std::uint8_t* row, const CompactFactors& compact) const {
    float out[3] = {0, 0, 0};
    for (int i = 0; i < 3; ++i) {
        if (compact_) out[i] = compact.low[i];
        if (column_[i] < 0) continue;
        const auto at = static_cast<std::size_t>(column_[i]);
        if (compact_)
            read_column(layout_.column(block, at) + lane * sizeof(std::uint16_t), 1, compact.low[i], compact.step[i], &out[i]);
        else if (factor_bytes_ > 0)
            std::memcpy(&out[i], row + at * sizeof(float), sizeof(float));
        else
            out[i] = column(block, i)[lane];
    }
    return {out[0], out[1], out[2]};
}

}  // namespace vsearch
