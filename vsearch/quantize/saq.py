"""SAQ: principal axes, and as many bits for each segment of them as its variance deserves.

Vectors are turned to their principal axes and cut into segments; each segment is rotated at random, gets its own number
of bits by dynamic programming and its own levels (SAQ, SIGMOD 2026, arXiv 2509.12086). One scale for each vector,
chosen with the code so that their angle is least, serves all segments: 4 bytes of factors in place of the paper's 8 for
each segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsearch._validate import check_choice, check_float, check_int
from vsearch.errors import NotFittedError, ParameterError
from vsearch.quantize.allocation import OBJECTIVES, UNIT, allocate, error_table, plan_text
from vsearch.quantize.base import Quantizer, padded
from vsearch.quantize.codebooks import MAX_BITS, Codebook, fitted, lloyd_max, uniform
from vsearch.quantize.frames import frame_of, matrices, principal_axes, random_orthogonal, rotation_stream
from vsearch.quantize.moments import second_moment
from vsearch.quantize.segments import Segment, codec_of, describe, prefix_bits

LEVELS = ("fitted", "gaussian", "uniform")
TRANSFORMS = ("auto", "pca", "sphering")
FACTOR_BYTES = 4
LEVEL_VALUES = 65536
"""Most coordinates that the levels of a segment are fitted to."""
RIDGE = 1e-3
WORTH_A_WORD = 1.05
"""Gain of allocation from which a plan tells of it."""
LEAD_ENERGY = 0.8
"""Share of the variance that the leading segments hold which are scanned before the others."""
LEAD_SYMBOLS = 0.6
"""Largest share of the symbols for which scanning the lead first pays."""


@dataclass(frozen=True)
class Plan:
    """Segments and their bits.

    Attributes
    ----------
    lengths, widths : int (segments,), dimensions and bits of each
    predicted : relative squared error that the model expects
    gain : the error of one width for all dimensions over `predicted`
    """

    lengths: np.ndarray
    widths: np.ndarray
    predicted: float
    gain: float

    def __str__(self) -> str:
        total = int((self.lengths * self.widths).sum())
        dims = int(self.lengths.sum())
        text = plan_text(self.lengths.tolist(), self.widths.tolist())
        # Variances that are all alike leave allocation nothing to gain, and then it is not worth a word.
        gain = f", {self.gain:.2g} times less than without allocation" if self.gain >= WORTH_A_WORD else ""
        return f"{text}; {total / dims:.2f} bits a dim, relative squared error {self.predicted:.2g} predicted{gain}"


class SAQ(Quantizer):
    """Segmented bit allocation on principal axes: the least error at a size where variances differ.

    Parameters
    ----------
    bits : float in [0.25, 8], default 4.0
        Bits of code for each dimension on average; factors add 4 bytes a vector.
    block : int, multiple of 16 in [16, 256], default 16
        Dimensions of a segment.
    objective : "mse", "ip" or "paper", default "mse"
        What the plan makes small: squared error, the variance of inner products of independent queries, or the error
        model of the SAQ paper. Near neighbours are not independent of their query, and on real data "mse" ranks them
        best at few bits.
    levels : "fitted", "gaussian" or "uniform", default "fitted"
        Lloyd-Max levels of the data's own coordinates, of a normal density, or equal steps.
    transform : "auto", "pca" or "sphering", default "auto"
        "sphering" weighs directions by the queries (LeanVec-Sphering, arXiv 2410.22347) and is for "ip" and "cosine"
        with queries given to fit; "auto" is "pca".
    seed : int, default 0
        Of the rotations inside segments.

    Raises
    ------
    ParameterError
        If an argument is out of range.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> rng = np.random.default_rng(0)
    >>> X = (rng.standard_normal((2000, 64)) / np.arange(1, 65)).astype(np.float32)
    >>> q = vs.SAQ(bits=2).fit(X)
    >>> str(q.plan).startswith("16 dims x 5 bits")
    True
    """

    name = "saq"
    needs_data = True
    rounds = True

    def __init__(
        self,
        bits: float = 4.0,
        *,
        block: int = 16,
        objective: str = "mse",
        levels: str = "fitted",
        transform: str = "auto",
        seed: int = 0,
    ) -> None:
        self.bits = check_float("bits", bits, 0.25, MAX_BITS)
        self.block = check_int("block", block, UNIT, 256)
        if self.block % UNIT:
            raise ParameterError(f"`block` must be a multiple of {UNIT}; got {self.block}.")
        self.objective = check_choice("objective", objective, OBJECTIVES)
        self.levels = check_choice("levels", levels, LEVELS)
        self.basis = check_choice("transform", transform, TRANSFORMS)
        self.seed = check_int("seed", seed, 0, 2**63 - 1)

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        names = ("bits", "block", "objective", "levels")
        return {name: getattr(self, name) for name in names} | {"transform": self.basis, "seed": self.seed}

    def _shown(self) -> dict[str, Any]:
        return {"bits": round(self.bits, 4)}

    @property
    def plan(self) -> Plan:
        """Segments and bits, once trained.

        Raises
        ------
        NotFittedError
        """
        if self.codec is None:
            raise NotFittedError("SAQ is not fitted; call fit(X) first.")
        lengths, widths, told = self.arrays["plan.lengths"], self.arrays["plan.widths"], self.arrays["plan.told"]
        return Plan(lengths, widths, float(told[0]), float(told[1]))

    def _size(self, dim: int, metric: str) -> float:
        """Before training the most that it can be."""
        wide = padded(dim)
        if self.codec is not None and self.transform.dim == dim:
            return self.codec.symbols / 2 + self.codec.extra_bytes + FACTOR_BYTES
        return self.bits * wide / 8 + FACTOR_BYTES

    def _learn(
        self, residuals: np.ndarray, dim: int, metric: str, queries: np.ndarray | None, threads: int
    ) -> dict[str, np.ndarray]:
        basis, query_basis, inverse = self._basis(residuals, dim, queries, metric)
        wide = padded(dim)
        lengths = np.array([min(self.block, wide - begin) for begin in range(0, wide, self.block)])
        for merged in (False, True):
            turn = _turn(lengths, dim, rotation_stream(self.seed))
            base = turn @ _tall(basis, wide)
            query_base = base if inverse is None else turn @ _tall(query_basis, wide)
            Z = (residuals @ base.T.astype(np.float32)).astype(np.float32)
            asked = None if queries is None else (queries @ query_base.T).astype(np.float32)
            segments, widths, told = self._segments(Z, asked, lengths, dim)
            full = int((np.cumprod(widths == MAX_BITS)).sum())
            if merged or full < 2:
                break
            # Segments that would want more bits than there are share their errors: turned together, none has more of
            # them than another. The squared error is the same, that of inner products less.
            lengths = np.concatenate([[lengths[:full].sum()], lengths[full:]])
        plan = {"plan.lengths": lengths, "plan.widths": widths, "plan.told": np.array(told)}
        profile = self._profile(segments, Z)
        frame = matrices(base) if inverse is None else matrices(base, query_base, inverse @ turn.T[:dim])
        return frame | describe(segments) | plan | {"profile": profile}

    def _profile(self, segments: list[Segment], Z: np.ndarray) -> np.ndarray:
        """Mean squared error of each coordinate over its mean, of the symbols and of the whole code, float32 (2,
        wide)."""
        energy = (Z.astype(np.float64) ** 2).mean(axis=0)
        profile = np.stack([energy, energy])
        for s in segments:
            within = slice(s.begin, s.begin + s.length)
            profile[0, within] = s.sigma**2 * (s.codebook.error + s.codebook.lost(s.prefix))
            profile[1, within] = s.sigma**2 * s.codebook.error
        profile = np.maximum(profile, 1e-12 * profile.max(axis=1, keepdims=True))
        return (profile / np.maximum(profile.mean(axis=1, keepdims=True), 1e-300)).astype(np.float32)

    def _basis(
        self, residuals: np.ndarray, dim: int, queries: np.ndarray | None, metric: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(base, query, inverse) maps to coordinates in descending order of importance, each float64 (dim, dim); no
        inverse where the base is orthogonal, and the query's too.
        """
        if self.basis != "sphering" or queries is None or metric == "l2":
            axes = principal_axes(residuals, dim)[1]
            return axes, axes, None
        moment = second_moment(queries)
        values, vectors = np.linalg.eigh(moment + RIDGE * np.trace(moment) / dim * np.eye(dim))
        root = (vectors * np.sqrt(values)) @ vectors.T
        inverse_root = (vectors / np.sqrt(values)) @ vectors.T
        axes = principal_axes((residuals @ root).astype(np.float32), dim)[1]
        return axes @ root, axes @ inverse_root, inverse_root @ axes.T

    def _segments(
        self, Z: np.ndarray, asked: np.ndarray | None, lengths: np.ndarray, dim: int
    ) -> tuple[list[Segment], np.ndarray, tuple[float, float]]:
        """Segments that have bits, the bits of all, and (predicted relative error, gain over one width)."""
        starts = np.cumsum(lengths) - lengths
        energy = np.add.reduceat((Z.astype(np.float64) ** 2).mean(axis=0), starts)
        seen = lengths.astype(np.float64)
        if self.objective == "ip" or asked is not None:
            source = Z if asked is None else asked
            seen = np.maximum(np.add.reduceat((source.astype(np.float64) ** 2).mean(axis=0), starts), 1e-30)
        sigma = np.sqrt(np.maximum(energy / lengths, 1e-30))
        rows = Z[:: max(1, len(Z) * self.block // LEVEL_VALUES)]
        size = np.sqrt(((rows / np.repeat(sigma, lengths)) ** 2).mean(axis=1, keepdims=True))
        books = [
            self._books(rows, size, slice(s, s + n), scale) for s, n, scale in zip(starts, lengths, sigma, strict=True)
        ]
        errors = np.array([[1.0] + [book.error for book in each] for each in books])
        costs = error_table(energy, seen, lengths, errors, self.objective)
        widths = allocate(costs, lengths, self.bits * dim)
        if not widths.any():
            widths[int(energy.argmax())] = 1
        chosen = []
        for i in np.flatnonzero(widths):
            width = int(widths[i])
            book = books[i][width - 1]
            # A level stands for more than itself: codes of few bits are short of what they code by their own error, and
            # a shortfall that differs between segments would turn the vector.
            weight = float(sigma[i] / max(1 - book.error, 0.05))
            chosen.append(
                Segment(int(starts[i]), int(lengths[i]), width, prefix_bits(width), float(sigma[i]), weight, book)
            )
        total = max(float(energy.sum()), 1e-300)
        predicted = float((errors[np.arange(len(widths)), widths] * energy).sum()) / total
        return chosen, widths, (predicted, _flat_error(self.bits) / max(predicted, 1e-300))

    def _books(self, rows: np.ndarray, size: np.ndarray, within: slice, sigma: float) -> list[Codebook]:
        """Codebooks of 1..8 bits for one segment."""
        widths = range(1, MAX_BITS + 1)
        if self.levels == "gaussian" or len(rows) < 1024 or not (size > 0).all():
            return [lloyd_max(b) for b in widths]
        if self.levels == "uniform":
            return [_unit_grid(b) for b in widths]
        values = (rows[:, within] / np.float32(sigma) / size).ravel()
        values = values[np.isfinite(values)]
        if not values.any():
            return [lloyd_max(b) for b in widths]
        return [fitted(values, b) for b in widths]

    def _assemble(self, dim: int, metric: str, arrays: Mapping[str, np.ndarray]) -> None:
        for name, dtype in (("plan.lengths", np.int64), ("plan.widths", np.int64), ("plan.told", np.float64)):
            if name not in arrays or arrays[name].ndim != 1 or arrays[name].dtype != dtype:
                raise ValueError(f"{name} is missing or of another kind")
        if len(arrays["plan.lengths"]) != len(arrays["plan.widths"]) or len(arrays["plan.told"]) != 2:
            raise ValueError("the plan is incomplete")
        self.transform = frame_of(dim, arrays)
        self.codec = codec_of(self.transform.padded, arrays, "scaled", True, _lead(arrays))


def _turn(lengths: np.ndarray, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Random rotations inside segments, float64 (wide, wide). Coordinates from `dim` on are padding and stay zero."""
    wide = int(lengths.sum())
    turn = np.eye(wide)
    for begin, length in zip(np.cumsum(lengths) - lengths, lengths, strict=True):
        real = min(int(length), dim - int(begin))
        if real > 0:
            turn[begin : begin + real, begin : begin + real] = random_orthogonal(real, rng)
    return turn


def _tall(matrix: np.ndarray, rows: int) -> np.ndarray:
    """The matrix with rows of zeros below, `rows` in all."""
    return np.vstack([matrix, np.zeros((rows - len(matrix), matrix.shape[1]))])


def _lead(arrays: Mapping[str, np.ndarray]) -> int:
    """How many leading segments are worth scanning alone: those with most of the variance in part of the symbols."""
    segments, scales = arrays["segments"], arrays["scales"]
    if segments.ndim != 2 or segments.shape[1] != 4 or scales.shape != (len(segments), 3):
        return 0  # refused with a reason by codec_of
    energy = np.cumsum(segments[:, 1] * scales[:, 0].astype(np.float64) ** 2)
    symbols = np.cumsum(segments[:, 1] * segments[:, 3])
    lead = int(np.searchsorted(energy, LEAD_ENERGY * energy[-1])) + 1 if len(energy) else 0
    return lead if lead < len(segments) and symbols[lead - 1] <= LEAD_SYMBOLS * symbols[-1] else 0


def _flat_error(bits: float) -> float:
    """Relative squared error of Lloyd-Max levels at one width for all dimensions, between whole widths by its power
    law.
    """
    low = int(bits)
    below = lloyd_max(low).error if low else 1.0
    if bits == low:
        return below
    return below ** (1 - (bits - low)) * lloyd_max(low + 1).error ** (bits - low)


def _unit_grid(bits: int) -> Codebook:
    """The uniform grid on the clip that is best for a normal density."""
    from vsearch.quantize.codebooks import GAUSSIAN_CLIP

    steps = uniform(bits)
    levels = steps.levels * (2 * GAUSSIAN_CLIP[bits] / 2**bits)
    # The best uniform quantizer of a normal density (Max, 1960), by bits.
    error = (1.0, 0.3634, 0.1188, 0.03744, 0.01154, 0.0035, 0.00104, 0.000304, 0.000088)[bits]
    return Codebook(levels, error, steps.mass)
