"""What PQ, OPQ and residual quantizers share: a frame, sub-spaces, codebooks, and a model of what their codes leave
over.

A distance to a code is a sum of table entries, one for each codebook (csrc/quantize/table_codec.hpp). What a vector
adds to its distances whatever the query, |y|^2 of a sum of centroids y, or how much the code falls short, is one more
such entry in 256 steps; no factor is stored beside the codes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vsearch._validate import MAX_DIM, check_choice, check_int
from vsearch.errors import ParameterError
from vsearch.kernels import core
from vsearch.quantize.base import SURE_EPSILON, Quantizer, padded, sample_of, take
from vsearch.quantize.frames import frame_of, mapped, matrices, no_frame
from vsearch.quantize.subspaces import Layout, layout_of

MODEL_ROWS = 16384
NEAR_QUERIES, NEAR = 256, 10
SHORTFALL = 0.35
"""How much of 1/2 (|o|^2 - |y|^2) an inner product with a neighbour gets back. 0 is the plain estimate, 1 what a query
that is the vector itself would need; of wordnet-minilm and sift 0.3 to 0.4 rank best, at every rate."""


class Learnt(NamedTuple):
    """Codebooks (books, count, width) of a layout, in the frame of the matrices `base` (d, d) of vectors, whose rows
    are the axes, and `query` of queries, None where it is the base; both None where vectors stay as they are.
    """

    layout: Layout
    codebooks: np.ndarray
    base: np.ndarray | None = None
    query: np.ndarray | None = None


class TableQuantizer(Quantizer):
    """Base of the quantizers whose codes name centroids.

    Attributes
    ----------
    m : int, codebooks
    bits : 4 or 8 of each code
    """

    needs_data = True
    _scale_is_plain = True
    _add_is_of_code = True
    _beam, _sweeps = 1, 0

    def __init__(self, m: int, bits: int, seed: int) -> None:
        self.m = check_int("m", m, 1, MAX_DIM)
        self.bits = check_choice("bits", bits, (4, 8))
        self.seed = check_int("seed", seed, 0, 2**63 - 1)

    @property
    def count(self) -> int:
        """Centroids of a codebook."""
        return int(2**self.bits)

    @abstractmethod
    def _train(self, residuals: np.ndarray, metric: str, rng: np.random.Generator, threads: int) -> Learnt:
        """Frame, layout and codebooks of residuals (n, d)."""

    def _layout(self, dim: int, splits: int, proportional: bool = True) -> Layout:
        if splits > dim:
            raise ParameterError(f"`m` must be at most the dimension; got {self.m} sub-spaces for d={dim}.")
        return layout_of(dim, self.m, splits, proportional)

    def _has_norms(self, metric: str) -> bool:
        """Whether tables hold the squared lengths of centroids: where each sub-space has but one codebook."""
        return metric == "l2"

    def _anisotropy(self, dim: int) -> float:
        """Weight of errors along a vector over those across it."""
        return 1.0

    def _size(self, dim: int, metric: str) -> float:
        codes = self.m + (0 if self._has_norms(metric) else 8 // self.bits)
        symbols = -(-codes // 4) * 4
        return symbols / 2 + (-(-codes // 2) if self.bits == 8 else 0)

    def columns(self, metric: str) -> int:
        """None, whatever the `metric`: what a vector adds to its estimates is in its code."""
        return 0

    def constants(self, metric: str) -> tuple[float, float, float]:
        """The rescale that all vectors have, under any `metric`."""
        return 0.0, float(self.arrays["model"][0]), 0.0

    def reconstruct(
        self, symbols: np.ndarray, extra: np.ndarray, full: np.ndarray, metric: str, spread: float | None = None
    ) -> np.ndarray:
        """Sums of the centroids that `symbols` and `extra` name, float32 (n, padded).

        `full`, `metric` and `spread` are for codes that have a scale of their own.
        """
        return self.codec.decode(symbols, extra)

    def _learn(
        self, residuals: np.ndarray, dim: int, metric: str, queries: np.ndarray | None, threads: int
    ) -> dict[str, np.ndarray]:
        residuals = np.ascontiguousarray(residuals, dtype=np.float32)
        learnt = self._train(residuals, metric, np.random.default_rng(self.seed), threads)
        arrays = no_frame(dim)
        if learnt.base is not None:
            inverse = None if learnt.query is None else learnt.query.T
            arrays = matrices(learnt.base, learnt.query, inverse)
        arrays |= {
            "starts": learnt.layout.starts,
            "first": learnt.layout.first,
            "centroids": learnt.codebooks,
            "model": np.array([-2, 1, 0, 0, 0, 0, 0, 0], dtype=np.float32),
        }
        codec = self._codec(padded(dim), metric, arrays)
        arrays["model"] = self._model(sample_of(residuals, MODEL_ROWS), metric, arrays, codec, threads)
        return arrays

    def _codec(self, wide: int, metric: str, arrays: Mapping[str, np.ndarray]) -> Any:
        centroids = take(arrays, "centroids", np.float32, (self.m, self.count, None))
        starts, first = take(arrays, "starts", np.int64, (None,)), take(arrays, "first", np.int64, (None,))
        model = take(arrays, "model", np.float32, (8,))
        settings = (self._has_norms(metric), self._beam, self._sweeps, self._anisotropy(wide))
        return core.TableCodec(wide, starts, first, centroids, model, *settings)

    def _assemble(self, dim: int, metric: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.transform = frame_of(dim, arrays)
        self.codec = self._codec(self.transform.padded, metric, arrays)

    @staticmethod
    def _half_norms(levels: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        """The sum of what groups have for the half squared lengths of their centroids, (n,)."""
        halves = np.einsum("bkj,bkj->bk", centroids, centroids, dtype=np.float64) / 2
        groups = halves.reshape(len(centroids), 16, -1).mean(axis=2)
        sums: np.ndarray = groups[np.arange(len(centroids)), levels[:, : len(centroids)] >> 4].sum(axis=1)
        return sums

    def _model(
        self, residuals: np.ndarray, metric: str, arrays: Mapping[str, np.ndarray], codec: Any, threads: int
    ) -> np.ndarray:
        """The eight numbers of csrc/quantize/table_codec.hpp's TableModel."""
        o = mapped(arrays, residuals)
        asked = residuals @ arrays["query"].T if "query" in arrays else o
        origin = np.zeros((1, o.shape[1]), dtype=np.float32)
        coded = codec.encode(o, np.zeros(len(o), np.uint32), origin, origin[0], metric, threads)
        y = codec.decode(coded["symbols"], coded["extra"])
        first = codec.decode_symbols(coded["symbols"])
        oo, yy, oy, of = (
            np.einsum("ij,ij->i", a, b, dtype=np.float64) for a, b in ((o, o), (y, y), (o, y), (o, first))
        )
        by_symbols = oy.mean() / of.mean() if oy.mean() > 0 and of.mean() > 0 else 1.0
        if metric == "l2":
            scale, tilt = 1.0, 0.0
            own, missing = yy, (oo - yy) / 2
        else:
            scale = oo.mean() / oy.mean() if oy.mean() > 0 else 1.0
            tilt = scale * SHORTFALL / 2
            missing = tilt * (oo - yy - (oo - yy).mean())
            mean = np.zeros(residuals.shape[1]) if self.center is None else self.center
            own = -(o @ mapped(arrays, mean[None])[0]) - missing
        at, near = _neighbours(o, asked, oo if metric == "l2" else np.zeros(len(o)))
        truth = (np.einsum("ij,ij->i", o[near], asked[at], dtype=np.float64) - missing[near]) / scale
        products, products_of_symbols = (np.einsum("ij,ij->i", part[near], asked[at]) for part in (y, first))
        short_of_symbols = truth - by_symbols * products_of_symbols
        if self._has_norms(metric) and self.bits == 8:  # groups say something else of |y|^2 / 2 too
            halves = self._half_norms(codec.unpack(coded["symbols"], coded["extra"]), arrays["centroids"])
            short_of_symbols += (halves - yy / 2)[near]
        noises = [
            _noise(short, spread, asked[at])
            for short, spread in zip((short_of_symbols, truth - products), coded["spreads"].mean(axis=0), strict=True)
        ]
        low, step = 0.0, 0.0
        if not self._has_norms(metric):
            low, step = float(own.min()), max(float(np.ptp(own)) / 255, 1e-30)
        rescale = -2.0 if metric == "l2" else -scale
        return np.array([rescale, by_symbols, tilt, (oo - yy).mean(), *noises, low, step], dtype=np.float32)


def _neighbours(o: np.ndarray, asked: np.ndarray, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(query, vector) pairs, int64: vectors near to some of themselves as queries, but not the same ones."""
    chosen = np.linspace(0, len(o) - 1, min(len(o), NEAR_QUERIES)).astype(np.int64)
    keys = norms - 2 * (asked[chosen] @ o.T).astype(np.float64)
    keys[np.arange(len(chosen)), chosen] = np.inf
    count = min(NEAR, len(o))
    near = np.argpartition(keys, count - 1, axis=1)[:, :count]
    return np.repeat(chosen, count), near.reshape(-1)


def _noise(short: np.ndarray, spread: float, asked: np.ndarray) -> float:
    """What the spread of codes does not explain of how far inner products with neighbours fall short: neither on
    average nor of the one that does so most, which should be within the bounds of a scan that is to miss nothing.
    """
    explained = float(spread) ** 2 * np.einsum("ij,ij->i", asked, asked, dtype=np.float64)
    most = np.maximum(short, 0) ** 2 / SURE_EPSILON**2
    return float(np.sqrt(max(float((short**2 - explained).mean()), float((most - explained).max()), 0.0)))
