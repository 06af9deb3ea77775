"""Codes between the two ends of each vector: LVQ, and Lucene's optimised scalar quantisation.

The interval is the vector's own, so its middle is a third factor beside add and rescale, and no rotation is needed
where the coordinates are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vsearch._validate import check_choice, check_flag, check_int
from vsearch.errors import ParameterError
from vsearch.quantize.base import ADD, RESCALE, SHIFT, Quantizer, padded
from vsearch.quantize.codebooks import two_level, uniform
from vsearch.quantize.frames import ROTATIONS, frame_of, learn_frame
from vsearch.quantize.segments import Segment, code_bytes, codec_of, describe, prefix_bits

FACTOR_BYTES = 6


class _Interval(Quantizer):
    """What the two have in common."""

    rounds = True
    rotation: str
    seed: int

    @property
    def needs_data(self) -> bool:  # type: ignore[override]
        """Only the principal axes are learnt."""
        return self.rotation == "pca"

    @property
    def _bits(self) -> int:
        raise NotImplementedError

    def columns(self, metric: str) -> int:
        """Which factors a compact index of this `metric` stores for each vector."""
        return ADD | RESCALE | SHIFT

    def _size(self, dim: int, metric: str) -> float:
        return code_bytes(padded(dim), self._bits) + FACTOR_BYTES


class LVQ(_Interval):
    """Locally-adaptive vector quantisation: a uniform grid from the least to the largest coordinate of each vector
    (Aguerrebere et al., VLDB 2023, arXiv 2304.04759).

    Parameters
    ----------
    bits : int in [1, 8], default 8
        Of the first level.
    residual_bits : int in [0, 7], default 0
        Of the second level, which cuts each cell of the first again; together at most 8.
    unbiased : bool, default True
        Scale each vector's estimate so that inner products are unbiased, and narrow the interval where that brings the
        code nearer in angle; False is the published estimator.
    rotation : "none", "hadamard", "dense" or "pca", default "none"
    seed : int, default 0

    Raises
    ------
    ParameterError
        If an argument is out of range, or both levels have more than 8 bits together.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    >>> q = vs.LVQ(bits=4, residual_bits=4).fit(X)
    >>> bool(((q.decode(q.encode(X)) - X) ** 2).mean() < 1e-3)
    True
    """

    name = "lvq"

    def __init__(
        self,
        bits: int = 8,
        residual_bits: int = 0,
        *,
        unbiased: bool = True,
        rotation: str = "none",
        seed: int = 0,
    ) -> None:
        self.bits = check_int("bits", bits, 1, 8)
        self.residual_bits = check_int("residual_bits", residual_bits, 0, 7)
        if self.bits + self.residual_bits > 8:
            raise ParameterError(
                f"`residual_bits` must be at most {8 - self.bits} at {bits} bits; got {residual_bits}."
            )
        self.unbiased = check_flag("unbiased", unbiased)
        self.rotation = check_choice("rotation", rotation, ROTATIONS)
        self.seed = check_int("seed", seed, 0, 2**63 - 1)

    @property
    def _bits(self) -> int:
        return self.bits + self.residual_bits

    @property
    def _scale_is_plain(self) -> bool:  # type: ignore[override]
        return not self.unbiased

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        names = ("bits", "residual_bits", "unbiased", "rotation", "seed")
        return {name: getattr(self, name) for name in names}

    def _learn(
        self, residuals: np.ndarray, dim: int, metric: str, queries: np.ndarray | None, threads: int
    ) -> dict[str, np.ndarray]:
        book = two_level(self.bits, self.residual_bits)
        steps = 1.0 / (2**self.bits - 1)
        whole = Segment(0, padded(dim), self._bits, prefix_bits(self._bits), steps, 1.0, book)
        return learn_frame(self.rotation, residuals, dim, self.seed) | describe([whole])

    def _assemble(self, dim: int, metric: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.transform = frame_of(dim, arrays)
        rule = "clipped" if self.unbiased else "interval"
        self.codec = codec_of(self.transform.padded, arrays, rule, self.unbiased)


class OSQ(_Interval):
    """Optimised scalar quantisation: no rotation, and an interval for each vector that weighs the error along the
    vector ten times the error across it (Lucene's BBQ).

    Parameters
    ----------
    bits : int in [1, 8], default 4
    rotation : "none", "hadamard", "dense" or "pca", default "none"
    seed : int, default 0

    Raises
    ------
    ParameterError
        If an argument is out of range.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    >>> vs.OSQ(bits=4).fit(X).encode(X).nbytes
    3800
    """

    name = "osq"

    def __init__(self, bits: int = 4, *, rotation: str = "none", seed: int = 0) -> None:
        self.bits = check_int("bits", bits, 1, 8)
        self.rotation = check_choice("rotation", rotation, ROTATIONS)
        self.seed = check_int("seed", seed, 0, 2**63 - 1)

    @property
    def _bits(self) -> int:
        return self.bits

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"bits": self.bits, "rotation": self.rotation, "seed": self.seed}

    def _learn(
        self, residuals: np.ndarray, dim: int, metric: str, queries: np.ndarray | None, threads: int
    ) -> dict[str, np.ndarray]:
        steps = 1.0 / (2**self.bits - 1)
        whole = Segment(0, padded(dim), self.bits, prefix_bits(self.bits), steps, 1.0, uniform(self.bits))
        return learn_frame(self.rotation, residuals, dim, self.seed) | describe([whole])

    def _assemble(self, dim: int, metric: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.transform = frame_of(dim, arrays)
        self.codec = codec_of(self.transform.padded, arrays, "optimized", True)
