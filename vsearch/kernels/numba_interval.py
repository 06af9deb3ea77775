"""The interval of a vector coded between ends of its own (csrc/quantize/interval.cpp): LVQ's, a narrower one, OSQ's."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import Float, Int, jit_part

INTERVAL, CLIPPED, OPTIMIZED = 2, 3, 4  # rules, after those of numba_levels.py without an interval
BINS = 1024
CLIPS, NEWTON_STEPS = 16, 5
ANISOTROPY = 0.1  # lambda: weight of the error across the vector beside that along it
# Half-widths in standard deviations of the interval that is best for a Gaussian, 1..8 bits.
GAUSSIAN_INTERVAL = np.array([0, 0.798, 1.493, 2.051, 2.514, 2.916, 3.278, 3.611, 3.922])

ZERO, ONE, LAST_BIN = np.float32(0), np.float32(1), np.float32(BINS - 1)
DAA, DAB, DBB, DAX, DBX = range(5)


@jit_part
def bin_of(value: Float, scale: Float, offset: Float) -> Int:
    """The bin of values that `value` is in; the outermost ones go on for ever."""
    return np.intp(min(max(value * scale + offset, ZERO), LAST_BIN))


@jit_part
def _between(low: Float, high: Float, sigma: Float) -> tuple[Float, Float]:
    """(middle, step) of an interval: level L stands for middle + step * L."""
    return np.float32((low + high) / 2), np.float32((high - low) * np.float64(sigma))


@jit_part
def _score(o: np.ndarray, bin_scale: Float, bin_offset: Float, levels: np.ndarray, middle: Float, step: Float) -> Float:
    """Squared cosine of o and middle + step * (nearest level), up to |o|^2."""
    inverse, product, norm2 = ONE / step, 0.0, 0.0
    for x in o:
        y = np.float64(middle + step * levels[bin_of((x - middle) * inverse, bin_scale, bin_offset)])
        product += np.float64(x) * y
        norm2 += y * y
    return product * product / norm2 if norm2 > 0 else 0.0


@jit_part
def _best_clip(
    o: np.ndarray,
    bits: Int,
    sigma: Float,
    bin_scale: Float,
    bin_offset: Float,
    levels: np.ndarray,
    low: Float,
    high: Float,
    deviation: Float,
) -> tuple[Float, Float]:
    """The interval around the middle of [low, high] with the best cosine."""
    center, half = (low + high) / 2, (high - low) / 2
    narrow = min(half, 0.8 * GAUSSIAN_INTERVAL[bits] * deviation)
    middle, step = _between(low, high, sigma)
    highest = _score(o, bin_scale, bin_offset, levels, middle, step)
    for i in range(CLIPS):
        width = narrow + (half - narrow) * i / CLIPS
        if not width > 0:
            continue
        tried, tried_step = _between(center - width, center + width, sigma)
        now = _score(o, bin_scale, bin_offset, levels, tried, tried_step)
        if now > highest:
            highest, middle, step = now, tried, tried_step
    return middle, step


@jit_part
def _collect(o: np.ndarray, top: Float, norm2: Float, a: Float, b: Float, sums: np.ndarray) -> Float:
    """Sums over the levels of the interval [a, b], and its loss."""
    for i in range(len(sums)):
        sums[i] = 0.0
    along, whole, scale = 0.0, 0.0, top / (b - a)
    for value in o:
        x = np.float64(value)
        s = min(max(np.floor((x - a) * scale + 0.5), 0.0), top) / top
        e = x - (a + (b - a) * s)
        sums[DAA] += (1 - s) * (1 - s)
        sums[DAB] += s * (1 - s)
        sums[DBB] += s * s
        sums[DAX] += x * (1 - s)
        sums[DBX] += x * s
        along += x * e
        whole += e * e
    return (1 - ANISOTROPY) * along * along / norm2 + ANISOTROPY * whole


@jit_part
def _newton(o: np.ndarray, top: Float, norm2: Float, a: Float, b: Float) -> tuple[Float, Float]:
    """The ends that minimise the anisotropic loss: levels and ends take turns while it falls (Lucene's OSQ)."""
    sums = np.empty(5, dtype=np.float64)
    loss, g = _collect(o, top, norm2, a, b, sums), (1 - ANISOTROPY) / norm2
    for _ in range(NEWTON_STEPS):
        dax, dbx = sums[DAX], sums[DBX]
        m00, m01 = g * dax * dax + ANISOTROPY * sums[DAA], g * dax * dbx + ANISOTROPY * sums[DAB]
        m11 = g * dbx * dbx + ANISOTROPY * sums[DBB]
        determinant = m00 * m11 - m01 * m01
        if not abs(determinant) > 1e-12 * m00 * m11:
            break
        next_a, next_b = (m11 * dax - m01 * dbx) / determinant, (m00 * dbx - m01 * dax) / determinant
        if not next_b > next_a:
            break
        now = _collect(o, top, norm2, next_a, next_b, sums)
        if not now < loss:
            break
        loss, a, b = now, next_a, next_b
    return a, b


@jit_part
def choose_interval(
    o: np.ndarray, rule: Int, bits: Int, sigma: Float, bin_scale: Float, bin_offset: Float, levels: np.ndarray
) -> tuple[Float, Float]:
    """(middle, step) of the coordinates o; sigma is one over the number of steps between the ends."""
    low, high = np.float64(np.min(o)), np.float64(np.max(o))
    if not high > low:
        return np.float32(low), ZERO
    if rule == INTERVAL:
        return _between(low, high, sigma)
    mean, square = 0.0, 0.0
    for x in o:
        mean += np.float64(x)
        square += np.float64(x) * np.float64(x)
    norm2 = square
    mean /= len(o)
    deviation = np.sqrt(max(0.0, square / len(o) - mean * mean))
    if rule == CLIPPED:
        return _best_clip(o, bits, sigma, bin_scale, bin_offset, levels, low, high, deviation)
    reach = GAUSSIAN_INTERVAL[bits] * deviation
    a, b = max(low, mean - reach), min(high, mean + reach)
    if not b > a:
        return _between(low, high, sigma)
    a, b = _newton(o, np.float64((1 << bits) - 1), norm2, a, b)
    return _between(a, b, sigma)
