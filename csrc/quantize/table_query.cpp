// The prepared query of TableCodec: one table of all centroids for whole codes, one of 16 entries for each symbol.
#include <algorithm>
#include <cmath>

#include "kernels/table.hpp"
#include "quantize/block.hpp"
#include "quantize/table_codec.hpp"

namespace vsearch {
namespace {

class TableQuery : public PreparedQuery {
public:
    explicit TableQuery(const TableCodec& codec);
    void prepare(const float* q) override;
    float full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const override;

private:
    void correct();

    const TableCodec& codec_;
    std::size_t codes_;            // with a table of `count` entries: codebooks and corrections
    AlignedArray<float> tables_;   // of whole codes
    AlignedArray<float> symbols_;  // 16 a symbol
    AlignedArray<float> negative_;
};

TableQuery::TableQuery(const TableCodec& codec) : codec_(codec), codes_(codec.level_count()) {
    const CodeShape& shape = codec.shape();
    tables_.resize(codes_ * codec.books().count);
    symbols_.resize(shape.symbols * 16);
    negative_.resize(shape.dim);
    std::fill(symbols_.data(), symbols_.data() + symbols_.size(), 0.0f);
    correct();
}

// Entries that no query changes: `own` of codec.finish() over the factor that it will be multiplied by.
void TableQuery::correct() {
    const TableModel& model = codec_.model();
    const std::size_t count = codec_.books().count, first = codec_.books().books();
    if (codec_.corrections() == 1) {
        float* table = tables_.data() + first * count;
        for (std::size_t k = 0; k < count; ++k) table[k] = (model.low + model.step * static_cast<float>(k)) / model.rescale;
    } else if (codec_.corrections() == 2) {
        float* table = tables_.data() + first * count;
        for (std::size_t k = 0; k < 16; ++k) {
            table[k] = (model.low + model.step * static_cast<float>(16 * k)) / model.rescale;
            table[16 + k] = model.step * static_cast<float>(k) / model.rescale;
        }
    }
}

void TableQuery::prepare(const float* q) {
    const Codebooks& books = codec_.books();
    const KernelTable& kernel = kernels();
    const std::size_t dim = codec_.shape().dim;
    const bool same = books.count == 16 && codec_.model().symbol_scale == 1.0f;  // symbols are codes
    for (std::size_t j = 0; j < dim; ++j) negative_[j] = -q[j];  // the kernel subtracts
    for (std::size_t s = 0; s < books.splits(); ++s) {
        const float* part = negative_.data() + books.start[s];
        const TableCodec::Columns &whole = codec_.columns(s), &group = codec_.group_columns(s);
        kernel.scores_f32(part, 0, 1, books.length(s), whole.table.data(), whole.bias.data(), whole.count, tables_.data() + books.first[s] * books.count);
        if (!same) kernel.scores_f32(part, 0, 1, books.length(s), group.table.data(), group.bias.data(), group.count, symbols_.data() + books.first[s] * 16);
    }
    if (same) std::copy(tables_.data(), tables_.data() + books.books() * 16, symbols_.data());
    const TableModel& model = codec_.model();
    double dropped = 0;  // variance of what the symbols of a correction leave out
    if (codec_.corrections() == 1) {
        float* table = symbols_.data() + books.books() * 16;
        for (std::size_t k = 0; k < 16; ++k) table[k] = (model.low + model.step * (16.0f * static_cast<float>(k) + 7.5f)) / model.rescale;
        const double width = 16 * model.step / model.rescale;
        dropped = width * width / 12;
    } else if (codec_.corrections() == 2) {
        std::copy(tables_.data() + books.books() * 16, tables_.data() + codes_ * 16, symbols_.data() + books.books() * 16);
    }
    float widest = 0;
    offset_ = 0;
    for (std::size_t g = 0; g < codes_; ++g) {
        float* table = symbols_.data() + g * 16;
        const auto ends = std::minmax_element(table, table + 16);
        const float smallest = *ends.first;
        widest = std::max(widest, *ends.second - smallest);
        for (std::size_t k = 0; k < 16; ++k) table[k] -= smallest;
        offset_ += smallest;
    }
    round_tables(symbols_.data(), codec_.shape().symbols, widest);
    offset_ += rounded_off(symbols_.data(), 0, codec_.shape().symbols);
    const double rounded = first_noise_, bias = model.symbol_bias;
    first_noise_ = static_cast<float>(std::sqrt(rounded * rounded + dropped + bias * bias));
    full_noise_ = model.code_bias;
}

float TableQuery::full_dot(const std::uint8_t* block_codes, std::size_t lane, const std::uint8_t* extra) const {
    const std::uint8_t* row = block_codes + lane_byte(lane);
    const unsigned shift = lane_shift(lane);
    const std::size_t count = codec_.books().count;
    const float* table = tables_.data();
    float sums[2] = {0, 0};
    if (codec_.halves()) {
        for (std::size_t i = 0; i < codes_; ++i, row += 16, table += count)
            sums[i & 1] += table[((*row >> shift) & 15u) << 4 | ((extra[i / 2] >> (i % 2 * 4)) & 15u)];
    } else {
        for (std::size_t i = 0; i < codes_; ++i, row += 16, table += count) sums[i & 1] += table[(*row >> shift) & 15u];
    }
    return sums[0] + sums[1];
}

}  // namespace

std::unique_ptr<PreparedQuery> TableCodec::make_query() const { return std::make_unique<TableQuery>(*this); }

}  // namespace vsearch
