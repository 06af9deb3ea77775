// The kernel table: every inner loop of the engine as a plain function pointer.
//
// Kernels take raw arrays and return raw arrays; they allocate nothing, throw nothing and know nothing of indexes or
// quantizers. Each ISA unit (kernels/isa/*.cpp) overwrites the entries it does better, in the order scalar, avx2, avx512, then
// the AVX-512 extensions bit by bit; what it leaves alone stays at the level below. The table is chosen at import.
//
// A new kernel is one line in VSEARCH_KERNELS, one comment beside its type below, and its functions in kernels/<isa>/<family>.hpp.
#pragma once

#include <atomic>
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

// The same for codes of 4 bits, two a byte, d a multiple of 64: byte b of each 32 holds dim b of its 64 in the lower nibble and dim b + 32 in the
// upper one. Row i as for RowsKernel, with slots or without.
using RowsU4Kernel = void (*)(const std::int8_t* query, const std::uint8_t* rows, std::size_t stride_bytes, const std::uint32_t* slots, std::size_t n, std::size_t d, std::int32_t* out);

// Writes the positions i with values[i] < bound to out (room for n), ascending, and returns how many.
using SelectKernel = std::size_t (*)(const float* values, std::size_t n, float bound, std::uint32_t* out);

// out[j] = scale * values[j] as float, n elements.
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

// Memory that is wanted next. To ask for forty lines at once stalls until the core has room for as many misses, so a kernel
// that is given them asks for a few in each turn of its loop.
struct Ahead {
    const std::uint8_t* next = nullptr;
    const std::uint8_t* end = nullptr;
};

// The same with factors in f16, 32 of add and then 32 of rescale, add times add_scale: bounds[v] = add_scale * add[v] + rescale[v] * (scale * sums[v] + offset).
using FastscanHalvesKernel = std::uint32_t (*)(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, const std::uint16_t* factors, float add_scale, float scale, float offset, float threshold, float* bounds, Ahead ahead);

// The same where all vectors have the same factors, so that the bound is a sum: bit v of the result says sums[v] >= least.
using FastscanAtLeastKernel = std::uint32_t (*)(const std::uint8_t* codes, const std::uint8_t* lut, std::size_t groups, std::uint32_t least, std::uint16_t* sums);

// Dot products of n packed codes (1..8 bits per dim, plane layout of quantize/planes.hpp), code i at codes + i * stride_bytes,
// with an int8 query in [-127, 127], exact in int32. chunks = number of 64-dim chunks.
using PlanesKernel = void (*)(int bits, const std::int8_t* query, const std::uint8_t* codes, std::size_t stride_bytes, std::size_t n, std::size_t chunks, std::int32_t* out);

// Packs `chunks` times 64 values, each below 2^bits, into that layout.
using PackPlanesKernel = void (*)(int bits, const std::uint8_t* values, std::size_t chunks, std::uint8_t* code);

// out[i] = sum_b 2^b * popcount(rows[i] & query_plane_b) for `bits` query planes of `words` 64-bit words each, over n row-major 1-bit codes.
using BitPlanesKernel = void (*)(const std::uint64_t* planes, int bits, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out);

// out[i] = popcount(query ^ rows[i]) over n row-major codes of `words` 64-bit words.
using HammingKernel = void (*)(const std::uint64_t* query, const std::uint64_t* rows, std::size_t words, std::size_t n, std::uint32_t* out);

// The symbols of one lane of a block (quantize/block.hpp) in order, two a byte, the lower nibble first; groups is a multiple of 4.
using LaneSymbolsKernel = void (*)(const std::uint8_t* codes, std::size_t lane, std::size_t groups, std::uint8_t* symbols);

// sum of the query[j] whose bit j of the row is set, exact in int32 (the caller keeps sum |query| < 2^31); d a multiple of 16.
using DotBitsKernel = std::int32_t (*)(const std::uint8_t* bits, const std::int16_t* query, std::size_t d);

// Unnormalised fast Walsh-Hadamard transform in place; n a power of two. Adds and subtracts in one fixed order, so every ISA
// gives the same bits.
using FhtKernel = void (*)(float* x, std::size_t n);

// What RaBitQ asks of a residual x, of its list's centre c and of the mean m, d a multiple of 16: sign bits (bit j of the row: x_j > 0) and
// out = {sum x^2, sum |x|, sum sign(x) c, sum x (c + m), max |x|}. Sums are 16 partial ones folded as a tree, the same in every unit.
using SignMomentsKernel = void (*)(const float* x, const float* c, const float* mean, std::size_t d, std::uint8_t* signs, float* out);

// out[i] = x[i] * factor rounded to the nearest (ties to even), clamped to +-32767; n a multiple of 16.
using QuantizeI16Kernel = void (*)(const float* x, std::size_t n, float factor, std::int16_t* out);

// Four grids at once for the search of the best: t_j = min(|a_j| * scale >> (16 + shift), top), dots[i] = sum |a_j| t_j and
// norms[i] = sum t_j (t_j + 1). Exact; d a multiple of 16, top <= 127.
using GridScoresKernel = void (*)(const std::int16_t* a, std::size_t d, const std::uint16_t* scales, int shift, int top, std::int64_t* dots, std::int64_t* norms);

// The codes of one such grid: t_j where x_j > 0, else top - t_j; out = {sum |x_j| (t_j + 1/2), sum sign(x_j) c_j (t_j + 1/2)}, folded as above.
using GridCodesKernel = void (*)(const float* x, const float* c, const std::int16_t* a, std::size_t d, std::uint16_t scale, int shift, int top, std::uint8_t* codes, float* out);

// One round of a Kac rotation: flips signs (bit 31 of flips[j]), transforms the `span` values at `offset` (fht_f32, then times
// `scale`) and, where span < d, takes (a, b) -> (a + b, a - b) of the two halves. d a multiple of 16, span a power of two >= 16.
using RotateRoundKernel = void (*)(float* x, std::size_t d, std::size_t offset, std::size_t span, const std::uint32_t* flips, float scale);

// Scores one scale of a table of `count` <= 16 levels: u_j = number of the count - 1 ascending thresholds below v_j,
// out = {sum w_j y_j, sum y_j^2} with y_j = levels[u_j], |y_j| <= 2047, and w_j = v_j / 16 rounded. Exact; d a multiple of 16, |v_j| <= 32767.
using LevelScoresKernel = void (*)(const std::int16_t* v, std::size_t d, const std::int16_t* thresholds, const std::int16_t* levels, int count, std::int64_t* out);

// The same for more levels, by a table of `last` + 1 bins: y_j = table[x_j * scale + offset, clamped]; out = {sum w_j y_j, sum y_j^2}, folded.
using BinScoresKernel = void (*)(const float* x, const float* w, std::size_t d, float scale, float offset, float last, const float* table, float* out);

// codes[j] = number of the ascending thresholds that are below x_j * factor; there are count - 1 of them, count a power of two <= 256, n a
// multiple of 16.
using LevelCodesKernel = void (*)(const float* x, std::size_t n, float factor, const float* thresholds, int count, std::uint8_t* codes);

// Puts codes together from symbols, two a byte, and `rest` lower bits (quantize/levels.hpp), 16 dims a unit: `prefix`, the bits of a
// dim in its symbol, is 1, 2 or 4.
using UnpackLevelsKernel = void (*)(const std::uint8_t* symbols, const std::uint8_t* extra, int prefix, int rest, std::size_t units, std::uint8_t* codes);

// sum levels[codes[j]] * q[j], exact in int32 (the caller keeps max |levels| * sum |q| < 2^31); d a multiple of 16, every code below count.
// Levels are 12 bits, of level + 2048: `count` lower bytes, then the upper four bits, those of levels 32 t + i and 32 t + 16 + i in the lower
// and the upper half of byte 16 t + i; count is 16, 32, 64, 128 or 256. From 32 on a byte follows, not 0 where levels[count - 1 - u] =
// -levels[u] for all u and none of the upper half is negative. Without tables a code is its level.
using LevelDotKernel = std::int32_t (*)(const std::uint8_t* codes, const std::uint8_t* levels, std::size_t count, const std::int16_t* q, std::size_t d);

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

// Of n candidates, n a multiple of 64: those of slot `taken` get distance infinity, and the position of the nearest is found, the first of
// equals, 0 where all are at infinity. No distance is a NaN.
using NearestKernel = std::size_t (*)(float* distances, const std::uint32_t* slots, std::size_t n, std::uint32_t taken);

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
    X(dot_u4, RowsU4Kernel)                   \
    X(select_below, SelectKernel)             \
    X(widen_f16, WidenKernel)                 \
    X(widen_bf16, WidenKernel)                \
    X(widen_i8, WidenKernel)                  \
    X(tile_f32, TileKernel)                   \
    X(fastscan, FastscanKernel)               \
    X(fastscan_bound, FastscanBoundKernel)    \
    X(fastscan_halves, FastscanHalvesKernel)  \
    X(fastscan_at_least, FastscanAtLeastKernel) \
    X(dot_planes, PlanesKernel)               \
    X(pack_planes, PackPlanesKernel)          \
    X(popcount_planes, BitPlanesKernel)       \
    X(hamming, HammingKernel)                 \
    X(lane_symbols, LaneSymbolsKernel)        \
    X(dot_bits, DotBitsKernel)                \
    X(fht_f32, FhtKernel)                     \
    X(sign_moments, SignMomentsKernel)        \
    X(quantize_i16, QuantizeI16Kernel)        \
    X(grid_scores, GridScoresKernel)          \
    X(grid_codes, GridCodesKernel)            \
    X(rotate_round, RotateRoundKernel)        \
    X(level_scores, LevelScoresKernel)        \
    X(bin_scores, BinScoresKernel)            \
    X(level_codes, LevelCodesKernel)          \
    X(unpack_levels, UnpackLevelsKernel)      \
    X(level_dot, LevelDotKernel)              \
    X(subset_sums, SubsetSumsKernel)          \
    X(quantize_u8, QuantizeU8Kernel)          \
    X(scores_f32, ScoresKernel)               \
    X(argmin_f32, ArgminKernel)               \
    X(nearest_f32, NearestKernel)             \
    X(sum_rows_f32, SumRowsKernel)

struct KernelTable {
#define VSEARCH_DECLARE(name, type) type name = nullptr;
    VSEARCH_KERNELS(VSEARCH_DECLARE)
#undef VSEARCH_DECLARE
};

// The table in use. Stable for the life of a search; use_isa() swaps it as a whole and is meant for tests.
extern std::atomic<const KernelTable*> kernels_in_use;
const KernelTable& first_kernels();  // what VSEARCH_ISA asks for, put in use

inline const KernelTable& kernels() {
    const KernelTable* table = kernels_in_use.load(std::memory_order_acquire);
    return table != nullptr ? *table : first_kernels();
}

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
