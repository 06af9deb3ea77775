#include "quantize/codec.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kMostSum = 65535;  // of table entries, in 16 bits

}  // namespace

void PreparedQuery::round_tables(const float* tables, std::size_t symbols, float widest) {
    lut_.resize(symbols * 16);
    const float levels = std::max(1.0f, std::min(63.0f, std::floor(static_cast<float>(kMostSum) / static_cast<float>(std::max<std::size_t>(symbols, 1)))));
    kernels().quantize_u8(tables, symbols * 16, widest > 0 ? levels / widest : 0.0f, levels, lut_.data());
    if (symbols > kMostSum) std::fill(lut_.data() + kMostSum * 16, lut_.data() + symbols * 16, std::uint8_t{0});  // of 65536 dims, the last
    scale_ = widest > 0 ? widest / levels : 0.0f;
    first_noise_ = scale_ * std::sqrt(static_cast<float>(symbols) / 12.0f);
}

float PreparedQuery::rounded_off(const float* tables, std::size_t first, std::size_t last) const {
    float lanes[16] = {};
    std::uint32_t rounded = 0;
    for (std::size_t g = first; g < last; ++g) {
        for (std::size_t k = 0; k < 16; ++k) lanes[k] += tables[g * 16 + k];
        for (std::size_t k = 0; k < 16; ++k) rounded += lut_[g * 16 + k];
    }
    for (std::size_t width = 8; width > 0; width /= 2)
        for (std::size_t k = 0; k < width; ++k) lanes[k] += lanes[k + width];
    return (lanes[0] - scale_ * static_cast<float>(rounded)) / 16.0f;
}

}  // namespace vsearch
