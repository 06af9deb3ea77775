#include "index/near_order.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/mix.hpp"
#include "base/pool.hpp"
#include "index/halves.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kLeaf = 16;     // rows that are left as they are
constexpr std::size_t kTask = 4096;   // rows that one task brings in order
constexpr std::size_t kSample = 256;  // of which the means are taken
constexpr int kRounds = 3;            // of 2-means

struct Scratch {
    std::vector<std::uint32_t> sample;
    std::vector<const float*> below, above;
    std::vector<float> direction, low, high, keys, sorted;
    std::vector<std::pair<float, std::uint32_t>> keyed;
};

class Halving {
public:
    Halving(const float* vectors, std::size_t n, std::size_t d) : vectors_(vectors), d_(d), order_(n) { std::iota(order_.begin(), order_.end(), 0u); }

    std::vector<std::uint32_t> run(std::uint64_t seed, std::size_t threads) {
        std::vector<Scratch> scratch(threads);
        const std::vector<Part> tasks =
            halve_until(Part::whole(order_.size(), seed), kTask, threads, [&](const Part& part, std::size_t worker) { split(part, scratch[worker]); });
        parallel_for(tasks.size(), threads, [&](std::size_t i, std::size_t worker) { finish(tasks[i], scratch[worker]); });
        return std::move(order_);
    }

private:
    void finish(const Part& part, Scratch& s) {
        if (part.size <= kLeaf) return;
        split(part, s);
        for (const Part& half : part.halves()) finish(half, s);
    }

    // Brings those to the front that are behind the others in the direction between the means of both.
    void split(const Part& part, Scratch& s) {
        std::uint32_t* slots = order_.data() + part.first;
        direct(part, s);
        s.keys.resize(part.size);
        kernels().dot_f32(s.direction.data(), vectors_, d_ * sizeof(float), slots, part.size, d_, s.keys.data());
        halve(slots, s.keys.data(), part.size, s.keyed);
    }

    void direct(const Part& part, Scratch& s) {
        const std::uint32_t* slots = order_.data() + part.first;
        s.sample.resize(std::min(part.size, kSample));
        for (std::size_t i = 0; i < s.sample.size(); ++i)
            s.sample[i] = part.size <= kSample ? slots[i] : slots[mixed(part.seed + i) % part.size];
        const std::size_t one = mixed(part.seed + 2) % s.sample.size(), other = (one + 1 + mixed(part.seed + 3) % (s.sample.size() - 1)) % s.sample.size();
        s.direction.resize(d_);
        for (std::size_t j = 0; j < d_; ++j) s.direction[j] = row(s.sample[other])[j] - row(s.sample[one])[j];
        s.keys.resize(s.sample.size());
        for (int round = 0; round < kRounds; ++round) {
            kernels().dot_f32(s.direction.data(), vectors_, d_ * sizeof(float), s.sample.data(), s.sample.size(), d_, s.keys.data());
            s.sorted = s.keys;
            const auto middle = s.sorted.begin() + static_cast<std::ptrdiff_t>(s.sorted.size() / 2);
            std::nth_element(s.sorted.begin(), middle, s.sorted.end());
            s.below.clear();
            s.above.clear();
            for (std::size_t i = 0; i < s.sample.size(); ++i) (s.keys[i] < *middle ? s.below : s.above).push_back(row(s.sample[i]));
            if (s.below.empty()) return;  // all alike
            mean(s.below, s.low);
            mean(s.above, s.high);
            for (std::size_t j = 0; j < d_; ++j) s.direction[j] = s.high[j] - s.low[j];
        }
    }

    void mean(const std::vector<const float*>& rows, std::vector<float>& out) const {
        const std::size_t whole = d_ / 16 * 16;  // what the kernel takes
        out.assign(d_, 0.0f);
        if (whole > 0) kernels().sum_rows_f32(rows.data(), rows.size(), 0.0f, whole, out.data());
        for (const float* x : rows)
            for (std::size_t j = whole; j < d_; ++j) out[j] += x[j];
        for (float& x : out) x /= static_cast<float>(rows.size());
    }

    const float* row(std::uint32_t slot) const { return vectors_ + slot * d_; }

    const float* vectors_;
    std::size_t d_;
    std::vector<std::uint32_t> order_;
};

}  // namespace

std::vector<std::uint32_t> near_order(const float* vectors, std::size_t n, std::size_t d, std::uint64_t seed, std::size_t threads) {
    return Halving(vectors, n, d).run(seed, std::max<std::size_t>(1, threads));
}

}  // namespace vsearch
