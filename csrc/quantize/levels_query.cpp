// The prepared query of LevelsCodec.
#include <algorithm>
#include <cmath>

#include "kernels/table.hpp"
#include "quantize/block.hpp"
#include "quantize/levels.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kUnit = 16;  // dims of an extra word
constexpr float kReach = 1.25f;     // over the root mean square length of a segment's code
constexpr std::size_t kChunkDims = 512;

bool by_tables(const LevelsCodec::Part& part) { return part.rest() == 0 && part.prefix == 1; }

class LevelsQuery : public PreparedQuery {
public:
    explicit LevelsQuery(const LevelsCodec& codec) : codec_(codec) {}
    void prepare(const float* q) override;
    float full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const override;

private:
    float build_part(const LevelsCodec::Part& part, float& widest);
    float dot_levels(const LevelsCodec::Part& part, const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const;
    float dot_symbols(const LevelsCodec::Part& part, const std::uint8_t* block_codes, std::size_t lane) const;

    const LevelsCodec& codec_;
    AlignedArray<float> tables_;      // 16 a symbol, the smallest 0
    AlignedArray<float> weighted_;    // weight * q of the coded dims
    AlignedArray<float> steps_;
    float exact_offset_ = 0;          // of the parts that go by their tables
};

// The tables of one part; returns what they leave out, the sum of each symbol's smallest entry.
float LevelsQuery::build_part(const LevelsCodec::Part& part, float& widest) {
    const float* q = weighted_.data() + part.code;
    float* table = tables_.data() + part.symbol * 16;
    const float* level = part.prefix_levels.data();
    float low = 0;
    if (part.prefix == 1) {
        float sum = 0, range = 0;
        steps_.resize(part.length);
        for (std::size_t j = 0; j < part.length; ++j) steps_[j] = (level[1] - level[0]) * q[j], sum += q[j];
        kernels().subset_sums(steps_.data(), part.symbols(), table, &low, &range);
        widest = std::max(widest, range);
        return low + level[0] * sum;
    }
    const bool pairs = part.prefix == 2;
    for (std::size_t g = 0; g < part.symbols(); ++g, table += 16) {
        for (std::size_t m = 0; m < 16; ++m) table[m] = pairs ? level[m & 3] * q[2 * g] + level[m >> 2] * q[2 * g + 1] : level[m] * q[g];
        const auto ends = std::minmax_element(table, table + 16);
        const float smallest = *ends.first;
        widest = std::max(widest, *ends.second - smallest);
        for (std::size_t m = 0; m < 16; ++m) table[m] -= smallest;
        low += smallest;
    }
    return low;
}

void LevelsQuery::prepare(const float* q) {
    const CodeShape& shape = codec_.shape();
    tables_.resize(shape.symbols * 16);
    weighted_.resize(codec_.level_count());
    sum_ = 0;
    if (shape.shifted)
        for (std::size_t j = 0; j < shape.dim; ++j) sum_ += q[j];
    float widest = 0;
    lead_reach_ = 0;
    offset_ = exact_offset_ = lead_offset_ = 0;
    for (const LevelsCodec::Part& part : codec_.parts()) {
        float energy = 0;
        for (std::size_t j = 0; j < part.length; ++j) {
            const float value = part.weight * q[part.begin + j];
            weighted_[part.code + j] = value;
            energy += value * value;
        }
        const float low = build_part(part, widest);
        offset_ += low;
        if (by_tables(part)) exact_offset_ += low;
        if (part.symbol < shape.lead)
            lead_offset_ += low;
        else
            lead_reach_ += kReach * std::sqrt(energy * part.prefix_energy * static_cast<float>(part.length));
    }
    round_tables(tables_.data(), shape.symbols, widest);
    const float of_lead = rounded_off(tables_.data(), 0, shape.lead);
    lead_offset_ += of_lead;
    offset_ += of_lead + rounded_off(tables_.data(), shape.lead, shape.symbols);
    full_noise_ = 0;
    if (!codec_.profile().empty()) {
        const float* profile = codec_.profile().data();
        float norm2 = 0, first = 0, full = 0;
        for (std::size_t j = 0; j < shape.dim; ++j) {
            const float square = q[j] * q[j];
            norm2 += square;
            first += square * profile[j];
            full += square * profile[shape.dim + j];
        }
        first_tilt_ = norm2 > 0 ? std::sqrt(first / norm2) : 1.0f;
        full_tilt_ = norm2 > 0 ? std::sqrt(full / norm2) : 1.0f;
    }
}

// <y, q'> of a part by its levels.
float LevelsQuery::dot_levels(const LevelsCodec::Part& part, const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const {
    const int shift = static_cast<int>(lane_shift(lane));
    const auto rest = static_cast<std::size_t>(part.rest()), prefix = static_cast<std::size_t>(part.prefix);
    const std::vector<float>& levels = rest > 0 ? part.levels : part.prefix_levels;
    const std::uint8_t *row = block_codes + part.symbol * 16 + lane_byte(lane), *word = extra + part.extra;
    std::uint8_t codes[kChunkDims];
    float total = 0;
    for (std::size_t begin = 0; begin < part.length; begin += kChunkDims) {
        const std::size_t dims = std::min(kChunkDims, part.length - begin), count = dims * prefix / 4, units = dims / kUnit;
        kernels().unpack_levels(row, 16, shift, word, part.prefix, part.rest(), units, codes);
        total += kernels().level_dot(codes, levels.data(), static_cast<int>(levels.size()), weighted_.data() + part.code + begin, dims);
        row += count * 16;
        word += 2 * rest * units;
    }
    return total;
}

// The same by its tables, where a symbol is all there is to four dims.
float LevelsQuery::dot_symbols(const LevelsCodec::Part& part, const std::uint8_t* block_codes, std::size_t lane) const {
    const unsigned shift = lane_shift(lane);
    const std::uint8_t* row = block_codes + part.symbol * 16 + lane_byte(lane);
    const float* table = tables_.data() + part.symbol * 16;
    float sums[4] = {0, 0, 0, 0};
    for (std::size_t g = 0; g < part.symbols(); g += 4)  // symbols of a segment are a multiple of 4
        for (std::size_t i = 0; i < 4; ++i) sums[i] += table[(g + i) * 16 + ((row[(g + i) * 16] >> shift) & 15u)];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

float LevelsQuery::full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const {
    float total = exact_offset_;
    for (const LevelsCodec::Part& part : codec_.parts())
        total += by_tables(part) ? dot_symbols(part, block_codes, lane) : dot_levels(part, block_codes, lane, extra);
    return total;
}

}  // namespace

std::unique_ptr<PreparedQuery> LevelsCodec::make_query() const { return std::make_unique<LevelsQuery>(*this); }

}  // namespace vsearch
