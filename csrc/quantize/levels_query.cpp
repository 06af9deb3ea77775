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
constexpr float kMost = 16383.0f;
constexpr float kMostSum = 1048576.0f;  // times levels of at most 2047: below 2^31

bool by_bits(const LevelsCodec::Part& part) { return part.rest() == 0 && part.prefix == 1; }

class LevelsQuery : public PreparedQuery {
public:
    explicit LevelsQuery(const LevelsCodec& codec) : codec_(codec) {}
    void prepare(const float* q) override;
    float full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const override;

private:
    // <y, q'> of a part is scale * (integer sum) + offset.
    struct Rounded {
        float scale, offset;
    };

    float build_part(const LevelsCodec::Part& part, float& widest);
    void round_part(const LevelsCodec::Part& part, Rounded& rounded);

    const LevelsCodec& codec_;
    AlignedArray<float> tables_;      // 16 a symbol, the smallest 0
    AlignedArray<float> weighted_;    // weight * q of the coded dims
    AlignedArray<float> steps_;
    AlignedArray<std::int16_t> rounded_;  // weighted_ in integers, by part
    AlignedArray<Rounded> scales_;        // of each part
    // The lane and the part at hand of a survivor; a query serves one thread.
    mutable AlignedArray<std::uint8_t> symbols_, codes_;
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
    rounded_.resize(codec_.level_count());
    codes_.resize(codec_.level_count());
    symbols_.resize(shape.symbols / 2);
    scales_.resize(codec_.parts().size());
    sum_ = 0;
    if (shape.shifted)
        for (std::size_t j = 0; j < shape.dim; ++j) sum_ += q[j];
    float widest = 0;
    lead_reach_ = 0;
    offset_ = lead_offset_ = 0;
    for (std::size_t p = 0; p < codec_.parts().size(); ++p) {
        const LevelsCodec::Part& part = codec_.parts()[p];
        float energy = 0;
        for (std::size_t j = 0; j < part.length; ++j) {
            const float value = part.weight * q[part.begin + j];
            weighted_[part.code + j] = value;
            energy += value * value;
        }
        const float low = build_part(part, widest);
        offset_ += low;
        round_part(part, scales_[p]);
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

// Rounds the coordinates that a part's survivors meet: to 14 bits, or as many as keep the sums of level_dot in 32.
void LevelsQuery::round_part(const LevelsCodec::Part& part, Rounded& rounded) {
    const float* q = weighted_.data() + part.code;
    std::int16_t* out = rounded_.data() + part.code;
    float peak = 0, total = 0, sum = 0;
    for (std::size_t j = 0; j < part.length; ++j) {
        const float size = std::fabs(q[j]);
        peak = std::max(peak, size), total += size, sum += q[j];
    }
    const float factor = peak > 0 ? std::min(kMost / peak, (kMostSum - 0.5f * static_cast<float>(part.length)) / total) : 0.0f;
    kernels().quantize_i16(q, part.length, factor, out);
    std::int32_t whole = 0;
    for (std::size_t j = 0; j < part.length; ++j) whole += out[j];
    rounded.scale = factor > 0 ? part.dot_step / factor : 0.0f;
    rounded.offset = part.dot_middle * sum - rounded.scale * part.dot_center * static_cast<float>(whole);
}

float LevelsQuery::full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const {
    const KernelTable& kernel = kernels();
    kernel.lane_symbols(block_codes, lane, codec_.shape().symbols, symbols_.data());
    float dot = 0;
    for (std::size_t p = 0; p < codec_.parts().size(); ++p) {
        const LevelsCodec::Part& part = codec_.parts()[p];
        const std::uint8_t* symbols = symbols_.data() + part.symbol / 2;
        const std::int16_t* q = rounded_.data() + part.code;
        std::int32_t sum = 0;
        if (by_bits(part)) {
            sum = kernel.dot_bits(symbols, q, part.length);
        } else {
            kernel.unpack_levels(symbols, extra + part.extra, part.prefix, part.rest(), part.length / kUnit, codes_.data());
            const std::uint8_t* levels = part.dot_levels.empty() ? nullptr : part.dot_levels.data();
            sum = kernel.level_dot(codes_.data(), levels, level_room(part.levels.size()), q, part.length);
        }
        dot += scales_[p].scale * static_cast<float>(sum) + scales_[p].offset;
    }
    return dot;
}

}  // namespace

std::unique_ptr<PreparedQuery> LevelsCodec::make_query() const { return std::make_unique<LevelsQuery>(*this); }

}  // namespace vsearch
