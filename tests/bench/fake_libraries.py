"""Stand-ins for peers: one that works (exact, in NumPy), and ones that are missing, crash, refuse or hang."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from libraries.base import Effort, Library


class Exact(Library):
    """Looks at the first `effort` thousandths of the base; counts the rows it looked at."""

    module = "numpy"

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        print("a library that talks on standard output")
        self.X, self.looked = X, 0

    def save(self, folder: Path) -> None:
        np.save(folder / "rows.npy", self.X)

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        self.X, self.looked = np.load(folder / "rows.npy"), 0
        assert self.X.shape == (n, dim)

    def ladders(self, n: int) -> list[list[Effort]]:
        return [[100, 500, 900, 1000, 1001]]

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        X = self.X[: len(self.X) * effort // 1000]

        def search(query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            self.looked += len(X)
            distances = ((X - query) ** 2).sum(axis=1)
            nearest = np.argsort(distances)[:k]
            return nearest, distances[nearest]

        return search

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any]:
        one = self.single(k, effort)
        return lambda queries: [one(query) for query in queries]

    def counters(self) -> dict[str, int]:
        return {"visited": self.looked}


class Padded(Exact):
    """Finds half of what is asked for; the rest is what was in memory."""

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        find = super().single(k // 2, effort)
        return lambda query: (np.append(find(query)[0], [7565935] * (k - k // 2)), np.zeros(k))


class Missing(Exact):
    """Not installed."""

    module = "no_such_library_as_this"


class Crash(Exact):
    """Takes its process down while it builds."""

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        print("about to fall", file=sys.stderr, flush=True)
        os.abort()


class LateCrash(Exact):
    """Takes its process down in the middle of its sweep."""

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        if effort == 900:
            os._exit(3)
        return super().single(k, effort)


class Refuse(Exact):
    """Raises while it builds."""

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        raise ValueError("not on this processor")


class Hang(Exact):
    """Never ends."""

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        time.sleep(600)


class Once(Exact):
    """Builds once; a second build is an error."""

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        super().build(X, metric, threads)
        with open(self.options["mark"], "x", encoding="ascii"):
            pass
