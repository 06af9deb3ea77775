#include "index/ivf.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "base/pool.hpp"
#include "index/filter.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kFlushSize = 256;  // survivors held back before they are looked at, so that their rows can arrive
constexpr std::size_t kRankSample = 32;
constexpr std::size_t kPrimeBlocks = 256;  // whose bounds are kept at the start of a query: 32 KB
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

// The least of 32 values, eight side by side.
float least_of_block(const float* values) {
    float lanes[8];
    for (std::size_t k = 0; k < 8; ++k) lanes[k] = values[k];
    for (std::size_t j = 8; j < kBlock; j += 8)
        for (std::size_t k = 0; k < 8; ++k) lanes[k] = values[j + k] < lanes[k] ? values[j + k] : lanes[k];
    return *std::min_element(lanes, lanes + 8);
}

// A value below which about `rank` of n lie, by the same share of a sample.
float about_rank(const float* values, std::size_t n, std::size_t rank) {
    float sample[kRankSample];
    for (std::size_t i = 0; i < kRankSample; ++i) sample[i] = values[i * n / kRankSample];
    std::sort(sample, sample + kRankSample);
    return sample[rank * kRankSample / n];
}

}  // namespace

// Everything a query needs, kept between queries so that a search allocates nothing.
struct IvfScan::Workspace {
    AlignedArray<float> rotated;  // P(longer q - mean)
    float longer = 1;             // what bounds, estimates and the k best hold is so many times the distance
    float query_norm2 = 0, query_dot_mean = 0;
    CoarseQuantizer::Scratch coarse;
    std::unique_ptr<PreparedQuery> query;  // null without a codec
    RowScorer scorer;
    TopK best;
    std::vector<Candidate> pending;
    AlignedArray<float> bounds, least;  // of primed blocks, and the least of each
    AlignedArray<std::uint32_t> slots;
    AlignedArray<float> distances;
    CodeFactors::Room factors;
    std::size_t waiting = 0;  // slots held in `slots` for the refine step
    IvfCounters counters;

    Workspace() : slots(kFlushSize), distances(kFlushSize) {}
};

IvfScan::IvfScan(Metric metric, const Transform& transform, const Codec* codec, bool compact, unsigned columns)
    : metric_(metric), transform_(transform), codec_(codec), dim_(transform.dim()) {
    if (codec != nullptr) {
        const CodeShape& shape = codec->shape();
        if (shape.dim != transform.padded()) throw std::invalid_argument("the codec is not of the transform's dimension");
        factors_ = CodeFactors(shape, compact, columns);
        exact_ = shape.extra_bytes > 0 || shape.exact_tables;
    }
    block_bytes_ = layout().bytes;
}

IvfScan::~IvfScan() = default;

void IvfScan::bind_centroids(const float* centroids, const float* mean, std::size_t lists) {
    mean_.assign(mean, mean + transform_.padded());
    coarse_.bind(centroids, mean_.data(), lists, transform_.padded(), metric_);
    const float* profile = codec_ != nullptr ? codec_->error_profile() : nullptr;
    weights_.assign(mean_.size(), 1.0f);
    if (profile != nullptr) std::copy(profile, profile + mean_.size(), weights_.begin());
    lengths_ = {};
    for (std::size_t j = 0; j < mean_.size(); ++j) {
        const double square = static_cast<double>(mean_[j]) * mean_[j];
        lengths_.norm2 += square;
        lengths_.weighed2 += square * weights_[j];
    }
    for (std::size_t list = 0; list < lists; ++list) lengths_.spread2 = std::max(lengths_.spread2, static_cast<double>(coarse_.norm2(list)));
    if (codec_ != nullptr) lengths_.spread2 += codec_->shape().length2;
}

std::unique_ptr<IvfScan::Workspace> IvfScan::borrow() {
    auto workspace = shelf_.take();
    if (workspace == nullptr) {
        workspace = std::make_unique<Workspace>();
        if (codec_ != nullptr) workspace->query = codec_->make_query();
    }
    return workspace;
}

void IvfScan::search(const float* queries, std::size_t nq, const IvfQuery& options, std::size_t threads, std::int64_t* ids, float* distances) {
    threads = std::max<std::size_t>(1, std::min(threads, nq));
    std::vector<std::unique_ptr<Workspace>> workspaces;
    for (std::size_t t = 0; t < threads; ++t) workspaces.push_back(borrow());
    parallel_for(nq, threads, [&](std::size_t i, std::size_t worker) {
        search_one(queries + i * dim_, options, *workspaces[worker], ids + i * options.k, distances + i * options.k);
    });
    for (auto& workspace : workspaces) shelf_.put(std::move(workspace));
}

float IvfScan::scale_of(const float* rotated) const {
    constexpr std::size_t kLanes = 8;  // of sums that do not wait for each other
    double norm2[kLanes] = {}, weighed2[kLanes] = {}, along[kLanes] = {};
    for (std::size_t j = 0; j < transform_.padded(); j += kLanes) {
        for (std::size_t k = 0; k < kLanes; ++k) {
            const double x = rotated[j + k], weighed = x * weights_[j + k];
            norm2[k] += x * x;
            weighed2[k] += x * weighed;
            along[k] += weighed * mean_[j + k];
        }
    }
    const auto total = [](const double* lanes) { return std::accumulate(lanes, lanes + kLanes, 0.0); };
    return query_scale(total(norm2), total(weighed2), total(along), lengths_);
}

void IvfScan::prepare(const float* query, Workspace& w) const {
    const std::size_t d = transform_.padded();
    w.rotated.resize(d);
    transform_.apply_query(query, w.rotated.data());
    w.longer = 1;
    if (metric_ == Metric::kInnerProduct) {
        const float longer = scale_of(w.rotated.data());
        for (std::size_t j = 0; j < d; ++j) w.rotated[j] *= longer;
        if (codec_ != nullptr) w.longer = longer;  // without, it is for the ranking of the lists alone
    }
    w.query_norm2 = w.query_dot_mean = 0;
    for (std::size_t j = 0; j < d; ++j) {
        w.query_dot_mean += w.rotated[j] * mean_[j];
        w.rotated[j] -= mean_[j];
        w.query_norm2 += w.rotated[j] * w.rotated[j];
    }
}

// What one list adds to the estimates of its codes. For ip <c + mean, q> is assembled from the centred parts.
IvfScan::ListTerms IvfScan::terms(std::uint32_t list, float distance2, float epsilon, const Workspace& w) const {
    const auto square = [](double x) { return x * x; };  // of |o|^2 in tables: float would overflow from lengths of 1e9 on
    const auto margin2 = [&](float spread, float noise) { return square(epsilon) * (square(spread) * distance2 + square(noise)); };
    ListTerms t{distance2, 0.0f, 1.0f + epsilon * arrays_.compact.wobble, 0.0f, 0.0f, 0.0f};
    if (codec_ != nullptr) {
        const double first = margin2(arrays_.first_spread * w.query->first_tilt(), w.query->first_noise());
        const double full = margin2(arrays_.full_spread * w.query->full_tilt(), w.query->full_noise());
        // Where nothing is better than the whole code, only what the symbols add to its error can exclude a vector wrongly.
        const bool is_last = arrays_.rows.data == nullptr && codec_->shape().one_scale;
        t.first_margin = static_cast<float>(std::sqrt(is_last ? std::max(first - full, 0.0) : first));
        t.lead_margin = t.first_margin + w.query->lead_reach();
        t.full_margin = is_last ? 0.0f : static_cast<float>(std::sqrt(full));
    }
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
            prepare_codes(w);
            for (std::size_t p = 0; p < w.coarse.lists.size(); ++p) {
                const std::uint32_t list = w.coarse.lists[p];
                const std::uint8_t* next = p + 1 < w.coarse.lists.size() ? arrays_.blocks + arrays_.list_block[w.coarse.lists[p + 1]] * block_bytes_ : nullptr;
                if (codec_ != nullptr)
                    scan_codes(list, terms(list, w.coarse.distances[p], options.epsilon, w), next, options, w);
                else
                    scan_rows(list, options, w);
            }
        }
    }
    w.best.sort_into(ids, distances);
    for (std::size_t i = 0; i < options.k; ++i) distances[i] /= w.longer;
}

BlockFactors IvfScan::factors(const std::uint8_t* block, Workspace& w) const {
    return factors_.of_symbols(block, arrays_.compact, w.query->sum(), w.factors);
}

Factors IvfScan::full_factors(const std::uint8_t* block, std::size_t lane, std::uint32_t slot) const {
    return factors_.of_whole(block, lane, arrays_.extra + slot * extra_stride(), arrays_.compact);
}

// The estimate of the whole code of one vector, and what `rescale` is of it.
float IvfScan::full_estimate(const std::uint8_t* block, std::size_t lane, std::uint32_t slot, const ListTerms& terms, const Workspace& w,
                             float& rescale) const {
    const std::uint8_t* extra = arrays_.extra != nullptr ? factors_.extra_bits(arrays_.extra + slot * extra_stride()) : nullptr;
    const Factors f = full_factors(block, lane, slot);
    rescale = f.rescale;
    return terms.base + f.add + f.shift * w.query->sum() + f.rescale * w.query->full_dot(layout().codes(block), lane, extra);
}

// What the query needs beyond its transform to meet codes.
void IvfScan::prepare_codes(Workspace& w) const {
    if (codec_ == nullptr) return;
    w.query->prepare(w.rotated.data());
    if (factors_.uniform()) factors_.fill(arrays_.compact, w.factors);
}

// A list's constants of the bound add + rescale * (scale * sums + offset): rescale is negative, so margins lower the estimate. A wrong
// scale of the symbols matters in proportion to <y, q'>, which is large for neighbours only; stretching it costs no far vector its
// exclusion.
struct IvfScan::SymbolBound {
    float low, scale, offset, lead_offset;

    SymbolBound(const ListTerms& terms, const PreparedQuery& query)
        : low(terms.base - terms.slack), scale(query.scale() * terms.stretch), offset(query.offset() * terms.stretch + terms.first_margin),
          lead_offset(query.lead_offset() * terms.stretch + terms.lead_margin) {}

    float at(std::uint32_t sum, float add, float rescale) const { return add + rescale * (scale * static_cast<float>(sum) + offset); }

    // The least sum whose bound is below `threshold` where all vectors have the same factors; 65536 where none is.
    std::uint32_t least(float threshold, float add, float rescale) const {
        const auto below = [&](std::uint32_t sum) { return at(sum, add, rescale) < threshold; };
        const float guess = ((threshold - add) / rescale - offset) / scale;
        auto sum = static_cast<std::uint32_t>(guess > 0 ? std::min(guess, 65535.0f) : 0.0f);
        while (sum > 0 && below(sum - 1)) --sum;
        while (sum < 65536 && !below(sum)) ++sum;
        return sum;
    }
};

void IvfScan::survives(const std::uint8_t* block, unsigned lane, float bound, Workspace& w) const {
    const std::uint32_t slot = layout().slot(block)[lane];
    w.pending.push_back({bound, slot, block, lane});
    if (arrays_.extra != nullptr)
        prefetch(arrays_.extra + slot * extra_stride());
    else if (arrays_.rows.data != nullptr)
        arrays_.rows.prefetch(slot);
}

// The first blocks of a query's first list, while nothing is known that could exclude a vector: the bounds of all are kept, the vectors
// with the least are looked at, and of the others only what those do not exclude. Returns how many vectors that were.
std::size_t IvfScan::prime(std::uint32_t list, const ListTerms& terms, const IvfQuery& options, Workspace& w) const {
    const std::size_t size = std::min<std::size_t>(arrays_.list_size[list], kPrimeBlocks * kBlock), blocks = (size + kBlock - 1) / kBlock;
    const std::size_t wanted = 2 * options.k + kBlock;
    if (blocks < 2 * wanted) return 0;
    const KernelTable& kernel = kernels();
    const SymbolBound b(terms, *w.query);
    const std::uint8_t* first = arrays_.blocks + arrays_.list_block[list] * block_bytes_;
    constexpr float kNone = std::numeric_limits<float>::infinity();
    w.bounds.resize(blocks * kBlock);
    w.least.resize(blocks);
    float* least = w.least.data();
    w.counters.scanned += size;
    for (std::size_t i = 0; i < blocks; ++i) {
        const std::uint8_t* block = first + i * block_bytes_;
        const std::uint32_t live = live_lanes(layout().slot(block), size - i * kBlock, options.filter);
        const BlockFactors f = factors(block, w);
        float* bounds = w.bounds.data() + i * kBlock;
        kernel.fastscan_bound(layout().codes(block), w.query->lut(), layout().symbols, f.add, f.rescale, b.scale, b.offset, kNone, bounds);
        for (std::uint32_t dead = ~live; dead != 0; dead &= dead - 1) bounds[lowest_bit64(dead)] = kNone;
        least[i] = least_of_block(bounds);
    }
    const float few = about_rank(least, blocks, wanted);
    std::uint32_t lanes[kBlock];
    const auto visit = [&](float limit, float at_least) {
        for (std::size_t i = 0; i < blocks; ++i) {
            if (w.pending.size() >= kFlushSize) {
                flush(terms, options, w);
                limit = std::min(limit, w.best.threshold() - b.low);
            }
            if (!(least[i] < limit)) continue;
            const float* bounds = w.bounds.data() + i * kBlock;
            const std::size_t found = kernel.select_below(bounds, kBlock, limit, lanes);
            for (std::size_t j = 0; j < found; ++j)
                if (!(bounds[lanes[j]] < at_least)) survives(first + i * block_bytes_, lanes[j], bounds[lanes[j]] + b.low, w);
        }
        flush(terms, options, w);
    };
    visit(few, -kNone);
    visit(w.best.threshold() - b.low, few);
    return size;
}

void IvfScan::scan_codes(std::uint32_t list, const ListTerms& terms, const std::uint8_t* next, const IvfQuery& options, Workspace& w) const {
    const KernelTable& kernel = kernels();
    const std::size_t size = arrays_.list_size[list], lead = codec_->shape().lead;
    const std::size_t primed = w.best.threshold() < std::numeric_limits<float>::infinity() ? 0 : prime(list, terms, options, w);
    const std::uint8_t* block = arrays_.blocks + arrays_.list_block[list] * block_bytes_ + primed / kBlock * block_bytes_;
    const PreparedQuery& query = *w.query;
    const SymbolBound b(terms, query);
    float bounds[kBlock], known = std::numeric_limits<float>::quiet_NaN();
    std::uint16_t sums[kBlock];
    std::uint32_t least = 0;
    w.counters.scanned += size - primed;
    for (std::size_t first = primed; first < size; first += kBlock, block += block_bytes_) {
        if (next != nullptr) {  // a list is too short for the hardware to see a stream: fetch the next one block by block
            for (std::size_t at = 0; at < block_bytes_; at += 64) prefetch(next + at);
            next += block_bytes_;
        }
        const std::uint32_t live = live_lanes(layout().slot(block), size - first, options.filter);
        if (live == 0) continue;
        const BlockFactors f = factors(block, w);
        const float threshold = w.best.threshold() - b.low;
        std::uint32_t mask = live;
        if (factors_.uniform()) {
            if (threshold != known) least = b.least(threshold, f.add[0], f.rescale[0]), known = threshold;
            mask &= kernel.fastscan_at_least(layout().codes(block), query.lut(), layout().symbols, least, sums);
            for (std::uint32_t left = mask; left != 0; left &= left - 1) {
                const unsigned lane = lowest_bit64(left);
                bounds[lane] = b.at(sums[lane], f.add[0], f.rescale[0]);
            }
        } else {
            const auto below = [&](std::size_t symbols, float constant) {
                return kernel.fastscan_bound(layout().codes(block), query.lut(), symbols, f.add, f.rescale, b.scale, constant, threshold, bounds);
            };
            // The segments that vary most come first; where they exclude all 32 the others need not be read (arXiv 2509.12086, section 4).
            if (lead > 0 && (live & below(lead, b.lead_offset)) == 0) continue;
            mask &= below(layout().symbols, b.offset);
        }
        for (; mask != 0; mask &= mask - 1) {
            const unsigned lane = lowest_bit64(mask);
            survives(block, lane, bounds[lane] + b.low, w);
        }
        if (w.pending.size() >= kFlushSize) flush(terms, options, w);
    }
    flush(terms, options, w);
}

// Looks at the survivors of the symbols' bound: estimate again with all bits, keep what that bound lets through, refine.
void IvfScan::flush(const ListTerms& terms, const IvfQuery& options, Workspace& w) const {
    w.counters.survivors += w.pending.size();
    // The first list has no threshold yet and lets everything through: nearest first, so that the rest can be refused.
    if (w.pending.size() > 2 * options.k) std::sort(w.pending.begin(), w.pending.end(), [](const Candidate& a, const Candidate& b) { return a.bound < b.bound; });
    for (const Candidate& c : w.pending) {
        if (!(c.bound < w.best.threshold())) continue;
        float estimate = c.bound;
        if (exact_) {
            float rescale = 0;
            estimate = full_estimate(c.block, c.lane, c.slot, terms, w, rescale);
            if (!(estimate + rescale * terms.full_margin - terms.slack < w.best.threshold())) continue;
        } else if (arrays_.rows.data == nullptr) {  // nothing better than this estimate: take margin and slack out again
            estimate = c.bound + terms.slack - full_factors(c.block, c.lane, c.slot).rescale * terms.first_margin;
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
    for (std::size_t i = 0; i < w.waiting; ++i) w.best.push(w.longer * w.distances[i], w.slots[i]);
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
    if (from_codes) prepare_codes(w);
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

// The estimates of one slot, from its block alone.
void IvfScan::estimate_slot(std::uint32_t slot, float epsilon, Workspace& w, float& first, float& bound, float& full) const {
    const std::uint32_t position = arrays_.position[slot];
    const std::uint8_t* block = arrays_.blocks + position / kBlock * block_bytes_;
    const std::uint32_t lane = position % kBlock, list = arrays_.block_list[position / kBlock];
    float distance2 = 0;
    kernels().l2_f32(w.rotated.data(), coarse_.centroid(list), 0, nullptr, 1, transform_.padded(), &distance2);
    const ListTerms t = terms(list, distance2, epsilon, w);
    std::uint16_t sums[kBlock];
    kernels().fastscan(layout().codes(block), w.query->lut(), layout().symbols, sums);
    const BlockFactors f = factors(block, w);
    const float dot = w.query->scale() * static_cast<float>(sums[lane]) + w.query->offset();
    first = t.base + f.add[lane] + f.rescale[lane] * dot;
    bound = first + f.rescale[lane] * (t.first_margin + (t.stretch - 1.0f) * dot);
    float rescale = 0;
    full = exact_ ? full_estimate(block, lane, slot, t, w, rescale) : first;
}

void IvfScan::estimate(const float* query, float epsilon, float* first_estimate, float* lower_bound, float* full_estimate) {
    auto workspace = borrow();
    prepare(query, *workspace);
    prepare_codes(*workspace);
    for (std::size_t slot = 0; slot < arrays_.n; ++slot) {
        estimate_slot(static_cast<std::uint32_t>(slot), epsilon, *workspace, first_estimate[slot], lower_bound[slot], full_estimate[slot]);
        for (float* each : {first_estimate, lower_bound, full_estimate}) each[slot] /= workspace->longer;
    }
    shelf_.put(std::move(workspace));
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
            const std::uint32_t* slots = layout().slot(block);
            const std::uint32_t slot = slots[position % kBlock];
            if (slot >= arrays_.n || arrays_.position[slot] != position || arrays_.block_list[position / kBlock] != list) return false;
        }
    }
    return total == arrays_.n;
}

}  // namespace vsearch
