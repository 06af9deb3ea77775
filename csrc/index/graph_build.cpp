#include "index/graph_build.hpp"

#include <algorithm>

#include "base/half.hpp"
#include "base/pool.hpp"
#include "index/filter.hpp"
#include "index/graph_offers.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

// Calls body(vertex, worker) for the vertices [first, last), a few to a task.
template <class Body>
void each_vertex(std::size_t first, std::size_t last, std::size_t threads, Body body) {
    constexpr std::size_t kGrain = 64;
    parallel_for((last - first + kGrain - 1) / kGrain, threads, [&](std::size_t task, std::size_t worker) {
        for (std::size_t v = first + task * kGrain; v < std::min(last, first + (task + 1) * kGrain); ++v) body(v, worker);
    });
}

}  // namespace

struct GraphBuilder::Worker {
    Pruner pruner;
    std::unique_ptr<GraphScan::Walk> walk;
    std::vector<Edge> candidates, list;
    std::vector<std::uint32_t> slots;
    std::vector<std::size_t> lanes;
    std::vector<float> distances;
    RowScorer scorer;
    std::vector<float> vector;
    AlignedArray<float> center, other, residual;
    EncodeScratch scratch;
    std::vector<std::uint8_t> symbols, extra, found;

    Worker(GraphScan& scan, const float* lifts, float alpha)
        : pruner(scan, lifts, alpha), walk(scan.borrow()), vector(scan.transform().dim()), center(scan.transform().padded()),
          other(scan.transform().padded()), residual(scan.transform().padded()), symbols(scan.codec().symbol_bytes()), extra(scan.codec().shape().extra_bytes), found(scan.codec().search_bytes()) {}
};

GraphBuilder::GraphBuilder(GraphScan& scan, std::uint8_t* rows, const float* lifts, const float* transformed, float alpha, std::size_t threads)
    : scan_(scan), rows_(rows), lifts_(lifts), transformed_(transformed), n_(scan.arrays().n), degree_(scan.layout().degree), threads_(threads) {
    for (std::size_t t = 0; t < threads; ++t) workers_.push_back(std::make_unique<Worker>(scan, lifts, alpha));
}

GraphBuilder::~GraphBuilder() {
    for (auto& worker : workers_) scan_.give_back(std::move(worker->walk));
}

void GraphBuilder::improve_near(std::size_t width, std::uint64_t seed) {
    if (near_ == nullptr) near_ = std::make_unique<NearLists>(scan_, lifts_, width);
    near_->improve(seed, threads_);
}

void GraphBuilder::use_lists() {
    if (!fresh_.empty() || n_ == 0) return;
    lists_.resize(n_ * degree_);
    fresh_.resize(n_ * degree_);
    counts_.resize(n_, 0);
    fresh_counts_.resize(n_, 0);
    kept_.resize(n_, 0);
}

// A vertex's list of this round, from the candidates.
void GraphBuilder::prune(std::uint32_t slot, Worker& w) {
    std::size_t kept = 0;
    fresh_counts_[slot] = static_cast<std::uint32_t>(w.pruner.select(slot, w.candidates, fresh_.data() + slot * degree_, &kept));
    kept_[slot] = static_cast<std::uint32_t>(kept);
}

void GraphBuilder::link_near(std::size_t first, std::size_t last) {
    use_lists();
    each_vertex(first, last, threads_, [&](std::size_t v, std::size_t t) {
        Worker& w = *workers_[t];
        w.candidates.assign(near_->list(v), near_->list(v) + near_->count(v));
        prune(static_cast<std::uint32_t>(v), w);
    });
}

void GraphBuilder::link_by_walks(std::size_t first, std::size_t last, const GraphQuery& search) {
    use_lists();
    each_vertex(first, last, threads_, [&](std::size_t v, std::size_t t) {
        Worker& w = *workers_[t];
        const auto slot = static_cast<std::uint32_t>(v);
        w.pruner.vectors().read(slot, w.vector.data());
        scan_.collect(w.vector.data(), search, *w.walk, w.candidates);
        w.candidates.insert(w.candidates.end(), lists_.data() + v * degree_, lists_.data() + v * degree_ + counts_[v]);
        if (near_ != nullptr) w.candidates.insert(w.candidates.end(), near_->list(v), near_->list(v) + near_->count(v));
        prune(slot, w);
    });
}

void GraphBuilder::reverse() {
    std::vector<std::size_t> start(n_ + 1, 0);
    for (std::size_t v = 0; v < n_; ++v)
        for (std::size_t i = 0; i < kept_[v]; ++i) ++start[fresh_[v * degree_ + i].slot + 1];
    for (std::size_t v = 0; v < n_; ++v) start[v + 1] += start[v];
    std::vector<Edge> incoming(start[n_]);
    std::vector<std::size_t> next(start.begin(), start.end() - 1);
    for (std::size_t v = 0; v < n_; ++v)
        for (std::size_t i = 0; i < kept_[v]; ++i) {
            const Edge& edge = fresh_[v * degree_ + i];
            incoming[next[edge.slot]++] = {edge.distance, static_cast<std::uint32_t>(v)};
        }
    each_vertex(0, n_, threads_, [&](std::size_t v, std::size_t t) {
        Worker& w = *workers_[t];
        const Edge* list = fresh_.data() + v * degree_;
        w.candidates.assign(list, list + fresh_counts_[v]);
        const std::size_t most = 4 * degree_;  // of a hub's, the nearest
        Edge *from = incoming.data() + start[v], *to = incoming.data() + start[v + 1];
        if (static_cast<std::size_t>(to - from) > most) {
            std::nth_element(from, from + most, to, [](const Edge& a, const Edge& b) { return a.distance < b.distance; });
            to = from + most;
        }
        w.candidates.insert(w.candidates.end(), from, to);
        counts_[v] = static_cast<std::uint32_t>(w.pruner.select(static_cast<std::uint32_t>(v), w.candidates, lists_.data() + v * degree_));
    });
}

const float* GraphBuilder::transformed(std::uint32_t slot, float* scratch, Worker& w) const {
    const std::size_t d = scan_.transform().padded();
    if (transformed_ != nullptr) return transformed_ + slot * d;
    w.pruner.vectors().read(slot, w.vector.data());
    scan_.transform().apply(w.vector.data(), scratch);
    for (std::size_t j = 0; j < d; ++j) scratch[j] -= scan_.mean()[j];
    return scratch;
}

// Puts the code of a vertex, relative to a centre, into a lane of a block.
void GraphBuilder::encode(const float* center, std::uint32_t slot, std::uint8_t* block, std::size_t lane, Worker& w) {
    const BlockLayout& layout = scan_.layout().block;
    const Codec& codec = scan_.codec();
    const FactorScales& scales = scan_.arrays().scales;
    const float* other = transformed(slot, w.other.data(), w);
    for (std::size_t j = 0; j < w.residual.size(); ++j) w.residual[j] = other[j] - center[j];
    if (codec.search_bytes() > 0) {
        codec.search(w.residual.data(), 1, w.found.data(), 1);
        w.scratch.found = w.found.data();
    }
    const Origin origin{center, scan_.mean().data(), Metric::kL2};
    const Factors f = codec.encode(w.residual.data(), origin, w.scratch, w.symbols.data(), w.extra.data()).first;
    write_lane(block, layout.symbols, lane, w.symbols.data());
    const auto store = [&](std::size_t column, float value, float scale) {
        reinterpret_cast<std::uint16_t*>(block + layout.code_bytes + column * kBlock * sizeof(std::uint16_t))[lane] = to_half(value / scale);
    };
    store(0, f.add, scales.add);
    store(1, f.rescale, scales.rescale);
    if (layout.columns == 3) store(2, f.shift, scales.rescale);
    layout.slot(block)[lane] = slot;
}

void GraphBuilder::write(std::size_t first, std::size_t last) {
    const GraphLayout& layout = scan_.layout();
    each_vertex(first, last, threads_, [&](std::size_t v, std::size_t t) {
        Worker& w = *workers_[t];
        std::uint8_t* row = rows_ + v * layout.bytes;
        const float* center = transformed(static_cast<std::uint32_t>(v), w.center.data(), w);
        for (std::size_t i = 0; i < degree_; ++i) {
            const std::uint32_t slot = i < counts_[v] ? lists_[v * degree_ + i].slot : static_cast<std::uint32_t>(v);
            encode(center, slot, layout.block_of(row, i / kBlock), i % kBlock, w);
        }
    });
}

// The neighbours of a vertex with their distances, as candidates.
void GraphBuilder::read_list(std::uint32_t slot, Worker& w) const {
    const GraphLayout& layout = scan_.layout();
    const std::uint8_t* row = rows_ + slot * layout.bytes;
    w.slots.clear();
    for (std::size_t i = 0; i < degree_; ++i)
        if (layout.neighbour(row, i) != slot) w.slots.push_back(layout.neighbour(row, i));
    measure(slot, w);
}

// Candidates from w.slots, with their distances to a vertex.
void GraphBuilder::measure(std::uint32_t slot, Worker& w) const {
    const StoredVectors& vectors = w.pruner.vectors();
    w.distances.resize(w.slots.size());
    vectors.read(slot, w.vector.data());
    vectors.prepare(w.vector.data(), w.scorer);
    vectors.distances(w.vector.data(), w.scorer, w.slots.data(), w.slots.size(), w.distances.data());
    w.candidates.resize(w.slots.size());
    for (std::size_t i = 0; i < w.slots.size(); ++i) w.candidates[i] = {w.distances[i], w.slots[i]};
}

// Makes `list` the neighbours of a vertex: lanes of those that stay are kept, the others are coded anew.
void GraphBuilder::patch(std::uint32_t slot, const Edge* list, std::size_t count, Worker& w) {
    const GraphLayout& layout = scan_.layout();
    std::uint8_t* row = rows_ + slot * layout.bytes;
    const auto wanted = [&](std::uint32_t other) { return std::find_if(list, list + count, [&](const Edge& edge) { return edge.slot == other; }) != list + count; };
    w.lanes.clear();
    w.slots.clear();
    for (std::size_t i = 0; i < degree_; ++i) {
        const std::uint32_t there = layout.neighbour(row, i);
        if (wanted(there))
            w.slots.push_back(there);
        else
            w.lanes.push_back(i);
    }
    std::size_t next = 0;
    const float* center = transformed(slot, w.center.data(), w);
    for (const std::size_t lane : w.lanes) {
        while (next < count && std::find(w.slots.begin(), w.slots.end(), list[next].slot) != w.slots.end()) ++next;
        const std::uint32_t other = next < count ? list[next++].slot : slot;
        if (other == slot && layout.neighbour(row, lane) == slot) continue;
        encode(center, other, layout.block_of(row, lane / kBlock), lane % kBlock, w);
    }
}

void GraphBuilder::insert(std::size_t first, std::size_t count, const GraphQuery& search) {
    std::vector<Edge> lists(count * degree_);
    std::vector<std::size_t> counts(count);
    parallel_for(count, threads_, [&](std::size_t i, std::size_t t) {
        Worker& w = *workers_[t];
        const auto slot = static_cast<std::uint32_t>(first + i);
        w.pruner.vectors().read(slot, w.vector.data());
        scan_.collect(w.vector.data(), search, *w.walk, w.candidates);
        counts[i] = w.pruner.select(slot, w.candidates, lists.data() + i * degree_);
    });
    Offers offers;
    for (std::size_t i = 0; i < count; ++i)
        for (std::size_t j = 0; j < counts[i]; ++j) {
            const Edge& edge = lists[i * degree_ + j];
            offers.add(edge.slot, {edge.distance, static_cast<std::uint32_t>(first + i)});
        }
    offers.group();
    parallel_for(count, threads_, [&](std::size_t i, std::size_t t) {
        const auto slot = static_cast<std::uint32_t>(first + i);
        std::uint8_t* row = rows_ + slot * scan_.layout().bytes;
        for (std::size_t j = 0; j < degree_; ++j) scan_.layout().set_neighbour(row, j, CandidatePool::kNone);  // nobody: every lane is coded
        patch(slot, lists.data() + i * degree_, counts[i], *workers_[t]);
    });
    parallel_for(offers.groups(), threads_, [&](std::size_t group, std::size_t t) {
        Worker& w = *workers_[t];
        const std::uint32_t target = offers.target(group);
        read_list(target, w);
        offers.each(group, [&](const Edge& edge) { w.candidates.push_back(edge); });
        w.list.resize(degree_);
        const std::size_t size = w.pruner.select(target, w.candidates, w.list.data());
        patch(target, w.list.data(), size, w);
    });
}

void GraphBuilder::forget(const std::uint8_t* dead) {
    const GraphLayout& layout = scan_.layout();
    each_vertex(0, n_, threads_, [&](std::size_t v, std::size_t t) {
        Worker& w = *workers_[t];
        if (filter_bit(dead, v)) return;
        const auto slot = static_cast<std::uint32_t>(v);
        const std::uint8_t* row = rows_ + v * layout.bytes;
        w.slots.clear();
        bool changes = false;
        const auto live = [&](std::uint32_t other) {
            if (other != slot && !filter_bit(dead, other)) w.slots.push_back(other);
        };
        for (std::size_t i = 0; i < degree_; ++i) {
            const std::uint32_t other = layout.neighbour(row, i);
            if (!filter_bit(dead, other)) {
                live(other);
                continue;
            }
            changes = true;
            const std::uint8_t* gone = rows_ + other * layout.bytes;
            for (std::size_t j = 0; j < degree_; ++j) live(layout.neighbour(gone, j));
        }
        if (!changes) return;
        std::sort(w.slots.begin(), w.slots.end());
        w.slots.erase(std::unique(w.slots.begin(), w.slots.end()), w.slots.end());
        measure(slot, w);
        w.list.resize(degree_);
        const std::size_t size = w.pruner.select(slot, w.candidates, w.list.data());
        patch(slot, w.list.data(), size, w);
    });
}

void GraphBuilder::rename(const std::uint32_t* renamed, std::size_t count) {
    const GraphLayout& layout = scan_.layout();
    each_vertex(0, count, threads_, [&](std::size_t v, std::size_t) {
        std::uint8_t* row = rows_ + v * layout.bytes;
        for (std::size_t i = 0; i < degree_; ++i) layout.set_neighbour(row, i, renamed[layout.neighbour(row, i)]);
    });
}

void GraphBuilder::write_entries(const std::uint32_t* slots, std::size_t count, std::uint8_t* blocks) {
    Worker& w = *workers_[0];
    std::fill(w.center.data(), w.center.data() + w.center.size(), 0.0f);
    for (std::size_t i = 0; i < round_up(count, kBlock); ++i)
        encode(w.center.data(), slots[std::min(i, count - 1)], blocks + i / kBlock * scan_.layout().block.bytes, i % kBlock, w);
}

std::vector<std::uint32_t> GraphBuilder::unreached() const {
    const GraphLayout& layout = scan_.layout();
    const GraphArrays& arrays = scan_.arrays();
    std::vector<bool> reached(n_, false);
    std::vector<std::uint32_t> stack, roots;
    const auto spread = [&] {
        while (!stack.empty()) {
            const std::uint8_t* row = arrays.rows + stack.back() * layout.bytes;
            stack.pop_back();
            for (std::size_t i = 0; i < degree_; ++i) {
                const std::uint32_t slot = layout.neighbour(row, i);
                if (reached[slot]) continue;
                reached[slot] = true;
                stack.push_back(slot);
            }
        }
    };
    const auto visit = [&](std::uint32_t slot) {
        if (reached[slot]) return;
        reached[slot] = true;
        stack.push_back(slot);
    };
    for (std::size_t i = 0; i < arrays.entry_count; ++i) visit(layout.block.slot(arrays.entries + i / kBlock * layout.block.bytes)[i % kBlock]);
    spread();
    for (std::uint32_t v = 0; v < n_; ++v) {
        if (reached[v]) continue;
        roots.push_back(v);
        visit(v);
        spread();
    }
    return roots;
}

}  // namespace vsearch
