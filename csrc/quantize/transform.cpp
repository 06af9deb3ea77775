#include "quantize/transform.hpp"

#include <cstring>

#include "kernels/table.hpp"

namespace vsearch {
namespace {

AlignedArray<float> copy_of(const float* from, std::size_t size) {
    AlignedArray<float> out(size);
    std::memcpy(out.data(), from, size * sizeof(float));
    return out;
}

}  // namespace

MatrixTransform::MatrixTransform(std::size_t dim, std::size_t padded, const float* base, const float* query, const float* inverse)
    : Transform(dim, padded), base_(copy_of(base, padded * dim)), query_(copy_of(query, padded * dim)), inverse_(copy_of(inverse, dim * padded)) {}

void MatrixTransform::apply(const float* x, float* out) const {
    kernels().dot_f32(x, base_.data(), dim_ * sizeof(float), nullptr, padded_, dim_, out);
}

void MatrixTransform::apply_query(const float* x, float* out) const {
    kernels().dot_f32(x, query_.data(), dim_ * sizeof(float), nullptr, padded_, dim_, out);
}

void MatrixTransform::apply_inverse(const float* y, float* out) const {
    kernels().dot_f32(y, inverse_.data(), padded_ * sizeof(float), nullptr, dim_, padded_, out);
}

}  // namespace vsearch
