"""The compact graph on the Numba twin and on the compiled core: the same walks over the same rows, builders as good.

Scores are exact integers times the same factors, so that only the sums of a query's preparation may round differently.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import oracle
import pytest
from fallback_graph import aligned
from fallback_lists import vectors

core = pytest.importorskip("vsearch._core")
pytest.importorskip("numba")
from vsearch.kernels import fallback as twin  # noqa: E402

Found = tuple[np.ndarray, np.ndarray]
EVEN = (1.0, 0.0, 0.0)  # a pace at which all queries are alike
DEGREE = 32


class Compact:
    """Clustered vectors as codes of `wide` coordinates at 8 bits and the others at 4, each linked to its nearest and to
    some others."""

    def __init__(self, metric: str, wide: int, dim: int, n: int, store: str | None) -> None:
        rng = np.random.default_rng(dim)
        X = vectors(dim, n, dim)
        X[: n // 2] += 2 * vectors(5, 12, dim)[np.arange(n // 2) % 12]
        self.metric, self.n, self.dim, self.wide = metric, n, dim, wide
        self.X = core.unit_rows(X)[0] if metric == "cosine" else X
        self.narrow, self.mean = -(-(dim - wide) // 64) * 64, self.X.mean(axis=0)
        self.padded = -(-dim // 16) * 16
        span = np.abs(self.X - self.mean).max()
        self.source = np.zeros(wide + self.narrow, np.uint32)
        self.source[:dim] = np.arange(dim)
        steps = np.where(np.arange(dim) < wide, 2 * span / 255, 2 * span / 15)
        self.step = np.concatenate([steps, np.zeros(wide + self.narrow - dim)]).astype(np.float32)
        low = np.where(np.arange(dim) < wide, span / 255, -span)
        self.offset = np.concatenate([low, np.zeros(wide + self.narrow - dim)]).astype(np.float32)
        self.rows = aligned(n, self.scan(core).row_bytes)
        self._code(X=self.X - self.mean)
        self.reach2, self.lifts = 0.0, None
        if metric == "ip":
            norms2 = (self.X**2).sum(axis=1)
            self.reach2 = float(norms2.max())
            self.lifts = np.sqrt(np.maximum(0, self.reach2 - norms2)).astype(np.float32)
        self.dtype, self.store, self.factors = store or "f32", None, None
        if store is not None:
            self.store, self.factors = oracle.stored(self.X, store)
        self.ids = rng.permutation(n) * 3
        self.entries = rng.choice(n, min(n, 20), replace=False).astype(np.uint32)
        self._link(rng)

    def _code(self, X: np.ndarray) -> None:
        held = np.zeros((self.n, self.wide + self.narrow), np.int64)
        held[:, : self.dim] = np.rint((X - self.offset[: self.dim]) / self.step[: self.dim])
        halves = held[:, self.wide :].reshape(self.n, -1, 2, 32).astype(np.uint8)
        self.rows[:, : self.wide] = held[:, : self.wide].astype(np.int8).view(np.uint8)
        nibbles = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(self.n, -1)
        self.rows[:, self.wide :][:, : nibbles.shape[1]] = nibbles
        self.coded = (self.offset + self.step * held)[:, : self.dim].astype(np.float32)  # what the codes stand for
        half = 1.0 if self.metric == "l2" else 0.5
        factors = np.empty((self.n, 3), np.float32)
        factors[:, 0] = -(X @ self.mean) if self.metric == "ip" else half * (X**2).sum(axis=1)
        factors[:, 1], factors[:, 2] = -2 * half, -2 * half * 0.01  # and every coordinate is a hundredth more
        at = -(-(self.wide + self.narrow // 2) // 4) * 4
        self.rows[:, at : at + 12] = factors.view(np.uint8)

    def lists(self) -> np.ndarray:
        """Slots (n, degree), as a view of the rows."""
        return self.rows.view(np.uint32)[:, -DEGREE:]

    def _link(self, rng: np.random.Generator) -> None:
        lifted = self.X if self.lifts is None else np.column_stack([self.X, self.lifts])
        near = np.argsort(oracle.distances("l2", lifted, lifted), axis=1)[:, : DEGREE // 2]
        lists = rng.integers(0, self.n, (self.n, DEGREE))
        lists[:, : near.shape[1]] = near
        self.lists()[:] = lists

    def scan(self, module: Any) -> Any:
        """A scan that is bound to nothing."""
        eye = np.zeros((self.padded, self.dim), np.float32)
        np.fill_diagonal(eye, 1)
        transform = module.Matrix(eye, eye, np.ascontiguousarray(eye.T))
        return module.GraphCompactScan(self.metric, transform, self.wide, self.narrow, DEGREE)

    def bound(self, module: Any, n: int | None = None, hidden: int = 0) -> Any:
        """A scan over the first n vertices, of which the last are not to be found."""
        scan = self.scan(module)
        scan.bind_coding(self.source, self.step, self.offset, self.mean)
        n, entries = self.n if n is None else n, self.entries
        call = self.dtype, self.store, self.factors, n, hidden
        scan.bind(self.ids, self.rows, entries[entries < n], self.lifts, self.reach2, *call)
        return scan

    def queries(self, count: int) -> np.ndarray:
        Q = vectors(8, count, self.dim)
        Q[: count // 2] += 2 * vectors(5, 12, self.dim)[np.arange(count // 2) % 12]
        return core.unit_rows(Q)[0] if self.metric == "cosine" else Q


# metric, coordinates of 8 bits, dim, stored vectors
CASES = [
    ("l2", 61, 61, None),
    ("l2", 0, 64, "int8"),
    ("l2", 32, 100, None),
    ("cosine", 48, 48, "f16"),
    ("cosine", 0, 130, None),
    ("ip", 40, 40, None),
    ("ip", 16, 60, "bf16"),
]
SEARCHES = [  # k, effort, most, window, threads, share of the filter
    (10, 1.2, 200, 30, 1, None),
    (1, 1.0, 20, 1, 3, None),
    (100, 1.5, 600, 100, 1, None),
    (10, 1.05, 3, 5, 1, None),
    (10, 1.3, 100, 40, 2, 0.8),
    (10, 1.1, 20, 10, 1, 0.01),
]


@lru_cache
def made(metric: str, wide: int, dim: int, store: str | None) -> Compact:
    return Compact(metric, wide, dim, 1200, store)


@pytest.mark.parametrize("case", [("l2", 61, 61, None), ("cosine", 48, 48, "f16")], ids=["codes", "stored"])
def test_both_walk_through_hidden_vertices_and_return_none(case: Any) -> None:
    graph, hidden = made(*case), 500
    ours, theirs = (graph.bound(module, graph.n, hidden) for module in (twin, core))
    Q, shown = graph.queries(40), graph.n - hidden
    bits = np.packbits(np.arange(shown) % 3 > 0, bitorder="little")
    for matches, bitmap_of in ((0, None), (460, bits), (3, bits)):
        call = Q, 10, 1.4, 200, 30, *EVEN, 1, bitmap_of, matches
        found, expected = ours.search(*call), theirs.search(*call)
        assert (found[0] == expected[0]).mean() > 0.99
        assert np.isin(found[0], [-1, *graph.ids[:shown]]).all() and (found[0] >= 0).mean() > 0.9


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_walks_agree_in_answers_and_in_what_they_visit(case: Any) -> None:
    graph = made(*case)
    ours, theirs = graph.bound(twin), graph.bound(core)
    assert ours.row_bytes == theirs.row_bytes
    assert ours.consistent()
    Q = graph.queries(31)
    for k, effort, most, window, threads, share in SEARCHES:
        before, bits, matches = (ours.counters(), theirs.counters()), None, 0
        if share is not None:
            mask = np.random.default_rng(1).random(graph.n) < share
            bits, matches = np.packbits(mask, bitorder="little"), int(mask.sum())
        call = Q, k, effort, most, window, *EVEN, threads, bits, matches
        found, expected = ours.search(*call), theirs.search(*call)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-4)
        assert (found[0] == expected[0]).mean() > 0.99
        for name, should in theirs.counters().items():
            did = ours.counters()[name] - before[0][name]
            assert abs(did - (should - before[1][name])) <= 3 + 0.002 * should, (name, call[1:6])
    assert theirs.counters()["visited"] > 31 * 40
    if graph.metric != "cosine":  # there a ready query is scaled once more
        one = ours.search(Q[0], 10, 1.2, 200, 20, *EVEN, 1, None, 0)
        np.testing.assert_array_equal(ours.try_search(Q[0], 10, 1.2, 200, 20, *EVEN), one)
    assert ours.try_search(Q[0].astype(np.float64), 10, 1.2, 200, 20, *EVEN) is None


@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: "-".join(map(str, case)))
def test_both_give_far_queries_more(case: Any) -> None:
    graph = made(*case)
    Q, scans = graph.queries(60), (graph.bound(twin), graph.bound(core))
    alike = scans[1].search(Q, 10, 1.0, 8, 30, *EVEN, 1, None, 0)
    before = scans[1].counters()["visited"]
    usual = float(np.median(np.abs(alike[1][:, -1])))
    for steepness, slack in ((2.0, 0.0), (30.0, 0.1)):
        start = [scan.counters()["visited"] for scan in scans]
        found = [scan.search(Q, 10, 1.0, 8, 30, usual, steepness, slack, 1, None, 0) for scan in scans]
        did, should = (scan.counters()["visited"] - first for scan, first in zip(scans, start))
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5, atol=1e-4)
        assert abs(did - should) <= 3 + 0.002 * should
        assert before < should <= 8 * 8 * len(Q)
    none = scans[1].search(Q, 10, 1.0, 8, 30, 1e9, 5.0, 0.1, 1, None, 0)
    np.testing.assert_array_equal(none[0], alike[0])


@pytest.mark.parametrize("module", [core, twin], ids=["core", "twin"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_distances_are_those_of_what_codes_or_stored_vectors_stand_for(case: Any, module: Any) -> None:
    graph = made(*case)
    Q = graph.queries(9)
    found, distances = graph.bound(module).search(Q, graph.n, 1e9, graph.n, graph.n, *EVEN, 1, None, 0)
    slots = np.argsort(graph.ids)[np.searchsorted(np.sort(graph.ids), found)]
    value = oracle.values(graph.store, graph.factors, graph.dtype) if graph.store is not None else None
    for row, query in enumerate(Q):
        if value is not None:
            expected, off = oracle.distances(graph.metric, query[None], value[slots[row]])[0], 3e-3
        else:
            # Under ip in a walk for a query 4 times as long as the longest vector.
            longer = 4 * np.sqrt(graph.reach2) / np.linalg.norm(query) if graph.metric == "ip" else 1
            mean = graph.mean / longer
            X, q, coded = graph.X[slots[row]] - graph.mean, query - mean, graph.coded[slots[row]] + 0.01
            expected = (X**2).sum(axis=1) - 2 * coded @ q + (q**2).sum()
            if graph.metric != "l2":
                expected = expected / 2 if graph.metric == "cosine" else -(coded @ q) - X @ mean - query @ graph.mean
            # The rounding of the query, to 8 bits beside codes of 4; under ip of a longer one, for less is taken off.
            fine = 2e-3 if graph.metric == "ip" else 1e-3
            off = fine if graph.wide == graph.dim else 0.02 * np.abs(expected).mean() + 0.05
            expected = expected if graph.metric == "ip" else np.maximum(expected, 0)
        np.testing.assert_allclose(distances[row], expected, rtol=2e-3, atol=off)


DAMAGES: dict[str, Callable[[Compact], Any]] = {
    "neighbour beyond the rows": lambda g: g.lists().__setitem__((7, 3), g.n),
    "last of the neighbours beyond the rows": lambda g: g.lists().__setitem__((-1, -1), 2**32 - 1),
    "entry beyond the rows": lambda g: g.entries.__setitem__(0, g.n),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen_by_both(damage: str) -> None:
    graph = Compact("l2", 20, 20, 100, None)
    scans = [graph.bound(module) for module in (twin, core)]
    assert all(scan.consistent() for scan in scans)
    DAMAGES[damage](graph)
    entries, n = graph.entries, graph.n
    for scan in scans:
        scan.bind(graph.ids, graph.rows, entries, None, 0.0, "f32", None, None, n)
        assert not scan.consistent()


@pytest.mark.parametrize(("metric", "wide", "store"), [("l2", 48, None), ("cosine", 0, "f16"), ("ip", 48, None)])
def test_both_mend_graphs_as_well(metric: str, wide: int, store: str | None) -> None:
    """Vertices that join are found, a forgotten one is nobody's neighbour, and recall is the same by either."""
    recalls = []
    for module in (twin, core):
        graph = Compact(metric, wide, 48, 900, store)
        graph.lists()[800:] = 0
        graph.lists()[:800][graph.lists()[:800] >= 800] = 0
        for first in range(800, 900, 20):
            builder = module.GraphCompactBuilder(graph.bound(module, first + 20), graph.rows, 1.0, 2)
            builder.insert(first, graph.X[first : first + 20], 32, 1.3, 200)
        scan = graph.bound(module)
        builder = module.GraphCompactBuilder(scan, graph.rows, 1.0, 1)
        assert len(builder.unreached()) <= 3 and scan.consistent()
        dead = np.random.default_rng(2).random(900) < 0.2
        builder.forget(np.packbits(dead, bitorder="little"))
        assert not dead[graph.lists()[~dead]].any()
        live = np.flatnonzero(~dead)
        graph.entries = live[::40].astype(np.uint32)
        Q = graph.queries(200)
        found = graph.bound(core).search(Q, 10, 1.1, 60, 30, *EVEN, 1, None, 0)[0]
        truth = oracle.nearest(oracle.distances(metric, Q, graph.X[live]), graph.ids[live], 10)[0]
        recalls.append(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth)]))
        renamed = np.arange(900, dtype=np.uint32)[::-1].copy()
        before = graph.lists().copy()
        builder.rename(renamed, 900)
        assert (graph.lists() == renamed[before]).all()
    assert abs(recalls[0] - recalls[1]) < 0.02 and min(recalls) > 0.75


BAD_CALLS: dict[str, Callable[[Any, Compact, Any], Any]] = {
    "no dims": lambda m, g, s: m.GraphCompactScan("l2", m.Matrix(*[np.eye(16, dtype=np.float32)] * 3), 0, 0, 32),
    "half a group": lambda m, g, s: m.GraphCompactScan("l2", m.Matrix(*[np.eye(16, dtype=np.float32)] * 3), 0, 32, 32),
    "no degree": lambda m, g, s: m.GraphCompactScan("l2", m.Matrix(*[np.eye(16, dtype=np.float32)] * 3), 16, 0, 0),
    "short coding": lambda m, g, s: s.bind_coding(g.source[1:], g.step, g.offset, g.mean),
    "coordinates beyond the transform": lambda m, g, s: s.bind_coding(g.source + 32, g.step, g.offset, g.mean),
    "mean of another dimension": lambda m, g, s: s.bind_coding(g.source, g.step, g.offset, g.mean[1:]),
    "more vertices than rows": lambda m, g, s: g.bound(m, g.n + 1),
    "queries of another dimension": lambda m, g, s: s.search(vectors(0, 2, 3), 1, 1.0, 9, 1, *EVEN, 1, None, 0),
    "no results": lambda m, g, s: s.search(g.queries(2), 0, 1.0, 9, 1, *EVEN, 1, None, 0),
    "no visits": lambda m, g, s: s.search(g.queries(2), 1, 1.0, 0, 1, *EVEN, 1, None, 0),
    "short filter": lambda m, g, s: s.search(g.queries(2), 1, 1.0, 9, 1, *EVEN, 1, np.zeros(3, np.uint8), 5),
    "rows of another graph": lambda m, g, s: m.GraphCompactBuilder(s, g.rows.copy(), 1.0, 1),
    "vertices beyond the rows": lambda m, g, s: m.GraphCompactBuilder(s, g.rows, 1.0, 1).insert(
        30, g.X[:11], 9, 1.0, 9
    ),
    "short bitmap": lambda m, g, s: m.GraphCompactBuilder(s, g.rows, 1.0, 1).forget(np.zeros(4, np.uint8)),
    "names of some": lambda m, g, s: m.GraphCompactBuilder(s, g.rows, 1.0, 1).rename(np.zeros(39, np.uint32), 30),
}


@pytest.mark.parametrize("name", BAD_CALLS)
@pytest.mark.parametrize("module", [core, twin], ids=["core", "twin"])
def test_calls_that_do_not_fit_are_refused(module: Any, name: str) -> None:
    graph = Compact("l2", 20, 20, 40, None)
    scan = graph.bound(module)
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        BAD_CALLS[name](module, graph, scan)
