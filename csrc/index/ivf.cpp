#include "index/ivf.hpp"

#include <algorithm>
#include <cmath>

#include "base/pool.hpp"
#include "index/filter.hpp"
#include "kernels/table.hpp"
#include "quantize/planes.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kFlushSize = 256;  // survivors held back before they are looked at, so that their rows can arrive
constexpr float kRounding = 1e-6f;      // of estimates, relative to the squares and products they are made of
constexpr std::size_t kRefineBatch = 4;   // rows scored at once: enough to share the loads of the query, few enough to keep the threshold fresh

struct Candidate {
    float bound;
    std::uint32_t slot;
    const std::uint8_t* block;
    std::uint32_t lane;
};

inline void prefetch(const void* p) {
#if defined(__GNUC__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
}

// The lanes of a block that hold a vector, and that the filter lets through.
std::uint32_t live_lanes(const std::uint32_t* slots, std::size_t count, const std::uint8_t* filter) {
    const std::uint32_t filled = count >= kBlock ? ~0u : (1u << count) - 1u;
    if (filter == nullptr) return filled;
    std::uint32_t mask = 0;
    for (std::size_t v = 0; v < std::min(count, kBlock); ++v) mask |= static_cast<std::uint32_t>(filter_bit(filter, slots[v])) << v;
    return mask;
}

}  // namespace

// Everything a query needs, kept between queries so that a search allocates nothing.
struct IvfScan::Workspace {
    AlignedArray<float> rotated;  // P(q - mean)
    float query_norm2 = 0, query_dot_mean = 0;
    CoarseQuantizer::Scratch coarse;
    PreparedQuery query;
    RowScorer scorer;
    TopK best;
    std::vector<Candidate> pending;
    AlignedArray<std::uint32_t> slots;
    AlignedArray<float> distances;
    std::size_t waiting = 0;  // slots held in `slots` for the refine step
    IvfCounters counters;

    Workspace() : slots(kFlushSize), distances(kFlushSize) {}
};

IvfScan::IvfScan(Metric metric, std::size_t dim, int bits, const std::uint8_t* signs, std::size_t sign_bytes)
    : metric_(metric), dim_(dim), bits_(bits), rotation_(dim, signs, sign_bytes), layout_(rotation_.padded()),
      block_bytes_(bits > 0 ? layout_.bytes : kBlock * sizeof(std::uint32_t)) {}

IvfScan::~IvfScan() = default;

void IvfScan::bind_centroids(const float* centroids, const float* mean, std::size_t lists) {
    mean_.assign(mean, mean + rotation_.padded());
    mean_norm2_ = 0;
    for (float x : mean_) mean_norm2_ += x * x;
    coarse_.bind(centroids, mean_.data(), lists, rotation_.padded(), metric_);
}

std::unique_ptr<IvfScan::Workspace> IvfScan::borrow() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<Workspace>();
    auto workspace = std::move(idle_.back());
    idle_.pop_back();
    return workspace;
}

void IvfScan::give_back(std::unique_ptr<Workspace> workspace) {
    std::lock_guard<std::mutex> lock(mutex_);
    counters_.scanned += workspace->counters.scanned;
    counters_.survivors += workspace->counters.survivors;
    counters_.refined += workspace->counters.refined;
    workspace->counters = {};
    idle_.push_back(std::move(workspace));
}

void IvfScan::search(const float* queries, std::size_t nq, const IvfQuery& options, std::size_t threads, std::int64_t* ids, float* distances) {
    threads = std::max<std::size_t>(1, std::min(threads, nq));
    std::vector<std::unique_ptr<Workspace>> workspaces;
    for (std::size_t t = 0; t < threads; ++t) workspaces.push_back(borrow());
    parallel_for(nq, threads, [&](std::size_t i, std::size_t worker) {
        search_one(queries + i * dim_, options, *workspaces[worker], ids + i * options.k, distances + i * options.k);
    });
    for (auto& workspace : workspaces) give_back(std::move(workspace));
}

void IvfScan::prepare(const float* query, Workspace& w) const {
    const std::size_t d = rotation_.padded();
    w.rotated.resize(d);
    rotation_.apply(query, w.rotated.data());
    w.query_norm2 = w.query_dot_mean = 0;
    for (std::size_t j = 0; j < d; ++j) {
        w.query_dot_mean += w.rotated[j] * mean_[j];
        w.rotated[j] -= mean_[j];
        w.query_norm2 += w.rotated[j] * w.rotated[j];
    }
}

// What one list adds to the estimates of its codes. For ip <c + mean, q> is assembled from the centred parts.
IvfScan::ListTerms IvfScan::terms(std::uint32_t list, float distance2, float epsilon, const Workspace& w) const {
    const auto margin = [&](float spread, float noise) { return epsilon * std::sqrt(spread * spread * distance2 + noise * noise); };
    ListTerms t{distance2, 0.0f, margin(arrays_.sign_spread, w.query.sign_noise()), margin(arrays_.full_spread, w.query.full_noise())};
    if (metric_ != Metric::kL2) {
        const float dot_centroid = 0.5f * (coarse_.norm2(list) + w.query_norm2 - distance2);
        const float dot = dot_centroid + coarse_.dot_mean(list) + w.query_dot_mean;
        t.base = (metric_ == Metric::kCosine ? 1.0f : 0.0f) - dot;
    }
    t.slack = kRounding * (w.query_norm2 + coarse_.norm2(list) + std::fabs(t.base));
    return t;
}

void IvfScan::search_one(const float* query, const IvfQuery& options, Workspace& w, std::int64_t* ids, float* distances) {
    w.best.reset(options.k, arrays_.ids);
    w.pending.clear();
    w.waiting = 0;
    if (arrays_.n > 0) {
        if (arrays_.rows.data != nullptr) w.scorer.prepare(arrays_.rows, metric_, query);
        if (options.filter != nullptr && matches_are_few(options, options.probes)) {
            prepare(query, w);
            scan_matches(options, w);
        } else {
            prepare(query, w);
            coarse_.probe(w.rotated.data(), options.probes, w.coarse);
            if (bits_ > 0) w.query.prepare(w.rotated.data(), rotation_.padded(), bits_);
            for (std::size_t p = 0; p < w.coarse.lists.size(); ++p) {
                const std::uint32_t list = w.coarse.lists[p];
                const std::uint8_t* next = p + 1 < w.coarse.lists.size() ? arrays_.blocks + arrays_.list_block[w.coarse.lists[p + 1]] * block_bytes_ : nullptr;
                if (bits_ > 0)
                    scan_codes(list, terms(list, w.coarse.distances[p], options.epsilon, w), next, options, w);
                else
                    scan_rows(list, options, w);
            }
        }
    }
    w.best.sort_into(ids, distances);
}

void IvfScan::scan_codes(std::uint32_t list, const ListTerms& terms, const std::uint8_t* next, const IvfQuery& options, Workspace& w) const {
    const KernelTable& kernel = kernels();
    const std::size_t size = arrays_.list_size[list];
    const std::uint8_t* block = arrays_.blocks + arrays_.list_block[list] * block_bytes_;
    const float low = terms.base - terms.slack;
    const float offset = w.query.offset() + terms.sign_margin;  // rescale is negative: this lowers the estimate
    float bounds[kBlock];
    w.counters.scanned += size;
    for (std::size_t first = 0; first < size; first += kBlock, block += block_bytes_) {
        if (next != nullptr) {  // a list is too short for the hardware to see a stream: fetch the next one block by block
            for (std::size_t at = 0; at < block_bytes_; at += 64) prefetch(next + at);
            next += block_bytes_;
        }
        const std::uint32_t* slots = layout_.slot(block);
        const std::uint32_t live = live_lanes(slots, size - first, options.filter);
        if (live == 0) continue;
        std::uint32_t mask = live & kernel.fastscan_bound(layout_.codes(block), w.query.lut(), layout_.groups, layout_.add(block),
                                                          layout_.rescale(block), w.query.scale(), offset,
                                                          w.best.threshold() - low, bounds);
        for (; mask != 0; mask &= mask - 1) {
            const unsigned lane = lowest_bit64(mask);
            w.pending.push_back({bounds[lane] + low, slots[lane], block, lane});
            if (arrays_.extra != nullptr)
                prefetch(arrays_.extra + slots[lane] * arrays_.extra_stride);
            else if (arrays_.rows.data != nullptr)
                arrays_.rows.prefetch(slots[lane]);
        }
        if (w.pending.size() >= kFlushSize) flush(terms, options, w);
    }
    flush(terms, options, w);
}

// Looks at the survivors of the 1-bit bound: estimate again with all bits, keep what that bound lets through, refine.
void IvfScan::flush(const ListTerms& terms, const IvfQuery& options, Workspace& w) const {
    w.counters.survivors += w.pending.size();
    // The first list has no threshold yet and lets everything through: nearest first, so that the rest can be refused.
    if (w.pending.size() > 2 * options.k) std::sort(w.pending.begin(), w.pending.end(), [](const Candidate& a, const Candidate& b) { return a.bound < b.bound; });
    for (const Candidate& c : w.pending) {
        if (!(c.bound < w.best.threshold())) continue;
        float estimate = c.bound;
        if (arrays_.extra != nullptr) {
            const std::uint8_t* extra = arrays_.extra + c.slot * arrays_.extra_stride;
            const float* factor = reinterpret_cast<const float*>(extra);
            const float dot = w.query.full_dot(layout_.codes(c.block), c.lane, extra + 2 * sizeof(float));
            estimate = terms.base + factor[0] + factor[1] * dot;
            if (!(estimate + factor[1] * terms.full_margin - terms.slack < w.best.threshold())) continue;
        } else if (arrays_.rows.data == nullptr) {  // nothing better than the 1-bit estimate: take margin and slack out again
            estimate = c.bound + terms.slack - layout_.rescale(c.block)[c.lane] * terms.sign_margin;
        }
        if (arrays_.rows.data == nullptr) {
            w.best.push(estimate, c.slot);
            continue;
        }
        if (arrays_.extra != nullptr) arrays_.rows.prefetch(c.slot);
        w.slots[w.waiting++] = c.slot;
        if (w.waiting == kRefineBatch) refine(w);
    }
    w.pending.clear();
    if (w.waiting > 0) refine(w);
}

void IvfScan::refine(Workspace& w) const {
    w.counters.refined += w.waiting;
    w.scorer.score(arrays_.rows, w.slots.data(), w.waiting, w.distances.data());
    for (std::size_t i = 0; i < w.waiting; ++i) w.best.push(w.distances[i], w.slots[i]);
    w.waiting = 0;
}

void IvfScan::scan_rows(std::uint32_t list, const IvfQuery& options, Workspace& w) const {
    const std::size_t size = arrays_.list_size[list];
    const auto* slots = reinterpret_cast<const std::uint32_t*>(arrays_.blocks + arrays_.list_block[list] * block_bytes_);
    w.counters.scanned += size;
    for (std::size_t i = 0; i < size; ++i) {
        if (options.filter != nullptr && !filter_bit(options.filter, slots[i])) continue;
        w.slots[w.waiting++] = slots[i];
        if (w.waiting == kFlushSize) refine(w);
    }
    if (w.waiting > 0) refine(w);
}

// Walking costs about `kWalk` units for each vector of the lists it must open to meet enough matches; scoring a match directly
// costs about `kDirect`. (Measured: 2 ns against 50 ns with stored rows, bench/ivf.py --filters.)
bool IvfScan::matches_are_few(const IvfQuery& options, std::size_t probes) const {
    constexpr double kWalk = 2, kDirect = 50;
    const double n = static_cast<double>(arrays_.n), matches = static_cast<double>(options.matches);
    const double scanned = std::min(n, n * static_cast<double>(probes) / static_cast<double>(coarse_.lists()));
    return matches <= static_cast<double>(options.k) || matches * kDirect <= scanned * kWalk;
}

void IvfScan::scan_matches(const IvfQuery& options, Workspace& w) const {
    const bool from_codes = arrays_.rows.data == nullptr;
    if (from_codes) w.query.prepare(w.rotated.data(), rotation_.padded(), bits_);
    each_match(options.filter, 0, arrays_.n, [&](std::uint32_t slot) {
        if (from_codes) {
            float sign = 0, bound = 0, full = 0;
            estimate_slot(slot, options.epsilon, w, sign, bound, full);
            w.best.push(full, slot);
            return;
        }
        w.slots[w.waiting++] = slot;
        if (w.waiting == kFlushSize) refine(w);
    });
    if (w.waiting > 0) refine(w);
}

// The estimates of one slot, from its lane alone.
void IvfScan::estimate_slot(std::uint32_t slot, float epsilon, const Workspace& w, float& sign, float& bound, float& full) const {
    const std::uint32_t position = arrays_.position[slot];
    const std::uint8_t* block = arrays_.blocks + position / kBlock * block_bytes_;
    const std::uint32_t lane = position % kBlock, list = arrays_.block_list[position / kBlock];
    float distance2 = 0;
    kernels().l2_f32(w.rotated.data(), coarse_.centroid(list), 0, nullptr, 1, rotation_.padded(), &distance2);
    const ListTerms t = terms(list, distance2, epsilon, w);
    std::uint16_t sums[kBlock];
    kernels().fastscan(layout_.codes(block), w.query.lut(), layout_.groups, sums);
    const float rescale = layout_.rescale(block)[lane];
    sign = t.base + layout_.add(block)[lane] + rescale * (w.query.scale() * static_cast<float>(sums[lane]) + w.query.offset());
    bound = sign + rescale * t.sign_margin;
    full = sign;
    if (arrays_.extra != nullptr) {
        const std::uint8_t* extra = arrays_.extra + slot * arrays_.extra_stride;
        const float* factor = reinterpret_cast<const float*>(extra);
        full = t.base + factor[0] + factor[1] * w.query.full_dot(layout_.codes(block), lane, extra + 2 * sizeof(float));
    }
}

void IvfScan::estimate(const float* query, float epsilon, float* sign_estimate, float* lower_bound, float* full_estimate) {
    auto workspace = borrow();
    prepare(query, *workspace);
    workspace->query.prepare(workspace->rotated.data(), rotation_.padded(), bits_);
    for (std::size_t slot = 0; slot < arrays_.n; ++slot)
        estimate_slot(static_cast<std::uint32_t>(slot), epsilon, *workspace, sign_estimate[slot], lower_bound[slot], full_estimate[slot]);
    give_back(std::move(workspace));
}

bool IvfScan::consistent(std::size_t block_count) const {
    std::size_t total = 0;
    for (std::size_t list = 0; list < coarse_.lists(); ++list) {
        const std::size_t size = arrays_.list_size[list], first = arrays_.list_block[list];
        const std::size_t count = (size + kBlock - 1) / kBlock;
        if (first > block_count || count > block_count - first) return false;
        total += size;
        if (total > arrays_.n) return false;
        for (std::size_t i = 0; i < size; ++i) {
            const std::size_t position = first * kBlock + i;
            const std::uint8_t* block = arrays_.blocks + position / kBlock * block_bytes_;
            const auto* slots = bits_ > 0 ? layout_.slot(block) : reinterpret_cast<const std::uint32_t*>(block);
            const std::uint32_t slot = slots[position % kBlock];
            if (slot >= arrays_.n || arrays_.position[slot] != position || arrays_.block_list[position / kBlock] != list) return false;
        }
    }
    return total == arrays_.n;
}

}  // namespace vsearch
