"""Which index: the fastest that reaches a recall within a memory."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vsearch._text import kilobytes
from vsearch._typing import Vectors
from vsearch._validate import check_choice, check_float, check_int, check_size, check_vectors
from vsearch.errors import ParameterError
from vsearch.index.base import DEFAULT_RECALL, METRICS, Index
from vsearch.index.calibrate import ENOUGH
from vsearch.index.flat import Flat
from vsearch.index.graph import Graph
from vsearch.index.ivf import IVF
from vsearch.quantize.rabitq import RaBitQ
from vsearch.quantize.saq import SAQ
from vsearch.storage.stores import LARGEST_HALF

SOON_SCANNED = 1000
"""Vectors of which a scan takes no longer than a walk, and is exact."""
SAQ_BITS = (8, 6, 5, 4, 3, 2, 1, 0.5)
DEPTH = 10
"""k at which a recall counts as reached."""
SCANNED = {"f32": 1.0, "f16": ENOUGH, "bf16": 0.995}
"""Recall of a scan, by what vectors are kept in."""


def build(
    X: Vectors,
    metric: str = "l2",
    *,
    recall: float = DEFAULT_RECALL,
    memory: int | str | None = None,
    ids: Vectors | None = None,
    queries: Vectors | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool | None = None,
) -> Index:
    """The fastest index of X that reaches a recall within a memory, fitted and calibrated.

    Parameters
    ----------
    X : array-like of shape (n, d), n >= 1
    metric : "l2", "ip" or "cosine", default "l2"
    recall : float in (0, 1], default 0.95
        Share of the 10 true neighbours wanted; what `search` aims at from then on where it is not told another.
    memory : int, or str such as "512MB" or "1.5 GiB", optional
        Most bytes that the index may keep (`nbytes`). Building takes more for a while, and X itself is not in it.
    ids, queries, threads, progress : as in `Index.fit`
    seed : int, default 0
        Of all random choices; the same seed gives the same index.

    Returns
    -------
    Flat, IVF or Graph

    Raises
    ------
    ParameterError
        If nothing of what there is fits into `memory`; and the errors of `fit`.

    Warns
    -----
    UserWarning
        If the recall was not reached within `memory`; what came nearest is returned.

    Notes
    -----
    Without `memory` that is a `Graph`, and a `Flat` for up to a thousand vectors, for a recall beyond 0.9995, and where
    no walk reaches the recall. With less memory than a graph of vectors takes it is one of codes, then an `IVF` with
    vectors beside its codes, then one of as many bits as there is room for. Each is built to see what it reaches, so a
    recall that is hard to reach in that memory takes two or three builds.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((2000, 32)).astype(np.float32)
    >>> index = vs.build(X, "cosine", recall=0.9)
    >>> type(index).__name__, index.recall
    ('Graph', 0.9)
    >>> vs.build(X, recall=0.9, memory="200kB").nbytes
    144000
    """
    X = check_vectors("X", X)
    metric, seed = check_choice("metric", metric, METRICS), check_int("seed", seed, 0, 2**63 - 1)
    recall = check_float("recall", recall, 0, 1, open_low=True)
    room = None if memory is None else check_size("memory", memory)
    half = "f16" if metric == "cosine" or max(X.max(), -X.min()) <= LARGEST_HALF else "bf16"
    candidates = _candidates(len(X), {"metric": metric, "seed": seed}, half, recall > ENOUGH)

    def fit(index: Index) -> None:
        index.recall = recall
        index.fit(X, ids, queries=queries, threads=threads, progress=progress)

    return _first_that_reaches(recall, room, candidates, fit, *X.shape)


@dataclass(frozen=True)
class _Candidate:
    """An index not yet fitted, and what it keeps of a vector: 1 the vector itself, else the bits of its codes / 100."""

    index: Index
    keeps: float

    @property
    def reached(self) -> float:
        """The most recall that it was measured to have at k = 10."""
        if isinstance(self.index, Flat):
            return SCANNED[self.index.dtype]
        assert self.index.calibration is not None  # it was fitted
        recalls = self.index.calibration.recalls
        return recalls[min(recalls, key=lambda k: abs(k - DEPTH))][-1]


def _candidates(n: int, plain: dict[str, Any], half: str, is_exact: bool) -> Iterator[_Candidate]:
    """Fast ones first, as measured by bench/peers.py. `half` are the 16 bits that hold the vectors."""
    scans = [_Candidate(Flat(**plain, dtype=dtype), 1) for dtype in ("f32", half)]
    scans_first = is_exact or n <= SOON_SCANNED
    if scans_first:
        yield from scans
    if not is_exact:
        yield _Candidate(Graph(**plain, refine=half), 1)
        yield _Candidate(Graph(**plain, layout="compact"), 0.08)
        yield _Candidate(Graph(**plain, layout="compact", refine=half), 1)
        yield _Candidate(IVF(**plain, quantizer=RaBitQ(1, seed=plain["seed"]), refine=half), 1)
    for bits in SAQ_BITS:
        yield _Candidate(IVF(**plain, quantizer=SAQ(bits, seed=plain["seed"]), refine=None), bits / 100)
    if not scans_first:
        yield from scans


def _first_that_reaches(
    recall: float, room: int | None, candidates: Iterator[_Candidate], fit: Callable[[Index], None], n: int, dim: int
) -> Index:
    """The first candidate within the room that reaches the recall, else the one that comes nearest."""
    best: _Candidate | None = None
    short: dict[str, float] = {}  # by kind, the most that one kept which did not reach it
    least = math.inf
    for one in candidates:
        if one.keeps <= max(short.get(one.index.kind, 0), short.get(Flat.kind, 0)):
            continue  # it would fall short too
        size = one.index._expected_nbytes(n, dim)
        if room is None or size <= room:
            fit(one.index)
            size = one.index.nbytes
        if room is not None and size > room:
            least = min(least, size)
            continue
        if one.reached >= recall:
            return one.index
        short[one.index.kind] = one.keeps
        if best is None or one.reached > best.reached:
            best = one
    if best is None:
        raise ParameterError(
            f"`memory` must be at least {kilobytes(least)} or so for {n:,} vectors of {dim} dimensions; got"
            f" {kilobytes(room or 0)}."
        )
    within = "" if room is None else f" within {kilobytes(room)}"
    warnings.warn(f"recall {recall:g} was not reached{within}; {best.index} has {best.reached:.4g}.", stacklevel=3)
    return best.index
