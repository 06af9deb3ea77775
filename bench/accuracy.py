"""How good a quantizer's codes are: one definition of each figure, for everybody.

Vectors of a cosine set are scaled to length 1, and squared Euclidean distance stands for 2 (1 - cosine). mu is the mean
of the base X, q a query:

relative squared error   sum |x - x'|^2 / sum |x - mu|^2 over a sample of the base, x' decoded from all bits of the code
x Shannon                that error over the least one possible at as many bits, factors counted, for a Gaussian source
                         with the base's covariance (reverse water-filling). Data are not Gaussian: below 1 is possible
inner-product error      e = (d' - d) / (2 |q - mu| |x - mu|), d' the estimated and d the true squared distance: the
                         error of the inner product of the centred q and x where |x - mu| is stored exactly, as a share
                         of the lengths. Its standard deviation over all pairs of a sample, and its mean
recall@k                 of a scan of the codes alone; ties of distance count
recall@k, 3x             of the 3k best by codes, put in order by their true distances
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from contest import Judge

from vsearch.quantize.limits import reverse_water_filling, spectrum

K = 10
REFINE = 3
SAMPLE_ROWS = 10_000
SAMPLE_QUERIES = 100
TIMED_QUERIES = 100


def relative_error(X: np.ndarray, decoded: np.ndarray, mean: np.ndarray) -> float:
    """Squared error of decoded vectors as a share of the squared distance to the mean."""
    error = np.einsum("ij,ij->", X - decoded, X - decoded, dtype=np.float64)
    return float(error / np.einsum("ij,ij->", X - mean, X - mean, dtype=np.float64))


def product_errors(X: np.ndarray, Q: np.ndarray, estimates: np.ndarray, mean: np.ndarray) -> tuple[float, float]:
    """Standard deviation and mean of the inner-product error of estimated squared distances (nq, n)."""
    x, q = (np.asarray(Z, dtype=np.float64) - mean for Z in (X, Q))
    true = (x**2).sum(axis=1) + (q**2).sum(axis=1)[:, None] - 2 * q @ x.T
    lengths = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1)
    errors = np.divide(estimates - true, 2 * lengths, out=np.zeros_like(true), where=lengths > 0)
    return float(errors.std()), float(errors.mean())


def nearest_of(X: np.ndarray, query: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    """The k of `ids` whose vectors are nearest to the query; -1 stands for none and comes last."""
    distances = ((X[np.maximum(ids, 0)] - query) ** 2).sum(axis=1)
    return ids[np.argsort(np.where(ids < 0, np.inf, distances), kind="stable")[:k]]


def least_error(eigenvalues: np.ndarray, bits: float) -> float:
    """Least relative squared error of a Gaussian source of this covariance at `bits` bits a dimension."""
    return reverse_water_filling(eigenvalues, bits) / float(eigenvalues.sum())


def best_time(call: Callable[[], object], repeats: int) -> float:
    """Shortest seconds of `repeats` calls."""
    best = np.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


class Examiner:
    """The questions that every quantizer is asked, over one base and its queries."""

    def __init__(self, X: np.ndarray, Q: np.ndarray, repeats: int) -> None:
        self.X, self.Q, self.repeats = X, Q, repeats
        self.mean = X.mean(axis=0, dtype=np.float64)
        self.judge = Judge(X, Q, K)
        step = max(1, len(X) // SAMPLE_ROWS)
        self.sample = np.ascontiguousarray(X[::step][:SAMPLE_ROWS])
        self.eigenvalues = spectrum(X)

    def examine(self, codec: Any) -> dict[str, Any]:
        """All figures of one codec, which comes unfitted and is left full."""
        dim = self.X.shape[1]
        row: dict[str, Any] = {"train_s": best_time(lambda: codec.fit(self.X), 1)}
        row["bytes"] = codec.bytes_per_vector()
        row["bits_per_dim"] = 8 * row["bytes"] / dim
        row |= self._errors(codec, row["bits_per_dim"])
        row["encode_per_s"] = len(self.X) / best_time(lambda: codec.add(self.X), self.repeats)
        return row | self._scan(codec)

    def _errors(self, codec: Any, bits: float) -> dict[str, Any]:
        codec.add(self.sample)
        row: dict[str, Any] = {}
        decoded = codec.decode()
        if decoded is not None:
            row["relative_error"] = relative_error(self.sample, decoded, self.mean)
            row["x_shannon"] = row["relative_error"] / least_error(self.eigenvalues, bits)
        estimates = codec.estimate(self.Q[:SAMPLE_QUERIES])
        if estimates is not None:
            queries = self.Q[:SAMPLE_QUERIES]
            row["ip_std"], row["ip_mean"] = product_errors(self.sample, queries, estimates, self.mean)
        return row

    def _scan(self, codec: Any) -> dict[str, Any]:
        codec.search(self.Q[0], K)  # builds what is built on first use
        timed = self.Q[:TIMED_QUERIES]
        seconds = best_time(lambda: [codec.search(query, K) for query in timed], self.repeats)
        found = [codec.search(query, K) for query in self.Q]
        wide = [codec.search(query, REFINE * K) for query in self.Q]
        refined = np.stack([nearest_of(self.X, query, ids, K) for query, ids in zip(self.Q, wide)])
        row = {"recall": self.judge.recall(np.stack(found)), "recall_refined": self.judge.recall(refined)}
        if codec.scans:
            row["scan_per_s"] = len(self.X) * len(timed) / seconds
        return row
