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

EVEN = (1.0, 0.0, 0.0)  # a pace at which all queries are alike
Found = tuple[np.ndarray, np.ndarray]


def bitmap(n: int, share: float) -> tuple[np.ndarray, int]:
    mask = np.random.default_rng(n).random(n) < share
    return np.packbits(mask, bitorder="little"), int(mask.sum())


def same(found: Found, expected: Found, tolerance: float) -> None:
    """The same distances to rounding, and the same ids but where neighbours in the answer are as near as that."""
    (ids, distances), (true_ids, true_distances) = found, expected
    assert ids.dtype == np.int64
    assert distances.dtype == np.float32
    assert ids.shape == true_ids.shape
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
        call = Q, k, effort, most, *EVEN, threads, bits, matches
        same(ours.search(*call), theirs.search(*call), tolerance)
        for name, should in theirs.counters().items():
            did = ours.counters()[name] - before[0][name]
            assert abs(did - (should - before[1][name])) <= 3 + 0.002 * should, (name, call[1:5])
    assert theirs.counters()["visited"] > 31 * 40
    one = ours.search(Q[0], 10, 1.2, 200, *EVEN, 1, None, 0)
    ids, distances = ours.search(Q[:1], 10, 1.2, 200, *EVEN, 1, None, 0)
    same(one, (ids[0], distances[0]), 0)
    if graph.metric != "cosine":  # there a ready query is scaled once more
        np.testing.assert_array_equal(ours.try_search(Q[0], 10, 1.2, 200, *EVEN), one)
    assert ours.try_search(Q[0].astype(np.float64), 10, 1.2, 200, *EVEN) is None
    assert ours.try_search(Q[0], 0, 1.2, 200, *EVEN) is None


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_both_walk_through_hidden_vertices_and_return_none(metric: str) -> None:
    graph, hidden = built(metric, "f32", 32, None, 40, 256), 600
    ours, theirs = (graph.bind(graph.scan(module), graph.n, hidden) for module in (twin, core))
    Q, shown = graph.queries(40), np.arange(graph.n) < graph.n - hidden
    bits = np.packbits(shown[: graph.n - hidden] & (np.arange(graph.n - hidden) % 3 > 0), bitorder="little")
    for matches, bitmap_of in ((0, None), (600, bits), (3, bits)):
        call = Q, 10, 1.4, 200, *EVEN, 1, bitmap_of, matches
        found = ours.search(*call)
        same(found, theirs.search(*call), 1e-4)
        assert not np.isin(found[0], graph.ids[~shown]).any()
        if bitmap_of is None:
            usual = graph.recall(graph.bound(core).search(*call)[0], Q)
            assert graph.recall(found[0], Q, shown) >= usual - 0.02 > 0.9
    for scan in (ours, theirs):
        with pytest.raises(ValueError, match="hidden"):
            graph.bind(scan, 10, 11)


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_both_give_far_queries_more(metric: str) -> None:
    graph = built(metric, "f32", 32, None, 40, 256)
    Q, scans = graph.queries(60), (graph.bound(twin), graph.bound(core))
    plain = [scan.search(Q, 10, 1.1, 30, *EVEN, 1, None, 0) for scan in scans]
    visits = alike = [scan.counters()["visited"] for scan in scans]
    usual = float(np.median(np.abs(plain[1][1][:, -1]))) * (1 if metric == "l2" else 2 if metric == "cosine" else 20)
    for steepness, slack in ((3.0, 0.0), (1.0, 0.1), (40.0, 0.05)):
        call = Q, 10, 1.1, 30, usual, steepness, slack, 1, None, 0
        found = [scan.search(*call) for scan in scans]
        same(found[0], found[1], 1e-4)
        now = [scan.counters()["visited"] for scan in scans]
        grown = [after - before for after, before in zip(now, visits)]
        visits = now
        assert abs(grown[0] - grown[1]) <= 3 + 0.002 * grown[1]
        assert alike[1] < grown[1] <= 8 * 30 * len(Q)
    for scan, even in zip(scans, plain):  # where none is far, all is as it was
        none = scan.search(Q, 10, 1.1, 30, 1e9, 5.0, 0.1, 1, None, 0)
        np.testing.assert_array_equal(none[0], even[0])


def test_every_vertex_finds_itself_and_a_filter_is_kept() -> None:
    graph = built(*CASES[0])
    scan, X = graph.bound(twin), graph.X[::7].astype(np.float32)
    assert (scan.search(X, 1, 1.2, 200, *EVEN, 2, None, 0)[0][:, 0] == graph.ids[::7]).mean() > 0.99
    for share in (0.6, 0.1, 0.004, 0.0):
        bits, matches = bitmap(graph.n, share)
        allowed = set(graph.ids[np.unpackbits(bits, bitorder="little")[: graph.n] > 0])
        ids = scan.search(X, 10, 1.2, 100, *EVEN, 1, bits, matches)[0]
        assert set(ids[ids >= 0]) <= allowed
        assert (ids >= 0).sum() == len(X) * min(10, matches)


def test_small_and_empty_graphs() -> None:
    for n in (1, 2, 31, 33, 70):
        graph = Graph("l2", "f32", 32, n, 20).build(core)
        call = graph.queries(5), 7, 1.5, 100, *EVEN, 1, None, 0
        same(graph.bound(twin).search(*call), graph.bound(core).search(*call), 1e-4)
    graph = Graph("l2", "f32", 32, 3, 20)
    for module in (twin, core):  # without entry vertices no walk begins, and all are looked at
        ids, distances = graph.bound(module).search(graph.queries(2), 4, 1.5, 100, *EVEN, 1, None, 0)
        assert [sorted(row) for row in ids.tolist()] == [[-1, *sorted(graph.ids.tolist())]] * 2
        assert np.isfinite(distances[:, :3]).all()
        assert np.isinf(distances[:, 3]).all()


def test_equal_vectors_are_a_closed_group_for_both() -> None:
    """A walk that ends among equals goes on from further entries, and of equal candidates not all are forgotten."""
    graph = Graph("l2", "f32", 32, 1500, 33)
    for part in (slice(0, 700), slice(700, 900)):
        for values in (graph.X, graph.turned, graph.rows[:, : 33 * 4]):
            values[part] = values[part.start]
    graph.build(core)
    ours, theirs = graph.bound(twin), graph.bound(core)
    Q = np.vstack([graph.X[[0, 700, 950]], graph.queries(8)]).astype(np.float32)
    for k, effort, most in [(10, 1.0, 100), (50, 1.2, 60), (250, 2.0, 400), (3, 1.1, 1500)]:
        found, expected = (scan.search(Q, k, effort, most, *EVEN, 1, None, 0) for scan in (ours, theirs))
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-4)
        did, should = ours.counters(), theirs.counters()
        for name in should:
            assert abs(did[name] - should[name]) <= 3 + 0.002 * should[name], (name, k)


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
    "queries of another dimension": lambda m, g, s: s.search(vectors(0, 2, 3), 1, 1.0, 9, *EVEN, 1, None, 0),
    "no results": lambda m, g, s: s.search(g.queries(2), 0, 1.0, 9, *EVEN, 1, None, 0),
    "no visits": lambda m, g, s: s.search(g.queries(2), 1, 1.0, 0, *EVEN, 1, None, 0),
    "short filter": lambda m, g, s: s.search(g.queries(2), 1, 1.0, 9, *EVEN, 1, np.zeros(3, np.uint8), 5),
}


@pytest.mark.parametrize("name", BAD_CALLS)
@pytest.mark.parametrize("module", [core, twin], ids=["core", "twin"])
def test_calls_that_do_not_fit_are_refused(module: Any, name: str) -> None:
    graph = Graph("l2", "f32", 32, 40, 20)
    scan = graph.bound(module)
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        BAD_CALLS[name](module, graph, scan)


# ------------------------------------------------------------------------------------------------------------ builders


@pytest.mark.parametrize(
    ("metric", "dtype", "degree", "codec", "dim", "given"),
    [
        ("l2", "f32", 32, None, 61, True),
        ("l2", "f16", 32, "interval-4", 64, False),
        ("cosine", "int8", 64, None, 64, True),
        ("ip", "bf16", 32, None, 60, False),
    ],
)
def test_graphs_of_both_builders_are_as_good(
    metric: str, dtype: str, degree: int, codec: str | None, dim: int, given: bool
) -> None:
    graphs = [Graph(metric, dtype, degree, 2000, dim, codec).build(m, given=given, threads=2) for m in (twin, core)]
    Q, scans = graphs[0].queries(1000), [graph.bound(core) for graph in graphs]
    recalls = np.empty((2, 3))
    for column, (effort, most) in enumerate([(1.0, 50), (1.1, 100), (1.2, 300)]):
        for row, (graph, scan) in enumerate(zip(graphs, scans)):
            recalls[row, column] = graph.recall(scan.search(Q, 10, effort, most, *EVEN, 1, None, 0)[0], Q)
    assert (recalls[0] > recalls[1] - 0.01).all()
    assert scans[0].counters()["visited"] < 1.03 * scans[1].counters()["visited"]
    for graph in graphs:
        roots = [graph.builder(module, graph.bound(module)).unreached() for module in (twin, core)]
        np.testing.assert_array_equal(*roots)
        assert len(roots[0]) <= 3


@pytest.mark.parametrize("codec", [None, "interval-4"])
def test_the_same_vertices_get_the_same_rows(codec: str | None) -> None:
    """Neighbours and codes to the last bit but where rounding decides, factors to rounding."""
    graph = Graph("ip", "f16", 64, 1500, 63, codec)
    blocks = [graph.builder(m, graph.bound(m)).entries(graph.slots[:41]) for m in (twin, core)]
    same_blocks(blocks[0], blocks[1], graph)
    graph.build(core, 1450)
    before, rows = graph.rows.copy(), []
    for module in (twin, core):
        graph.rows[:] = before
        graph.builder(module, graph.bound(module)).insert(1450, 50, 16, 1.2, 100)
        rows.append(graph.rows.copy())
    ours, theirs, old = (neighbours(graph, part) for part in (*rows, before))
    changed = (theirs != old).any(axis=1)
    assert changed.sum() > 300
    equal = (ours == theirs).all(axis=1)
    assert equal[changed].mean() > 0.97
    wide = graph.bound(twin).block_bytes
    found, expected = (part[equal & changed][:, -2 * wide :].reshape(-1, wide) for part in rows)
    same_blocks(found, expected, graph)


def neighbours(graph: Graph, rows: np.ndarray) -> np.ndarray:
    """Slots (n, degree) as the rows hold them."""
    wide = graph.bound(core).block_bytes
    blocks = rows[:, -(graph.degree // 32) * wide :].reshape(len(rows), -1, wide)
    return np.ascontiguousarray(blocks[:, :, -128:]).view(np.uint32).reshape(len(rows), -1)


def same_blocks(found: np.ndarray, expected: np.ndarray, graph: Graph) -> None:
    symbols = graph.make(core).symbols
    np.testing.assert_array_equal(found[:, -128:], expected[:, -128:])
    assert (found[:, : 16 * symbols] != expected[:, : 16 * symbols]).mean() < 1e-3  # sums that round to another level
    ours, theirs = (
        np.ascontiguousarray(blocks[:, 16 * symbols : -128]).view(np.float16).astype(np.float32)
        for blocks in (found, expected)
    )
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3 * float(np.abs(theirs).mean()))


@pytest.mark.parametrize(("metric", "dtype"), [("l2", "f32"), ("ip", "f16"), ("cosine", "int8")])
def test_mended_graphs_keep_every_vertex_findable(metric: str, dtype: str) -> None:
    n, built_of = 1500, 1100
    graph = Graph(metric, dtype, 32, n, 40).build(twin, built_of)
    for first in range(built_of, n, 50):  # as an index adds: a batch does not see itself
        scan = graph.bind(graph.scan(twin), first + 50)
        graph.builder(twin, scan, threads=2, given=False).insert(first, 50, 16, 1.3, 150)
    everyone_is_found(graph, n)

    rng = np.random.default_rng(1)
    dead = rng.random(n) < 0.25
    scan = graph.bound(twin)
    graph.builder(twin, scan, given=False).forget(np.packbits(dead, bitorder="little"))
    assert not dead[neighbours(graph, graph.rows[~dead])].any()

    # Removing as an index does: the last ones move into the holes.
    left = int((~dead).sum())
    holes, moved = np.flatnonzero(dead[:left]), left + np.flatnonzero(~dead[left:])
    renamed = np.arange(n, dtype=np.uint32)
    renamed[moved] = holes
    for values in (graph.rows, graph.X, graph.ids, graph.lifts, graph.factors, graph.turned):
        if values is not None:
            values[holes] = values[moved]
    graph.builder(twin, scan, given=False).rename(renamed, left)
    graph.slots = np.arange(0, left, 5, dtype=np.uint32)
    graph.blocks, graph.count = graph.builder(twin, scan, given=False).entries(graph.slots), len(graph.slots)
    graph.X, graph.ids, graph.n = graph.X[:left], graph.ids[:left], left
    everyone_is_found(graph, left)


def everyone_is_found(graph: Graph, n: int) -> None:
    """By the twin and by the core, as the nearest to itself: under ip as the vector that is nearest to it there."""
    scans = [graph.bind(graph.scan(module), n) for module in (twin, core)]
    assert all(scan.consistent() for scan in scans)
    assert len(graph.builder(twin, scans[0]).unreached()) <= 3
    Q = graph.X[:n].astype(np.float32)
    ours, theirs = (scan.search(Q, 10, 1.3, 300, *EVEN, 1, None, 0) for scan in scans)
    same(ours, theirs, 1e-3)
    assert graph.recall(ours[0], Q) > (0.85 if graph.metric == "ip" else 0.97)  # vectors of almost one length are hard
    if graph.metric != "ip":
        assert (ours[0][:, 0] == graph.ids[:n]).mean() > 0.995


BAD_BUILDS: dict[str, Callable[[Any, Graph, Any, Any], Any]] = {
    "rows of another graph": lambda m, g, s, b: m.GraphBuilder(s, g.rows.copy(), None, None, 1.0, 1),
    "transformed of another dimension": lambda m, g, s, b: m.GraphBuilder(s, g.rows, None, g.turned[:, :16], 1.0, 1),
    "lists beyond the vertices": lambda m, g, s, b: b.write(0, g.n + 1),
    "lists from behind": lambda m, g, s, b: b.link_by_walks(3, 2, 10, 1.0, 10),
    "vertices beyond the rows": lambda m, g, s, b: b.insert(30, 11, 10, 1.0, 10),
    "no neighbours": lambda m, g, s, b: b.insert(30, 1, 0, 1.0, 10),
    "short bitmap": lambda m, g, s, b: b.forget(np.zeros(4, np.uint8)),
    "names of some": lambda m, g, s, b: b.rename(np.zeros(39, np.uint32), 30),
    "no entries": lambda m, g, s, b: b.entries(np.zeros(0, np.uint32)),
}


@pytest.mark.parametrize("name", BAD_BUILDS)
@pytest.mark.parametrize("module", [core, twin], ids=["core", "twin"])
def test_builds_that_do_not_fit_are_refused(module: Any, name: str) -> None:
    graph = Graph("l2", "f32", 32, 40, 20)
    scan = graph.bound(module)
    builder = graph.builder(module, scan)
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        BAD_BUILDS[name](module, graph, scan, builder)
