// The IVF walk: rank the lists, scan the nearest ones block by block, refine what the bounds cannot exclude.
//
// The scan sees arrays owned by Python (numpy) and copies none of them. A *slot* is the row of a vector in the per-slot
// arrays (ids, extra bits, stored rows); a *position* is its place in the block arena, 32 * block + lane. A list is a run of blocks:
//
//   list l:  blocks list_block[l] .. + ceil(list_size[l] / 32) - 1, the last one partly filled
//   block:   quantize/block.hpp; without a quantizer a block is its 32 slots alone
//
// One query (specs/quantizers.md 1.6):
//   1. rotate, under ip lengthen or shorten (query_length.hpp), rank the lists (coarse.hpp), build the lookup tables once: what
//      depends on a list is in the factors
//   2. per list: 32 lower bounds per block from the 1-bit codes; survivors go to a small queue and their rows are prefetched
//   3. at the end of each list the queue is emptied: with extra bits the full estimate and its bound first, then the exact
//      distance from the stored rows, each against the k-th best found so far
// A Flat index with a quantizer is the same walk over one list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/shelf.hpp"
#include "base/topk.hpp"
#include "index/coarse.hpp"
#include "index/code_factors.hpp"
#include "index/query_length.hpp"
#include "index/rows.hpp"
#include "quantize/block.hpp"
#include "quantize/codec.hpp"
#include "quantize/transform.hpp"

namespace vsearch {

struct IvfArrays {
    std::size_t n = 0;                             // slots in use
    const std::int64_t* ids = nullptr;             // n
    const std::uint32_t* list_block = nullptr;     // lists
    const std::uint32_t* list_size = nullptr;      // lists
    const std::uint8_t* blocks = nullptr;          // arena
    const std::uint32_t* block_list = nullptr;     // list of each block
    const std::uint32_t* position = nullptr;       // n: where each slot's code is
    const std::uint8_t* extra = nullptr;           // n rows of extra_stride bytes, or null where symbols are all
    float first_spread = 0, full_spread = 0;       // factors.hpp
    CompactFactors compact;                        // of a compact index
    Rows rows;                                     // stored vectors to refine from; rows.data null when there are none
};

struct IvfQuery {
    std::size_t k = 10;
    std::size_t probes = 1;
    float epsilon = 1.9f;                   // z-score of the bounds: 2.9 % one-sided violations at 1.9
    const std::uint8_t* filter = nullptr;   // packed bitmap by slot, or null
    std::size_t matches = 0;                // bits set in it
};

// What a search did, for the benches and for those who want to know why.
struct IvfCounters {
    std::uint64_t scanned = 0, survivors = 0, refined = 0;

    IvfCounters& operator+=(const IvfCounters& more) {
        scanned += more.scanned;
        survivors += more.survivors;
        refined += more.refined;
        return *this;
    }
};

class IvfScan {
public:
    // Without a codec rows are scanned. `columns` says which factors a compact index stores (bit 0 add, bit 1 rescale, bit 2 shift);
    // 0 for an index that is not compact. Transform and codec must outlive the scan.
    IvfScan(Metric metric, const Transform& transform, const Codec* codec, bool compact, unsigned columns);

    ~IvfScan();  // where Workspace is complete

    void bind_centroids(const float* centroids, const float* mean, std::size_t lists);
    void bind(const IvfArrays& arrays) { arrays_ = arrays; }

    void search(const float* queries, std::size_t nq, const IvfQuery& options, std::size_t threads, std::int64_t* ids, float* distances);

    // For the laws and Quantizer.estimate: the estimate of the symbols, its lower bound, and the full estimate, of every slot.
    void estimate(const float* query, float epsilon, float* first_estimate, float* lower_bound, float* full_estimate);

    // Whether every index that a search follows is in range, and the lists hold each slot exactly once where `position` says.
    bool consistent(std::size_t block_count) const;

    std::size_t size() const { return arrays_.n; }
    const Transform& transform() const { return transform_; }
    std::size_t extra_stride() const { return factors_.extra_stride(); }
    const BlockLayout& layout() const { return factors_.layout(); }
    IvfCounters counters() const { return shelf_.total(); }

private:
    struct Workspace;
    struct ListTerms {
        float base;                      // B_q of the estimate
        float slack;                     // what rounding may have added: the bounds of ties must not fail by a last bit
        float stretch;                                // of <y, q'>, for what a compact index does not know of its scale
        float lead_margin, first_margin, full_margin;  // epsilon standard deviations of <y, q'>, for the bounds
    };

    std::unique_ptr<Workspace> borrow();

    void search_one(const float* query, const IvfQuery& options, Workspace& w, std::int64_t* ids, float* distances);
    void prepare(const float* query, Workspace& w) const;
    float scale_of(const float* rotated) const;
    ListTerms terms(std::uint32_t list, float distance2, float epsilon, const Workspace& w) const;
    BlockFactors factors(const std::uint8_t* block, Workspace& w) const;
    Factors full_factors(const std::uint8_t* block, std::size_t lane, std::uint32_t slot) const;
    float full_estimate(const std::uint8_t* block, std::size_t lane, std::uint32_t slot, const ListTerms& terms, const Workspace& w, float& rescale) const;
    struct SymbolBound;
    void prepare_codes(Workspace& w) const;
    void survives(const std::uint8_t* block, unsigned lane, float bound, Workspace& w) const;
    std::size_t prime(std::uint32_t list, const ListTerms& terms, const IvfQuery& options, Workspace& w) const;
    void scan_codes(std::uint32_t list, const ListTerms& terms, const std::uint8_t* next, const IvfQuery& options, Workspace& w) const;
    void scan_rows(std::uint32_t list, const IvfQuery& options, Workspace& w) const;
    void scan_matches(const IvfQuery& options, Workspace& w) const;
    void flush(const ListTerms& terms, const IvfQuery& options, Workspace& w) const;
    void refine(Workspace& w) const;
    void estimate_slot(std::uint32_t slot, float epsilon, Workspace& w, float& first, float& bound, float& full) const;
    bool matches_are_few(const IvfQuery& options, std::size_t probes) const;

    Metric metric_;
    const Transform& transform_;
    const Codec* codec_;
    std::size_t dim_;  // of vectors
    bool exact_ = false;  // whether survivors are estimated again before anything else
    CodeFactors factors_;
    std::size_t block_bytes_;
    std::vector<float> mean_;  // P mean
    std::vector<float> weights_;  // of coordinates, by the errors of codes
    MeanLengths lengths_;
    CoarseQuantizer coarse_;
    IvfArrays arrays_;
    Shelf<Workspace, IvfCounters> shelf_;
};

}  // namespace vsearch
