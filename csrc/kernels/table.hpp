// The kernel table: every inner loop of the engine as a plain function pointer.
//
// Kernels take raw arrays and return raw arrays; they allocate nothing, throw nothing and know nothing of indexes or
// quantizers. Each ISA unit (kernels/isa/*.cpp) overwrites the entries it does better, in the order scalar, avx2, avx512, then
// the AVX-512 extensions bit by bit; what it leaves alone stays at the level below. The table is chosen at import.
//
// A new kernel is one line in VSEARCH_KERNELS, one comment beside its type below, and its functions in kernels/<isa>/<family>.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace vsearch {

// out[i] = sum_j (q[j]-x[j])^2 (l2) or sum_j q[j]*x[j] (dot) over n rows of d elements. Row i starts at
// rows + stride_bytes * (slots ? slots[i] : i); with slots the kernel prefetches rows ahead. A row's result does not depend
// on n, on its position or on slots.
using RowsKernel = void (*)(const float* query, const void* rows, std::size_t stride_bytes, const std::uint32_t* slots, std::size_t n, std::size_t d, float* out);

// The same dot product for int8 rows against an int16 query, exact in int32. The caller keeps |q| * 128 * d < 2^31.
using RowsInt8Kernel = void (*)(const std::int16_t* query, const std::int8_t* rows, std::size_t stride_bytes, const std::uint32_t* slots, std::size_t n, std::size_t d, std::int32_t* out);

// out[i] = sum_j rows[i][j] * query[j] over n rows of d unsigned codes <= 127 and int8 queries in [-127, 127]; d a multiple of 32.
using RowsU7Kernel = void (*)(const std::int8_t* query, const std::uint8_t* rows, std::size_t stride_bytes, std::size_t n, std::size_t d, std::int32_t* out);

// Writes the positions i with values[i] < bound to out (room for n), ascending, and returns how many.
using SelectKernel = std::size_t (*)(const float* values, std::size_t n, float bound, std::uint32_t* out);

// out[j] = scale * values[j] as float, n elements; scale is 1 but for int8 rows.
using WidenKernel = void (*)(const void* values, std::size_t n, float scale, float* out);

// A tile of a matrix product that never leaves the registers: n contiguous rows of d floats against a panel of 16 queries
// (panel[16*j + q] = element j of query q, 64-byte aligned). Where not bias[i] + <row i, query q> < bounds[q], it writes
// i << 4 | q to hits (room for 16*n, ascending in i); returns how many. A NaN is a hit.
using TileKernel = std::size_t (*)(const float* panel, const float* rows, std::size_t n, std::size_t d, const float* bias, const float* bounds, std::uint32_t* hits);

// FastScan over one block of 32 one-bit codes (layout: quantize/block.hpp). lut holds 16 bytes for each group of 4
// dims, each at most 63, so that four can be added as bytes. sums[v] = sum over groups of lut[group][nibble of vector v], exact
// in uint16 (the caller keeps max(lut)*groups < 65536); groups is a multiple of 4.
using FastscanKernel = void (*)(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, std::uint16_t* sums);

// FastScan and the affine bound in one pass: bounds[v] = add[v] + rescale[v] * (scale * sums[v] + offset); bit v of the
// result says bounds[v] < threshold.
using FastscanBoundKernel = std::uint32_t (*)(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, const float* add, const float* rescale, float scale, float offset, float threshold, float* bounds);

// Dot product of one packed code (1..8 bits per dim, plane layout of quantize/planes.hpp) with int8 queries in
// [-127, 127], exact in int32. chunks = number of 64-dim chunks.
using PlanesKernel = std::int32_t (*)(int bits, const std::uint8_t* code, const std::int8_t* query, std::size_t chunks);

// sum_b 2^b * popcount(code & query_plane_b) for `bits` query planes of `words` 64-bit words each, one row-major 1-bit code.
using BitPlanesKernel = std::uint32_t (*)(const std::uint64_t* code, const std::uint64_t* planes, int bits, std::size_t words);

// out[i] = popcount(query ^ rows[i]) over n row-major codes of `words` 64-bit words.
using HammingKernel = void (*)(const std::uint64_t* query, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out);

// Unnormalised fast Walsh-Hadamard transform in place; n a power of two. Adds and subtracts in one fixed order, so every ISA
// gives the same bits.
using FhtKernel = void (*)(float* x, std::size_t n);

// For the grid scale search: m_j = min(floor(a_j * inverse_step), top) + 1/2; returns sum a_j*m_j in *dot and sum m_j^2 in *norm.
// d a multiple of 16.
using GridScoreKernel = void (*)(const float* magnitude, std::size_t d, float inverse_step, float top, float* dot, float* norm);

// The 16 subset sums of each group of 4 values, shifted so that the smallest is 0: table[16 g + m] = sum of the x[4g+i] with bit i
// of m set, minus the sum of the negative ones. *low gets the sum of all negative values, *widest the largest range of a group.
using SubsetSumsKernel = void (*)(const float* x, std::size_t groups, float* table, float* low, float* widest);

// out[i] = min(trunc(max(x[i], 0) * factor + 1/2), top), n a multiple of 16.
using QuantizeU8Kernel = void (*)(const float* x, std::size_t n, float factor, float top, std::uint8_t* out);

// Scores of n rows of d elements (row i at rows + i * stride floats) against `count` centroids, a multiple of 16, that lie in columns:
// out[i * count + k] = bias[k] - sum_j rows[i][j] * table[j * count + k]. With bias = |c|^2 / 2 the nearest centroid has the least.
// No fused multiply-add and one order of j, so every ISA gives the same bits.
using ScoresKernel = void (*)(const float* rows, std::size_t stride, std::size_t n, std::size_t d, const float* table, const float* bias, std::size_t count, float* out);

// The first position of the least of n values, n a multiple of 16; 0 where none compares (NaN).
using ArgminKernel = std::size_t (*)(const float* values, std::size_t n);

// out[k] = start + rows[0][k] + rows[1][k] + ..., `count` rows of n floats each, n a multiple of 16; added in this order.
using SumRowsKernel = void (*)(const float* const* rows, std::size_t count, float start, std::size_t n, float* out);

#define VSEARCH_KERNELS(X)                    \
    X(l2_f32, RowsKernel)                     \
    X(dot_f32, RowsKernel)                    \
    X(l2_f16, RowsKernel)                     \
    X(dot_f16, RowsKernel)                    \
    X(l2_bf16, RowsKernel)                    \
    X(dot_bf16, RowsKernel)                   \
    X(dot_i8, RowsInt8Kernel)                 \
    X(dot_u7, RowsU7Kernel)                   \
    X(select_below, SelectKernel)             \
    X(widen_f16, WidenKernel)                 \
    X(widen_bf16, WidenKernel)                \
    X(widen_i8, WidenKernel)                  \
    X(tile_f32, TileKernel)                   \
    X(fastscan, FastscanKernel)               \
    X(fastscan_bound, FastscanBoundKernel)    \
    X(dot_planes, PlanesKernel)               \
    X(popcount_planes, BitPlanesKernel)       \
    X(hamming, HammingKernel)                 \
    X(fht_f32, FhtKernel)                     \
    X(grid_score, GridScoreKernel)            \
    X(subset_sums, SubsetSumsKernel)          \
    X(quantize_u8, QuantizeU8Kernel)          \
    X(scores_f32, ScoresKernel)               \
    X(argmin_f32, ArgminKernel)               \
    X(sum_rows_f32, SumRowsKernel)

struct KernelTable {
#define VSEARCH_DECLARE(name, type) type name = nullptr;
    VSEARCH_KERNELS(VSEARCH_DECLARE)
#undef VSEARCH_DECLARE
};

// The table in use. Stable for the life of a search; use_isa() swaps it as a whole and is meant for tests.
const KernelTable& kernels();

// Caps the overlay at a level: "scalar", "avx2", "avx512", "neon" (or "best"). Throws std::invalid_argument naming what this
// CPU offers when the level is unknown or unsupported.
void use_isa(const std::string& level);

std::string current_isa();
std::vector<std::string> available_isas();                          // lowest first
std::vector<std::pair<std::string, std::string>> kernel_origins();  // (kernel, unit that installed it)

// Each unit's installer (only those of the target architecture are linked).
void install_scalar(KernelTable& table);
void install_avx2(KernelTable& table);
void install_avx512(KernelTable& table);
void install_avx512vnni(KernelTable& table);
void install_avx512popcnt(KernelTable& table);
void install_avx512bf16(KernelTable& table);
void install_neon(KernelTable& table);
void install_neondot(KernelTable& table);

}  // namespace vsearch
