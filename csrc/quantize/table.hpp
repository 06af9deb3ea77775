// Codebooks of the table quantizers and their encoders: vectors become rows of small codes, one for each codebook, and a scan adds
// up table entries.
//
// The dims are cut into splits, split s being [start[s], start[s + 1]). Split s has the codebooks first[s] .. first[s + 1] - 1, of
// `count` centroids each, and stands for the sum of one centroid of each of them. With one codebook a split that is product
// quantization (Jegou et al., TPAMI 2011), with one split residual quantization, with several of both a product of residual quantizers.
//
//   centroids   codebooks x count x width floats; columns beyond the dims of a split are not looked at
//   codes       n rows of one byte a codebook
//
// The best code of a split minimises |x - sum c|^2 / 2 - |x|^2 / 2 = sum_s u_s[k_s] + sum_{s<t} <c_s[k_s], c_t[k_t]>,
// u_s[k] = |c_s[k]|^2 / 2 - <x, c_s[k]>. The u of a vector come from one kernel (scores_f32); the inner products of centroids are
// tables, of which a row is made when it is first needed. All sums have one order: every ISA gives the same codes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vsearch {

constexpr std::size_t kMostCentroids = 256;
constexpr std::size_t kCentroidMultiple = 16;

struct Codebooks {
    const float* centroids = nullptr;
    std::size_t count = 0, width = 0;
    std::vector<std::size_t> start, first;  // splits + 1 each

    std::size_t splits() const { return start.size() - 1; }
    std::size_t books() const { return first.back(); }
    std::size_t length(std::size_t split) const { return start[split + 1] - start[split]; }
    std::size_t stages(std::size_t split) const { return first[split + 1] - first[split]; }
    const float* centroid(std::size_t book, std::size_t k) const { return centroids + (book * count + k) * width; }
};

// Nearest centroid of every split, where each has one codebook. x: n rows, `stride` floats apart.
void encode_nearest(const Codebooks& books, const float* x, std::size_t stride, std::size_t n, std::uint8_t* codes, std::size_t threads);

// The codebooks of each split in turn, keeping the `beam` best partial codes (Babenko and Lempitsky, CVPR 2014); then at most `sweeps`
// rounds in which each codebook takes its best centroid given all others (iterated conditional modes).
void encode_beam(const Codebooks& books, const float* x, std::size_t stride, std::size_t n, std::size_t beam, std::size_t sweeps,
                 std::uint8_t* codes, std::size_t threads);

// The sums of centroids that codes stand for; columns that belong to no split are left alone.
void decode_rows(const Codebooks& books, const std::uint8_t* codes, std::size_t n, float* out, std::size_t stride, std::size_t threads);

// Sums of the vectors that share a centroid, and how many they are, where each split has one codebook: the update of k-means.
// sums: splits x count x width doubles, sizes: splits x count; both are overwritten.
void sum_clusters(const Codebooks& shape, const float* x, std::size_t stride, const std::uint8_t* codes, std::size_t n, double* sums,
                  std::int64_t* sizes, std::size_t threads);

// Brings the codebooks nearer to the least squares of |x - sum of centroids|^2 for given codes. The normal equations couple the codebooks
// of a split but are diagonal within each: block Gauss-Seidel, each centroid in turn becomes the mean of what the other codebooks leave
// over of its vectors. `centroids` are those of `shape`, and are changed; a centroid without vectors stays.
void refine_codebooks(const Codebooks& shape, float* centroids, const float* x, std::size_t stride, const std::uint8_t* codes, std::size_t n,
                      std::size_t passes, std::size_t threads);

}  // namespace vsearch
