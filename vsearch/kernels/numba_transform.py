"""Linear maps before a codec (csrc/quantize/transform.hpp): what they share, the dense one, and no map at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import Int, array, frozen, jit, jit_part, over_ranges, require
from vsearch.kernels.numba_distance import dot

DIM_MULTIPLE = 16
ROWS_PER_TASK = 256
ROTATION, MATRIX, PADDING = range(3)


def padded_dim(dim: int) -> int:
    """Dimensions after a transform that drops none: the next multiple of 16."""
    return -(-dim // DIM_MULTIPLE) * DIM_MULTIPLE


class QueryMap(NamedTuple):
    """A transform's map of queries as the walk wants it; arrays of the other kind are empty."""

    kind: int
    flips: np.ndarray  # of a rotation: a row of 1 and -1 for each round
    span: int
    matrix: np.ndarray  # (padded, dim)


NO_TABLE = frozen(np.empty((0, 0), np.float32))


@jit_part
def multiply(matrix: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """out = matrix x."""
    for i in range(len(out)):
        out[i] = dot(x, matrix[i])


@jit
def _multiply_rows(matrix: np.ndarray, x: np.ndarray, out: np.ndarray, first: Int, last: Int) -> None:
    for i in range(first, last):
        multiply(matrix, x[i], out[i])


class Transform(ABC):
    """A map of `dim` coordinates to `padded`, a multiple of 16, with one for queries and one back."""

    dim: int
    padded: int
    query_map: QueryMap

    def apply(self, x: np.ndarray, threads: int = 1) -> np.ndarray:
        """Stored vectors, float32 (n, dim) to (n, padded)."""
        x, out = self._room(x, self.dim, self.padded)
        over_ranges(len(x), threads, ROWS_PER_TASK, lambda first, last: self._forward(x, out, first, last))
        return out

    def apply_query(self, x: np.ndarray, threads: int = 1) -> np.ndarray:
        """Queries, float32 (n, dim) to (n, padded)."""
        x, out = self._room(x, self.dim, self.padded)
        over_ranges(len(x), threads, ROWS_PER_TASK, lambda first, last: self._forward_query(x, out, first, last))
        return out

    def apply_inverse(self, y: np.ndarray, threads: int = 1) -> np.ndarray:
        """float32 (n, padded) to (n, dim)."""
        y, out = self._room(y, self.padded, self.dim)
        over_ranges(len(y), threads, ROWS_PER_TASK, lambda first, last: self._back(y, out, first, last))
        return out

    @staticmethod
    def _room(x: np.ndarray, columns: int, out_columns: int) -> tuple[np.ndarray, np.ndarray]:
        x = array(x, np.float32)
        require(x.ndim == 2 and x.shape[1] == columns, "transform: wrong shape")
        return x, np.empty((len(x), out_columns), dtype=np.float32)

    @abstractmethod
    def _forward(self, x: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        """Fills rows first .. last - 1 of `out`."""

    def _forward_query(self, x: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        """The same for queries, where they differ."""
        self._forward(x, out, first, last)

    @abstractmethod
    def _back(self, y: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        """The same backwards."""


class Matrix(Transform):
    """A dense matrix: `base` and `query` (padded, dim), `inverse` (dim, padded). Without `query` queries go through the
    base, without `inverse` the base is orthogonal.
    """

    def __init__(self, base: np.ndarray, query: np.ndarray | None = None, inverse: np.ndarray | None = None) -> None:
        base = array(base, np.float32)
        query = base if query is None else array(query, np.float32)
        inverse = np.ascontiguousarray(base.T) if inverse is None else array(inverse, np.float32)
        require(base.ndim == 2 and len(base) > 0 and len(base) % DIM_MULTIPLE == 0, "matrix: wrong shape")
        require(query.shape == base.shape and inverse.shape == base.shape[::-1], "matrix: wrong shape")
        self.padded, self.dim = base.shape
        self._base, self._query, self._inverse = (frozen(part.copy()) for part in (base, query, inverse))
        self.query_map = QueryMap(MATRIX, NO_TABLE, 0, self._query)

    def _forward(self, x: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        _multiply_rows(self._base, x, out, first, last)

    def _forward_query(self, x: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        _multiply_rows(self._query, x, out, first, last)

    def _back(self, y: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        _multiply_rows(self._inverse, y, out, first, last)


class Padding(Transform):
    """No map but the zeros behind."""

    def __init__(self, dim: int) -> None:
        self.dim, self.padded = dim, padded_dim(dim)
        self.query_map = QueryMap(PADDING, NO_TABLE, 0, NO_TABLE)

    def _forward(self, x: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        out[first:last, : self.dim], out[first:last, self.dim :] = x[first:last], 0

    def _back(self, y: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        out[first:last] = y[first:last, : self.dim]
