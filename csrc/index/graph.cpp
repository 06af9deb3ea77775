#include "index/graph.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>

#include "base/pool.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kStarts = 4;       // entry vertices that a walk begins with
constexpr std::size_t kBlockParts = 4;   // of the next row, asked for with each block of this one
constexpr std::size_t kAtOnce = 20;      // lines that the core has room to wait for

std::size_t element_bytes(RowType type) { return type == RowType::kF32 ? 4 : type == RowType::kInt8 ? 1 : 2; }

inline void prefetch_line(const void* p) {
#if defined(__GNUC__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
}

}  // namespace

GraphScan::GraphScan(Metric metric, const Transform& transform, const Codec& codec, RowType row_type, std::size_t degree)
    : metric_(metric), transform_(transform), codec_(codec), dim_(transform.dim() - (metric == Metric::kInnerProduct ? 1 : 0)),
      layout_(codec.shape().symbols, codec.shape().shifted ? 3 : 2, degree, dim_ * element_bytes(row_type)) {
    if (codec.shape().dim != transform.padded()) throw std::invalid_argument("the codec is not of the transform's dimension");
    if (degree == 0 || degree % kBlock != 0) throw std::invalid_argument("the degree must be a multiple of 32");
    rows_.type = row_type;
    rows_.dim = dim_;
    rows_.stride = layout_.bytes;
}

GraphScan::~GraphScan() = default;

void GraphScan::bind_mean(const float* transformed_mean) { mean_.assign(transformed_mean, transformed_mean + transform_.padded()); }

void GraphScan::bind(const GraphArrays& arrays) {
    arrays_ = arrays;
    rows_.data = arrays.rows;
    rows_.factors = arrays.factors;
}

std::unique_ptr<GraphScan::Walk> GraphScan::borrow() {
    auto walk = shelf_.take();
    if (walk == nullptr) {
        walk = std::make_unique<Walk>();
        walk->query = codec_.make_query();
    }
    return walk;
}

inline void ask(Ahead ahead) {
    for (; ahead.next < ahead.end; ahead.next += kAlignment) prefetch_line(ahead.next);
}

// Some of the row of the next vertex, asked for while the present one is visited: the first part before it is scored, then two parts while
// each of its blocks is scanned and two after that. Asked for at once a long row would stall the core; asked for all along the visit it
// arrives beside it. A short one is a single part.
inline Ahead GraphScan::ahead(std::uint32_t slot, std::size_t from, std::size_t to) const {
    if (slot == CandidatePool::kNone) return {};
    const std::uint8_t* row = arrays_.rows + slot * layout_.bytes;
    const std::size_t lines = layout_.bytes / kAlignment, parts = lines <= kAtOnce ? 1 : 1 + kBlockParts * layout_.blocks;
    from = std::min(from, parts);
    to = std::min(to, parts);
    return {row + lines * from / parts * kAlignment, row + lines * to / parts * kAlignment};
}

// Estimates of a block's 32 vertices, without what depends on the vector they were coded against; bit v says that the v-th is below `limit`.
inline std::uint32_t GraphScan::estimate(const std::uint8_t* block, float limit, Ahead ahead, Walk& w, float* estimates) const {
    const KernelTable& kernel = kernels();
    const PreparedQuery& query = *w.query;
    const BlockLayout& layout = layout_.block;
    const FactorScales& scales = arrays_.scales;
    if (layout.columns == 2)
        return kernel.fastscan_halves(layout.codes(block), query.lut(), layout.symbols, reinterpret_cast<const std::uint16_t*>(layout.column(block, 0)), scales.add,
                                      scales.rescale * query.scale(), scales.rescale * query.offset(), limit, estimates, ahead);
    ask(ahead);
    kernel.widen_f16(layout.column(block, 0), kBlock, scales.add, w.add);
    kernel.widen_f16(layout.column(block, 1), kBlock, scales.rescale, w.rescale);
    kernel.widen_f16(layout.column(block, 2), kBlock, scales.rescale * query.sum(), estimates);  // a grid that is not centred on zero
    for (std::size_t v = 0; v < kBlock; ++v) w.add[v] += estimates[v];
    return kernel.fastscan_bound(layout.codes(block), query.lut(), layout.symbols, w.add, w.rescale, query.scale(), query.offset(), limit, estimates);
}

// Puts what a block says of its 32 vertices into the pool; `base` is the squared distance of the query to what they were coded against.
inline void GraphScan::enter(const std::uint8_t* block, float base, Ahead ahead, Walk& w) const {
    std::uint32_t mask = estimate(block, w.limit - base, ahead, w, w.bound);
    const std::uint32_t* slots = layout_.block.slot(block);
    w.pool.reserve(kBlock);
    const std::size_t before = w.pool.size();
    for (; mask != 0; mask &= mask - 1) {
        const unsigned lane = lowest_bit64(mask);
        w.pool.put_unless(w.visited.contains(slots[lane]), w.bound[lane] + base, slots[lane]);
    }
    w.counters.entered += w.pool.size() - before;
}

// `lift` is the further coordinate of a stored vector that the builder looks for under ip, null for queries, which have none. These are made
// kLengthened times as long as the longest vector: it changes no order, and the error of an estimate of <q, x> falls in proportion to
// |q - x| / |q|.
void GraphScan::begin(const float* query, const float* lift, const GraphQuery& options, Walk& w) const {
    const std::size_t d = transform_.padded();
    w.rotated.resize(d);
    float norm2 = 0, longer = 1;
    if (metric_ == Metric::kInnerProduct) {
        w.lifted.resize(dim_ + 1);
        std::copy(query, query + dim_, w.lifted.data());
        w.lifted[dim_] = lift != nullptr ? *lift : 0.0f;
        kernels().dot_f32(w.lifted.data(), w.lifted.data(), 0, nullptr, 1, dim_ + 1, &norm2);
        if (lift == nullptr && norm2 > 0 && arrays_.reach2 > 0) {
            longer = kLengthened * std::sqrt(arrays_.reach2 / norm2);
            for (std::size_t j = 0; j < dim_; ++j) w.lifted[j] *= longer;
            norm2 *= longer * longer;
        }
        transform_.apply_query(w.lifted.data(), w.rotated.data());
    } else {
        transform_.apply_query(query, w.rotated.data());
    }
    for (std::size_t j = 0; j < d; ++j) w.rotated[j] -= mean_[j];
    w.query->prepare(w.rotated.data());
    w.lift = lift != nullptr ? *lift : 0.0f;
    w.visits = 0;
    w.allowed.begin(options.effort, options.most_visits(arrays_.n));
    w.pending = CandidatePool::kNone;
    w.limit = std::numeric_limits<float>::infinity();
    w.scorer.prepare(rows_, metric_, query);
    w.scale = metric_ == Metric::kL2 ? 1.0f : 2.0f * longer;
    w.shift = metric_ == Metric::kInnerProduct ? norm2 + arrays_.reach2 : 0.0f;
    w.least = metric_ == Metric::kInnerProduct ? w.shift - 2.0f * std::sqrt(norm2 * arrays_.reach2) : 0.0f;
    w.best.reset(options.k, arrays_.ids);
    w.pool.reset();
    w.visited.reset(arrays_.n);

    // The nearest few of the entry vertices.
    const std::size_t blocks = (arrays_.entry_count + kBlock - 1) / kBlock;
    kernels().dot_f32(w.rotated.data(), w.rotated.data(), 0, nullptr, 1, d, &norm2);
    if (blocks == 0) return;
    if (blocks == 1) return enter(arrays_.entries, norm2, {}, w);
    w.estimates.resize(blocks * kBlock);
    for (std::size_t b = 0; b < blocks; ++b) estimate(arrays_.entries + b * layout_.block.bytes, 0.0f, {}, w, w.estimates.data() + b * kBlock);
    w.entry_base = norm2;
    start(kStarts, w);
}

// Puts the nearest of the entry vertices that were not put there before into the pool, `count` of those below the limit and not visited; false
// where there are none.
bool GraphScan::start(std::size_t count, Walk& w) const {
    const std::size_t lanes = (arrays_.entry_count + kBlock - 1) / kBlock * kBlock;
    if (lanes <= kBlock) return false;  // all of them began
    bool any = false;
    w.pool.reserve(count);
    for (std::size_t i = 0; i < count;) {
        const std::size_t at = kernels().argmin_f32(w.estimates.data(), lanes);
        const float estimated = w.estimates[at] + w.entry_base;
        if (!(estimated < w.limit)) break;
        w.estimates[at] = std::numeric_limits<float>::infinity();
        const std::uint32_t slot = layout_.block.slot(arrays_.entries + at / kBlock * layout_.block.bytes)[at % kBlock];
        if (w.visited.contains(slot)) continue;
        w.pool.put(estimated, slot);
        any = true;
        ++i;
    }
    return any;
}

// Takes the nearest candidate that was not visited yet out of the pool; kNone where none is left.
inline std::uint32_t GraphScan::take_next(Walk& w) const {
    float distance = 0;
    std::uint32_t slot = w.pool.nearest(&distance);
    while (slot == CandidatePool::kNone) {
        if (!start(kBlock, w)) return CandidatePool::kNone;
        slot = w.pool.nearest(&distance);  // a closed group of equals, say: there may be more elsewhere
    }
    if (!(distance < w.limit)) return CandidatePool::kNone;
    w.pool.take();
    w.visited.insert(slot);
    return slot;
}

// Visits the vertex that was fetched during the last step while the next one is on its way; false where none is left. The next one is
// chosen without knowing this one's neighbours. That costs a few visits more, but no visit waits for memory.
inline bool GraphScan::step(const GraphQuery& options, Walk& w, std::vector<Edge>* visited) const {
    const std::uint32_t slot = w.pending;
    w.pending = take_next(w);
    if (slot == CandidatePool::kNone) {
        if (w.pending == CandidatePool::kNone) return false;
        ask(ahead(w.pending, 0, 1 + kBlockParts * layout_.blocks));
        return true;
    }
    if (w.allowed.left(w.visits) == 0) return false;
    ++w.visits;
    ask(ahead(w.pending, 0, 1));
    float score = 0;
    w.scorer.score(rows_.from(slot), nullptr, 1, &score);
    if (w.lift != 0.0f) score -= w.lift * arrays_.lifts[slot];
    if (options.may_return(slot)) w.best.push(score, slot);
    const float base = w.shift + w.scale * score;
    if (visited != nullptr) visited->push_back({base, slot});
    const float farthest = w.shift + w.scale * w.best.threshold() - w.least;
    w.allowed.follow(options.pace, farthest);
    w.limit = w.least + farthest * w.allowed.effort();
    w.pool.tidy(w.limit, w.allowed.left(w.visits));
    const std::uint8_t* row = arrays_.rows + slot * layout_.bytes;
    for (std::size_t b = 0, part = 1; b < layout_.blocks; ++b, part += kBlockParts) {
        enter(layout_.block_of(row, b), base, ahead(w.pending, part, part + kBlockParts / 2), w);
        ask(ahead(w.pending, part + kBlockParts / 2, part + kBlockParts));
    }
    return true;
}

bool GraphScan::search(const float* queries, std::size_t nq, GraphQuery options, std::size_t threads, std::int64_t* ids, float* distances) {
    options.shown = arrays_.shown();
    threads = std::max<std::size_t>(1, std::min(threads, nq));
    std::vector<std::unique_ptr<Walk>> walks;
    for (std::size_t t = 0; t < threads; ++t) walks.push_back(borrow());
    std::atomic<bool> ready{true};
    const bool few = matches_are_few(options);
    parallel_for(nq, threads, [&](std::size_t i, std::size_t worker) {
        Walk& w = *walks[worker];
        const float* query = queries + i * dim_;
        if (options.given) query = w.given.ready(query, dim_, metric_);
        if (query == nullptr) {
            ready = false;
            return;
        }
        if (few) {
            w.visits = 0;
            scan(query, options, w);
        } else {
            begin(query, nullptr, options, w);
            while (step(options, w, nullptr)) {
            }
            if (options.is_short(w.best.size())) scan(query, options, w);
        }
        w.counters.visited += w.visits;
        w.best.sort_into(ids + i * options.k, distances + i * options.k);
    });
    for (auto& walk : walks) give_back(std::move(walk));
    return ready;
}

// A walk that wants `most` visits meets about one match in n / matches, so it has to make that many times more of them; scoring a match
// directly costs about a third of a visit. Without a filter most walks end long before; but who would visit all had better scan.
bool GraphScan::matches_are_few(const GraphQuery& options) const {
    if (options.filter == nullptr) return options.most >= arrays_.n;
    const double n = static_cast<double>(arrays_.n), matches = static_cast<double>(options.matches);
    return matches <= static_cast<double>(options.k) || matches * matches <= 3 * static_cast<double>(options.most) * n;
}

// Scores all that may be returned.
void GraphScan::scan(const float* query, const GraphQuery& options, Walk& w) const {
    w.best.reset(options.k, arrays_.ids);
    w.scorer.prepare(rows_, metric_, query);
    std::uint32_t slots[kBlock];
    float scores[kBlock];
    std::size_t waiting = 0;
    const auto score = [&] {
        w.scorer.score(rows_, slots, waiting, scores);
        for (std::size_t i = 0; i < waiting; ++i) w.best.push(scores[i], slots[i]);
        waiting = 0;
    };
    each_match(options.filter, 0, arrays_.shown(), [&](std::uint32_t slot) {
        slots[waiting++] = slot;
        if (waiting == kBlock) score();
    });
    if (waiting > 0) score();
}

void GraphScan::collect(const float* query, const GraphQuery& options, Walk& w, std::vector<Edge>& visited) {
    visited.clear();
    begin(query, metric_ == Metric::kInnerProduct ? query + dim_ : nullptr, options, w);
    while (step(options, w, &visited)) {
    }
}

bool GraphScan::consistent() const {
    for (std::size_t v = 0; v < arrays_.n; ++v)
        for (std::size_t i = 0; i < layout_.degree; ++i)
            if (layout_.neighbour(arrays_.rows + v * layout_.bytes, i) >= arrays_.n) return false;
    for (std::size_t i = 0; i < round_up(arrays_.entry_count, kBlock); ++i)
        if (layout_.block.slot(arrays_.entries + i / kBlock * layout_.block.bytes)[i % kBlock] >= arrays_.n) return false;
    return true;
}

}  // namespace vsearch
