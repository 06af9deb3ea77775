"""Graph: every vector knows some near ones; a query walks from neighbour to neighbour."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vsearch._progress import Progress
from vsearch._text import counted
from vsearch._typing import Answer
from vsearch._validate import check_choice, check_int
from vsearch.errors import ParameterError
from vsearch.index.base import Index
from vsearch.index.calibrate import calibrate
from vsearch.index.graph_compact import GraphCompactCore
from vsearch.index.graph_compact_code import check_levels
from vsearch.index.graph_core import GraphCore
from vsearch.index.idmap import ID_BYTES, IdMap
from vsearch.index.ivf import check_quantizer
from vsearch.index.pace import pace_of
from vsearch.index.planned import Planned
from vsearch.kernels import core
from vsearch.quantize.base import Quantizer
from vsearch.quantize.interval import LVQ
from vsearch.quantize.rabitq import RaBitQ
from vsearch.storage.stores import DTYPES, row_nbytes

DEGREES = (32, 64, 96, 128)
MAX_VISITS = 2**20
HELD_SHARE, HELD_OUT = 20, 1000
"""Vectors that calibrate where no queries are given: at most this many, and one of so many."""
MOST_CALIBRATED = 2048
SCORES_FOR_A_VISIT = 3
PLAIN_EFFORT = 70.0
"""Visits at which a walk stops where the next candidate is as far as the k-th best."""
SLACK = 0.085
"""How much farther it goes each time the effort grows e-fold."""
LAYOUTS = ("fast", "compact")
REFINE = ("auto", *DTYPES, None)
COMPACT_PLAIN, COMPACT_SLACK = 25.0, 0.1
"""The same for the compact layout, whose visits score every neighbour."""
NO_PACE = (1.0, 0.0)
WIDER_FACTORS = 6
"""Bytes that the factors of a vertex's code take beyond those of a Flat index."""
NUMBER_BYTES = 4
"""Of a neighbour's number."""
ALIGNMENT = 64
WINDOW, PROJECTED_WINDOW = 0.12, 0.35
"""Candidates that the stored vectors of a compact graph decide among, beside k, over the effort; codes of a projection
leave more to them."""


class Graph(Planned):
    """Quantised flat graph: the codes of a vertex's neighbours lie beside its vector, so that a visit is one read.

    With layout="compact" every vertex has one code, which its neighbours share, for a fifth to a third of the memory.

    Parameters
    ----------
    metric : "l2", "ip" or "cosine", default "l2"
    quantizer : Quantizer or None
        Codes. For the fast layout those of neighbours, of 4-bit symbols alone: 1-bit ones, or PQ with bits=4; None
        takes RaBitQ(bits=1). For the compact one those of vertices, of levels a coordinate: LVQ, SAQ, LloydMax, OSQ or
        LeanVec; None takes LVQ(bits=8).
    degree : 32, 64, 96 or 128, default 32
        Neighbours of a vertex. 64 needs fewer visits of larger rows, for data of high intrinsic dimension.
    layout : "fast" or "compact", default "fast"
        Rows of a vector and its neighbours' codes, or of one code and the neighbours' numbers.
    refine : "auto", "f16", "bf16", "f32", "int8" or None, default "auto"
        Of the stored vectors, from which all distances returned come. f16 holds values up to 65504. None, for the
        compact layout alone: nothing is stored beside the codes, and distances are those of the codes. "auto" is "f16"
        for the fast layout and with LeanVec, else None.
    seed : int, default 0
        Of the rotation's and the build's random choices; the same seed gives the same graph.

    Notes
    -----
    `effort` is the most vertices that a query visits; most queries stop earlier, when the next candidate is too far
    beyond the k-th best. The graph is SymphonyQG's (arXiv 2411.12229): one-bit codes of neighbours relative to their
    vertex, pruned by the relative neighbourhood rule. The compact layout is that of LVQ graphs (arXiv 2304.04759).

    Where `fit` is given no queries, vectors that it holds out teach how much more effort a query takes that is far from
    its neighbours, and `recall=` gives it to those (vsearch/index/pace.py; not with LeanVec, whose codes do not tell
    how far); an `effort` that is set is the same for all.

    A compact graph is built by way of a fast one, which is forgotten then: the memory that `fit` takes is that of both.

    While `add` links vectors searches go on without them; these wait for a batch of 32 at most, some 20 ms where it has
    two threads. Then all are seen at once. Searches wait while `remove` mends the graph; it goes over all neighbour
    lists once, so many ids at a time cost little more than one.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((2000, 32)).astype(np.float32)
    >>> index = vs.Graph(metric="cosine").fit(X)
    >>> ids, distances = index.search(X[:5], k=1, recall=0.95)
    >>> ids[:, 0].tolist()
    [0, 1, 2, 3, 4]
    """

    kind = "graph"
    _core: GraphCore  # there once fitted

    def __init__(
        self,
        metric: str = "l2",
        *,
        quantizer: Quantizer | None = None,
        degree: int = 32,
        layout: str = "fast",
        refine: str | None = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(metric)
        self.seed = check_int("seed", seed, 0, 2**63 - 1)
        self.layout = check_choice("layout", layout, LAYOUTS)
        given = check_quantizer(quantizer, projections=self.layout == "compact")
        self.quantizer: Quantizer = given or (LVQ(8) if self.layout == "compact" else RaBitQ(bits=1, seed=self.seed))
        if self.layout == "compact":
            check_levels(self.quantizer)
        self.degree = check_choice("degree", degree, DEGREES)
        self.refine = self._stored(check_choice("refine", refine, REFINE))
        self._threads = 1

    def _stored(self, refine: str | None) -> str | None:
        """The dtype of the stored vectors, None for none; refused where there must be some."""
        if self.layout == "fast":
            if refine is None:
                raise ParameterError(
                    "`refine` must not be None where the layout is 'fast', whose distances are those of stored vectors;"
                    " take layout='compact' to keep codes only."
                )
            return "f16" if refine == "auto" else refine
        if refine is None and self.quantizer.projects:
            raise ParameterError(
                f"`refine` must not be None with {self.quantizer!r}, whose codes do not tell distances; take 'f16', or"
                " another quantizer."
            )
        if refine == "auto":
            return "f16" if self.quantizer.projects else None
        return refine

    def __repr__(self) -> str:
        held = f"quantizer={self.quantizer!r}, degree={self.degree}, layout={self.layout!r}, refine={self.refine!r}"
        head = f"Graph(metric={self.metric!r}, {held})"
        if self._dim is None:
            return f"{head}: not fitted"
        size = f"{counted(len(self), 'vector')} of {counted(self.dim or 0, 'dimension')}"
        return f"{head}: {size}, {self.bytes_per_vector:,.0f} bytes each; {self.calibration or 'not calibrated'}"

    def counters(self) -> dict[str, int]:
        """What searches have done since the index was made: vertices "visited", and candidates "entered" for them."""
        return dict(self._scan.counters()) if self._scan is not None else {"visited": 0, "entered": 0}

    def _blank(self) -> Graph:
        shape: dict[str, Any] = {"degree": self.degree, "layout": self.layout, "refine": self.refine}
        return Graph(self.metric, quantizer=self.quantizer, seed=self.seed, **shape)

    def _new_core(self, dim: int) -> GraphCore:
        if self.layout == "compact":
            refine, queries = self.refine, self._fit_queries
            return GraphCompactCore(self.metric, dim, self.quantizer, self.degree, refine, self.seed, queries)
        return GraphCore(self.metric, dim, self.quantizer, self.degree, str(self.refine), self.seed)

    def _build(self, X: np.ndarray, threads: int, bar: Progress) -> np.ndarray:
        graph = self._core = self._new_core(X.shape[1])
        held = 0 if self._fit_queries is not None else min(len(X) // HELD_SHARE, HELD_OUT)
        bar.start("graph: order", 1)  # of rows in memory: csrc/index/near_order.hpp
        order = core.near_order(np.ascontiguousarray(X), self.seed, threads).astype(np.int64)
        bar.advance()
        if held == 0:
            graph.build(X[order], threads, bar)
            self._scan = graph.scan
            return order
        # A vertex knows its neighbours, so vertices are too easy as queries: some vectors calibrate before they join.
        chosen = np.random.default_rng(self.seed).permutation(len(X))[:held]
        left = np.ones(len(X), dtype=bool)
        left[chosen] = False
        order = np.concatenate([order[left[order]], chosen])
        base, rest = X[order[:-held]], X[order[-held:]]
        graph.build(base, threads, bar)
        self._scan = graph.scan
        self._idmap = IdMap(np.arange(len(base), dtype=np.int64))
        self._bind()
        far = None if self.quantizer.projects else graph.farness
        self.calibration = calibrate(self, base, rest, threads, bar, far)
        graph.add(rest, np.arange(len(base), dtype=np.int64), threads, bar)
        return order

    def _encode(self, X: np.ndarray, threads: int, bar: Progress) -> GraphCore:
        """The graph with the vectors linked, unseen as yet: this one, or where it cannot take them a new one."""
        self._threads = threads
        if not self._core.fits(X):
            return self._core.linked_again(X, threads, bar)
        self._core.add(X, self._fitted().ids_by_slot, threads, bar)
        return self._core

    def _insert(self, slots: np.ndarray, prepared: GraphCore) -> None:
        self._core, self._scan = prepared, prepared.scan

    def _own(self) -> None:
        self._core.own()

    def _abandon(self) -> None:
        known = self._fitted()
        if self._core.n > len(known):
            self._core.withdraw(known.ids_by_slot, self._threads)

    def _delete(self, slots: np.ndarray, moved_from: np.ndarray, moved_to: np.ndarray) -> None:
        self._core.remove(slots, moved_from, moved_to, self._threads)

    def _bind(self) -> None:
        self._forget_plans()
        self._core.bind(self._fitted().ids_by_slot)

    def _ladder(self) -> list[float]:
        """Efforts to calibrate at: 16, 23, 32, 45, 64, ... visits; from 8 where a visit scores every neighbour."""
        least, most = 8 if self.layout == "compact" else 16, min(max(len(self), 16), MOST_CALIBRATED)
        steps = math.floor(2 * math.log2(most / least) + 1e-9)
        return [float(round(least * 2 ** (i / 2))) for i in range(steps + 1)]

    def _find(
        self,
        Q: np.ndarray,
        k: int,
        effort: float | None,
        threads: int,
        bitmap: np.ndarray | None = None,
        matches: int = 0,
    ) -> Answer:
        share = matches / max(1, len(self)) if bitmap is not None else 1.0
        plan = self._plan(PLAIN_EFFORT if effort is None else effort, k, share)
        return self._scan.search(Q, k, *plan, threads, bitmap, matches)

    def _find_given(self, Q: np.ndarray, k: int, effort: float | None, threads: int) -> Answer | None:
        plan = self._plan(PLAIN_EFFORT if effort is None else effort, k)
        answer: Answer | None = self._scan.search_given(Q, k, *plan, threads)
        return answer

    def _plan(self, effort: float, k: int, share: float = 1.0) -> tuple[float, ...]:
        """How far beyond the k-th best a walk goes, as a factor of its squared distance, and the most visits; in the
        compact layout also how many of the best by their codes the stored vectors decide among; then the pace, where a
        filter lets through a `share` of the vectors. On two data sets these are close to the best at every recall from
        0.85 to 0.999. Beyond what is calibrated, all are looked at where that costs less."""
        visits = min(max(math.ceil(effort - 1e-9), 1), MAX_VISITS)
        if effort > MOST_CALIBRATED and SCORES_FOR_A_VISIT * visits >= len(self):
            visits = max(visits, len(self))
        pace = pace_of(effort, k / max(share, 1e-9)) or NO_PACE
        if self.layout == "compact":
            reach = 1.0 + COMPACT_SLACK * math.log(max(effort, 1.0) / COMPACT_PLAIN)
            wanted = PROJECTED_WINDOW if self.quantizer.projects else WINDOW
            window = k + math.ceil(wanted * min(effort, MAX_VISITS))
            return reach, max(visits, k), window, *pace, COMPACT_SLACK
        return 1.0 + SLACK * math.log(max(effort, 1.0) / PLAIN_EFFORT), max(visits, k), *pace, SLACK

    def _vectors(self, slots: np.ndarray) -> np.ndarray:
        return self._core.vectors(slots)

    def _nbytes(self) -> int:
        return self._core.nbytes

    def _expected_nbytes(self, n: int, dim: int) -> float:
        stored = row_nbytes(self.refine, dim)
        code = self.quantizer.bytes_per_vector(dim, self.metric)
        lift, factor = (4, 2) if self.metric == "ip" else (0, 0)
        if self.layout == "compact":
            row = stored + _aligned(code + WIDER_FACTORS + NUMBER_BYTES * self.degree)
        else:
            row = _aligned(stored) + _aligned(self.degree * (code + factor + NUMBER_BYTES))
        return n * (ID_BYTES + row + lift)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta = {
            "quantizer": self._core.quantizer.state()[0],
            "degree": self.degree,
            "layout": self.layout,
            "refine": self.refine,
            "seed": self.seed,
            "entries": self._core.entry_count,
        }
        return meta, self._core.arrays()

    @classmethod
    def _from_state(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Graph:
        quantizer = Quantizer.from_params(meta["quantizer"])
        shape = {name: meta[name] for name in ("degree", "refine", "seed")}
        index = cls(meta["metric"], quantizer=quantizer, layout=meta.get("layout", "fast"), **shape)
        n, dim = meta["n"], check_int("dim", meta["dim"], 1, 65536)
        index._dim = dim
        index._core = index._new_core(dim)
        index._core.restore(meta["quantizer"], n, check_int("entries", meta["entries"], 0, n), arrays)
        index._scan = index._core.scan
        return index

    @classmethod
    def _open(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Index:
        index = super()._open(meta, arrays)
        if not index._scan.consistent():
            raise ValueError("a neighbour is no vertex of the graph")
        return index


def _aligned(size: float) -> int:
    """The next multiple of a cache line."""
    return math.ceil(size / ALIGNMENT) * ALIGNMENT
