#include "quantize/table.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/aligned.hpp"
#include "base/pool.hpp"
#include "kernels/table.hpp"

namespace vsearch {
namespace {

constexpr std::size_t kRowsPerTask = 256;
constexpr std::size_t kRowsAtOnce = 8;  // their scores stay in L1 until the least is found
constexpr std::size_t kChunk = 32;      // candidates between two looks at the worst that is kept; 256 is a multiple of it

// The codebooks of one split with centroids as columns, and half their squared norms: what the scores kernel reads.
struct Columns {
    AlignedArray<float> table, bias;
    std::size_t length = 0, count = 0;

    void make(const Codebooks& books, std::size_t split) {
        length = books.length(split);
        count = books.stages(split) * books.count;
        table.resize(std::max<std::size_t>(length * count, 1));
        bias.resize(std::max<std::size_t>(count, 1));
        for (std::size_t k = 0; k < count; ++k) {
            const float* c = books.centroid(books.first[split], k);
            float norm = 0;
            for (std::size_t j = 0; j < length; ++j) {
                table[j * count + k] = c[j];
                norm += c[j] * c[j];
            }
            bias[k] = 0.5f * norm;
        }
    }
    void score(const float* rows, std::size_t stride, std::size_t n, float* out) const {
        kernels().scores_f32(rows, stride, n, length, table.data(), bias.data(), count, out);
    }
};

// Runs body(begin, end) over [0, n) in pieces.
template <class Body>
void over_rows(std::size_t n, std::size_t threads, Body body) {
    parallel_for((n + kRowsPerTask - 1) / kRowsPerTask, threads,
                 [&](std::size_t task, std::size_t) { body(task * kRowsPerTask, std::min(n, (task + 1) * kRowsPerTask)); });
}

}  // namespace

void encode_nearest(const Codebooks& books, const float* x, std::size_t stride, std::size_t n, std::uint8_t* codes, std::size_t threads) {
    const std::size_t splits = books.splits();
    std::vector<Columns> columns(splits);
    for (std::size_t s = 0; s < splits; ++s) columns[s].make(books, s);
    over_rows(n, threads, [&](std::size_t begin, std::size_t end) {
        AlignedArray<float> scores(kRowsAtOnce * books.count);
        for (std::size_t s = 0; s < splits; ++s) {
            for (std::size_t i = begin; i < end; i += kRowsAtOnce) {
                const std::size_t some = std::min(kRowsAtOnce, end - i);
                columns[s].score(x + i * stride + books.start[s], stride, some, scores.data());
                for (std::size_t r = 0; r < some; ++r)
                    codes[(i + r) * splits + s] = static_cast<std::uint8_t>(kernels().argmin_f32(scores.data() + r * books.count, books.count));
            }
        }
    });
}

namespace {

// <c_s[k], c_t[.]> for all pairs of codebooks of one split. Rows are made on demand; `fill` makes them all, so that several
// threads may read.
class CrossTables {
public:
    void make(const Codebooks& books, std::size_t split, const Columns& columns) {
        books_ = &books;
        split_ = split;
        columns_ = &columns;
        products_.resize(columns.count * columns.count);
        known_.assign(columns.count, 0);
        zero_.assign(columns.count, 0.0f);
        negative_.resize(columns.length + 1);
    }
    void fill() {
        for (std::size_t at = 0; at < columns_->count; ++at) row(at / books_->count, at % books_->count);
    }
    // Entries [t * count, (t + 1) * count) are the products with codebook t of the split.
    const float* row(std::size_t stage, std::size_t k) {
        const std::size_t at = stage * books_->count + k;
        float* products = products_.data() + at * columns_->count;
        if (!known_[at]) {
            const float* c = books_->centroid(books_->first[split_] + stage, k);
            for (std::size_t j = 0; j < columns_->length; ++j) negative_[j] = -c[j];  // the kernel subtracts
            kernels().scores_f32(negative_.data(), 0, 1, columns_->length, columns_->table.data(), zero_.data(), columns_->count, products);
            known_[at] = 1;
        }
        return products;
    }

private:
    const Codebooks* books_ = nullptr;
    const Columns* columns_ = nullptr;
    std::size_t split_ = 0;
    AlignedArray<float> products_;
    std::vector<std::uint8_t> known_;
    std::vector<float> zero_, negative_;
};

// The beam search of one vector in one split.
class Beam {
public:
    Beam(std::size_t stages, std::size_t count, std::size_t width)
        : stages_(stages), count_(count), width_(width), sums_(count), below_(count), rows_(stages + 1), codes_(width * stages), next_(width * stages),
          scores_(width), best_(width) {}

    // unary: stages x count scores of the vector.
    void search(const float* unary, CrossTables& cross, std::size_t sweeps, std::uint8_t* code) {
        std::size_t beams = 1;
        scores_[0] = 0.0f;
        for (std::size_t stage = 0; stage < stages_; ++stage) {
            kept_ = 0;
            for (std::size_t b = 0; b < beams; ++b) extend(b, stage, unary, cross);
            beams = kept_;
            for (std::size_t b = 0; b < beams; ++b) {
                std::uint8_t* to = next_.data() + b * stages_;
                std::memcpy(to, codes_.data() + best_[b].from * stages_, stage);
                to[stage] = static_cast<std::uint8_t>(best_[b].k);
                scores_[b] = best_[b].score;
            }
            codes_.swap(next_);
        }
        std::memcpy(code, codes_.data(), stages_);
        for (std::size_t round = 0; round < sweeps && stages_ > 1; ++round)
            if (!sweep(unary, cross, code)) break;
    }

private:
    struct Candidate {
        float score;
        std::uint32_t from, k;
    };

    void extend(std::size_t b, std::size_t stage, const float* unary, CrossTables& cross) {
        const std::uint8_t* code = codes_.data() + b * stages_;
        rows_[0] = unary + stage * count_;
        for (std::size_t t = 0; t < stage; ++t) rows_[t + 1] = cross.row(t, code[t]) + stage * count_;
        kernels().sum_rows_f32(rows_.data(), stage + 1, scores_[b], count_, sums_.data());
        for (std::size_t begin = 0; begin < count_; begin += kChunk) {
            const float worst = kept_ < width_ ? std::numeric_limits<float>::infinity() : best_[kept_ - 1].score;
            const std::size_t found = kernels().select_below(sums_.data() + begin, std::min(kChunk, count_ - begin), worst, below_.data());
            for (std::size_t i = 0; i < found; ++i) keep(sums_[begin + below_[i]], b, begin + below_[i]);
        }
        if (kept_ == 0) best_[kept_++] = {scores_[b], static_cast<std::uint32_t>(b), 0};  // nothing compares: a vector beyond float32
    }
    // Keeps the list sorted; of equal scores the earlier stays ahead.
    void keep(float score, std::size_t from, std::size_t k) {
        if (kept_ == width_) {
            if (!(score < best_[kept_ - 1].score)) return;
            --kept_;
        }
        std::size_t at = kept_++;
        for (; at > 0 && score < best_[at - 1].score; --at) best_[at] = best_[at - 1];
        best_[at] = {score, static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(k)};
    }
    // One round of conditional modes; whether anything changed.
    bool sweep(const float* unary, CrossTables& cross, std::uint8_t* code) {
        bool changed = false;
        for (std::size_t stage = 0; stage < stages_; ++stage) {
            std::size_t used = 0;
            rows_[used++] = unary + stage * count_;
            for (std::size_t t = 0; t < stages_; ++t)
                if (t != stage) rows_[used++] = cross.row(t, code[t]) + stage * count_;
            kernels().sum_rows_f32(rows_.data(), used, 0.0f, count_, sums_.data());
            const std::size_t k = kernels().argmin_f32(sums_.data(), count_);
            if (sums_[k] < sums_[code[stage]]) {
                code[stage] = static_cast<std::uint8_t>(k);
                changed = true;
            }
        }
        return changed;
    }

    std::size_t stages_, count_, width_, kept_ = 0;
    AlignedArray<float> sums_;
    AlignedArray<std::uint32_t> below_;
    std::vector<const float*> rows_;
    std::vector<std::uint8_t> codes_, next_;
    std::vector<float> scores_;
    std::vector<Candidate> best_;
};

}  // namespace

void encode_beam(const Codebooks& books, const float* x, std::size_t stride, std::size_t n, std::size_t beam, std::size_t sweeps,
                 std::uint8_t* codes, std::size_t threads) {
    const std::size_t size = books.books();
    Columns columns;
    CrossTables cross;
    if (n < books.count) threads = 1;  // few vectors need few rows of the tables: one thread makes them as it goes
    for (std::size_t s = 0; s < books.splits(); ++s) {
        columns.make(books, s);
        cross.make(books, s, columns);
        if (threads > 1) cross.fill();
        over_rows(n, threads, [&](std::size_t begin, std::size_t end) {
            AlignedArray<float> unary(kRowsAtOnce * columns.count);
            Beam search(books.stages(s), books.count, beam);
            for (std::size_t i = begin; i < end; i += kRowsAtOnce) {
                const std::size_t some = std::min(kRowsAtOnce, end - i);
                columns.score(x + i * stride + books.start[s], stride, some, unary.data());
                for (std::size_t r = 0; r < some; ++r)
                    search.search(unary.data() + r * columns.count, cross, sweeps, codes + (i + r) * size + books.first[s]);
            }
        });
    }
}

void decode_rows(const Codebooks& books, const std::uint8_t* codes, std::size_t n, float* out, std::size_t stride, std::size_t threads) {
    over_rows(n, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const std::uint8_t* code = codes + i * books.books();
            for (std::size_t s = 0; s < books.splits(); ++s) {
                float* to = out + i * stride + books.start[s];
                const std::size_t length = books.length(s);
                for (std::size_t j = 0; j < length; ++j) to[j] = 0.0f;
                for (std::size_t b = books.first[s]; b < books.first[s + 1]; ++b) {
                    const float* c = books.centroid(b, code[b]);
                    for (std::size_t j = 0; j < length; ++j) to[j] += c[j];
                }
            }
        }
    });
}

void sum_clusters(const Codebooks& shape, const float* x, std::size_t stride, const std::uint8_t* codes, std::size_t n, double* sums,
                  std::int64_t* sizes, std::size_t threads) {
    const std::size_t splits = shape.splits();
    parallel_for(splits, threads, [&](std::size_t s, std::size_t) {
        double* to = sums + s * shape.count * shape.width;
        std::int64_t* size = sizes + s * shape.count;
        std::fill(to, to + shape.count * shape.width, 0.0);
        std::fill(size, size + shape.count, std::int64_t{0});
        const std::size_t length = shape.length(s);
        for (std::size_t i = 0; i < n; ++i) {
            const std::size_t k = codes[i * splits + s];
            const float* row = x + i * stride + shape.start[s];
            double* sum = to + k * shape.width;
            for (std::size_t j = 0; j < length; ++j) sum[j] += row[j];
            ++size[k];
        }
    });
}

namespace {

// One codebook of a split becomes the means of what is left over without it; `left` has it taken out before and after.
void refine_one(const Codebooks& shape, std::size_t book, std::size_t length, float* centroids, const std::uint8_t* codes, std::size_t n, float* left,
                std::vector<double>& sums, std::vector<std::size_t>& sizes) {
    float* own = centroids + book * shape.count * shape.width;
    const std::size_t row = shape.books();
    sums.assign(shape.count * length, 0.0);
    sizes.assign(shape.count, 0);
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t k = codes[i * row + book];
        const float* c = own + k * shape.width;
        float* x = left + i * length;
        double* sum = sums.data() + k * length;
        for (std::size_t j = 0; j < length; ++j) {
            x[j] += c[j];
            sum[j] += x[j];
        }
        ++sizes[k];
    }
    for (std::size_t k = 0; k < shape.count; ++k) {
        if (sizes[k] == 0) continue;
        for (std::size_t j = 0; j < length; ++j) own[k * shape.width + j] = static_cast<float>(sums[k * length + j] / static_cast<double>(sizes[k]));
    }
    for (std::size_t i = 0; i < n; ++i) {
        const float* c = own + codes[i * row + book] * shape.width;
        float* x = left + i * length;
        for (std::size_t j = 0; j < length; ++j) x[j] -= c[j];
    }
}

}  // namespace

void refine_codebooks(const Codebooks& shape, float* centroids, const float* x, std::size_t stride, const std::uint8_t* codes, std::size_t n,
                      std::size_t passes, std::size_t threads) {
    parallel_for(shape.splits(), threads, [&](std::size_t s, std::size_t) {
        const std::size_t length = shape.length(s);
        AlignedArray<float> left(n * length + 1);
        for (std::size_t i = 0; i < n; ++i) {
            float* to = left.data() + i * length;
            std::memcpy(to, x + i * stride + shape.start[s], length * sizeof(float));
            for (std::size_t b = shape.first[s]; b < shape.first[s + 1]; ++b) {
                const float* c = centroids + (b * shape.count + codes[i * shape.books() + b]) * shape.width;
                for (std::size_t j = 0; j < length; ++j) to[j] -= c[j];
            }
        }
        std::vector<double> sums;
        std::vector<std::size_t> sizes;
        for (std::size_t pass = 0; pass < passes; ++pass)
            for (std::size_t b = shape.first[s]; b < shape.first[s + 1]; ++b) refine_one(shape, b, length, centroids, codes, n, left.data(), sums, sizes);
    });
}

}  // namespace vsearch
