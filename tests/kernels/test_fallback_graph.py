"""Graphs on the Numba twin and on the compiled core: the same walks over the same rows, and graphs that are as good.

Distances differ in the order of their sums and nothing else, so ids may differ where distances tie within rounding, and
counts where a candidate is as far as the limit within rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from fallback_graph import Graph
from fallback_lists import vectors

core = pytest.importorskip("vsearch._core")
pytest.importorskip("numba")
from vsearch.kernels import fallback as twin  # noqa: E402


def bitmap(n: int, share: float) -> tuple[np.ndarray, int]:
    mask = np.random.default_rng(n).random(n) < share
    return np.packbits(mask, bitorder="little"), int(mask.sum())


def same(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray], tolerance: float) -> None:
    """The same distances to rounding, and the same ids but where neighbours in the answer are as near as that."""
    (ids, distances), (true_ids, true_distances) = found, expected
    assert (ids.dtype, distances.dtype, ids.shape) == (np.int64, np.float32, true_ids.shape)
    np.testing.assert_allclose(distances, true_distances, rtol=1e-5, atol=tolerance)
    for row, column in zip(*np.nonzero(np.atleast_2d(ids != true_ids))):
        values = np.atleast_2d(true_distances)[row].astype(np.float64)
        beside = values[max(0, column - 1) : column + 2]
        assert np.diff(beside).min() <= 4 * tolerance + 1e-5 * abs(values[column]) or column == len(values) - 1


# metric, dtype, degree, codec (None: 1-bit RaBitQ of any dimension), dim, entry vertices
CASES = [
    ("l2", "f32", 32, None, 61, 256),
    ("l2", "int8", 64, None, 100, 32),
    ("l2", "bf16", 32, "interval-4", 64, 256),  # three columns of factors
    ("l2", "f16", 32, "lloyd-max-1", 61, 64),
    ("cosine", "f16", 64, None, 33, 256),
    ("cosine", "int8", 32, None, 64, 40),
    ("cosine", "f32", 32, "pq-4", 45, 256),
    ("ip", "bf16", 32, None, 60, 256),
    ("ip", "f32", 64, "interval-4", 63, 20),
    ("ip", "int8", 32, None, 47, 256),
]
SEARCHES = [  # k, effort, most, threads, share of the filter
    (10, 1.2, 200, 1, None),
    (1, 1.0, 20, 3, None),
    (100, 1.5, 600, 1, None),
    (10, 1.05, 3, 1, None),
    (10, 1.3, 100, 2, 0.8),
    (10, 1.1, 20, 1, 0.01),
]


@lru_cache
def built(metric: str, dtype: str, degree: int, codec: str | None, dim: int, entries: int) -> Graph:
    return Graph(metric, dtype, degree, 1500, dim, codec, entries).build(core)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case[:4])))
def test_walks_agree_in_answers_and_in_what_they_visit(case: Any) -> None:
    graph = built(*case)
    ours, theirs = graph.bound(twin), graph.bound(core)
    assert (ours.row_bytes, ours.block_bytes) == (theirs.row_bytes, theirs.block_bytes)
    assert ours.consistent()
    Q, tolerance = graph.queries(31), 2e-6 * (graph.dim + 8)
    for k, effort, most, threads, share in SEARCHES:
        before = ours.counters(), theirs.counters()
        bits, matches = (None, 0) if share is None else bitmap(graph.n, share)
        call = Q, k, effort, most, threads, bits, matches
        same(ours.search(*call), theirs.search(*call), tolerance)
        for name, should in theirs.counters().items():
            did = ours.counters()[name] - before[0][name]
            assert abs(did - (should - before[1][name])) <= 3 + 0.002 * should, (name, call[1:5])
    assert theirs.counters()["visited"] > 31 * 40
    one = ours.search(Q[0], 10, 1.2, 200, 1, None, 0)
    same(one, tuple(part[0] for part in ours.search(Q[:1], 10, 1.2, 200, 1, None, 0)), 0)  # type: ignore[arg-type]
    if graph.metric != "cosine":  # there a ready query is scaled once more
        np.testing.assert_array_equal(ours.try_search(Q[0], 10, 1.2, 200), one)
    assert ours.try_search(Q[0].astype(np.float64), 10, 1.2, 200) is None
    assert ours.try_search(Q[0], 0, 1.2, 200) is None


def test_every_vertex_finds_itself_and_a_filter_is_kept() -> None:
    graph = built(*CASES[0])
    scan, X = graph.bound(twin), graph.X[::7].astype(np.float32)
    assert (scan.search(X, 1, 1.2, 200, 2, None, 0)[0][:, 0] == graph.ids[::7]).mean() > 0.99
    for share in (0.6, 0.1, 0.004, 0.0):
        bits, matches = bitmap(graph.n, share)
        allowed = set(graph.ids[np.unpackbits(bits, bitorder="little")[: graph.n] > 0])
        ids = scan.search(X, 10, 1.2, 100, 1, bits, matches)[0]
        assert set(ids[ids >= 0]) <= allowed
        assert (ids >= 0).sum() == len(X) * min(10, matches)


def test_small_and_empty_graphs() -> None:
    for n in (1, 2, 31, 33, 70):
        graph = Graph("l2", "f32", 32, n, 20).build(core)
        call = graph.queries(5), 7, 1.5, 100, 1, None, 0
        same(graph.bound(twin).search(*call), graph.bound(core).search(*call), 1e-4)
    graph = Graph("l2", "f32", 32, 3, 20)
    ids, distances = graph.bound(twin).search(graph.queries(2), 4, 1.5, 100, 1, None, 0)  # no entry vertices
    assert ids.tolist() == [[-1] * 4] * 2
    assert np.isinf(distances).all()


DAMAGES: dict[str, Callable[[Graph], None]] = {
    "neighbour beyond the rows": lambda g: g.rows.view(np.uint32).__setitem__((7, -32), g.n),
    "first of the neighbours beyond the rows": lambda g: g.rows.view(np.uint32).__setitem__((-1, -1), 2**32 - 1),
    "entry beyond the rows": lambda g: g.blocks.view(np.uint32).__setitem__((0, -32), g.n),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen_by_both(damage: str) -> None:
    graph = Graph("l2", "f32", 32, 100, 20).build(core)
    assert graph.bound(twin).consistent()
    assert graph.bound(core).consistent()
    DAMAGES[damage](graph)
    assert not graph.bound(twin).consistent()
    assert not graph.bound(core).consistent()


BAD_CALLS: dict[str, Callable[[Any, Graph, Any], Any]] = {
    "degree of no block": lambda m, g, s: m.GraphScan("l2", g.transform(m), g.make(m), "f32", 40),
    "degree of nothing": lambda m, g, s: m.GraphScan("l2", g.transform(m), g.make(m), "f32", 0),
    "dtype": lambda m, g, s: m.GraphScan("l2", g.transform(m), g.make(m), "f64", 32),
    "metric": lambda m, g, s: m.GraphScan("l3", g.transform(m), g.make(m), "f32", 32),
    "codec of another dimension": lambda m, g, s: m.GraphScan("l2", g.transform(m), m.RabitqCodec(64, 1), "f32", 32),
    "mean of another dimension": lambda m, g, s: s.bind_mean(g.mean[:-1]),
    "more vertices than rows": lambda m, g, s: g.bind(s, g.n + 1),
    "queries of another dimension": lambda m, g, s: s.search(vectors(0, 2, 3), 1, 1.0, 9, 1, None, 0),
    "no results": lambda m, g, s: s.search(g.queries(2), 0, 1.0, 9, 1, None, 0),
    "no visits": lambda m, g, s: s.search(g.queries(2), 1, 1.0, 0, 1, None, 0),
    "short filter": lambda m, g, s: s.search(g.queries(2), 1, 1.0, 9, 1, np.zeros(3, np.uint8), 5),
}


@pytest.mark.parametrize("name", BAD_CALLS)
@pytest.mark.parametrize("module", [core, twin], ids=["core", "twin"])
def test_calls_that_do_not_fit_are_refused(module: Any, name: str) -> None:
    graph = Graph("l2", "f32", 32, 40, 20)
    scan = graph.bound(module)
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        BAD_CALLS[name](module, graph, scan)
