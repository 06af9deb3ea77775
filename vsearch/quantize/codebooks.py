"""Scalar codebooks: the levels that a coordinate of unit variance is rounded to, and the errors they leave.

Lloyd-Max levels of the normal density (Max, 1960; Lloyd, 1982): thresholds are midpoints, levels are conditional means.
Their mean squared errors are .3634 .1175 .03455 .009501 .002505 .000644 .000164 .0000412 at 1 to 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import erf, exp, pi, sqrt
from statistics import NormalDist

import numpy as np

ROUNDS = 200
CONVERGED = 1e-10  # rounding alone moves levels of 7 and 8 bits by more than a hundredth of it
MAX_BITS = 8
GAUSSIAN_CLIP = (0.0, 1.599, 1.991, 2.348, 2.683, 3.006, 3.328, 3.640, 3.939)
"""Half-width of the uniform grid of 1..8 bits that is best for a normal density."""


@dataclass(frozen=True)
class Codebook:
    """Ascending levels for coordinates of unit variance.

    Attributes
    ----------
    levels : float64 (2**bits,)
    error : mean squared error on the density it is made for
    mass : float64 (2**bits,), share of coordinates that each level gets
    """

    levels: np.ndarray
    error: float
    mass: np.ndarray

    @property
    def bits(self) -> int:
        """Bits of an index."""
        return len(self.levels).bit_length() - 1

    @property
    def kappa(self) -> float:
        """Variance factor of unbiased inner products, (1 - cos^2)/cos^2 between a long vector and its code."""
        return self.error / (1 - self.error)

    def prefix(self, bits: int) -> tuple[np.ndarray, float]:
        """Levels that the leading `bits` of an index stand for alone, and the mean square of these.

        They are the means of the levels that share a prefix, stretched by what means fall short of what they stand for,
        so that prefixes of few bits and of many count alike.
        """
        mass = self.mass.reshape(2**bits, -1)
        total = np.maximum(mass.sum(axis=1), 1e-300)
        means = (mass * self.levels.reshape(2**bits, -1)).sum(axis=1) / total
        kept, whole = float((means**2 * total).sum()), float((self.mass * self.levels**2).sum())
        stretch = whole / kept if kept > 0 else 1.0
        return means * stretch, kept * stretch**2

    def lost(self, bits: int) -> float:
        """Mean square of what the leading `bits` of an index leave of a level."""
        mass = self.mass.reshape(2**bits, -1)
        means = (mass * self.levels.reshape(2**bits, -1)).sum(axis=1) / np.maximum(mass.sum(axis=1), 1e-300)
        return max(float((self.mass * self.levels**2).sum() - (means**2 * mass.sum(axis=1)).sum()), 0.0)


def _density(x: float) -> float:
    return exp(-x * x / 2) / sqrt(2 * pi)


def _cumulative(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2


@lru_cache(maxsize=MAX_BITS)
def lloyd_max(bits: int) -> Codebook:
    """Lloyd-Max levels of the standard normal density.

    Starts at Panter and Dite's companded levels sqrt(3) Phi^-1((i + 1/2)/2^b) and solves l = E[x | cell of l] by Newton
    steps: plain Lloyd rounds would take thousands at 8 bits.

    Examples
    --------
    >>> lloyd_max(2).levels.round(4).tolist()
    [-1.5104, -0.4528, 0.4528, 1.5104]
    """
    count = 2**bits
    normal = NormalDist()
    levels = np.array([sqrt(3) * normal.inv_cdf((i + 0.5) / count) for i in range(count)])
    mass = np.zeros(count)
    for _ in range(ROUNDS):
        inner = (levels[1:] + levels[:-1]) / 2
        density = np.array([0.0, *(_density(t) for t in inner), 0.0])
        mass = np.diff(np.array([0.0, *(_cumulative(t) for t in inner), 1.0]))
        means = -np.diff(density) / mass
        # Of each mean by the end of its cell above and below; ends are midpoints, so each moves with two levels.
        above = np.append(density[1:-1] * (inner - means[:-1]), 0.0) / mass
        below = np.append(0.0, density[1:-1] * (means[1:] - inner)) / mass
        slope = np.eye(count) - np.diag((above + below) / 2) - np.diag(above[:-1] / 2, 1) - np.diag(below[1:] / 2, -1)
        moved = levels - np.linalg.solve(slope, levels - means)
        if not (np.diff(moved) > 0).all():
            moved = means
        moved = (moved - moved[::-1]) / 2  # symmetric, whatever rounding does in the tails
        done = np.abs(moved - levels).max() < CONVERGED
        levels = moved
        if done:
            break
    return Codebook(levels, float(1 - (mass * levels**2).sum()), mass)


def fitted(values: np.ndarray, bits: int, rounds: int = 30) -> Codebook:
    """Lloyd-Max levels of the values themselves (n,), from those of the normal density; the error is relative to their
    mean square.
    """
    ordered = np.sort(values.astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    levels = _ascending(_settled(ordered, sums, lloyd_max(bits).levels, rounds))
    edges = np.concatenate([[0], np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2), [len(ordered)]])
    counts, first = np.diff(edges), np.diff(sums[edges])
    energy = max(float((ordered**2).sum()), 1e-300)
    error = energy - 2 * float((levels * first).sum()) + float((levels**2 * counts).sum())
    return Codebook(levels, max(error, 0.0) / energy, counts / len(ordered))


def _settled(ordered: np.ndarray, sums: np.ndarray, levels: np.ndarray, rounds: int) -> np.ndarray:
    """Levels after `rounds` of Lloyd's on ascending values, of which `sums` are the sums from the first on."""
    for _ in range(rounds):
        edges = np.concatenate([[0], np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2), [len(ordered)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        levels = np.maximum.accumulate(np.where(counts > 0, means, levels))
    return levels


def adapted(values: np.ndarray, count: int, rounds: int = 30) -> np.ndarray:
    """`count` ascending levels for values (n,) of any density, float64; where there are no more different values than
    that, the values themselves, the last of them repeated.

    Starts at levels as dense as the cube root of the values' density (Panter and Dite, 1951): between quantiles a gap
    wide, that is in proportion to the gap to the power of 2/3. Random starts take hundreds of rounds to get there.

    >>> adapted(np.float32([3, 1, 2, 1]), 4).tolist()
    [1.0, 2.0, 3.0, 3.0]
    """
    ordered = np.sort(values.astype(np.float64))
    different = np.unique(ordered)
    if len(different) <= count:
        return np.append(different, np.repeat(different[-1:], count - len(different)))
    knots = ordered[np.linspace(0, len(ordered) - 1, min(len(ordered), 4 * count + 1)).astype(np.int64)]
    reach = np.concatenate([[0.0], np.cumsum(np.diff(knots) ** (2 / 3))])
    levels = np.interp((np.arange(count) + 0.5) / count * reach[-1], reach, knots)
    return _settled(ordered, np.concatenate([[0.0], np.cumsum(ordered)]), levels, rounds)


def _ascending(levels: np.ndarray) -> np.ndarray:
    """Strictly ascending levels, equal ones moved apart by what float32 still tells from one another."""
    apart = np.abs(levels).max() * 1e-6 + 1e-12
    for i in range(1, len(levels)):
        levels[i] = max(levels[i], levels[i - 1] + apart)
    return levels


def uniform(bits: int) -> Codebook:
    """Levels one apart, centred on zero: -(2^b - 1)/2 ... (2^b - 1)/2, each as often as a normal density on the best
    clip reaches it.
    """
    count = 2**bits
    levels = np.arange(count) - (count - 1) / 2
    step = 2 * GAUSSIAN_CLIP[bits] / count
    inner = np.array([_cumulative(step * (level + 0.5)) for level in levels[:-1]])
    mass = np.diff(np.concatenate([[0.0], inner, [1.0]]))
    return Codebook(levels, float("nan"), mass)


def two_level(bits: int, residual_bits: int) -> Codebook:
    """LVQ's two levels as one: 2^b1 steps one apart, each cell cut into 2^b2 from end to end (arXiv 2304.04759)."""
    steps = uniform(bits).levels
    if residual_bits == 0:
        return uniform(bits)
    inside = np.arange(2**residual_bits) / (2**residual_bits - 1) - 0.5
    levels = (steps[:, None] + inside[None, :]).ravel()
    return Codebook(np.maximum.accumulate(levels), float("nan"), np.full(len(levels), 1 / len(levels)))
