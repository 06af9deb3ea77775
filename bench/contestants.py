"""The libraries that race: each builds on (X, metric), takes an effort and a variant, and answers one query at a time.

Settings are those their own documentation recommends: lists = 4 sqrt(n) for every IVF, and where a library has a second
knob (bits, refine factor), each value is a variant and the fastest that reaches the recall counts.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np


def list_count(n: int) -> int:
    return round(4 * n**0.5)


class Contestant(ABC):
    """A library that races."""

    variants: ClassVar[tuple[int | None, ...]] = (None,)
    """Values of its second knob."""

    @abstractmethod
    def most(self, n: int) -> int:
        """The largest effort for n vectors."""

    @abstractmethod
    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        """An index of X."""

    @abstractmethod
    def bytes_per_vector(self) -> float:
        """Of the index, by the library's own count or file."""

    @abstractmethod
    def set(self, effort: int, variant: int | None) -> None:
        """How the queries that follow are answered."""

    @abstractmethod
    def search(self, query: np.ndarray, k: int) -> tuple[Any, ...]:
        """What the library answers."""

    @staticmethod
    @abstractmethod
    def ids(answer: tuple[Any, ...]) -> np.ndarray:
        """The ids in that, int64 (k,)."""


class VsearchIVF(Contestant):
    """vs.IVF with RaBitQ and refine."""

    def __init__(self, bits: int = 1, refine: str | None = "bf16", lists: float = 4.0) -> None:
        self.bits, self.refine, self.lists = bits, refine, lists

    def most(self, n: int) -> int:
        return round(self.lists * n**0.5)

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        import vsearch as vs

        quantizer = vs.RaBitQ(self.bits)
        self.index = vs.IVF(self.most(len(X)), metric, quantizer=quantizer, refine=self.refine).fit(
            X, threads=threads, progress=False
        )

    def bytes_per_vector(self) -> float:
        return self.index.bytes_per_vector

    def set(self, effort: int, variant: int | None) -> None:
        self.effort = effort

    def search(self, query: np.ndarray, k: int) -> tuple[Any, ...]:
        return self.index.search(query, k, effort=self.effort)

    @staticmethod
    def ids(answer: tuple[Any, ...]) -> np.ndarray:
        return answer[0]


class RabitqlibIVF(Contestant):
    """rabitqlib.IvfIndex; the variant is its bits, where 32 means its own re-ranking from raw vectors."""

    variants = (5, 7, 32)

    def most(self, n: int) -> int:
        return list_count(n)

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        import rabitqlib

        n, d = X.shape
        centroids, assign = faiss_kmeans(X, list_count(n), threads)
        self.indexes: dict[int | None, Any] = {}
        self.bytes: dict[int, float] = {}
        for bits in (5, 7, 32):
            index = rabitqlib.IvfIndex(d, n, len(centroids), bits, "l2")  # unit vectors for cosine: the same order
            index.build(X, centroids, assign, num_threads=threads)
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "index")
                index.save(path)
                self.bytes[bits] = sum(f.stat().st_size for f in os.scandir(folder)) / n
            self.indexes[bits] = index

    def bytes_per_vector(self) -> float:
        return max(self.bytes.values())

    def set(self, effort: int, variant: int | None) -> None:
        self.effort, self.index = effort, self.indexes[variant]

    def search(self, query: np.ndarray, k: int) -> tuple[Any, ...]:
        return self.index.search(query[None], k, self.effort, num_threads=1)

    @staticmethod
    def ids(answer: tuple[Any, ...]) -> np.ndarray:
        first, second = answer[:2]
        return (first if np.issubdtype(first.dtype, np.integer) else second).astype(np.int64).reshape(-1)


class FaissIVFRaBitQ(Contestant):
    """faiss IVF-RaBitQ-FastScan behind a random rotation, refined from flat vectors; the variant is the refine
    factor."""

    variants = (2, 4, 10, 20)

    def most(self, n: int) -> int:
        return list_count(n)

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        n, d = X.shape
        self.index: Any = faiss.index_factory(d, f"RR,IVF{list_count(n)},RaBitQfs,RFlat")
        self.index.train(X)
        self.index.add(X)
        self.ivf = faiss.extract_index_ivf(self.index)
        self.bytes = len(faiss.serialize_index(self.index)) / n
        faiss.omp_set_num_threads(1)

    def bytes_per_vector(self) -> float:
        return self.bytes

    def set(self, effort: int, variant: int | None) -> None:
        self.ivf.nprobe = effort
        self.index.k_factor = variant

    def search(self, query: np.ndarray, k: int) -> tuple[Any, ...]:
        return self.index.search(query[None], k)

    @staticmethod
    def ids(answer: tuple[Any, ...]) -> np.ndarray:
        return answer[1][0]


def faiss_kmeans(X: np.ndarray, lists: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    faiss.omp_set_num_threads(threads)
    kmeans = faiss.Kmeans(X.shape[1], lists, niter=10, max_points_per_centroid=100, seed=1)
    kmeans.train(X)
    assign = kmeans.index.search(X, 1)[1].ravel().astype(np.uint32)
    return np.asarray(kmeans.centroids), assign
