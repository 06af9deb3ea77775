#include "quantize/transform.hpp"

#include <cstring>

#include "kernels/table.hpp"

namespace vsearch {
namespace {

void pad(const float* x, std::size_t dim, std::size_t padded, float* out) {
    std::memcpy(out, x, dim * sizeof(float));
    std::memset(out + dim, 0, (padded - dim) * sizeof(float));
}

AlignedArray<float> copy_of(const float* from, std::size_t size) {
    AlignedArray<float> out(size);
    std::memcpy(out.data(), from, size * sizeof(float));
    return out;
}

AlignedArray<float> transposed(const float* from, std::size_t rows, std::size_t columns) {
    AlignedArray<float> out(rows * columns);
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < columns; ++j) out[j * rows + i] = from[i * columns + j];
    return out;
}

// Whether row i of the matrix takes coordinate i, and those below the square nothing.
bool is_unit(const float* matrix, std::size_t rows, std::size_t dim) {
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < dim; ++j)
            if (matrix[i * dim + j] != (i == j ? 1.0f : 0.0f)) return false;
    return rows >= dim;
}

void multiply(const AlignedArray<float>& matrix, bool unit, std::size_t rows, std::size_t dim, const float* x, float* out) {
    if (!unit) return kernels().dot_f32(x, matrix.data(), dim * sizeof(float), nullptr, rows, dim, out);
    pad(x, dim, rows, out);
}

}  // namespace

void Padding::apply(const float* x, float* out) const { pad(x, dim_, padded_, out); }

void Padding::apply_inverse(const float* y, float* out) const { std::memcpy(out, y, dim_ * sizeof(float)); }

MatrixTransform::MatrixTransform(std::size_t dim, std::size_t padded, const float* base, const float* query, const float* inverse)
    : Transform(dim, padded), base_(copy_of(base, padded * dim)), query_(query == nullptr ? AlignedArray<float>() : copy_of(query, padded * dim)),
      inverse_(inverse == nullptr ? transposed(base, padded, dim) : copy_of(inverse, dim * padded)), base_is_unit_(is_unit(base, padded, dim)),
      query_is_unit_(query != nullptr && is_unit(query, padded, dim)) {}

void MatrixTransform::apply(const float* x, float* out) const {
    multiply(base_, base_is_unit_, padded_, dim_, x, out);
}

void MatrixTransform::apply_query(const float* x, float* out) const {
    if (query_.size() == 0) return apply(x, out);
    multiply(query_, query_is_unit_, padded_, dim_, x, out);
}

void MatrixTransform::apply_inverse(const float* y, float* out) const {
    kernels().dot_f32(y, inverse_.data(), padded_ * sizeof(float), nullptr, dim_, padded_, out);
}

}  // namespace vsearch
