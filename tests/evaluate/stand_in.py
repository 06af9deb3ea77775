"""A tiny index with an effort knob, so that measuring can be tested without the engine."""

from __future__ import annotations

import time
from typing import Any

import numpy as np


class Slices:
    """The base cut into ``lists`` slices along its first axis of variation; effort = slices looked at."""

    def __init__(self, lists: int = 8, pause: float = 0.0) -> None:
        self.lists = lists
        self.pause = pause  # seconds per query, to make one index measurably slower than another
        self.calls: list[dict[str, Any]] = []

    def fit(self, X: np.ndarray) -> Slices:
        self.X = np.asarray(X, dtype=np.float32)
        order = np.argsort(self.X[:, 0], kind="stable")
        self.slices = np.array_split(order, self.lists)
        self.centers = np.array([self.X[part, 0].mean() for part in self.slices])
        return self

    def search(
        self, Q: np.ndarray, k: int = 10, *, effort: float | None = None, threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        self.calls.append({"shape": np.shape(Q), "k": k, "effort": effort, "threads": threads})
        if np.ndim(Q) == 2:
            answers = [self._one(query, k, effort) for query in Q]
            return np.array([a[0] for a in answers]), np.array([a[1] for a in answers])
        return self._one(Q, k, effort)

    def _one(self, query: np.ndarray, k: int, effort: float | None) -> tuple[np.ndarray, np.ndarray]:
        if self.pause:
            time.sleep(self.pause)
        probes = self.lists if effort is None else int(effort)
        near = np.argsort(np.abs(self.centers - query[0]))[:probes]
        slots = np.concatenate([self.slices[i] for i in near])
        distances = ((self.X[slots] - query) ** 2).sum(axis=1)
        best = np.lexsort((slots, distances))[:k]
        ids = np.full(k, -1)
        ids[: len(best)] = slots[best]
        padded = np.full(k, np.inf)
        padded[: len(best)] = distances[best]
        return ids, padded
