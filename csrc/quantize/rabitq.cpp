#include "quantize/rabitq.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/table.hpp"
#include "quantize/block.hpp"
#include "quantize/planes.hpp"

namespace vsearch {
namespace {

constexpr float kMostSum = 2.1e9f;  // of coordinates in 16 bits: below 2^31
constexpr int kPlainQueryBits = 5;  // codes of more bits see the query in two int8 halves

// A query for one-bit blocks and for the extra bits.
class RabitqQuery : public PreparedQuery {
public:
    RabitqQuery(std::size_t dim, int bits) : dim_(dim), groups_(dim / 4), bits_(bits) {}
    void prepare(const float* q) override;
    float full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const override;

private:
    void build_tables(const float* q);
    void quantize_query(const float* q);

    std::size_t dim_, groups_;
    int bits_;
    AlignedArray<float> table_;        // 16 subset sums for each group of 4 dims
    AlignedArray<std::int16_t> fine_;  // the query in 16 bits, for the signs of survivors
    float fine_scale_ = 0;
    mutable AlignedArray<std::uint8_t> signs_;  // of the survivor at hand; a query serves one thread
    AlignedArray<std::int8_t> high_, low_;  // the query in 7 + 7 bits: q' ~ query_scale * (128 high + low)
    float query_scale_ = 0;
    float full_offset_ = 0;  // what full_dot adds to the two parts
};

void RabitqQuery::prepare(const float* q) {
    table_.resize(groups_ * 16);
    sum_ = 0;
    for (std::size_t j = 0; j < dim_; ++j) sum_ += q[j];
    build_tables(q);
    if (bits_ > 1) quantize_query(q);
}

void RabitqQuery::build_tables(const float* q) {
    float widest = 0, lowest_sum = 0;
    kernels().subset_sums(q, groups_, table_.data(), &lowest_sum, &widest);
    round_tables(table_.data(), groups_, widest);
    offset_ = lowest_sum - 0.5f * sum_;
    full_noise_ = first_noise_;
}

// A query needs three bits more than the codes: eight with the sign serve codes of up to 5 bits, two int8 halves the others.
// The extra bits u are about their middle m more often than not: sum u q = sum (u - m) q + m sum q, with the last sum exact,
// has a third of the rounding error of sum u q.
void RabitqQuery::quantize_query(const float* q) {
    const std::size_t padded = plane_chunks(dim_) * kChunk;
    high_.resize(padded);
    low_.resize(padded);
    std::memset(high_.data(), 0, padded);
    std::memset(low_.data(), 0, padded);
    float peak = 0;
    for (std::size_t j = 0; j < dim_; ++j) peak = std::max(peak, std::fabs(q[j]));
    const float top = bits_ > kPlainQueryBits ? 127.0f * 128.0f : 127.0f;
    query_scale_ = peak / top;
    fine_.resize(dim_);
    signs_.resize(dim_ / 8);
    std::int16_t* values = fine_.data();  // at first of the other bits' query
    kernels().quantize_i16(q, dim_, peak > 0 ? top / peak : 0.0f, values);
    std::int64_t rounded_sum = 0;
    for (std::size_t j = 0; j < dim_; ++j) rounded_sum += values[j];
    if (bits_ > kPlainQueryBits) {
        for (std::size_t j = 0; j < dim_; ++j) {
            const int high = (values[j] + 64) >> 7;
            high_[j] = static_cast<std::int8_t>(high);
            low_[j] = static_cast<std::int8_t>(values[j] - 128 * high);
        }
    } else {
        for (std::size_t j = 0; j < dim_; ++j) high_[j] = static_cast<std::int8_t>(values[j]);
    }
    const float finest = std::min(32767.0f, kMostSum / static_cast<float>(dim_));
    fine_scale_ = peak / finest;
    kernels().quantize_i16(q, dim_, peak > 0 ? finest / peak : 0.0f, fine_.data());
    const float half = static_cast<float>(1 << (bits_ - 1));
    const float middle = (half - 1.0f) / 2;
    full_offset_ = middle * (sum_ - query_scale_ * static_cast<float>(rounded_sum)) - (half - 0.5f) * sum_;
    full_noise_ = query_scale_ * half * std::sqrt(static_cast<float>(dim_) / 120.0f);  // of u - m: half^2 / 10, measured
}

float RabitqQuery::full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const {
    const KernelTable& kernel = kernels();
    const std::size_t chunks = plane_chunks(dim_);
    std::int32_t high = 0, low = 0;
    kernel.lane_symbols(block_codes, lane, groups_, signs_.data());
    kernel.dot_planes(bits_ - 1, high_.data(), extra, 0, 1, chunks, &high);
    auto planes = static_cast<float>(high);
    if (bits_ > kPlainQueryBits) {
        kernel.dot_planes(bits_ - 1, low_.data(), extra, 0, 1, chunks, &low);
        planes = 128.0f * planes + static_cast<float>(low);
    }
    const float half = static_cast<float>(1 << (bits_ - 1));
    const float sign_dot = fine_scale_ * static_cast<float>(kernel.dot_bits(signs_.data(), fine_.data(), dim_));
    return half * sign_dot + query_scale_ * planes + full_offset_;
}

}  // namespace

RabitqCodec::RabitqCodec(std::size_t dim, int bits) : bits_(bits) {
    shape_.dim = dim;
    shape_.symbols = dim / 4;
    shape_.extra_bytes = bits > 1 ? plane_bytes(dim, bits - 1) : 0;
}

void RabitqCodec::unpack(const std::uint8_t* symbols, const std::uint8_t* extra, std::uint8_t* levels) const {
    if (bits_ > 1)
        unpack_planes(extra, shape_.dim, bits_ - 1, levels);
    else
        std::memset(levels, 0, shape_.dim);
    for (std::size_t j = 0; j < shape_.dim; ++j) levels[j] = static_cast<std::uint8_t>(levels[j] | (symbols[j / 8] >> (j % 8) & 1u) << (bits_ - 1));
}

void RabitqCodec::decode(const std::uint8_t* symbols, const std::uint8_t* extra, float* y) const {
    AlignedArray<std::uint8_t> levels(shape_.dim);
    unpack(symbols, extra, levels.data());
    const float center = (static_cast<float>(1 << bits_) - 1.0f) / 2;
    for (std::size_t j = 0; j < shape_.dim; ++j) y[j] = static_cast<float>(levels[j]) - center;
}

std::unique_ptr<PreparedQuery> RabitqCodec::make_query() const { return std::make_unique<RabitqQuery>(shape_.dim, bits_); }

}  // namespace vsearch
