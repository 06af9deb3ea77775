"""The face that every contestant shows to worker.py.

`build` gets float32 rows; those of a cosine data set have length 1, so that a library may use squared Euclidean
distance for them (the order is the same). An effort is a number, or a list of two where a library has a second knob.
`single` and `batch` set the effort once and return the call that is timed, which is then the library's own call and
little else; `ids` reads row numbers out of what it answered and is not timed.

This folder imports nothing of vsearch but in ours.py: a peer may run in another Python that has no vsearch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Effort = Any
"""An int, or a list [probes, candidates to refine for each neighbour]."""

POOLS = [10, 12, 14, 17, 20, 24, 30, 36, 43, 52, 64, 80, 100, 128, 160, 200, 256, 320, 400, 512, 640, 800, 1200, 1800]
"""Efforts of a graph: the size of its candidate pool."""

PROBES = [1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, 128, 180, 256, 360, 512, 720, 1024]
"""Efforts of an inverted file: the number of lists to scan."""


class Library:
    """What a contestant answers; a subclass sets `module` and `distribution` and fills in the rest."""

    module = ""
    distribution = ""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def absent(self) -> str | None:
        """Why it cannot run here, or None; imports the library."""
        try:
            importlib.import_module(self.module)
        except ImportError as error:
            known = getattr(error, "name", None)
            return "not installed" if known == self.module else f"does not import: {error}"
        return None

    def version(self) -> str:
        """The version of the library."""
        try:
            return importlib.metadata.version(self.distribution or self.module)
        except importlib.metadata.PackageNotFoundError:  # on the path, but not installed
            return str(getattr(importlib.import_module(self.module), "__version__", "unknown"))

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        """Make the index of rows X."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write the index to files in an empty folder."""
        raise NotImplementedError

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        """Read what `save` wrote."""
        raise NotImplementedError

    def bytes_per_vector(self, n: int, saved: int) -> tuple[float, str]:
        """Bytes for each vector and whose count that is: by default that of the saved files."""
        return saved / n, "saved files"

    def ladders(self, n: int) -> list[list[Effort]]:
        """Efforts to sweep, each ladder in rising order; a ladder is left once it reached full recall."""
        return [POOLS]

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        """The call that answers one query (d,) on one thread."""
        raise NotImplementedError

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any] | None:
        """The call that answers many queries (nq, d) at once, or None where the library has none."""
        return None

    def ids(self, answer: Any) -> np.ndarray:
        """Row numbers in an answer of `single`, nearest first."""
        return np.asarray(answer[0]).reshape(-1)

    def counters(self) -> dict[str, int] | None:
        """Work done since the index was made, as the library counts it, or None where it does not."""
        return None


def list_count(n: int) -> int:
    """Lists of an inverted file over n vectors: 4 sqrt(n)."""
    return max(1, round(4 * n**0.5))


def probe_ladder(lists: int, *more: Any) -> list[Effort]:
    """Numbers of probes up to all lists; each with `more` behind it, where that is given."""
    probes = [probe for probe in PROBES if probe < lists] + [lists]
    return [[probe, *more] for probe in probes] if more else list(probes)
