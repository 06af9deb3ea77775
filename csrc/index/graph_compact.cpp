#include "index/graph_compact.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "base/pool.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kStarts = 4, kMoreStarts = 32;  // entry vertices that a walk begins with, and begins again with
constexpr std::size_t kAtOnce = 32;                   // matches scored in one call
constexpr std::size_t kLanes = 16;                    // of argmin_f32
constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline void prefetch(const std::uint8_t* from, std::size_t bytes) {
#if defined(__GNUC__)
    for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(from + at);
#else
    (void)from, (void)bytes;
#endif
}

// Of term(j), j < n, in eight sums: each addition to a single one would wait for the one before.
template <typename Sum, typename Term>
Sum sum_of(std::size_t n, Term term) {
    constexpr std::size_t kSums = 8;
    Sum sums[kSums] = {};
    std::size_t j = 0;
    for (; j + kSums <= n; j += kSums)
        for (std::size_t i = 0; i < kSums; ++i) sums[i] += term(j + i);
    for (; j < n; ++j) sums[j % kSums] += term(j);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

double dot(const float* a, const float* b, std::size_t n) {
    return sum_of<double>(n, [&](std::size_t j) { return static_cast<double>(a[j]) * b[j]; });
}

constexpr std::size_t kUnit = 16;  // of quantize_i16

// The largest magnitude of n values, a multiple of 16.
float peak_of(const float* values, std::size_t n) {
    float most[kUnit] = {};
    for (std::size_t j = 0; j < n; j += kUnit)
        for (std::size_t i = 0; i < kUnit; ++i) {
            const float x = std::fabs(values[j + i]);
            most[i] = x > most[i] ? x : most[i];
        }
    return *std::max_element(most, most + kUnit);
}

// Rounds n values, a multiple of 16, to integers of at most `top`; what they are multiples of.
double round_to(const float* values, std::size_t n, float top, std::int16_t* out) {
    const float scale = peak_of(values, n) / top;
    if (scale >= std::numeric_limits<float>::min() && scale < kInfinity)
        kernels().quantize_i16(values, n, 1.0f / scale, out);
    else
        std::fill(out, out + n, std::int16_t{0});  // vectors of nothing, or beyond all
    return scale;
}

}  // namespace

// ------------------------------------------------------------------------------------------------------------- scores

void CompactScorer::prepare(const CompactLayout& layout, const CompactCoding& coding, const float* transformed, std::size_t d, double base, float least) {
    layout_ = layout;
    base_ = base;
    least_ = least;
    sum_ = sum_of<double>(d, [&](std::size_t j) { return static_cast<double>(transformed[j]); });
    const std::size_t positions = layout.wide + layout.narrow;
    values_.resize(round_up(layout.wide, kUnit) + layout.narrow);
    float* narrow = values_.data() + round_up(layout.wide, kUnit);
    for (std::size_t p = 0; p < layout.wide; ++p) values_[p] = transformed[coding.source[p]];
    for (std::size_t p = layout.wide; p < positions; ++p) narrow[p - layout.wide] = transformed[coding.source[p]];
    fold(coding);
}

void CompactScorer::prepare_code(const CompactLayout& layout, const CompactCoding& coding, const std::uint8_t* row, float scale, float shift, std::size_t d, double base, float least) {
    layout_ = layout;
    base_ = base;
    least_ = least;
    values_.resize(round_up(layout.wide, kUnit) + layout.narrow);
    float* narrow = values_.data() + round_up(layout.wide, kUnit);
    const float *step = coding.step.data(), *offset = coding.offset.data();
    if (layout.wide > 0) kernels().widen_i8(row, layout.wide, 1.0f, values_.data());
    for (std::size_t j = 0; j < layout.narrow; ++j) narrow[j] = static_cast<float>(row[layout.wide + j / 64 * 32 + j % 32] >> (j % 64 < 32 ? 0 : 4) & 15);
    const auto stands_for = [&](float* codes, std::size_t first, std::size_t n) {
        for (std::size_t j = 0; j < n; ++j) codes[j] = scale * (offset[first + j] + step[first + j] * codes[j]);
        const float total = sum_of<float>(n, [&](std::size_t j) { return codes[j]; });
        for (std::size_t j = 0; j < n; ++j) codes[j] += shift;  // of padding too, which counts for nothing: fold() multiplies it by 0
        return total;
    };
    sum_ = static_cast<double>(shift) * static_cast<double>(d);
    sum_ += stands_for(values_.data(), 0, layout.wide);
    sum_ += stands_for(narrow, layout.wide, layout.narrow);
    fold(coding);
}

// Integers of the values times the steps.
void CompactScorer::fold(const CompactCoding& coding) {
    const std::size_t wide = layout_.wide, padded = round_up(wide, kUnit), narrow = layout_.narrow;
    wide_.resize(padded);
    halves_.resize(narrow);
    narrow_.resize(narrow);
    const auto multiply = [&](float* values, std::size_t first, std::size_t n) {
        const double constant = dot(values, coding.offset.data() + first, n);
        for (std::size_t j = 0; j < n; ++j) values[j] *= coding.step[first + j];
        return constant;
    };
    constant_ = multiply(values_.data(), 0, wide);
    constant_ += multiply(values_.data() + padded, wide, narrow);
    if (wide > 0) {  // the largest at which a dot product stays exact in int32
        std::fill(values_.data() + wide, values_.data() + padded, 0.0f);
        const float top = std::min(32767.0f, std::floor(2147483647.0f / (128.0f * static_cast<float>(wide))) - 1);
        wide_scale_ = round_to(values_.data(), padded, top, wide_.data());
    }
    if (narrow > 0) {
        narrow_scale_ = round_to(values_.data() + padded, narrow, 127.0f, halves_.data());
        for (std::size_t j = 0; j < narrow; ++j) narrow_[j] = static_cast<std::int8_t>(halves_[j]);
    }
}

void CompactScorer::score(const std::uint8_t* rows, const std::uint32_t* slots, std::size_t n, float* out) {
    const KernelTable& k = kernels();
    dots_.resize(n);
    more_.resize(n);
    if (layout_.wide > 0) k.dot_i8(wide_.data(), reinterpret_cast<const std::int8_t*>(rows), layout_.bytes, slots, n, layout_.wide, dots_.data());
    if (layout_.narrow > 0) k.dot_u4(narrow_.data(), rows + layout_.wide, layout_.bytes, slots, n, layout_.narrow, more_.data());
    for (std::size_t i = 0; i < n; ++i) {  // in double: a sum of large squares must not cost the last bits of a small distance
        double product = constant_;
        if (layout_.wide > 0) product += wide_scale_ * dots_[i];
        if (layout_.narrow > 0) product += narrow_scale_ * more_[i];
        const float* factors = layout_.factors(rows + slots[i] * layout_.bytes);
        const auto score = static_cast<float>(base_ + factors[0] + factors[1] * product + factors[2] * sum_);
        out[i] = score < least_ ? least_ : score;
    }
}

// --------------------------------------------------------------------------------------------------------------- scan

GraphCompactScan::GraphCompactScan(Metric metric, const Transform& transform, std::size_t wide, std::size_t narrow, std::size_t degree)
    : metric_(metric), transform_(transform), layout_(wide, narrow, degree) {
    if (wide + narrow == 0 || narrow % 64 != 0) throw std::invalid_argument("there must be dims, and those of 4 bits a multiple of 64");
    if (degree == 0) throw std::invalid_argument("the degree must be positive");
}

void GraphCompactScan::bind_coding(CompactCoding coding, const float* mean) {
    coding_ = std::move(coding);
    mean_.assign(mean, mean + dim());
}

std::unique_ptr<CompactWalk> GraphCompactScan::borrow() {
    auto walk = shelf_.take();
    return walk != nullptr ? std::move(walk) : std::make_unique<Walk>();
}

// `lift` is the further coordinate of a stored vector that the builder looks for under ip, null for queries, which have none: these are made
// GraphScan::kLengthened times as long as the longest vector. It changes no order, and codes are those of vectors less their mean: a query
// much shorter than that would be lost in it.
void GraphCompactScan::prepare(const float* query, const float* lift, const CompactQuery& options, Walk& w) const {
    const std::size_t d = dim();
    w.centered.resize(d);
    w.transformed.resize(transform_.padded());
    w.lift = lift != nullptr ? *lift : 0.0f;
    w.longer = 1;
    double norm2 = 0;
    if (metric_ == Metric::kInnerProduct) {
        norm2 = dot(query, query, d) + static_cast<double>(w.lift) * w.lift;
        if (lift == nullptr && norm2 > 0 && arrays_.reach2 > 0) w.longer = GraphScan::kLengthened * std::sqrt(arrays_.reach2 / norm2);
    }
    for (std::size_t j = 0; j < d; ++j) w.centered[j] = static_cast<float>(w.longer * query[j] - mean_[j]);
    transform_.apply_query(w.centered.data(), w.transformed.data());
    w.least = 0;
    double base = 0;
    float least = 0;
    if (metric_ == Metric::kInnerProduct) {
        base = -w.longer * dot(query, mean_.data(), d);
        least = -kInfinity;
        w.least = -static_cast<float>(w.longer * std::sqrt(norm2 * arrays_.reach2));
    } else {
        base = dot(w.centered.data(), w.centered.data(), d) * (metric_ == Metric::kCosine ? 0.5 : 1.0);
    }
    w.scorer.prepare(layout_, coding_, w.transformed.data(), transform_.padded(), base, least);
    w.visits = 0;
    w.allowed.begin(options.effort, options.most_visits(arrays_.n));
    w.limit = kInfinity;
    w.slots.clear();
    w.expanded.clear();
    w.best.reset(options.k, arrays_.ids);
    if (arrays_.store.data != nullptr) w.window.reset(std::max(options.window, options.k));
}

// Offers a scored vertex to the answer.
inline void GraphCompactScan::keep(std::uint32_t slot, float score, const CompactQuery& options, Walk& w) const {
    if (!options.may_return(slot)) return;
    w.best.push(score, slot);
    if (arrays_.store.data != nullptr) w.window.push(score, slot);
}

inline void GraphCompactScan::set_limit(const CompactQuery& options, Walk& w) const {
    const float farthest = w.best.threshold() - w.least;
    w.allowed.follow(options.pace, farthest);
    w.limit = w.least + farthest * w.allowed.effort();
}

// Puts the nearest of the entry vertices that were not scored into the pool, those below the limit; false where there are none.
bool GraphCompactScan::start(std::size_t count, const CompactQuery& options, Walk& w) const {
    bool any = false;
    w.pool.reserve(count);
    for (std::size_t i = 0; i < count;) {
        const std::size_t at = kernels().argmin_f32(w.estimates.data(), w.estimates.size());
        const float estimated = w.estimates[at];
        if (!(estimated < w.limit)) break;
        w.estimates[at] = kInfinity;
        const std::uint32_t slot = arrays_.entries[at];
        if (w.seen.contains(slot)) continue;
        w.seen.insert(slot);
        keep(slot, estimated, options, w);
        w.pool.put(estimated, slot);
        ++w.counters.entered;
        any = true;
        ++i;
    }
    set_limit(options, w);
    return any;
}

// Takes the nearest candidate out of the pool and starts fetching its slots; kNone where none is left.
inline std::uint32_t GraphCompactScan::fetch_next(const CompactQuery& options, Walk& w) const {
    for (;;) {
        float distance = 0;
        const std::uint32_t slot = w.pool.nearest(&distance);
        if (slot == CandidatePool::kNone && w.slots.empty() && start(kMoreStarts, options, w)) continue;  // there may be more elsewhere
        if (slot == CandidatePool::kNone || !(distance < w.limit)) return CandidatePool::kNone;
        w.pool.take();
        prefetch(arrays_.rows + slot * layout_.bytes + layout_.neighbours_at, layout_.degree * sizeof(std::uint32_t));
        return slot;
    }
}

// The neighbours of a vertex that were not scored yet; their codes are on their way then.
inline void GraphCompactScan::gather(std::uint32_t slot, Walk& w) const {
    const std::uint32_t* neighbours = layout_.neighbours(arrays_.rows + slot * layout_.bytes);
    w.slots.clear();
    for (std::size_t i = 0; i < layout_.degree; ++i) {
        const std::uint32_t next = neighbours[i];
        if (w.seen.contains(next)) continue;
        w.seen.insert(next);
        w.slots.push_back(next);
        prefetch(arrays_.rows + next * layout_.bytes, layout_.factors_at + 3 * sizeof(float));
    }
}

// Scores what was gathered and puts what is near enough into the pool.
inline void GraphCompactScan::enter(const CompactQuery& options, Walk& w) const {
    const std::size_t n = w.slots.size();
    w.scores.resize(std::max(w.scores.size(), n));
    w.scorer.score(arrays_.rows, w.slots.data(), n, w.scores.data());
    for (std::size_t i = 0; i < n; ++i) {
        if (w.lift != 0.0f) w.scores[i] -= w.lift * arrays_.lifts[w.slots[i]];
        keep(w.slots[i], w.scores[i], options, w);
    }
    set_limit(options, w);
    w.pool.tidy(w.limit, w.allowed.left(w.visits));
    w.pool.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
        if (!(w.scores[i] < w.limit)) continue;
        w.pool.put(w.scores[i], w.slots[i]);
        ++w.counters.entered;
    }
    w.slots.clear();
}

// From the entry vertices on. The vertex after the one whose neighbours are scored is chosen before those are known: that costs a few
// visits more, but no visit waits for its slots, and none for the first of its codes.
void GraphCompactScan::walk(const CompactQuery& options, Walk& w) const {
    w.pool.reset();
    w.seen.reset(arrays_.n);
    const std::size_t entries = arrays_.entry_count;
    w.estimates.resize(round_up(std::max<std::size_t>(entries, 1), kLanes));
    std::fill(w.estimates.data(), w.estimates.data() + w.estimates.size(), kInfinity);
    w.scorer.score(arrays_.rows, arrays_.entries, entries, w.estimates.data());
    if (w.lift != 0.0f)
        for (std::size_t i = 0; i < entries; ++i) w.estimates[i] -= w.lift * arrays_.lifts[arrays_.entries[i]];
    start(kStarts, options, w);
    w.pending = fetch_next(options, w);
    while (w.pending != CandidatePool::kNone && w.allowed.left(w.visits) > 0) {
        ++w.visits;
        w.expanded.push_back(w.pending);
        gather(w.pending, w);
        w.pending = w.slots.empty() ? CandidatePool::kNone : fetch_next(options, w);
        if (!w.slots.empty()) enter(options, w);
        if (w.pending == CandidatePool::kNone) w.pending = fetch_next(options, w);
    }
}

bool GraphCompactScan::search(const float* queries, std::size_t nq, CompactQuery options, std::size_t threads, std::int64_t* ids, float* distances) {
    options.shown = arrays_.shown();
    threads = std::max<std::size_t>(1, std::min(threads, nq));
    std::vector<std::unique_ptr<Walk>> walks;
    for (std::size_t t = 0; t < threads; ++t) walks.push_back(borrow());
    const bool few = matches_are_few(options);
    std::atomic<bool> ready{true};
    parallel_for(nq, threads, [&](std::size_t i, std::size_t worker) {
        Walk& w = *walks[worker];
        const float* query = queries + i * dim();
        if (options.given) query = w.given.ready(query, dim(), metric_);
        if (query == nullptr) {
            ready = false;
            return;
        }
        prepare(query, nullptr, options, w);
        if (!few) walk(options, w);
        if (few || options.is_short(w.best.size())) scan(options, w);
        w.counters.visited += w.visits;
        finish(query, options, w);
        float* found = distances + i * options.k;
        w.best.sort_into(ids + i * options.k, found);
        if (w.longer != 1 && arrays_.store.data == nullptr)
            for (std::size_t j = 0; j < options.k; ++j) found[j] = static_cast<float>(found[j] / w.longer);
    });
    for (auto& walk : walks) give_back(std::move(walk));
    return ready;
}

// As in graph.cpp: a walk meets about one match in n / matches and has to make that many times more visits, each of some ten scores.
bool GraphCompactScan::matches_are_few(const CompactQuery& options) const {
    if (options.filter == nullptr) return options.most >= arrays_.n;
    const double n = static_cast<double>(arrays_.n), matches = static_cast<double>(options.matches);
    return matches <= static_cast<double>(options.k) || matches * matches <= 10 * static_cast<double>(options.most) * n;
}

// Scores all that may be returned.
void GraphCompactScan::scan(const CompactQuery& options, Walk& w) const {
    w.slots.clear();
    w.best.reset(options.k, arrays_.ids);
    if (arrays_.store.data != nullptr) w.window.reset(std::max(options.window, options.k));
    w.scores.resize(std::max(w.scores.size(), kAtOnce));
    const auto score = [&] {
        w.scorer.score(arrays_.rows, w.slots.data(), w.slots.size(), w.scores.data());
        for (std::size_t i = 0; i < w.slots.size(); ++i) keep(w.slots[i], w.scores[i], options, w);
        w.slots.clear();
    };
    each_match(options.filter, 0, arrays_.shown(), [&](std::uint32_t slot) {
        w.slots.push_back(slot);
        if (w.slots.size() == kAtOnce) score();
    });
    if (!w.slots.empty()) score();
}

// Where there are stored vectors, these decide among the best by their codes.
void GraphCompactScan::finish(const float* query, const CompactQuery& options, Walk& w) const {
    if (arrays_.store.data == nullptr) return;
    w.slots.clear();
    w.window.for_each([&](std::uint32_t slot, float) { w.slots.push_back(slot); });
    w.scores.resize(std::max(w.scores.size(), w.slots.size()));
    w.refiner.prepare(arrays_.store, metric_, query);
    w.refiner.score(arrays_.store, w.slots.data(), w.slots.size(), w.scores.data());
    w.best.reset(options.k, arrays_.ids);
    for (std::size_t i = 0; i < w.slots.size(); ++i) w.best.push(w.scores[i], w.slots[i]);
}

void GraphCompactScan::collect(const float* vector, const float* lift, const CompactQuery& options, Walk& w, std::vector<std::uint32_t>& found) {
    prepare(vector, lift, options, w);
    walk(options, w);
    found = w.expanded;
    w.best.for_each([&](std::uint32_t slot, float) { found.push_back(slot); });
}

bool GraphCompactScan::consistent() const {
    for (std::size_t v = 0; v < arrays_.n; ++v) {
        const std::uint32_t* neighbours = layout_.neighbours(arrays_.rows + v * layout_.bytes);
        for (std::size_t i = 0; i < layout_.degree; ++i)
            if (neighbours[i] >= arrays_.n) return false;
    }
    for (std::size_t i = 0; i < arrays_.entry_count; ++i)
        if (arrays_.entries[i] >= arrays_.n) return false;
    return true;
}

}  // namespace vsearch
