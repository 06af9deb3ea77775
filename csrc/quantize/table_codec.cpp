#include "quantize/table_codec.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace vsearch {
namespace {

constexpr std::size_t kAnisotropicSweeps = 3;

double dot(const float* a, const float* b, std::size_t dim) {
    double sum = 0;
    for (std::size_t j = 0; j < dim; ++j) sum += static_cast<double>(a[j]) * b[j];
    return sum;
}

// Root mean square over the coordinates of o - scale * y, over |scale|.
float spread_of(const float* o, const float* y, std::size_t dim, float scale) {
    double sum = 0;
    for (std::size_t j = 0; j < dim; ++j) {
        const double e = o[j] - static_cast<double>(scale) * y[j];
        sum += e * e;
    }
    return static_cast<float>(std::sqrt(sum / static_cast<double>(dim)) / std::fabs(scale));
}

}  // namespace

TableCodec::TableCodec(std::size_t dim, Codebooks books, const TableModel& model, bool norms, std::size_t beam, std::size_t sweeps, float eta)
    : books_(std::move(books)), model_(model), norms_(norms), beam_(beam), sweeps_(sweeps), eta_(eta) {
    if (books_.count != 16 && books_.count != kMostCentroids) throw std::invalid_argument("a codebook has 16 or 256 centroids");
    if (books_.books() == 0 || books_.start.back() > dim) throw std::invalid_argument("codebooks do not fit the dimension");
    if ((norms || eta != 1) && !single()) throw std::invalid_argument("norms and anisotropic losses are of one codebook a split");
    if (!(eta >= 1)) throw std::invalid_argument("eta is below 1");
    if (!(model.rescale < 0) || !(model.symbol_scale > 0) || !(model.step >= 0)) throw std::invalid_argument("a scale is not positive");
    const std::size_t size = books_.books() * books_.count * books_.width;
    centroids_.resize(size + 1);
    std::copy(books_.centroids, books_.centroids + size, centroids_.data());
    books_.centroids = centroids_.data();
    codes_ = books_.books() + (model.step > 0 ? (halves() ? 1 : 2) : 0);
    shape_.dim = dim;
    shape_.symbols = round_up(codes_, 4);
    shape_.extra_bytes = halves() ? (codes_ + 1) / 2 : 0;
    shape_.one_scale = shape_.exact_tables = true;
    double squares = 0;
    for (std::size_t i = 0; i < size; ++i) squares += static_cast<double>(centroids_[i]) * centroids_[i];
    shape_.length2 = squares / static_cast<double>(books_.count) * -static_cast<double>(model.rescale);  // E|o|^2 = scale * E|y|^2 or nearly
    make_groups();
}

// The means of 16 groups of each codebook (the centroids themselves where there are 16), and all of them as columns.
void TableCodec::make_groups() {
    const std::size_t width = books_.width, members = books_.count / 16;
    groups_.resize(books_.books() * 16 * width + 1);
    std::vector<float> bias(books_.books() * books_.count, 0.0f), group_bias(books_.books() * 16, 0.0f);
    for (std::size_t b = 0; b < books_.books(); ++b) {
        for (std::size_t k = 0; k < books_.count && norms_; ++k) {
            const float half = -0.5f * static_cast<float>(dot(books_.centroid(b, k), books_.centroid(b, k), width));
            bias[b * books_.count + k] = half;
            group_bias[b * 16 + k / members] += half / static_cast<float>(members);
        }
        for (std::size_t g = 0; g < 16; ++g) {
            float* mean = groups_.data() + (b * 16 + g) * width;
            for (std::size_t j = 0; j < width; ++j) {
                double sum = 0;
                for (std::size_t i = 0; i < members; ++i) sum += books_.centroid(b, g * members + i)[j];
                mean[j] = static_cast<float>(sum / static_cast<double>(members)) * model_.symbol_scale;
            }
        }
    }
    for (std::size_t s = 0; s < books_.splits(); ++s) {
        columns_.push_back(make_columns(s, centroids_.data(), books_.count, bias));
        group_columns_.push_back(make_columns(s, groups_.data(), 16, group_bias));
    }
}

TableCodec::Columns TableCodec::make_columns(std::size_t split, const float* centroids, std::size_t count, const std::vector<float>& bias) const {
    Columns out;
    const std::size_t length = books_.length(split), first = books_.first[split] * count;
    out.count = books_.stages(split) * count;
    out.table.resize(length * out.count + 1);
    out.bias.resize(out.count + 1);
    for (std::size_t k = 0; k < out.count; ++k) {
        out.bias[k] = bias[first + k];
        for (std::size_t j = 0; j < length; ++j) out.table[j * out.count + k] = centroids[(first + k) * books_.width + j];
    }
    return out;
}

void TableCodec::search(const float* residuals, std::size_t n, std::uint8_t* found, std::size_t threads) const {
    if (!single())
        encode_beam(books_, residuals, shape_.dim, n, beam_, sweeps_, found, threads);
    else if (eta_ != 1)
        encode_anisotropic(books_, residuals, shape_.dim, n, eta_, kAnisotropicSweeps, found, threads);
    else
        encode_nearest(books_, residuals, shape_.dim, n, found, threads);
}

bool TableCodec::single() const {
    for (std::size_t s = 0; s < books_.splits(); ++s)
        if (books_.stages(s) != 1) return false;
    return true;
}

EncodedVector TableCodec::encode(float* residual, const Origin& origin, EncodeScratch& scratch, std::uint8_t* symbols, std::uint8_t* extra) const {
    const std::size_t dim = shape_.dim;
    const std::uint8_t* codes = scratch.found;
    if (codes == nullptr) {
        scratch.codes.resize(books_.books());
        search(residual, 1, scratch.codes.data(), 1);
        codes = scratch.codes.data();
    }
    scratch.y.resize(dim);
    float* y = scratch.y.data();
    std::fill(y, y + dim, 0.0f);
    decode_rows(books_, codes, 1, y, dim, 1);
    const double norm2 = dot(y, y, dim), center = dot(y, origin.centroid, dim);
    const bool l2 = origin.metric == Metric::kL2;
    const float scale = l2 ? 1.0f : -model_.rescale;
    // `own` is of the vector alone; what the list adds is exact wherever factors are stored.
    double own, of_list;
    if (l2) {
        own = norms_ ? 0.0 : norm2;
        of_list = 2 * center;
    } else {
        own = -dot(residual, origin.mean, dim) - model_.tilt * (dot(residual, residual, dim) - norm2 - model_.tilt_mean);
        of_list = -dot(residual, origin.centroid, dim) + static_cast<double>(scale) * center;
    }
    unsigned level = 0;
    if (model_.step > 0) {
        level = static_cast<unsigned>(std::lrint(std::min(255.0, std::max(0.0, (own - model_.low) / model_.step))));
        own -= static_cast<double>(model_.low) + static_cast<double>(model_.step) * level;
    }
    EncodedVector out;
    out.full = {static_cast<float>(own + of_list), model_.rescale, 0.0f};
    out.first = out.full;
    out.full_spread = spread_of(residual, y, dim, scale);
    pack(codes, level, symbols, extra);
    decode_symbols(symbols, y);
    out.first_spread = spread_of(residual, y, dim, scale);
    return out;
}

void TableCodec::pack(const std::uint8_t* codes, unsigned correction, std::uint8_t* symbols, std::uint8_t* extra) const {
    std::memset(symbols, 0, symbol_bytes());
    if (shape_.extra_bytes > 0) std::memset(extra, 0, shape_.extra_bytes);
    const std::size_t books = books_.books();
    for (std::size_t i = 0; i < codes_; ++i) {
        if (!halves()) {
            set_symbol(symbols, i, i < books ? codes[i] : i == books ? correction >> 4 : correction & 15u);
            continue;
        }
        const unsigned code = i < books ? codes[i] : correction;
        set_symbol(symbols, i, code >> 4);
        set_symbol(extra, i, code & 15u);
    }
}

void TableCodec::unpack(const std::uint8_t* symbols, const std::uint8_t* extra, std::uint8_t* levels) const {
    for (std::size_t i = 0; i < codes_; ++i) {
        const unsigned symbol = symbol_at(symbols, i);
        levels[i] = static_cast<std::uint8_t>(halves() ? symbol << 4 | symbol_at(extra, i) : symbol);
    }
}

void TableCodec::decode(const std::uint8_t* symbols, const std::uint8_t* extra, float* y) const {
    std::vector<std::uint8_t> levels(codes_);
    unpack(symbols, extra, levels.data());
    std::fill(y, y + shape_.dim, 0.0f);
    decode_rows(books_, levels.data(), 1, y, shape_.dim, 1);
}

void TableCodec::decode_symbols(const std::uint8_t* symbols, float* y) const {
    std::fill(y, y + shape_.dim, 0.0f);
    for (std::size_t s = 0; s < books_.splits(); ++s) {
        for (std::size_t b = books_.first[s]; b < books_.first[s + 1]; ++b) {
            const float* c = groups_.data() + (b * 16 + symbol_at(symbols, b)) * books_.width;
            for (std::size_t j = 0; j < books_.length(s); ++j) y[books_.start[s] + j] += c[j];
        }
    }
}

}  // namespace vsearch
