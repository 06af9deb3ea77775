#include "index/tiles.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "index/filter.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kPanel = 16;
constexpr std::size_t kFirstRows = 12;
constexpr std::size_t kTileRows = 96;             // rows between two looks at the k-th best; a multiple of 6 and 12
constexpr std::size_t kBlockBytes = 192 * 1024;   // of rows as f32: leaves the rest of a 512 KB L2 to a panel
constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

// Rows of one pass. Without `slots` they are rows first .. first + n - 1.
struct TileScan::Block {
    const std::uint32_t* slots = nullptr;
    std::size_t first = 0;
    std::size_t n = 0;
    const float* rows = nullptr;  // once filled: contiguous f32

    std::uint32_t slot(std::size_t i) const { return slots != nullptr ? slots[i] : static_cast<std::uint32_t>(first + i); }
};

void TileScan::prepare(const Rows& rows, Metric metric, const std::int64_t* ids, const float* queries, std::size_t count, std::size_t k) {
    rows_ = rows;
    metric_ = metric;
    count_ = count;
    seen_ = 0;
    error_ = 1.1 * static_cast<double>(rows.dim + 8) * 0x1p-24;
    const std::size_t fit = kBlockBytes / (rows.dim * sizeof(float)) / kTileRows * kTileRows;
    block_rows_ = std::min<std::size_t>(std::max(fit, kTileRows), 8 * kTileRows);
    if (scorers_.size() < count) {
        scorers_.resize(count);
        best_.resize(count);
        norm_.resize(count);
        norm2_.resize(count);
    }
    for (std::size_t q = 0; q < count; ++q) {
        scorers_[q].prepare(rows, metric, queries + q * rows.dim);
        best_[q].reset(k, ids);
    }
    bias_.resize(block_rows_);
    slots_.resize(block_rows_);
    hits_.resize(kTileRows * kPanel);
    pack();
}

void TileScan::pack() {
    const std::size_t d = rows_.dim, panels = (count_ + kPanel - 1) / kPanel;
    panels_.resize(panels * d * kPanel);
    std::fill(panels_.data() + (panels - 1) * d * kPanel, panels_.data() + panels * d * kPanel, 0.0f);
    for (std::size_t q = 0; q < count_; ++q) {
        float* column = panels_.data() + q / kPanel * d * kPanel + q % kPanel;
        norm2_[q] = 0;
        for (std::size_t j = 0; j < d; ++j) {
            const float x = scorers_[q].element(j);
            column[kPanel * j] = x;
            norm2_[q] += static_cast<double>(x) * x;
        }
        norm_[q] = std::sqrt(norm2_[q]);
        if (rows_.type == RowType::kInt8) norm2_[q] = scorers_[q].norm2();
    }
}

void TileScan::scan(std::size_t begin, std::size_t end, const std::uint8_t* filter) {
    if (filter == nullptr) {
        for (std::size_t first = begin; first < end; first += block_rows_) scan_block({nullptr, first, std::min(block_rows_, end - first)});
        return;
    }
    // Matches are gathered into full blocks: a copy of one row for 16 queries' worth of arithmetic on it.
    std::size_t waiting = 0;
    const auto flush = [&] {
        if (waiting > 0) scan_block({slots_.data(), 0, waiting});
        waiting = 0;
    };
    each_match(filter, begin, end, [&](std::uint32_t slot) {
        slots_[waiting++] = slot;
        if (waiting == block_rows_) flush();
    });
    flush();
}

// Points block.rows at contiguous f32: the stored rows themselves, or a widened or gathered copy in L2.
void TileScan::fill(Block& block) {
    const KernelTable& kernel = kernels();
    if (rows_.type == RowType::kF32 && block.slots == nullptr) {
        block.rows = reinterpret_cast<const float*>(rows_.data + block.first * rows_.stride);
        return;
    }
    const std::size_t d = rows_.dim;
    const WidenKernel widen = rows_.type == RowType::kF16 ? kernel.widen_f16 : rows_.type == RowType::kBf16 ? kernel.widen_bf16 : kernel.widen_i8;
    widened_.resize(block_rows_ * d);
    for (std::size_t i = 0; i < block.n; ++i) {
        const std::size_t slot = block.slot(i);
        const std::uint8_t* row = rows_.data + slot * rows_.stride;
        if (rows_.type == RowType::kF32)
            std::memcpy(widened_.data() + i * d, row, d * sizeof(float));
        else
            widen(row, d, rows_.type == RowType::kInt8 ? rows_.factors[2 * slot] : 1.0f, widened_.data() + i * d);
    }
    block.rows = widened_.data();
}

// The bias of each row and the largest norm of the block.
void TileScan::measure(const Block& block) {
    const RowsKernel dot = kernels().dot_f32;
    float largest = 0;
    for (std::size_t i = 0; i < block.n; ++i) {
        float norm2 = 0;
        const float* row = block.rows + i * rows_.dim;
        if (rows_.type == RowType::kInt8)
            norm2 = rows_.factors[2 * block.slot(i) + 1];
        else
            dot(row, row, 0, nullptr, 1, rows_.dim, &norm2);
        largest = std::max(largest, norm2);
        bias_[i] = metric_ == Metric::kL2 ? -0.5f * norm2 : 0.0f;
    }
    largest_norm_ = std::sqrt(static_cast<double>(largest));
}

void TileScan::scan_block(Block block) {
    fill(block);
    measure(block);
    for (std::size_t panel = 0; panel * kPanel < count_; ++panel) scan_panel(block, panel);
    seen_ += block.n;
}

void TileScan::scan_panel(const Block& block, std::size_t panel) {
    const TileKernel tile = kernels().tile_f32;
    const float* queries = panels_.data() + panel * rows_.dim * kPanel;
    float bounds[kPanel];
    set_bounds(panel, bounds);
    // The first rows all enter: short steps until there is a k-th best to compare with.
    for (std::size_t first = 0, n; first < block.n; first += n) {
        n = std::min({block.n - first, kTileRows, std::max(kFirstRows, seen_ + first)});
        const std::size_t found = tile(queries, block.rows + first * rows_.dim, n, rows_.dim, bias_.data() + first, bounds, hits_.data());
        for (std::size_t h = 0; h < found; ++h) {
            const std::size_t query = panel * kPanel + hits_[h] % kPanel;
            if (query < count_) report(query, block.slot(first + hits_[h] / kPanel));
        }
        if (found > 0) set_bounds(panel, bounds);
    }
}

// The least bias + <x, q> with which a row of the block can still be among the k best of each query.
void TileScan::set_bounds(std::size_t panel, float* bounds) const {
    for (std::size_t i = 0; i < kPanel; ++i) {
        const std::size_t q = panel * kPanel + i;
        if (q >= count_) {
            bounds[i] = kInfinity;
            continue;
        }
        const double threshold = best_[q].threshold(), norm = norm_[q], product = largest_norm_ * norm;
        double bound;
        if (metric_ == Metric::kL2)
            bound = 0.5 * (norm2_[q] - threshold * (1 + 2 * error_)) - error_ * (product + largest_norm_ * largest_norm_);
        else
            bound = (metric_ == Metric::kCosine ? 1 - 0x1p-22 : 0.0) - threshold - 2 * error_ * product;
        bounds[i] = std::nextafter(static_cast<float>(bound), -kInfinity);
    }
}

void TileScan::report(std::size_t query, std::uint32_t slot) {
    float distance;
    scorers_[query].score(rows_, &slot, 1, &distance);
    best_[query].push(distance, slot);
}

}  // namespace vsearch
