#include "index/graph_near.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/mix.hpp"
#include "base/pool.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kLeaf = 320;
}  // namespace

struct NearLists::Scratch {
    std::vector<float> a, b, keys, sorted, mean, norms, scales, values;
    std::vector<std::uint32_t> slots, found;
    std::vector<std::pair<float, std::uint32_t>> keyed;
    AlignedArray<std::int8_t> rows;
    AlignedArray<std::int16_t> query;
    std::vector<std::int32_t> dots;
    RowScorer scorer;
};

NearLists::NearLists(const GraphScan& scan, const float* lifts, std::size_t width)
    : scan_(scan), vectors_(scan, lifts), n_(scan.arrays().n), width_(width), edges_(n_ * width), counts_(n_, 0), order_(n_) {
    std::iota(order_.begin(), order_.end(), 0u);
}

void NearLists::improve(std::uint64_t seed, std::size_t threads) {
    std::vector<Scratch> scratch(threads);
    const std::vector<Part> leaves =
        halve_until(Part::whole(n_, seed), kLeaf, threads, [&](const Part& part, std::size_t worker) { split(part, scratch[worker]); });
    parallel_for(leaves.size(), threads, [&](std::size_t i, std::size_t worker) { compare(leaves[i], scratch[worker]); });
}

// Orders the slots of a part by how much nearer they are to one random member than to another: those of its first half to the front.
void NearLists::split(const Part& part, Scratch& s) {
    std::uint32_t* slots = order_.data() + part.first;
    s.a.resize(vectors_.width());
    s.keys.resize(part.size);
    s.b.resize(part.size);
    const std::size_t one = mixed(part.seed + 2) % part.size, other = (one + 1 + mixed(part.seed + 3) % (part.size - 1)) % part.size;
    const auto measure = [&](std::uint32_t pivot, float* out) {
        vectors_.read(pivot, s.a.data());
        vectors_.prepare(s.a.data(), s.scorer);
        vectors_.distances(s.a.data(), s.scorer, slots, part.size, out);
    };
    measure(slots[one], s.keys.data());
    measure(slots[other], s.b.data());
    for (std::size_t i = 0; i < part.size; ++i) s.keys[i] -= s.b[i];
    halve(slots, s.keys.data(), part.size, s.keyed);
}

// All pairs of a part: vectors relative to its mean, 8 bits against 16.
void NearLists::compare(const Part& part, Scratch& s) {
    const std::size_t d = vectors_.width(), m = part.size;
    const std::uint32_t* slots = order_.data() + part.first;
    s.a.resize(d * m);
    s.mean.assign(d, 0.0f);
    for (std::size_t i = 0; i < m; ++i) {
        vectors_.read(slots[i], s.a.data() + i * d);
        for (std::size_t j = 0; j < d; ++j) s.mean[j] += s.a[i * d + j];
    }
    for (float& x : s.mean) x /= static_cast<float>(m);
    s.rows.resize(d * m);
    s.query.resize(d * m);
    s.norms.resize(m);
    s.scales.resize(m);
    const float top = std::min(4095.0f, std::floor(2147483647.0f / (128.0f * static_cast<float>(d))) - 1);
    for (std::size_t i = 0; i < m; ++i) {
        float* x = s.a.data() + i * d;
        float peak = 1e-30f;
        for (std::size_t j = 0; j < d; ++j) x[j] -= s.mean[j], peak = std::max(peak, std::fabs(x[j]));
        kernels().dot_f32(x, x, 0, nullptr, 1, d, &s.norms[i]);
        s.scales[i] = peak;
        const float to8 = 127.0f / peak, to16 = top / peak;
        for (std::size_t j = 0; j < d; ++j) {
            s.rows[i * d + j] = static_cast<std::int8_t>(static_cast<int>(x[j] * to8 + 128.5f) - 128);
            s.query[i * d + j] = static_cast<std::int16_t>(static_cast<int>(x[j] * to16 + 8192.5f) - 8192);
        }
    }
    s.dots.resize(m);
    s.values.resize(m);
    s.found.resize(m);
    for (std::size_t i = 0; i < m; ++i) {
        kernels().dot_i8(s.query.data() + i * d, s.rows.data(), d, nullptr, m, d, s.dots.data());
        const float factor = -2.0f * s.scales[i] / (127.0f * top);
        for (std::size_t j = 0; j < m; ++j) s.values[j] = s.norms[i] + s.norms[j] + factor * s.scales[j] * static_cast<float>(s.dots[j]);
        const std::uint32_t slot = slots[i];
        const float worst = counts_[slot] < width_ ? std::numeric_limits<float>::infinity() : edges_[slot * width_ + width_ - 1].distance;
        const std::size_t found = kernels().select_below(s.values.data(), m, worst, s.found.data());
        for (std::size_t j = 0; j < found; ++j)
            if (s.found[j] != i) offer(slot, {s.values[s.found[j]], slots[s.found[j]]});
    }
}

// A pair that two repetitions compare may have two distances that differ by rounding: the first one is kept.
void NearLists::offer(std::uint32_t slot, const Edge& edge) {
    Edge* list = edges_.data() + slot * width_;
    std::uint32_t& count = counts_[slot];
    if (count == width_ && !(edge.distance < list[count - 1].distance)) return;
    for (std::uint32_t i = 0; i < count; ++i)
        if (list[i].slot == edge.slot) return;
    std::uint32_t at = count < width_ ? count++ : count - 1;
    for (; at > 0 && edge.distance < list[at - 1].distance; --at) list[at] = list[at - 1];
    list[at] = edge;
}

}  // namespace vsearch
