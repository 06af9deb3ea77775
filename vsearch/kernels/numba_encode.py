"""The encoder's kernels one by one, in NumPy: what tests compare (csrc/bindings/encode.cpp).

Nothing here runs in a search.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import array as checked
from vsearch.kernels.numba_base import require
from vsearch.kernels.numba_codec import LANES
from vsearch.kernels.numba_rotation import fht as transform
from vsearch.kernels.numba_transform import DIM_MULTIPLE

HALF = np.float32(0.5)
MOST_I16 = np.float32(32767)


def _folded(products: np.ndarray) -> np.float32:
    """Sixteen float32 partial sums, folded as a tree: the order that every unit keeps."""
    lanes = np.zeros(LANES, dtype=np.float32)
    for row in products.reshape(-1, LANES):
        lanes += row
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return np.float32(lanes[0])


def _units(x: np.ndarray, dtype: type) -> np.ndarray:
    x = checked(x, dtype)
    require(x.ndim == 1 and len(x) % DIM_MULTIPLE == 0, "length must be a multiple of 16")
    return x


def sign_moments(x: np.ndarray, center: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sign bits, [sum x^2, sum |x|, sum sign(x) c, sum x (c + m), max |x|]) of a residual."""
    x, center, mean = _units(x, np.float32), checked(center, np.float32), checked(mean, np.float32)
    require(center.shape == x.shape and mean.shape == x.shape, "sign_moments: wrong shape")
    flipped = np.where(x > 0, center, -center)
    sums = [_folded(x * x), _folded(abs(x)), _folded(flipped), _folded(x * (center + mean)), abs(x).max(initial=0)]
    return np.packbits(x > 0, bitorder="little"), np.array(sums, dtype=np.float32)


def quantize_i16(x: np.ndarray, factor: float) -> np.ndarray:
    """x * factor rounded to the nearest, ties to even, within +-32767."""
    x = _units(x, np.float32)
    return np.rint(np.clip(x * np.float32(factor), -MOST_I16, MOST_I16)).astype(np.int16)


def _grid_levels(a: np.ndarray, scale: int, shift: int, top: int) -> np.ndarray:
    levels: np.ndarray = np.minimum(abs(a.astype(np.int64)) * int(scale) >> 16 >> shift, top)
    return levels


def grid_scores(a: np.ndarray, scales: np.ndarray, shift: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """(sum |a| t, sum t (t + 1)) of the grids of four scales, t = min(|a| * scale >> (16 + shift), top)."""
    a, scales = _units(a, np.int16), checked(scales, np.uint16)
    require(scales.shape == (4,) and 0 <= shift < 16 and 0 <= top <= 127, "grid_scores: out of range")
    levels = [_grid_levels(a, scale, shift, top) for scale in scales]
    dots = [int(abs(a.astype(np.int64)) @ t) for t in levels]
    return np.array(dots, dtype=np.int64), np.array([int(t @ (t + 1)) for t in levels], dtype=np.int64)


def grid_codes(
    x: np.ndarray, center: np.ndarray, a: np.ndarray, scale: int, shift: int, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """(codes, [sum |x| (t + 1/2), sum sign(x) c (t + 1/2)]) of one such grid.

    A code is t where x is positive, else top - t.
    """
    x, center, a = _units(x, np.float32), checked(center, np.float32), checked(a, np.int16)
    require(center.shape == x.shape and a.shape == x.shape, "grid_codes: wrong shape")
    require(0 <= shift < 16 and 0 <= top <= 127 and top & (top + 1) == 0, "grid_codes: out of range")
    t = _grid_levels(a, scale, shift, top)
    y = t.astype(np.float32) + HALF
    sums = [_folded(abs(x) * y), _folded(np.where(x > 0, center, -center) * y)]
    return np.where(x > 0, t, top - t).astype(np.uint8), np.array(sums, dtype=np.float32)


def rotate_round(x: np.ndarray, offset: int, span: int, flips: np.ndarray, scale: float) -> np.ndarray:
    """One round of a Kac rotation: signs, the scaled Hadamard transform of a span, then sums and differences."""
    x, flips = _units(x, np.float32), checked(flips, np.uint32)
    require(flips.shape == x.shape, "rotate_round: wrong shape")
    require(span >= 16 and span & (span - 1) == 0 and offset % 16 == 0, "rotate_round: wrong span")
    require(0 <= offset <= len(x) - span, "rotate_round: wrong span")
    out = (x.view(np.uint32) ^ flips).view(np.float32)
    transform(out, offset, span)
    out[offset : offset + span] *= np.float32(scale)
    if span < len(x):
        a, b = np.split(out, 2)
        out = np.concatenate([a + b, a - b])
    return out


def level_scores(values: np.ndarray, thresholds: np.ndarray, levels: np.ndarray) -> tuple[int, int]:
    """(sum w y, sum y^2) with y the level of each value and w = value / 16, rounded."""
    values, thresholds, levels = _units(values, np.int16), checked(thresholds, np.int16), checked(levels, np.int16)
    require(len(levels) in (2, 4, 8, 16) and len(thresholds) == len(levels) - 1, "level_scores: wrong shape")
    y = levels[np.searchsorted(thresholds, values, side="left")].astype(np.int64)
    return int((values.astype(np.int64) * 2048 + 16384 >> 15) @ y), int(y @ y)


def bin_scores(x: np.ndarray, w: np.ndarray, scale: float, offset: float, table: np.ndarray) -> tuple[float, float]:
    """(sum w y, sum y^2) with y = table[x * scale + offset]."""
    x, w, table = _units(x, np.float32), checked(w, np.float32), checked(table, np.float32)
    require(w.shape == x.shape and table.ndim == 1 and len(table) > 0, "bin_scores: wrong shape")
    at = np.clip(x * np.float32(scale) + np.float32(offset), 0, len(table) - 1)
    y = table[at.astype(np.int64)]
    return float(_folded(w * y)), float(_folded(y * y))


def level_codes(x: np.ndarray, factor: float, thresholds: np.ndarray) -> np.ndarray:
    """How many of the ascending thresholds are below each x * factor."""
    x, thresholds = _units(x, np.float32), checked(thresholds, np.float32)
    require(len(thresholds) + 1 in (2, 4, 8, 16, 32, 64, 128, 256), "level_codes: wrong shape")
    return np.searchsorted(thresholds, x * np.float32(factor), side="left").astype(np.uint8)


def unpack_levels(symbols: np.ndarray, extra: np.ndarray, prefix: int, rest: int) -> np.ndarray:
    """Codes from symbols, two a byte, and `rest` lower bits each, 16 dims a unit."""
    symbols, extra = checked(symbols, np.uint8), checked(extra, np.uint8)
    require(symbols.ndim == 1 and extra.ndim == 1, "unpack_levels: wrong shape")
    require(prefix in (1, 2, 4) and rest >= 0 and prefix + rest <= 8, "unpack_levels: out of range")
    units = len(symbols) // (2 * prefix)
    require(len(symbols) % (2 * prefix) == 0 and extra.shape == (2 * rest * units,), "unpack_levels: wrong shape")
    codes = (symbols[:, None] >> np.arange(0, 8, prefix) & (1 << prefix) - 1).reshape(-1).astype(np.uint8) << rest
    bits = np.unpackbits(extra.reshape(units, rest, 2), axis=2, bitorder="little")
    for b in range(rest):
        codes |= bits[:, b].reshape(-1) << b
    return codes


def level_dot(codes: np.ndarray, levels: np.ndarray, query: np.ndarray) -> int:
    """sum levels[code] * q, all integers."""
    codes, levels, query = _units(codes, np.uint8), checked(levels, np.int16), checked(query, np.int16)
    require(query.shape == codes.shape and len(levels) <= 256, "level_dot: wrong shape")
    require(codes.size == 0 or int(codes.max()) < len(levels), "level_dot: code out of range")
    wide, q = levels.astype(np.int64), query.astype(np.int64)
    peak = np.abs(wide).max(initial=0)
    require(peak <= 2047, "level_dot: levels must lie in -2047..2047")
    require(peak * np.abs(q).sum() < 2**31, "level_dot: the sum may not fit in 32 bits")
    return int(wide[codes] @ q)
