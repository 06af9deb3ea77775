"""Codes of a compact graph: any quantizer's levels as bytes or nibbles, and the factors of their scores.

A quantizer rounds each coordinate of a transformed vector to one of the levels of its segment. Up to 16 equal steps
make 4 bits, up to 256 make 8; levels that are not equal steps are rounded to 256 steps over their range, which adds
little to the error of at most 6 bits. csrc/index/graph_compact.hpp says how they are scored.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch.errors import ParameterError
from vsearch.quantize.base import Quantizer
from vsearch.quantize.frames import filled

NIBBLES, BYTES = 16, 256
GROUP = 64
"""Dims of 4 bits that lie together: the lower nibbles of 32 bytes, then the upper ones."""
EVEN = 1e-3
"""Of a step, by which equal steps may differ."""
CHUNK_ROWS = 8192
FACTORS = 3


def check_levels(quantizer: Quantizer) -> None:
    """Refuse a quantizer whose codes are no levels of coordinates."""
    if not quantizer.rounds:
        raise ParameterError(
            f"`quantizer` must round coordinates to levels where the layout is 'compact', as vs.LVQ(8), vs.SAQ(4)"
            f" or vs.LeanVec(dim) do; got {quantizer!r}."
        )


class CompactCode:
    """How the vectors of an index are coded.

    Parameters
    ----------
    metric : "l2", "ip" or "cosine" (unit vectors)
    quantizer : Quantizer, trained; its codec must round coordinates to levels
    mean : float32 (d,), of the vectors

    Attributes
    ----------
    wide, narrow : dims of 8 and of 4 bits; those of 4 bits a multiple of 64, with padding that stands for nothing
    source : uint32 (wide + narrow,), the coordinate that each position holds
    step, offset : float32 (wide + narrow,), a coordinate is offset + step * code

    Raises
    ------
    ParameterError
        If the quantizer's codes are no levels of coordinates, as those of PQ are not.
    """

    def __init__(self, metric: str, quantizer: Quantizer, mean: np.ndarray) -> None:
        check_levels(quantizer)
        segments = quantizer.arrays["segments"]
        self.metric, self.quantizer, self.mean = metric, quantizer, mean
        self._transformed_mean = quantizer.transform.apply(mean[None])[0]
        scales, levels = quantizer.arrays["scales"], quantizer.arrays["levels"].astype(np.float64)
        parts: list[tuple[bool, np.ndarray, float, float, np.ndarray]] = []
        real = self._filled = filled(quantizer.arrays, len(mean), quantizer.transform.padded)
        first = 0
        for (begin, length, bits, _), (_, weight, _) in zip(segments.tolist(), scales.tolist(), strict=True):
            values = weight * levels[first : first + 2**bits]
            first += 2**bits
            dims = np.arange(begin, begin + length)
            parts.append((*_steps(values), dims[real[dims]]))  # what a transform pads with is zero always
        self._lay_out(parts)

    def _lay_out(self, parts: list[Any]) -> None:
        """Positions of the dims: those of 8 bits first."""
        source, step, offset, tables = [], [], [], []
        for is_narrow in (False, True):
            for narrow, table, width, low, dims in parts:
                if narrow == is_narrow:
                    source.append(dims)
                    step.append(np.full(len(dims), width))
                    offset.append(np.full(len(dims), low))
                    tables.append(np.tile(table, (len(dims), 1)))
            if not is_narrow:
                self.wide = sum(len(dims) for dims in source)
        held = sum(len(dims) for dims in source)
        self.narrow = -(-(held - self.wide) // GROUP) * GROUP
        empty = np.zeros(self.wide + self.narrow - held)
        self.source = np.concatenate([*source, empty]).astype(np.uint32)
        self.step = np.concatenate([*step, empty]).astype(np.float32)
        self.offset = np.concatenate([*offset, empty]).astype(np.float32)
        self._tables = np.concatenate([*tables, np.zeros((len(empty), BYTES), np.uint8)])

    @property
    def code_bytes(self) -> int:
        """Bytes of a code."""
        return self.wide + self.narrow // 2

    def encode(self, X: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
        """(codes, factors) of the rows of X: uint8 (n, code_bytes) and float32 (n, 3)."""
        codes = np.empty((len(X), self.code_bytes), dtype=np.uint8)
        factors = np.empty((len(X), FACTORS), dtype=np.float32)
        for first in range(0, len(X), CHUNK_ROWS):
            part = slice(first, first + CHUNK_ROWS)
            codes[part], factors[part] = self._encode(X[part], threads)
        return codes, factors

    def _encode(self, X: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
        quantizer = self.quantizer
        centered = X - self.mean
        transformed = np.ascontiguousarray(quantizer.apply(X, threads) - self._transformed_mean)
        origin, lists = np.zeros((1, transformed.shape[1]), dtype=np.float32), np.zeros(len(X), dtype=np.uint32)
        encoded = quantizer.encode_residuals(transformed, lists, origin, self._transformed_mean, "l2", threads)
        levels = quantizer.codec.unpack(encoded.symbols, encoded.extra)[:, self.source]
        stored = self._tables[np.arange(len(self.source)), levels]
        factors = encoded.full.copy()
        if self.metric == "ip":
            factors[:, 0] = -(centered @ self.mean)
        else:
            factors[:, 0] = np.einsum("ij,ij->i", centered, centered)
        if self.metric != "l2":
            factors[:, 1:] *= np.float32(0.5)
            factors[:, 0] *= np.float32(0.5 if self.metric == "cosine" else 1)
        return self._pack(stored), factors

    def _pack(self, stored: np.ndarray) -> np.ndarray:
        halves = stored[:, self.wide :].reshape(len(stored), -1, 2, GROUP // 2)
        nibbles = (halves[:, :, 0] | halves[:, :, 1] << np.uint8(4)).reshape(len(stored), -1)
        return np.concatenate([stored[:, : self.wide], nibbles], axis=1)

    def decode(self, codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Vectors that codes stand for, float32 (n, d), from what `encode` returned; under l2 and cosine scaled to
        least squares, as in `Quantizer.reconstruct`. Under ip codes do not know their vectors' lengths.
        """
        wide = codes[:, : self.wide].view(np.int8).astype(np.float32)
        pairs = codes[:, self.wide :].reshape(len(codes), -1, 1, GROUP // 2)
        narrow = np.concatenate([pairs & np.uint8(15), pairs >> np.uint8(4)], axis=2).reshape(len(codes), -1)
        values = self.offset + self.step * np.concatenate([wide, narrow.astype(np.float32)], axis=1)
        scale = np.float32(-0.5 if self.metric == "l2" else -1)
        transformed = scale * factors[:, 2:] * self._filled
        real = self.step != 0
        transformed[:, self.source[real]] += scale * factors[:, 1:2] * values[:, real]
        if self.metric != "ip" and not self.quantizer._scale_is_plain:
            norm2 = np.einsum("ij,ij->i", transformed, transformed)
            known = factors[:, 0] * np.float32(1 if self.metric == "l2" else 2)
            best = np.divide(known, norm2, out=np.ones_like(norm2), where=norm2 > 0)
            transformed *= np.clip(best, 0, 1)[:, None]
        transformed += self._transformed_mean
        found = self.quantizer.transform.apply_inverse(np.ascontiguousarray(transformed, dtype=np.float32))
        return np.asarray(found, dtype=np.float32)


def _steps(values: np.ndarray) -> tuple[bool, np.ndarray, float, float]:
    """For ascending levels: whether 4 bits hold them, the code of each as a byte (256,), step and offset of the codes.

    Codes of 8 bits are signed.
    """
    gaps = np.diff(values)
    even = len(values) < 2 or bool(np.ptp(gaps) <= EVEN * gaps.mean())
    count = len(values) if even else BYTES
    step = (values[-1] - values[0]) / max(count - 1, 1)
    if not step > 0:  # levels that are all one
        step = 1.0
    codes = np.rint((values - values[0]) / step).astype(np.int64)
    table = np.zeros(BYTES, dtype=np.uint8)
    if count <= NIBBLES:
        table[: len(codes)] = codes
        return True, table, float(step), float(values[0])
    table[: len(codes)] = (codes - BYTES // 2).astype(np.int8).view(np.uint8)
    return False, table, float(step), float(values[0] + step * (BYTES // 2))
