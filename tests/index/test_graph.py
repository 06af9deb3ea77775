"""Graph against brute force: real embeddings, every kind of row, code and degree, filters, small and odd indexes.

What a graph answers is approximate; what it says of a vector is not. `honest` checks what holds for every answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import wordnet

import vsearch as vs

ALL = 1e9  # an effort that ends when nothing is left to visit


def truth(metric: str, Q: np.ndarray, X: np.ndarray, k: int) -> np.ndarray:
    if metric == "cosine":
        Q, X = oracle.unit(Q), oracle.unit(X)
    Q, X = np.asarray(Q, np.float64), np.asarray(X, np.float64)
    distances = (X**2).sum(axis=1) - 2 * Q @ X.T if metric == "l2" else -Q @ X.T
    return oracle.nearest(distances, np.arange(len(X)), k)[0]


def honest(answer: tuple[np.ndarray, np.ndarray], metric: str, Q: np.ndarray, X: np.ndarray, off: float = 1e-5) -> None:
    """Ids once each, nearest first, with the distances of their vectors; X in the order of the ids 0 .. n-1."""
    found, distances = answer
    assert found.dtype == np.int64 and distances.dtype == np.float32 and found.shape == distances.shape
    if metric == "cosine":
        Q, X = oracle.unit(Q), oracle.unit(X)
    for row, (ids, values) in enumerate(zip(found, distances)):
        known = ids >= 0
        assert (known[:-1] >= known[1:]).all() and np.isinf(values[~known]).all()
        ids, values = ids[known], values[known]
        assert len(set(ids.tolist())) == len(ids) and (np.diff(values) >= 0).all()
        exact = oracle.distances(metric, Q[row : row + 1], X[ids])[0]
        assert np.abs(values - exact).max(initial=0) <= off * max(1.0, np.abs(exact).max(initial=0))


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 1.5 * np.random.default_rng(99).standard_normal((12, d))
    return (centres[np.arange(n) % 12] + rng.standard_normal((n, d))).astype(np.float32)


# ---------------------------------------------------------------------------------------------------- real embeddings


@pytest.fixture(scope="module")
def real() -> vs.Graph:
    data = wordnet.load()
    return vs.Graph("cosine").fit(data.X, queries=data.Q[:250])


@pytest.mark.slow
def test_recall_rises_with_effort(real: vs.Graph) -> None:
    """Floors as recall was when they were set, less 0.02 for other seeds."""
    data = wordnet.load()
    efforts = (10, 20, 40, 80, 160, 320, 640)
    reached = [wordnet.recall(real.search(data.Q, 10, effort=effort)[0], data.neighbours) for effort in efforts]
    assert all(r > floor for r, floor in zip(reached, (0.49, 0.69, 0.80, 0.915, 0.975, 0.99, 0.995)))
    assert (np.diff(reached) > -0.002).all()


def test_recall_targets_are_met_on_queries_never_seen(real: vs.Graph) -> None:
    data = wordnet.load()
    unseen, true = data.Q[250:], data.neighbours[250:]
    for target in (0.8, 0.9, 0.95, 0.99):
        reached = wordnet.recall(real.search(unseen, 10, recall=target)[0], true)
        assert target - 0.02 <= reached <= target + 0.05
    assert wordnet.recall(real.search(unseen, 1, recall=0.95)[0], true[:, :1]) > 0.92


@pytest.mark.parametrize("k", [1, 10, 100])
def test_answers_are_honest_for_any_k(real: vs.Graph, k: int) -> None:
    data = wordnet.load()
    Q = data.Q[:60]
    found = real.search(Q, k, effort=300)
    honest(found, "cosine", Q, data.X, 2e-3)
    true = np.argsort(-(oracle.unit(Q) @ oracle.unit(data.X).T), axis=1)[:, :k]
    assert wordnet.recall(found[0], true) > (0.88 if k == 1 else 0.975)  # a walk for one ends early
    for row in (0, 33):  # one query has a way of its own
        one = real.search(Q[row], k, effort=300)
        assert np.array_equal(one[0], found[0][row]) and np.array_equal(one[1], found[1][row])


def test_vectors_find_themselves(real: vs.Graph) -> None:
    data = wordnet.load()
    own = np.arange(0, 10_000, 10)
    found, distances = real.search(data.X[own], 1, effort=100)
    assert (found[:, 0] == own).mean() > 0.99
    assert np.median(np.abs(distances)) < 1e-3


def test_filters_at_every_selectivity(real: vs.Graph) -> None:
    data = wordnet.load()
    rng = np.random.default_rng(3)
    Q = data.Q[:80]
    near = oracle.unit(Q) @ oracle.unit(data.X).T
    for matches in (0, 1, 5, 10, 60, 500, 2000, 4000, 7000, 9500, 10_000):
        mask = np.zeros(10_000, bool)
        mask[rng.permutation(10_000)[:matches]] = True
        expected = min(matches, 10)
        true = np.argsort(np.where(mask, -near, np.inf), axis=1)[:, :expected]
        for effort in (60, 250):
            found = real.search(Q, 10, effort=effort, filter=mask)
            honest(found, "cosine", Q, data.X, 2e-3)
            ids = found[0]
            assert ((ids >= 0).sum(axis=1) == expected).all() and mask[ids[ids >= 0]].all()
            assert expected == 0 or wordnet.recall(ids[:, :expected], true) > (0.97 if effort > 60 else 0.87)
    few = np.array([7, 77, 777])
    assert sorted(real.search(Q[0], 5, filter=few)[0].tolist()) == [-1, -1, *few]


@pytest.mark.parametrize(("metric", "floors"), [("l2", (0.80, 0.99)), ("ip", (0.63, 0.955))])
def test_recall_of_vectors_of_many_lengths(metric: str, floors: tuple[float, float]) -> None:
    data = wordnet.load()
    X = data.X[:3000] * np.random.default_rng(0).uniform(0.5, 2, (3000, 1)).astype(np.float32)
    Q = data.Q[:300]
    index = vs.Graph(metric).fit(X, queries=Q[:100], threads=1)
    true = truth(metric, Q, X, 10)
    for effort, floor in zip((40, 320), floors):
        found = index.search(Q, 10, effort=effort)
        honest(found, metric, Q, X, 2e-3)
        assert wordnet.recall(found[0], true) > floor
    reached = wordnet.recall(index.search(Q[100:], 10, recall=0.95)[0], true[100:])
    assert 0.92 < reached < 0.99


def test_vectors_that_wait_outside_calibrate_a_fit_without_queries() -> None:
    X, Q = clustered(2500, 24, 0), clustered(300, 24, 1)
    index = vs.Graph().fit(X, threads=1)
    assert index.calibration is not None and index.calibration.source == "held"
    assert np.array_equal(index.ids, np.arange(2500))
    honest(index.search(Q, 10, effort=50), "l2", Q, X, 2e-3)
    true = truth("l2", Q, X, 10)
    for target in (0.8, 0.95):
        reached = wordnet.recall(index.search(Q, 10, recall=target)[0], true)
        assert target - 0.04 <= reached <= target + 0.09
    efforts = [index.calibration.effort(10, recall) for recall in (0.5, 0.8, 0.95, 0.99)]
    assert efforts == sorted(efforts)


# -------------------------------------------------------------------------------------------------- every combination

OFF = {"f32": 1e-5, "f16": 2e-3, "bf16": 1e-2, "int8": 2e-2}


@pytest.mark.parametrize("refine", OFF)
@pytest.mark.parametrize("metric", oracle.METRICS)
def test_every_kind_of_rows(metric: str, refine: str) -> None:
    X, Q = clustered(800, 40, 0), clustered(60, 40, 1)
    index = vs.Graph(metric, refine=refine).fit(X, queries=Q[:20], threads=1)
    found = index.search(Q, 10, effort=300)
    honest(found, metric, Q, X, 3 * OFF[refine])
    assert wordnet.recall(found[0], truth(metric, Q, X, 10)) > {"int8": 0.93, "bf16": 0.95}.get(refine, 0.98)
    held = np.stack([index.vector(id) for id in range(50)])
    assert np.allclose(held, oracle.unit(X[:50]) if metric == "cosine" else X[:50], atol=3 * OFF[refine])
    if metric != "ip":  # the largest product need not be a vector's own
        assert (index.search(X, 1, effort=100)[0][:, 0] == np.arange(800)).mean() > 0.99


CODES: dict[str, Any] = {
    "rabitq dense": lambda: vs.RaBitQ(1, rotation="dense"),
    "pq": lambda: vs.PQ(20, 4),
    "lloydmax 1": lambda: vs.LloydMax(1),
    "osq 1": lambda: vs.OSQ(1),
    "osq 4": lambda: vs.OSQ(4),
    "lvq 4": lambda: vs.LVQ(4),
    "binary": lambda: vs.Binary("sign"),
}


@pytest.mark.parametrize("degree", [32, 64, 96, 128])
@pytest.mark.parametrize("codes", ["none", *CODES])
def test_every_kind_of_code_at_every_degree(codes: str, degree: int) -> None:
    if degree > (64 if codes in ("pq", "osq 4") else 32) and codes != "none":
        return
    X, Q = clustered(600, 40, 0), clustered(50, 40, 1)
    quantizer = CODES[codes]() if codes in CODES else None
    index = vs.Graph(quantizer=quantizer, degree=degree, refine="f32").fit(X, queries=Q[:10], threads=1)
    found = index.search(Q, 10, effort=200)
    honest(found, "l2", Q, X)
    assert wordnet.recall(found[0], truth("l2", Q, X, 10)) > 0.97
    assert f"degree={degree}" in repr(index)


@pytest.mark.parametrize(
    "quantizer",
    [vs.RaBitQ(2), vs.RaBitQ(4), vs.PQ(8, 8), vs.OSQ(5), vs.LVQ(4, 4), vs.LloydMax(5)],
    ids=repr,
)
def test_codes_of_more_than_symbols_are_refused(quantizer: vs.Quantizer) -> None:
    X = clustered(400, 16, 0)
    index = vs.Graph(quantizer=quantizer)
    text = r"`quantizer` must have all of its code in 4-bit symbols, as vs\.RaBitQ\(bits=1\) or vs\.PQ\(m, bits=4\);"
    with pytest.raises(vs.ParameterError, match=text):
        index.fit(X)
    assert len(index) == 0 and index.dim is None


def test_the_same_seed_gives_the_same_graph() -> None:
    X, new = clustered(900, 16, 0), clustered(60, 16, 1)
    made = []
    for seed, threads in ((0, 1), (0, 2), (1, 1)):
        index = vs.Graph(seed=seed).fit(X, threads=threads)
        index.add(new, threads=threads)
        index.remove(np.arange(0, 300, 4))
        made.append({name: array.tobytes() for name, array in index._state()[1].items()})
    assert made[0] == made[1]
    assert made[0]["rows"] != made[2]["rows"]


@pytest.mark.parametrize("layout", ["fast", "compact"])
@pytest.mark.parametrize("queries", [None, 20])
def test_near_vertices_are_close_in_memory(layout: str, queries: int | None) -> None:
    X = clustered(3000, 16, 0)  # neighbours in the order they are given in are of twelve groups
    index = vs.Graph(layout=layout).fit(X, queries=None if queries is None else X[:queries])
    group = index._fitted().ids_by_slot % 12
    assert (group[1:] == group[:-1]).mean() > 0.8


def test_sizes_and_counters() -> None:
    X = clustered(1000, 32, 0)
    index = vs.Graph(refine="f16").fit(X, queries=X[:20], threads=1)
    # Vector, 32 codes of 32 bits, two factors of 16 bits and a slot for each; and an id, entries and rotation shared.
    row = 32 * 2 + 32 * (4 + 4 + 4)
    assert row <= index.bytes_per_vector < row + 8 + 10
    before = index.counters()
    index.search(X[:50], 5, effort=30)
    after = index.counters()
    assert 50 < after["visited"] - before["visited"] <= 50 * 30 and after["entered"] > before["entered"]
    assert vs.Graph().counters() == {"visited": 0, "entered": 0}
    assert "1,000 vectors of 32 dimensions" in repr(index) and "not fitted" in repr(vs.Graph())


# -------------------------------------------------------------------------------------------------------- odd indexes


@pytest.mark.parametrize("metric", oracle.METRICS)
def test_every_small_number_of_vectors(metric: str, tmp_path: Path) -> None:
    sizes = range(1, 101) if metric == "l2" else (1, 2, 3, 8, 31, 32, 33, 64, 65, 100)
    for n in sizes:
        X, Q = clustered(n, 6, n), clustered(4, 6, 1000 + n)
        index = vs.Graph(metric, refine="f32").fit(X, threads=1)
        found = index.search(Q, n, effort=ALL)
        assert np.array_equal(np.sort(found[0], axis=1), np.tile(np.arange(n), (4, 1))), n
        for k in (1, n + 1, 130):
            found = index.search(Q, k, effort=ALL)
            honest(found, metric, Q, X)
            assert ((found[0] >= 0).sum(axis=1) == min(k, n)).all(), n
            assert index.search(Q, k)[0].shape == (4, k) and index.search(Q[0], k, recall=1.0)[0].shape == (k,)
        if n in (1, 33):
            index.save(tmp_path / "small.vsx")
            again = vs.load(tmp_path / "small.vsx").search(Q, 130, effort=ALL)
            assert np.array_equal(again[0], found[0]) and np.array_equal(again[1], found[1])


def test_of_equal_vectors_as_many_are_found_as_are_wanted() -> None:
    """Each knows 32 others like it and nobody else, so that a walk has to begin again and again."""
    X = np.tile(clustered(1, 16, 0), (600, 1))
    index = vs.Graph(refine="f32").fit(X, queries=X[:5], threads=1)
    for k, effort in ((10, 60), (100, 60), (100, 200), (300, 600)):
        found = index.search(X[:4], k, effort=effort)
        honest(found, "l2", X[:4], X)
        assert (found[0] >= 0).all(), (k, effort)


@pytest.mark.parametrize(
    ("metric", "kind"), [("l2", "integers"), ("l2", "line"), ("cosine", "normal"), ("ip", "normal")]
)
def test_no_vertex_has_a_neighbour_twice(metric: str, kind: str) -> None:
    """Distances of one pair differ in their last bits by where they come from; lanes for doubles would be lost."""
    rng = np.random.default_rng(0)
    X = {
        "integers": rng.integers(0, 5, (1500, 6)),
        "line": np.arange(-700, 800)[:, None],
        "normal": rng.standard_normal((1500, 24)),
    }[kind].astype(np.float32)
    index = vs.Graph(metric).fit(X, threads=1)

    def doubles() -> int:
        core = index._core
        lists = np.sort(core._neighbours(np.arange(core.n)), axis=1)
        own = lists == np.arange(core.n)[:, None]  # a lane without a neighbour
        return int(((lists[:, 1:] == lists[:, :-1]) & ~own[:, 1:]).sum())

    assert doubles() == 0
    index.add(X[:200] + np.float32(0.5))
    assert doubles() == 0
    index.remove(np.arange(0, 1500, 4))
    assert doubles() == 0


def test_one_dimension() -> None:
    X = np.arange(-150, 150, dtype=np.float32)[:, None]
    found, distances = vs.Graph(refine="f32").fit(X, threads=1).search(X[::7], 3, effort=ALL)
    assert np.array_equal(found[:, 0], np.arange(300)[::7])
    assert (distances[:, 0] == 0).all() and (distances[1:-1, 1:] == 1).all()


@pytest.mark.parametrize("metric", oracle.METRICS)
def test_duplicates_are_found_at_one_distance(metric: str) -> None:
    kinds = clustered(30, 12, 0)
    X = np.repeat(kinds, 40, axis=0)
    index = vs.Graph(metric, refine="f32").fit(X, queries=kinds, threads=1)
    found = index.search(kinds, 20, effort=200)
    honest(found, metric, kinds, X)
    if metric != "ip":
        assert (found[0] // 40 == np.arange(30)[:, None]).mean() > 0.95


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e15])
@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.filterwarnings("ignore:(overflow|invalid|divide by zero):RuntimeWarning")
def test_vectors_at_the_ends_of_float32(metric: str, scale: float) -> None:
    """Squares vanish, factors of codes overflow; answers may be poor then, and must still be ids of the index."""
    X = np.clip(clustered(200, 9, 0), -5, 5) * np.float32(scale)
    index = vs.Graph(metric, refine="f32").fit(X, threads=1)
    index.add(X[:20] * 0.5)
    index.remove(np.arange(30))
    for Q in (X[:5], np.ones((5, 9), np.float32)):
        found, distances = index.search(Q, 7, effort=100)
        assert np.isin(found, [-1, *range(30, 220)]).all() and not np.isnan(distances).any()
