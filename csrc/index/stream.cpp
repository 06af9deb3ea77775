#include "index/stream.hpp"

#include <algorithm>

#include "index/filter.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kBlockRows = 512;  // a multiple of 64; distances and hits of a block are 4 KB of L1

}  // namespace

void StreamScan::prepare(const Rows& rows, Metric metric, const std::int64_t* ids, const float* queries, std::size_t count, std::size_t k) {
    rows_ = rows;
    count_ = count;
    if (scorers_.size() < count) {
        scorers_.resize(count);
        best_.resize(count);
    }
    distances_.resize(kBlockRows);
    hits_.resize(kBlockRows);
    waiting_.clear();
    for (std::size_t q = 0; q < count; ++q) {
        scorers_[q].prepare(rows, metric, queries + q * rows.dim);
        best_[q].reset(k, ids);
    }
}

void StreamScan::scan(std::size_t begin, std::size_t end, const std::uint8_t* filter) {
    for (std::size_t first = begin; first < end; first += kBlockRows) {
        const std::size_t last = std::min(first + kBlockRows, end);
        // Where fewer than half match, fetching those rows alone is cheaper than reading the block.
        if (filter != nullptr && 2 * count_filter(filter, first, last) < last - first) {
            each_match(filter, first, last, [this](std::uint32_t slot) { waiting_.push_back(slot); });
            if (waiting_.size() >= kBlockRows / 2) score_waiting();
        } else {
            scan_block(first, last, filter);
        }
    }
    score_waiting();
}

void StreamScan::scan_block(std::size_t begin, std::size_t end, const std::uint8_t* filter) {
    const Rows block = rows_.from(begin);
    const SelectKernel select = kernels().select_below;
    for (std::size_t q = 0; q < count_; ++q) {
        scorers_[q].score(block, nullptr, end - begin, distances_.data());
        const std::size_t found = select(distances_.data(), end - begin, best_[q].bound(), hits_.data());
        for (std::size_t h = 0; h < found; ++h) {
            const auto slot = static_cast<std::uint32_t>(begin + hits_[h]);
            if (filter == nullptr || filter_bit(filter, slot)) best_[q].push(distances_[hits_[h]], slot);
        }
    }
}

void StreamScan::score_waiting() {
    for (std::size_t first = 0; first < waiting_.size(); first += kBlockRows) {
        const std::size_t n = std::min(kBlockRows, waiting_.size() - first);
        const std::uint32_t* slots = waiting_.data() + first;
        for (std::size_t q = 0; q < count_; ++q) {
            scorers_[q].score(rows_, slots, n, distances_.data());
            for (std::size_t i = 0; i < n; ++i) best_[q].push(distances_[i], slots[i]);
        }
    }
    waiting_.clear();
}

}  // namespace vsearch
