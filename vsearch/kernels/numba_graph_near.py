"""Rough nearest neighbours of all vectors at once (csrc/index/graph_near.hpp), and vectors as a builder reads them.

The vectors are split in two by a random direction, again and again, until a part has a few hundred; within a part all
pairs are compared, here with the matrix products of NumPy. Every repetition improves the lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vsearch.kernels.numba_base import INNER_PRODUCT, parallel
from vsearch.kernels.numba_distance import BF16, F16, F32, ITEM_BYTES

if TYPE_CHECKING:
    from vsearch.kernels.numba_graph import GraphScan

LEAF = 320
ROWS_AT_ONCE = 8192
INFINITY = np.float32(np.inf)


class StoredVectors:
    """Stored vectors as floats, with their lift under ip: squared distances between those are the walk's."""

    def __init__(self, scan: GraphScan, lifts: np.ndarray | None) -> None:
        self._scan, self._lifts = scan, lifts
        self.width = scan.transform.dim

    def read(self, slots: np.ndarray) -> np.ndarray:
        """float32 (len(slots), width)."""
        x, dim = self._scan.arrays, self._scan.dim
        kind = x.rows.kind
        out = np.empty((len(slots), self.width), dtype=np.float32)
        held = np.ascontiguousarray(x.blocks.codes[slots, : dim * ITEM_BYTES[kind]])
        if kind == F32:
            out[:, :dim] = held.view(np.float32)
        elif kind == F16:
            out[:, :dim] = held.view(np.float16)
        elif kind == BF16:
            out[:, :dim] = (held.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
        else:
            out[:, :dim] = held.view(np.int8) * x.rows.factors[slots, :1]
        if self._scan.metric == INNER_PRODUCT and self._lifts is not None:
            out[:, dim] = self._lifts[slots]
        return out


class NearLists:
    """The nearest found so far of every vertex: slots and squared distances (n, width), ascending, -1 where none is."""

    def __init__(self, vectors: StoredVectors, n: int, width: int) -> None:
        self._vectors, self._n = vectors, n
        self.slots = np.full((n, width), -1, dtype=np.int64)
        self._distances = np.full((n, width), INFINITY, dtype=np.float32)

    def improve(self, seed: int, threads: int) -> None:
        """One repetition."""
        parts, leaves, rng = [np.arange(self._n)], [], np.random.default_rng(seed)
        while parts:
            large = [part for part in parts if len(part) > LEAF]
            leaves += [part for part in parts if len(part) <= LEAF]
            pivots = [rng.choice(part, 2, replace=False) for part in large]
            parts = [half for pair in self._split_all(large, pivots, threads) for half in pair]
        parallel(len(leaves), threads, lambda i: self._compare(leaves[i]))

    def _split_all(self, parts: list[np.ndarray], pivots: list[np.ndarray], threads: int) -> list[list[np.ndarray]]:
        halves: list[list[np.ndarray]] = [[] for _ in parts]

        def split(i: int) -> None:
            halves[i] = self._split(parts[i], pivots[i])

        parallel(len(parts), threads, split)
        return halves

    def _split(self, part: np.ndarray, pivots: np.ndarray) -> list[np.ndarray]:
        """Two halves, by how much nearer a vector is to one pivot than to the other."""
        one, other = self._vectors.read(pivots)
        keys = np.empty(len(part), dtype=np.float32)
        for at in range(0, len(part), ROWS_AT_ONCE):
            rows = slice(at, at + ROWS_AT_ONCE)
            keys[rows] = self._vectors.read(part[rows]) @ (one - other)
        half = len(part) // 2
        order = np.argpartition(keys, half)
        return [part[order[:half]], part[order[half:]]]

    def _compare(self, part: np.ndarray) -> None:
        """All pairs of a part, of which each vertex keeps the nearest beside those that it has."""
        m, width = len(part), self.slots.shape[1]
        X = self._vectors.read(part)
        X -= X.mean(axis=0)
        norms2 = np.einsum("ij,ij->i", X, X)
        found = norms2[:, None] + norms2 - 2 * (X @ X.T)
        found[np.arange(m), np.arange(m)] = INFINITY
        had = self.slots[part]
        order = np.argsort(part)  # where the vertices that a list holds are in the part, to take them once only
        at = np.minimum(np.searchsorted(part, had, sorter=order), m - 1)
        there = (had >= 0) & (part[order[at]] == had)
        found[np.nonzero(there)[0], order[at][there]] = INFINITY
        distances = np.hstack([self._distances[part], found])
        slots = np.hstack([had, np.broadcast_to(part, (m, m))])
        best = np.argpartition(distances, width - 1, axis=1)[:, :width]
        best = np.take_along_axis(best, np.argsort(np.take_along_axis(distances, best, axis=1), axis=1), axis=1)
        self._distances[part] = np.take_along_axis(distances, best, axis=1)
        self.slots[part] = np.where(np.isfinite(self._distances[part]), np.take_along_axis(slots, best, axis=1), -1)
