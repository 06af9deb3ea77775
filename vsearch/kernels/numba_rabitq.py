"""RaBitQ: the encoder and the prepared query (csrc/quantize/rabitq.cpp), operation by operation: the same codes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import L2, Float, Int, array, jit, metric_code, over_ranges, require
from vsearch.kernels.numba_codes import (
    CHUNK,
    FACTOR_BYTES,
    U15,
    U16,
    dot_planes,
    extra_stride,
    nibble_sums,
    pack_planes,
)
from vsearch.kernels.numba_rotation import DIM_MULTIPLE

# Clip of the uniform B-bit quantiser that is best for a unit Gaussian, B = 1..8.
GAUSSIAN_CLIP = np.array([0, 1.599, 1.991, 2.348, 2.683, 3.006, 3.328, 3.640, 3.939], dtype=np.float32)
SCALE_STEPS = 16
PLAIN_QUERY_BITS = 5  # codes of more bits see the query in two int8 halves
LANES = 16
ROWS_PER_TASK = 256

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
LOW_CLIP, HIGH_CLIP, HIGH_PEAK = np.float32(0.85), np.float32(1.1), np.float32(1.02)
GAIN = np.float32(1.0000001)  # a level moves only where the cosine grows by more than rounding
MOST_SUM, MOST_ENTRY, FINE = np.float32(65535), np.float32(63), np.float32(32000)
TWELVE, HUNDRED_TWENTY = np.float32(12), np.float32(120)
LARGEST_7, LARGEST_14, HIGH_UNIT = np.float32(127), np.float32(127 * 128), np.float32(128)


@jit
def _fold(lanes: np.ndarray) -> Float:
    """Sixteen partial sums folded as a tree: the order that every unit keeps."""
    width = LANES // 2
    while width > 0:
        for i in range(width):
            lanes[i] += lanes[i + width]
        width //= 2
    return lanes[0]


@jit
def grid_score(magnitude: np.ndarray, inverse_step: Float, top: Float, lanes: np.ndarray) -> tuple[Float, Float]:
    """(<a, m>, |m|^2) of magnitudes a and their grid points m."""
    dots, norms = lanes[0], lanes[1]
    for i in range(LANES):
        dots[i] = norms[i] = ZERO
    for first in range(0, len(magnitude), LANES):
        for i in range(LANES):
            a = magnitude[first + i]
            level = np.float32(np.int32(min(a * inverse_step, top))) + HALF
            dots[i] += a * level
            norms[i] += level * level
    return _fold(dots), _fold(norms)


@jit
def _best_inverse_step(magnitude: np.ndarray, bits: Int, lanes: np.ndarray) -> Float:
    """Inverse step of the best grid: 16 clips around the Gaussian one, then 8 between the neighbours of the best."""
    levels = np.float32(1 << bits)
    top = levels / TWO - ONE
    peak = magnitude[0]
    for a in magnitude:
        peak = max(peak, a)
    low = LOW_CLIP * min(GAUSSIAN_CLIP[bits], peak)
    high = max(HIGH_PEAK * peak, HIGH_CLIP * GAUSSIAN_CLIP[bits])
    step = (high - low) / np.float32(SCALE_STEPS - 1)
    first, last, steps = low, high, SCALE_STEPS
    best, best_score = low, -ONE
    for _ in range(2):
        for i in range(steps):
            clip = first + (last - first) * np.float32(i) / np.float32(steps - 1)
            dot, norm = grid_score(magnitude, levels / (TWO * clip), top, lanes)
            score = dot / np.sqrt(norm) if norm > ZERO else ZERO
            if score > best_score:
                best_score, best = score, clip
        first, last, steps = max(best - step, HALF * low), best + step, SCALE_STEPS // 2
    return levels / (TWO * best)


@jit
def _choose_levels(magnitude: np.ndarray, bits: Int, level: np.ndarray, lanes: np.ndarray) -> None:
    """Distance of each code from the sign boundary: the best grid, then one sweep that may move each level by one."""
    top = (1 << (bits - 1)) - 1
    inverse_step = _best_inverse_step(magnitude, bits, lanes)
    dot, norm = ZERO, ZERO
    for j in range(len(magnitude)):
        level[j] = np.int32(min(magnitude[j] * inverse_step, np.float32(top)))
        m = np.float32(level[j]) + HALF
        dot += magnitude[j] * m
        norm += m * m
    for j in range(len(magnitude)):
        m = np.float32(level[j]) + HALF
        up_dot, up_norm = dot + magnitude[j], norm + TWO * m + ONE
        down_dot, down_norm = dot - magnitude[j], norm - TWO * m + ONE
        if level[j] < top and up_dot * up_dot * norm > dot * dot * up_norm * GAIN:
            level[j] += 1
            dot, norm = up_dot, up_norm
        elif level[j] > 0 and down_dot * down_dot * norm > dot * dot * down_norm * GAIN:
            level[j] -= 1
            dot, norm = down_dot, down_norm


@jit
def _factors(norm2: Float, dot: Float, center: Float, residual_center: Float, is_l2: bool) -> tuple[Float, Float]:
    """add and rescale of a code with <o, y> = dot and <y, Pc> = center."""
    if dot <= 0:  # a zero residual: its distance is that of the centroid
        return ZERO, ZERO
    s = norm2 / dot
    if is_l2:
        return np.float32(norm2 + 2 * s * center), np.float32(-2 * s)
    return np.float32(-residual_center + s * center), np.float32(-s)


@jit
def _spread(norm2: Float, dot: Float, y_norm2: Float, dim: Int) -> Float:
    """|y| sin / sqrt(D - 1)."""
    if dot <= 0:
        return ZERO
    cos2 = min(1.0, dot * dot / (norm2 * y_norm2))
    return np.float32(np.sqrt(y_norm2 * (1 - cos2) / np.float64(dim - 1)))


class Encoded(NamedTuple):
    """Where codes go; `factors` is `extra` seen as float32."""

    signs: np.ndarray
    extra: np.ndarray
    factors: np.ndarray
    add: np.ndarray
    rescale: np.ndarray
    spreads: np.ndarray


@jit
def _encode_one(
    o: np.ndarray,
    center: np.ndarray,
    mean: np.ndarray,
    bits: Int,
    is_l2: bool,
    codes: np.ndarray,
    magnitude: np.ndarray,
    lanes: np.ndarray,
    i: Int,
    out: Encoded,
) -> None:
    """Codes of the rotated residual o, relative to `center`."""
    dim, norm2 = len(o), 0.0
    for j in range(dim):
        norm2 += np.float64(o[j]) * np.float64(o[j])
    unit = np.float32(np.sqrt(dim / norm2)) if norm2 > 0 else ZERO
    for j in range(dim):
        magnitude[j], codes[j] = abs(o[j]) * unit, 0
    if bits > 1 and norm2 > 0:
        _choose_levels(magnitude, bits, codes, lanes)
    half, center_of_grid = 1 << (bits - 1), (np.float64(1 << bits) - 1) / 2
    full_dot, sign_dot, full_center, sign_center, full_norm2, residual_center = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(dim):
        positive = o[j] > ZERO
        codes[j] = half + codes[j] if positive else half - 1 - codes[j]
        y, y1 = np.float64(codes[j]) - center_of_grid, 0.5 if positive else -0.5
        full_dot += o[j] * y
        sign_dot += o[j] * y1
        full_center += y * center[j]
        sign_center += y1 * center[j]
        full_norm2 += y * y
        residual_center += np.float64(o[j]) * (np.float64(center[j]) + mean[j])
    out.add[i], out.rescale[i] = _factors(norm2, sign_dot, sign_center, residual_center, is_l2)
    out.spreads[i, 0] = _spread(norm2, sign_dot, np.float64(dim) / 4, dim)
    out.spreads[i, 1] = _spread(norm2, full_dot, full_norm2, dim)
    if bits > 1:
        out.factors[i, 0], out.factors[i, 1] = _factors(norm2, full_dot, full_center, residual_center, is_l2)


@jit
def _encode_rows(
    rotated: np.ndarray,
    assign: np.ndarray,
    centroids: np.ndarray,
    mean: np.ndarray,
    bits: Int,
    is_l2: bool,
    first: Int,
    last: Int,
    out: Encoded,
) -> None:
    dim = rotated.shape[1]
    residual, magnitude = np.empty(dim, dtype=np.float32), np.empty(dim, dtype=np.float32)
    lanes, codes = np.empty((2, LANES), dtype=np.float32), np.empty(dim, dtype=np.uint8)
    for i in range(first, last):
        center = centroids[assign[i]]
        for j in range(dim):
            residual[j] = rotated[i, j] - center[j]
        _encode_one(residual, center, mean, bits, is_l2, codes, magnitude, lanes, i, out)
        for s in range(dim // 8):
            byte: Int = 0
            for b in range(8):
                byte |= (np.int64(codes[8 * s + b]) >> (bits - 1) & 1) << b
            out.signs[i, s] = byte
        if bits > 1:
            pack_planes(codes, bits - 1, out.extra[i, FACTOR_BYTES:])


def rabitq_encode(
    rotated: np.ndarray,
    assign: np.ndarray,
    centroids: np.ndarray,
    mean: np.ndarray,
    bits: int,
    metric: str,
    threads: int = 1,
) -> dict[str, np.ndarray]:
    """Codes of rotated vectors (n, padded) relative to the centroids of their lists, all without the mean."""
    rotated, centroids, mean = array(rotated, np.float32), array(centroids, np.float32), array(mean, np.float32)
    assign = array(assign, np.uint32)
    require(rotated.ndim == 2 and centroids.ndim == 2 and centroids.shape[1] == rotated.shape[1], "encode: wrong shape")
    n, dim = rotated.shape
    require(1 <= bits <= 8 and dim % DIM_MULTIPLE == 0, "encode: wrong bits or dim")
    require(assign.shape == (n,) and mean.shape == (dim,), "encode: wrong shape")
    require(n == 0 or int(assign.max()) < len(centroids), "encode: list out of range")
    extra = np.empty((n, extra_stride(dim, bits)), dtype=np.uint8)
    out = Encoded(
        signs=np.empty((n, dim // 8), dtype=np.uint8),
        extra=extra,
        factors=extra.view(np.float32),
        add=np.empty(n, dtype=np.float32),
        rescale=np.empty(n, dtype=np.float32),
        spreads=np.empty((n, 2), dtype=np.float32),
    )
    is_l2 = metric_code(metric) == L2
    over_ranges(
        n,
        threads,
        ROWS_PER_TASK,
        lambda first, last: _encode_rows(rotated, assign, centroids, mean, bits, is_l2, first, last, out),
    )
    return {name: values for name, values in out._asdict().items() if name != "factors"}


class Query(NamedTuple):
    """A prepared query: tables of subset sums for the 1-bit code, int8 halves for the extra bits, scalars of both."""

    table: np.ndarray  # float32, 16 subset sums for each group of 4 dims
    lut: np.ndarray  # the same in 6 bits
    fine: np.ndarray  # the same in 15 bits, for the survivors
    high: np.ndarray  # int8: q' ~ query_scale * (128 high + low)
    low: np.ndarray
    high_sums: np.ndarray  # what the nibbles of a 1-bit plane add, int16
    low_sums: np.ndarray
    scalars: np.ndarray  # float32, by the names below


SCALE, OFFSET, SIGN_NOISE, FINE_SCALE, FINE_OFFSET, QUERY_SCALE, FULL_OFFSET, FULL_NOISE = range(8)


def new_query(dim: int) -> Query:
    """Room for a query of `dim` rotated dimensions."""
    high, low = np.zeros((2, -(-dim // CHUNK) * CHUNK), dtype=np.int8)
    return Query(
        table=np.empty(4 * dim, dtype=np.float32),
        lut=np.empty(4 * dim, dtype=np.uint8),
        fine=np.empty(4 * dim, dtype=np.int16),
        high=high,
        low=low,
        high_sums=np.empty(4 * len(high), dtype=np.int16),
        low_sums=np.empty(4 * len(low), dtype=np.int16),
        scalars=np.zeros(8, dtype=np.float32),
    )


@jit
def prepare_query(q: np.ndarray, bits: Int, out: Query) -> None:
    """Fills `out` for the rotated and centred query q."""
    query_sum = ZERO
    for x in q:
        query_sum += x
    lowest, widest = subset_sums(q, out.table)
    levels = min(MOST_ENTRY, np.floor(MOST_SUM / np.float32(len(q) // 4)))
    factor = levels / widest if widest > ZERO else ZERO
    quantize_u8(out.table, factor, levels, out.lut)
    out.scalars[SCALE] = widest / levels if widest > ZERO else ZERO
    out.scalars[OFFSET] = lowest - HALF * query_sum
    out.scalars[SIGN_NOISE] = out.scalars[SCALE] * np.sqrt(np.float32(len(q) // 4) / TWELVE)
    if bits > 1:
        fine = FINE / widest if widest > ZERO else ZERO
        for i in range(len(out.table)):
            out.fine[i] = np.int32(max(out.table[i] * fine, ZERO) + HALF)
        out.scalars[FINE_SCALE] = widest / FINE if widest > ZERO else ZERO
        out.scalars[FINE_OFFSET] = lowest
        _quantize_query(q, bits, query_sum, out)


@jit
def subset_sums(q: np.ndarray, table: np.ndarray) -> tuple[Float, Float]:
    """The 16 subset sums of each 4 values above their least; (sum of all negative values, largest range of a group)."""
    lowest, widest = ZERO, ZERO
    for g in range(len(q) // 4):
        negative, positive = ZERO, ZERO
        for i in range(4):
            x = q[4 * g + i]
            if x < ZERO:
                negative += x
            else:
                positive += x
        table[16 * g] = ZERO - negative
        for bit in range(4):
            for m in range(1 << bit):
                table[16 * g + (1 << bit) + m] = table[16 * g + m] + q[4 * g + bit]
        lowest += negative
        widest = max(widest, positive - negative)
    return lowest, widest


@jit
def quantize_u8(x: np.ndarray, factor: Float, top: Float, out: np.ndarray) -> None:
    """Values above 0 times a factor, rounded, at most `top`."""
    for i in range(len(x)):
        out[i] = np.int32(min(max(x[i], ZERO) * factor + HALF, top))


@jit
def _quantize_query(q: np.ndarray, bits: Int, query_sum: Float, out: Query) -> None:
    """Eight bits with the sign serve codes of up to 5 bits, two int8 halves the others; sums are about their middle."""
    peak = ZERO
    for x in q:
        peak = max(peak, abs(x))
    top = LARGEST_14 if bits > PLAIN_QUERY_BITS else LARGEST_7
    out.scalars[QUERY_SCALE] = peak / top
    inverse = top / peak if peak > ZERO else ZERO
    rounded_sum: Int = 0
    for j in range(len(q)):
        value = np.int64(np.rint(q[j] * inverse))
        rounded_sum += value
        high = (value + 64) >> 7 if bits > PLAIN_QUERY_BITS else value
        out.high[j] = high
        out.low[j] = value - 128 * high if bits > PLAIN_QUERY_BITS else 0
    if bits % 2 == 0:  # the extra bits end in a 1-bit plane
        nibble_sums(out.high, out.high_sums)
        nibble_sums(out.low, out.low_sums)
    half = np.float32(1 << (bits - 1))
    middle, scale = (half - ONE) / TWO, out.scalars[QUERY_SCALE]
    out.scalars[FULL_OFFSET] = middle * (query_sum - scale * np.float32(rounded_sum)) - (half - HALF) * query_sum
    out.scalars[FULL_NOISE] = scale * half * np.sqrt(np.float32(len(q)) / HUNDRED_TWENTY)


@jit
def full_dot(query: Query, bits: Int, codes: np.ndarray, lane_byte: Int, lane_shift: Int, extra: np.ndarray) -> Float:
    """<y, q'> of all bits of one vector, in units of the B-bit grid."""
    signs, byte, shift, entry = 0, np.uintp(lane_byte), np.uintp(lane_shift), np.uintp(0)
    for _ in range(len(query.fine) // 16):
        signs += query.fine[entry + (np.uintp(codes[entry + byte]) >> shift & U15)]
        entry += U16
    planes = np.float32(dot_planes(bits - 1, extra, query.high, query.high_sums))
    if bits > PLAIN_QUERY_BITS:
        planes = HIGH_UNIT * planes + np.float32(dot_planes(bits - 1, extra, query.low, query.low_sums))
    half = np.float32(1 << (bits - 1))
    sign_dot = query.scalars[FINE_SCALE] * np.float32(signs) + query.scalars[FINE_OFFSET]
    return half * sign_dot + query.scalars[QUERY_SCALE] * planes + query.scalars[FULL_OFFSET]
