// The linear map before a codec. Vectors and queries go through it once, before anything else is done with them.
//
// `apply` is for stored vectors, `apply_query` for queries; they differ only for transforms that keep inner products but not lengths
// (LeanVec sphering, arXiv 2410.22347). Outputs have padded() coordinates, a multiple of 16; what is padded is zero on both sides.
#pragma once

#include <cstddef>

#include "base/aligned.hpp"
#include "quantize/block.hpp"

namespace vsearch {

class Transform {
public:
    virtual ~Transform() = default;

    std::size_t dim() const { return dim_; }        // of vectors
    std::size_t padded() const { return padded_; }  // of what comes out

    virtual void apply(const float* x, float* out) const = 0;          // dim() -> padded()
    virtual void apply_query(const float* x, float* out) const { apply(x, out); }
    virtual void apply_inverse(const float* y, float* out) const = 0;  // padded() -> dim()

protected:
    Transform(std::size_t dim, std::size_t padded) : dim_(dim), padded_(padded) {}

    std::size_t dim_;
    std::size_t padded_;
};

// No map at all but the zeros behind: codecs that take coordinates as they are.
class Padding : public Transform {
public:
    explicit Padding(std::size_t dim) : Transform(dim, round_up(dim, kDimMultiple)) {}

    void apply(const float* x, float* out) const override;
    void apply_inverse(const float* y, float* out) const override;
};

// A dense matrix: PCA with rotations inside its segments, OPQ, sphering, or any product of them.
class MatrixTransform : public Transform {
public:
    // base, query: padded x dim, row-major; inverse: dim x padded. Without a query queries go through the base, without an inverse the base is
    // orthogonal.
    MatrixTransform(std::size_t dim, std::size_t padded, const float* base, const float* query, const float* inverse);

    void apply(const float* x, float* out) const override;
    void apply_query(const float* x, float* out) const override;
    void apply_inverse(const float* y, float* out) const override;

private:
    AlignedArray<float> base_, query_, inverse_;  // query_: empty where it is the base
    bool base_is_unit_, query_is_unit_;           // then a copy does what the product would
};

}  // namespace vsearch
