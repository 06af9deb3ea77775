#include "quantize/rabitq.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/table.hpp"
#include "quantize/block.hpp"
#include "quantize/planes.hpp"

namespace vsearch {
namespace {

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
    AlignedArray<std::int16_t> fine_;  // the same in 15 bits, for the survivors
    float fine_scale_ = 0, fine_offset_ = 0;
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
    if (bits_ == 1) return;
    constexpr float kFine = 32000.0f;
    fine_.resize(groups_ * 16);
    const float fine_inverse = widest > 0 ? kFine / widest : 0.0f;
    for (std::size_t i = 0; i < groups_ * 16; ++i) fine_[i] = static_cast<std::int16_t>(std::max(table_[i] * fine_inverse, 0.0f) + 0.5f);
    fine_scale_ = widest > 0 ? widest / kFine : 0.0f;
    fine_offset_ = lowest_sum;
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
    const float inverse = peak > 0 ? top / peak : 0.0f;
    std::int64_t rounded_sum = 0;
    for (std::size_t j = 0; j < dim_; ++j) {
        const int value = static_cast<int>(std::lrint(q[j] * inverse));
        rounded_sum += value;
        if (bits_ > kPlainQueryBits) {
            const int high = (value + 64 + (1 << 20)) / 128 - (1 << 13);  // floor((value + 64) / 128)
            high_[j] = static_cast<std::int8_t>(high);
            low_[j] = static_cast<std::int8_t>(value - 128 * high);
        } else {
            high_[j] = static_cast<std::int8_t>(value);
        }
    }
    const float half = static_cast<float>(1 << (bits_ - 1));
    const float middle = (half - 1.0f) / 2;
    full_offset_ = middle * (sum_ - query_scale_ * static_cast<float>(rounded_sum)) - (half - 0.5f) * sum_;
    full_noise_ = query_scale_ * half * std::sqrt(static_cast<float>(dim_) / 120.0f);  // of u - m: half^2 / 10, measured
}

float RabitqQuery::full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const {
    const std::size_t byte = lane_byte(lane);
    const unsigned shift = lane_shift(lane);
    std::int32_t signs = 0;
    for (std::size_t g = 0; g < groups_; ++g) signs += fine_[g * 16 + ((block_codes[g * 16 + byte] >> shift) & 15u)];
    const std::size_t chunks = plane_chunks(dim_);
    float planes = static_cast<float>(kernels().dot_planes(bits_ - 1, extra, high_.data(), chunks));
    if (bits_ > kPlainQueryBits) planes = 128.0f * planes + static_cast<float>(kernels().dot_planes(bits_ - 1, extra, low_.data(), chunks));
    const float half = static_cast<float>(1 << (bits_ - 1));
    const float sign_dot = fine_scale_ * static_cast<float>(signs) + fine_offset_;
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
