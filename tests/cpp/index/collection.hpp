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
#include "quantize/planes.hpp"

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
        : vectors_(vectors), bits_(bits), padded_(Rotation::padded_dim(vectors.d)), signs_(Rotation::rounds(vectors.d) * padded_ / 8),
          layout_(padded_), block_bytes_(bits > 0 ? layout_.bytes : kBlock * sizeof(std::uint32_t)),
          extra_stride_(bits > 1 ? 2 * sizeof(float) + plane_bytes(padded_, bits - 1) : 0), blocks_per_list_((vectors.n / lists) / kBlock + 1),
          centroids(lists * padded_), mean(padded_), list_block(lists), list_size(lists), block_list(lists * blocks_per_list_),
          position(vectors.n), blocks(block_list.size() * block_bytes_), extra(vectors.n * extra_stride_) {
        fill(signs_, [] { return static_cast<std::uint8_t>(random_int(0, 255)); });
        fill(blocks, [] { return static_cast<std::uint8_t>(255); });  // an empty lane holds no slot that exists
        fill(mean, [] { return 0.1f * random_float(); });
        scan = std::make_unique<IvfScan>(metric, vectors.d, bits, signs_.data(), signs_.size());
        for (std::size_t list = 0; list < lists; ++list) {
            rotate(list, centroids.data() + list * padded_);
            list_block[list] = static_cast<std::uint32_t>(list * blocks_per_list_);
            for (std::size_t b = 0; b < blocks_per_list_; ++b) block_list[list * blocks_per_list_ + b] = static_cast<std::uint32_t>(list);
        }
        double sign_spread = 0, full_spread = 0;
        for (std::size_t slot = 0; slot < vectors.n; ++slot) {
            const EncodedVector code = append(slot, slot % lists, metric);
            sign_spread += code.sign_spread / static_cast<double>(vectors.n);
            full_spread += code.full_spread / static_cast<double>(vectors.n);
        }
        arrays.n = vectors.n;
        arrays.ids = vectors.ids.data();
        arrays.list_block = list_block.data();
        arrays.list_size = list_size.data();
        arrays.blocks = blocks.data();
        arrays.block_list = block_list.data();
        arrays.position = position.data();
        arrays.extra = bits > 1 ? extra.data() : nullptr;
        arrays.extra_stride = extra_stride_;
        arrays.sign_spread = static_cast<float>(sign_spread);
        arrays.full_spread = static_cast<float>(full_spread);
        arrays.rows = vectors.rows();
        scan->bind_centroids(centroids.data(), mean.data(), lists);
        scan->bind(arrays);
    }

    std::size_t block_count() const { return block_list.size(); }

private:
    void rotate(std::size_t row, float* out) const {
        scan->rotation().apply(vectors_.row(row), out);
        for (std::size_t j = 0; j < padded_; ++j) out[j] -= mean[j];
    }

    EncodedVector append(std::size_t slot, std::size_t list, Metric metric) {
        const std::size_t at = list_size[list]++;
        std::uint8_t* block = blocks.data() + (list_block[list] + at / kBlock) * block_bytes_;
        position[slot] = static_cast<std::uint32_t>(list_block[list] * kBlock + at);
        if (bits_ == 0) {
            reinterpret_cast<std::uint32_t*>(block)[at % kBlock] = static_cast<std::uint32_t>(slot);
            return {};
        }
        std::vector<float> residual(padded_), magnitude(padded_);
        std::vector<std::uint8_t> codes(padded_), sign_row(padded_ / 8);
        rotate(slot, residual.data());
        const float* centroid = centroids.data() + list * padded_;
        for (std::size_t j = 0; j < padded_; ++j) residual[j] -= centroid[j];
        const EncodedVector code = encode_rabitq(residual.data(), centroid, mean.data(), padded_, bits_, metric, codes.data(), magnitude.data());
        const unsigned top = static_cast<unsigned>(bits_ - 1);
        for (std::size_t j = 0; j < padded_; ++j) {
            sign_row[j / 8] = static_cast<std::uint8_t>(sign_row[j / 8] | (codes[j] >> top & 1u) << j % 8);
            codes[j] = static_cast<std::uint8_t>(codes[j] & ((1u << top) - 1u));
        }
        write_lane(block, layout_.groups, at % kBlock, sign_row.data());
        layout_.add(block)[at % kBlock] = code.sign.add;
        layout_.rescale(block)[at % kBlock] = code.sign.rescale;
        layout_.slot(block)[at % kBlock] = static_cast<std::uint32_t>(slot);
        if (bits_ > 1) {
            std::uint8_t* row = extra.data() + slot * extra_stride_;
            std::memcpy(row, &code.full, 2 * sizeof(float));
            pack_planes(codes.data(), padded_, bits_ - 1, row + 2 * sizeof(float));
        }
        return code;
    }

    const Vectors& vectors_;
    int bits_;
    std::size_t padded_;
    std::vector<std::uint8_t> signs_;
    BlockLayout layout_;
    std::size_t block_bytes_, extra_stride_, blocks_per_list_;

public:
    Guarded<float> centroids, mean;
    Guarded<std::uint32_t> list_block, list_size, block_list, position;
    Guarded<std::uint8_t> blocks, extra;
    IvfArrays arrays;
    std::unique_ptr<IvfScan> scan;
};

}  // namespace vsearch::test
