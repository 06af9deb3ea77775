// A small data set as the engine sees it: flat rows, or lists of RaBitQ blocks, every array against a fence.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "guarded.hpp"
#include "index/ivf.hpp"
#include "kernels/tables.hpp"
#include "quantize/rabitq.hpp"
#include "quantize/rotation.hpp"

namespace vsearch::test {

inline double distance_of(Metric metric, const float* q, const float* x, std::size_t d) {
    double squares = 0, dot = 0;
    for (std::size_t j = 0; j < d; ++j) {
        squares += (static_cast<double>(q[j]) - x[j]) * (static_cast<double>(q[j]) - x[j]);
        dot += static_cast<double>(q[j]) * x[j];
    }
    return metric == Metric::kL2 ? squares : metric == Metric::kCosine ? 1 - dot : -dot;
}

struct Vectors {
    std::size_t n, d;
    Guarded<float> data;
    Guarded<std::int64_t> ids;

    Vectors(std::size_t n, std::size_t d) : n(n), d(d), data(n * d), ids(n) {
        fill(data, [] { return random_float(); });
        for (std::size_t i = 0; i < n; ++i) ids[i] = 1000 + static_cast<std::int64_t>(i) * 7;
    }
    const float* row(std::size_t i) const { return data.data() + i * d; }
    Rows rows() const {
        Rows view;
        view.data = reinterpret_cast<const std::uint8_t*>(data.data());
        view.stride = d * sizeof(float);
        view.dim = d;
        return view;
    }
    // Ids of the k nearest among those the filter lets through.
    std::vector<std::int64_t> nearest(Metric metric, const float* query, std::size_t k, const std::uint8_t* filter) const {
        std::vector<std::pair<double, std::int64_t>> all;
        for (std::size_t i = 0; i < n; ++i)
            if (filter == nullptr || (filter[i / 8] >> i % 8 & 1)) all.emplace_back(distance_of(metric, query, row(i), d), ids[i]);
        std::sort(all.begin(), all.end());
        std::vector<std::int64_t> out(k, -1);
        for (std::size_t i = 0; i < std::min(k, all.size()); ++i) out[i] = all[i].second;
        return out;
    }
};

// The arrays of an IVF over `vectors`: a slot is the row, lists are filled round robin, the centroids are the first rows.
class Lists {
public:
    Lists(const Vectors& vectors, Metric metric, int bits, std::size_t lists)
        : vectors_(vectors), padded_(Rotation::padded_dim(vectors.d)), signs_(Rotation::rounds(vectors.d) * padded_ / 8),
          blocks_per_list_((vectors.n / lists) / kBlock + 1), centroids(lists * padded_), mean(padded_), list_block(lists), list_size(lists),
          block_list(lists * blocks_per_list_), position(vectors.n) {
        fill(signs_, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
        rotation_ = std::make_unique<Rotation>(vectors.d, signs_.data(), signs_.size());
        if (bits > 0) codec_ = std::make_unique<RabitqCodec>(padded_, bits);
        scan = std::make_unique<IvfScan>(metric, *rotation_, codec_.get(), false, 0);
        block_bytes_ = bits > 0 ? scan->layout().bytes : kBlock * sizeof(std::uint32_t);
        blocks = std::make_unique<Guarded<std::uint8_t>>(block_list.size() * block_bytes_);
        extra = std::make_unique<Guarded<std::uint8_t>>(vectors.n * scan->extra_stride());
        fill(*blocks, [] { return static_cast<std::uint8_t>(255); });  // an empty lane holds no slot that exists
        fill(mean, [] { return 0.1f * random_float(); });
        for (std::size_t list = 0; list < lists; ++list) {
            rotate(list, centroids.data() + list * padded_);
            list_block[list] = static_cast<std::uint32_t>(list * blocks_per_list_);
            for (std::size_t b = 0; b < blocks_per_list_; ++b) block_list[list * blocks_per_list_ + b] = static_cast<std::uint32_t>(list);
        }
        double first_spread = 0, full_spread = 0;
        for (std::size_t slot = 0; slot < vectors.n; ++slot) {
            const EncodedVector code = append(slot, slot % lists, metric);
            first_spread += code.first_spread / static_cast<double>(vectors.n);
            full_spread += code.full_spread / static_cast<double>(vectors.n);
        }
        arrays.n = vectors.n;
        arrays.ids = vectors.ids.data();
        arrays.list_block = list_block.data();
        arrays.list_size = list_size.data();
        arrays.blocks = blocks->data();
        arrays.block_list = block_list.data();
        arrays.position = position.data();
        arrays.extra = bits > 1 ? extra->data() : nullptr;
        arrays.first_spread = static_cast<float>(first_spread);
        arrays.full_spread = static_cast<float>(full_spread);
        arrays.rows = vectors.rows();
        scan->bind_centroids(centroids.data(), mean.data(), lists);
        scan->bind(arrays);
    }

    std::size_t block_count() const { return block_list.size(); }

private:
    void rotate(std::size_t row, float* out) const {
        rotation_->apply(vectors_.row(row), out);
        for (std::size_t j = 0; j < padded_; ++j) out[j] -= mean[j];
    }

    EncodedVector append(std::size_t slot, std::size_t list, Metric metric) {
        const std::size_t at = list_size[list]++;
        std::uint8_t* block = blocks->data() + (list_block[list] + at / kBlock) * block_bytes_;
        position[slot] = static_cast<std::uint32_t>(list_block[list] * kBlock + at);
        if (codec_ == nullptr) {
            reinterpret_cast<std::uint32_t*>(block)[at % kBlock] = static_cast<std::uint32_t>(slot);
            return {};
        }
        const CodeShape& shape = codec_->shape();
        Guarded<float> residual(padded_);
        Guarded<std::uint8_t> symbols(codec_->symbol_bytes()), bits(shape.extra_bytes);
        rotate(slot, residual.data());
        const float* centroid = centroids.data() + list * padded_;
        for (std::size_t j = 0; j < padded_; ++j) residual[j] -= centroid[j];
        const EncodedVector code = codec_->encode(residual.data(), {centroid, mean.data(), metric}, scratch_, symbols.data(), bits.data());
        const BlockLayout& layout = scan->layout();
        write_lane(block, layout.symbols, at % kBlock, symbols.data());
        const_cast<float*>(layout.floats(block, 0))[at % kBlock] = code.first.add;
        const_cast<float*>(layout.floats(block, 1))[at % kBlock] = code.first.rescale;
        layout.slot(block)[at % kBlock] = static_cast<std::uint32_t>(slot);
        if (shape.extra_bytes > 0) {
            std::uint8_t* row = extra->data() + slot * scan->extra_stride();
            std::memcpy(row, &code.full, 2 * sizeof(float));
            std::copy(bits.begin(), bits.end(), row + 2 * sizeof(float));
        }
        return code;
    }

    const Vectors& vectors_;
    std::size_t padded_;
    std::vector<std::uint8_t> signs_;
    std::size_t blocks_per_list_, block_bytes_ = 0;
    std::unique_ptr<Rotation> rotation_;
    std::unique_ptr<RabitqCodec> codec_;
    EncodeScratch scratch_;

public:
    Guarded<float> centroids, mean;
    Guarded<std::uint32_t> list_block, list_size, block_list, position;
    std::unique_ptr<Guarded<std::uint8_t>> blocks, extra;
    IvfArrays arrays;
    std::unique_ptr<IvfScan> scan;
};

}  // namespace vsearch::test
