#include "index/flat.hpp"

#include <algorithm>
#include <limits>

#include "base/pool.hpp"
#include "index/stream.hpp"
#include "index/tiles.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kPanel = 16;
constexpr std::size_t kManyQueries = 10;              // from here on a half-filled panel beats streaming
constexpr std::size_t kMostQueries = 1024;            // of one tile scan
constexpr std::size_t kMostResultBytes = 64u << 20;   // of one tile scan
constexpr std::size_t kKeptResultBytes = 4u << 20;    // beyond this a workspace is freed after use
constexpr std::size_t kPartBytes = 512 * 1024;        // rows below which a second thread is not worth waking

std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

// Cuts n rows into `parts` of nearly equal size that start at multiples of 64.
struct RowParts {
    std::size_t n, step;
    RowParts(std::size_t rows, std::size_t parts) : n(rows), step(std::max<std::size_t>(64, round_up(ceil_div(rows, parts), 64))) {}
    std::size_t count() const { return std::max<std::size_t>(1, ceil_div(n, step)); }
    std::size_t begin(std::size_t part) const { return std::min(n, part * step); }
    std::size_t end(std::size_t part) const { return std::min(n, (part + 1) * step); }
};

std::size_t query_chunk(std::size_t nq, std::size_t threads, std::size_t k) {
    const std::size_t fit = std::max(kPanel, kMostResultBytes / (k * sizeof(Neighbour)) / kPanel * kPanel);
    return std::min({round_up(ceil_div(nq, threads), kPanel), kMostQueries, fit});
}

}  // namespace

// Kept between queries, so that a search of a few allocates nothing.
struct FlatScan::Workspace {
    StreamScan stream;
    TileScan tiles;
};

class FlatScan::Borrowed {
public:
    explicit Borrowed(FlatScan& owner, bool keep = true) : owner_(owner), keep_(keep), workspace_(owner.shelf_.take()) {}
    ~Borrowed() {
        if (workspace_ && keep_) owner_.shelf_.put(std::move(workspace_));
    }
    Borrowed(Borrowed&& other) noexcept = default;
    Workspace& operator*() {
        if (!workspace_) workspace_ = std::make_unique<Workspace>();
        return *workspace_;
    }

private:
    FlatScan& owner_;
    bool keep_;
    std::unique_ptr<Workspace> workspace_;
};

FlatScan::FlatScan(Metric metric) : metric_(metric) {}
FlatScan::~FlatScan() = default;

void FlatScan::search(const float* queries, std::size_t nq, const FlatQuery& options, std::int64_t* ids, float* distances) {
    if (nq == 0) return;
    if (nq < kManyQueries)
        search_few(queries, nq, options, ids, distances);
    else
        search_many(queries, nq, options, ids, distances);
}

void FlatScan::search_few(const float* queries, std::size_t nq, const FlatQuery& options, std::int64_t* ids, float* distances) {
    const std::size_t bytes = arrays_.n * arrays_.rows.stride;
    const RowParts parts(arrays_.n, std::min(options.threads, 1 + bytes / kPartBytes));
    const auto scan = [&](std::size_t part, StreamScan& stream) {
        stream.prepare(arrays_.rows, metric_, arrays_.ids, queries, nq, options.k);
        stream.scan(parts.begin(part), parts.end(part), options.filter);
    };
    Borrowed first(*this);
    StreamScan& result = (*first).stream;
    if (parts.count() == 1) {
        scan(0, result);
    } else {
        std::vector<Borrowed> others;
        for (std::size_t part = 1; part < parts.count(); ++part) others.emplace_back(*this);
        parallel_for(parts.count(), parts.count(), [&](std::size_t part, std::size_t) { scan(part, part == 0 ? result : (*others[part - 1]).stream); });
        for (Borrowed& other : others)
            for (std::size_t q = 0; q < nq; ++q) result.best(q).merge((*other).stream.best(q));
    }
    for (std::size_t q = 0; q < nq; ++q) result.best(q).sort_into(ids + q * options.k, distances + q * options.k);
}

void FlatScan::search_many(const float* queries, std::size_t nq, const FlatQuery& options, std::int64_t* ids, float* distances) {
    const std::size_t d = arrays_.rows.dim, k = options.k;
    const std::size_t chunk = query_chunk(nq, options.threads, k), chunks = ceil_div(nq, chunk);
    // Rows are divided as well only where the queries alone cannot occupy the threads.
    const std::size_t wanted = std::max<std::size_t>(1, options.threads / chunks);
    const RowParts parts(arrays_.n, std::min(wanted, 1 + arrays_.n * arrays_.rows.stride / kPartBytes));
    const std::size_t count = parts.count();
    const bool merging = count > 1;
    const bool keep = chunk * k * sizeof(Neighbour) <= kKeptResultBytes;
    std::vector<Borrowed> workspaces;
    for (std::size_t i = 0; i < (merging ? chunks * count : std::min(options.threads, chunks)); ++i) workspaces.emplace_back(*this, keep);

    const auto in_chunk = [&](std::size_t c) { return std::min(chunk, nq - c * chunk); };
    const auto finish = [&](std::size_t c, TileScan& tiles) {
        for (std::size_t q = 0; q < in_chunk(c); ++q) tiles.best(q).sort_into(ids + (c * chunk + q) * k, distances + (c * chunk + q) * k);
    };
    parallel_for(chunks * count, options.threads, [&](std::size_t task, std::size_t worker) {
        const std::size_t c = task / count, part = task % count;
        TileScan& tiles = (*workspaces[merging ? task : worker]).tiles;
        tiles.prepare(arrays_.rows, metric_, arrays_.ids, queries + c * chunk * d, in_chunk(c), k);
        tiles.scan(parts.begin(part), parts.end(part), options.filter);
        if (!merging) finish(c, tiles);
    });
    for (std::size_t c = 0; merging && c < chunks; ++c) {
        TileScan& first = (*workspaces[c * count]).tiles;
        for (std::size_t part = 1; part < count; ++part)
            for (std::size_t q = 0; q < in_chunk(c); ++q) first.best(q).merge((*workspaces[c * count + part]).tiles.best(q));
        finish(c, first);
    }
}

void assign_nearest(const float* vectors, std::size_t n, const float* centroids, std::size_t count, std::size_t d, std::size_t threads,
                    std::uint32_t* nearest, float* distances) {
    if (n == 0) return;
    Rows rows;
    rows.data = reinterpret_cast<const std::uint8_t*>(centroids);
    rows.stride = d * sizeof(float);
    rows.dim = d;
    const std::size_t chunk = query_chunk(n, threads, 1), chunks = ceil_div(n, chunk);
    std::vector<TileScan> tiles(std::max<std::size_t>(1, std::min(threads, chunks)));
    parallel_for(chunks, tiles.size(), [&](std::size_t c, std::size_t worker) {
        const std::size_t first = c * chunk, size = std::min(chunk, n - first);
        TileScan& scan = tiles[worker];
        scan.prepare(rows, Metric::kL2, nullptr, vectors + first * d, size, 1);
        scan.scan(0, count, nullptr);
        for (std::size_t i = 0; i < size; ++i) {
            // Nothing is nearest where every distance overflows to NaN: the first centroid is as good as any.
            const Neighbour best = scan.best(i).size() > 0 ? scan.best(i).sorted()[0] : Neighbour{std::numeric_limits<float>::infinity(), 0};
            nearest[first + i] = best.slot;
            distances[first + i] = best.distance;
        }
    });
}

}  // namespace vsearch
