"""The compact graph: codes alone and codes with stored vectors, every quantizer that makes levels, changes, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import wordnet

import vsearch as vs

ALL = 1e9  # an effort that ends when nothing is left to visit


def compact(metric: str = "l2", **options: Any) -> vs.Graph:
    return vs.Graph(metric, layout="compact", **options)


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 1.5 * np.random.default_rng(99).standard_normal((12, d))
    return (centres[np.arange(n) % 12] + rng.standard_normal((n, d))).astype(np.float32)


def honest(answer: tuple[np.ndarray, np.ndarray], metric: str, Q: np.ndarray, X: np.ndarray, off: float) -> None:
    """Ids once each, nearest first, with distances that are off by so much of the largest at most."""
    for q, ids, values in zip(Q, *answer):
        known = ids >= 0
        assert (known[:-1] >= known[1:]).all() and np.isinf(values[~known]).all()
        ids, values = ids[known], values[known]
        assert len(set(ids.tolist())) == len(ids) and (np.diff(values) >= 0).all()
        pair = (oracle.unit(q[None]), oracle.unit(X[ids])) if metric == "cosine" else (q[None], X[ids])
        exact = oracle.distances(metric, *pair)[0]
        assert np.abs(values - exact).max(initial=0) <= off * max(1.0, np.abs(exact).max(initial=0))


def lost(index: Any) -> int:
    """Vertices that no way from the entries leads to."""
    held: Any = index._core
    near, todo = held._neighbours(np.arange(held.n)), np.unique(held._entry_slots())
    reached = np.zeros(held.n, bool)
    while len(todo):
        reached[todo] = True
        following = np.unique(near[todo])
        todo = following[~reached[following]]
    return int((~reached).sum())


# ---------------------------------------------------------------------------------------------------- real embeddings


@pytest.fixture(scope="module")
def real() -> vs.Graph:
    data = wordnet.load()
    return compact("cosine").fit(data.X, queries=data.Q[:250])


def test_recall_of_codes_alone_on_real_embeddings(real: vs.Graph) -> None:
    """Floors as recall was when they were set, less 0.02 for other seeds."""
    data = wordnet.load()
    for effort, floor in ((20, 0.70), (40, 0.85), (80, 0.935), (160, 0.965), (320, 0.97)):
        found = real.search(data.Q, 10, effort=effort)
        assert wordnet.recall(found[0], data.neighbours) > floor
    honest((found[0][:60], found[1][:60]), "cosine", data.Q[:60], data.X, 5e-3)
    for target in (0.8, 0.9, 0.95):
        reached = wordnet.recall(real.search(data.Q[250:], 10, recall=target)[0], data.neighbours[250:])
        assert target - 0.02 <= reached <= target + 0.05


def test_bytes_are_the_codes_and_the_neighbours(real: vs.Graph) -> None:
    learnt = sum(array.nbytes for array in real._core.quantizer.arrays.values())
    assert (real.nbytes - learnt) / 10_000 <= 1.3 * (384 + 4 * 32)
    assert "layout='compact'" in repr(real) and "refine=None" in repr(real)


def test_filters_at_every_selectivity(real: vs.Graph) -> None:
    data = wordnet.load()
    rng = np.random.default_rng(3)
    Q = data.Q[:80]
    near = oracle.unit(Q) @ oracle.unit(data.X).T
    for matches in (0, 1, 5, 60, 500, 2000, 7000, 10_000):
        mask = np.zeros(10_000, bool)
        mask[rng.permutation(10_000)[:matches]] = True
        expected = min(matches, 10)
        true = np.argsort(np.where(mask, -near, np.inf), axis=1)[:, :expected]
        for effort in (60, 250):
            ids = real.search(Q, 10, effort=effort, filter=mask)[0]
            assert ((ids >= 0).sum(axis=1) == expected).all() and mask[ids[ids >= 0]].all()
            assert expected == 0 or wordnet.recall(ids[:, :expected], true) > (0.96 if effort > 60 else 0.87)


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_recall_of_vectors_of_many_lengths(metric: str) -> None:
    data = wordnet.load()
    X = data.X[:3000] * np.random.default_rng(0).uniform(0.5, 2, (3000, 1)).astype(np.float32)
    Q = data.Q[:300]
    index = compact(metric, refine="f16").fit(X, queries=Q[:100], threads=1)
    true = vs.Flat(metric).fit(X).search(Q, 10)[0]
    found = index.search(Q, 10, effort=320)
    honest(found, metric, Q, X, 2e-3)
    assert wordnet.recall(found[0], true) > 0.97
    reached = wordnet.recall(index.search(Q[100:], 10, recall=0.95)[0], true[100:])
    assert 0.92 < reached < 0.99


# -------------------------------------------------------------------------------------------------- every combination

CODES: dict[str, tuple[Any, float]] = {
    "lvq 8": (vs.LVQ(8), 0.95),
    "lvq 4": (vs.LVQ(4), 0.7),
    "lvq 4x4": (vs.LVQ(4, 4), 0.95),
    "lvq 6 hadamard": (vs.LVQ(6, rotation="hadamard"), 0.9),
    "osq 5 dense": (vs.OSQ(5, rotation="dense"), 0.85),
    "lloydmax 6": (vs.LloydMax(6), 0.9),
    "saq 4": (vs.SAQ(4), 0.7),
    "saq 6 uniform": (vs.SAQ(6, levels="uniform"), 0.9),
}


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("codes", CODES)
def test_every_kind_of_code(codes: str, metric: str, tmp_path: Path) -> None:
    quantizer, floor = CODES[codes]
    X, Q = clustered(800, 40, 0), clustered(60, 40, 1)
    true = vs.Flat(metric).fit(X).search(Q, 10)[0]
    for refine, least in ((None, floor), ("f32", 0.98)):
        index = compact(metric, quantizer=quantizer, refine=refine).fit(X, queries=Q[:20], threads=1)
        said = repr(index)  # before an id is looked up, which takes a table
        found = index.search(Q, 10, effort=300)
        assert wordnet.recall(found[0], true) > least
        honest(found, metric, Q, X, 1e-5 if refine else 0.3)
        held = np.stack([index.vector(id) for id in range(50)])
        exact = oracle.unit(X[:50]) if metric == "cosine" else X[:50]
        assert np.linalg.norm(held - exact) < (1e-5 if refine else 0.5 * (1 - floor)) * np.linalg.norm(exact)
        index.save(tmp_path / "compact.vsx")
        for mmap in (False, True):
            again = vs.load(tmp_path / "compact.vsx", mmap=mmap)
            assert repr(again) == said
            for ours, theirs in zip(again.search(Q, 10, effort=300), found):
                assert np.array_equal(ours, theirs)


def decaying(n: int, d: int, seed: int) -> np.ndarray:
    """Vectors whose variance is mostly that of a few directions, which are no axes."""
    turn = np.linalg.qr(np.random.default_rng(98).standard_normal((d, d)))[0]
    return ((clustered(n, d, seed) / np.sqrt(1 + np.arange(d))) @ turn).astype(np.float32)


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("asked", ["no queries", "queries of its own", "queries of the fit"])
def test_leanvec_walks_by_fewer_coordinates(metric: str, asked: str, tmp_path: Path) -> None:
    X, Q = decaying(1200, 64, 0), decaying(300, 64, 1)
    quantizer = vs.LeanVec(24, Q[:150] if asked == "queries of its own" else None)
    index = compact(metric, quantizer=quantizer)
    assert index.refine == "f16" and "LeanVec(dim=24, bits=8)" in repr(index)
    index.fit(X, queries=Q[:150] if asked == "queries of the fit" else None, threads=1)
    new = decaying(100, 64, 2)
    index.add(new, threads=1)
    index.remove(np.arange(50))
    held = np.concatenate([X, new])
    true = vs.Flat(metric).fit(held[50:], np.arange(50, 1300)).search(Q[150:], 10)[0]
    found = index.search(Q[150:], 10, effort=200)
    honest(found, metric, Q[150:], held, 2e-3)
    assert wordnet.recall(found[0], true) > 0.97
    index.save(tmp_path / "lean.vsx")
    again = vs.load(tmp_path / "lean.vsx").search(Q[150:], 10, effort=200)
    assert np.array_equal(again[0], found[0]) and np.array_equal(again[1], found[1])


def test_leanvec_refuses_what_it_cannot_do() -> None:
    with pytest.raises(vs.ParameterError, match=r"`refine` must not be None with LeanVec\(dim=8, bits=8\)"):
        compact(quantizer=vs.LeanVec(8), refine=None)
    X = clustered(300, 16, 0)
    with pytest.raises(vs.ParameterError, match="`dim` must be at most the dimension of the vectors, 16; got 17"):
        compact(quantizer=vs.LeanVec(17)).fit(X)
    with pytest.raises(vs.DimensionError, match="`queries` must have the dimension of the vectors, 16; got 12"):
        compact("ip", quantizer=vs.LeanVec(8, X[:, :12])).fit(X)
    with pytest.raises(vs.ParameterError, match="`dim` must be"):
        vs.LeanVec(0)
    with pytest.raises(vs.ParameterError, match="`bits` must be"):
        vs.LeanVec(8, bits=9)


@pytest.mark.parametrize("refine", ["f32", "f16", "bf16", "int8"])
def test_stored_vectors_decide(refine: str) -> None:
    X, Q = clustered(800, 40, 0), clustered(60, 40, 1)
    index = compact(quantizer=vs.LVQ(4), refine=refine).fit(X, queries=Q[:20], threads=1)
    found = index.search(Q, 10, effort=300)
    off = {"f32": 1e-5, "f16": 2e-3, "bf16": 1e-2, "int8": 2e-2}[refine]
    honest(found, "l2", Q, X, 3 * off)
    assert wordnet.recall(found[0], vs.Flat().fit(X).search(Q, 10)[0]) > (0.9 if refine == "int8" else 0.95)
    one = index.search(Q[3], 10, effort=300)
    assert np.array_equal(one[0], found[0][3]) and np.array_equal(one[1], found[1][3])


@pytest.mark.parametrize("quantizer", [vs.PQ(8, 4), vs.RaBitQ(4), vs.Binary("sign")], ids=repr)
def test_codes_that_are_no_levels_are_refused(quantizer: vs.Quantizer) -> None:
    with pytest.raises(vs.ParameterError, match=r"`quantizer` must round coordinates to levels"):
        compact(quantizer=quantizer)  # at once, and not when it is fitted


def test_quantizers_say_whether_they_round_coordinates() -> None:
    X = clustered(300, 16, 0)
    for made in (
        vs.LVQ(4),
        vs.OSQ(4),
        vs.LloydMax(4),
        vs.TurboQuant(4),
        vs.TurboQuant(4, "prod"),
        vs.SAQ(4),
        vs.LeanVec(8),
        vs.RaBitQ(4),
        vs.Binary(),
        vs.PQ(8, 4),
        vs.OPQ(8, 4),
        vs.ResidualQuantizer(8, 4),
    ):
        assert made.rounds == ("segments" in made.fit(X).arrays), made


def test_layouts_and_stores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(vs.ParameterError, match="`layout` must be one of"):
        vs.Graph(layout="small")
    with pytest.raises(vs.ParameterError, match="`refine` must not be None where the layout is 'fast'"):
        vs.Graph(refine=None)
    with pytest.raises(vs.ParameterError, match="`refine`"):
        compact(refine="f64")


def test_the_same_seed_gives_the_same_graph() -> None:
    X, new = clustered(900, 16, 0), clustered(60, 16, 1)
    made = []
    for seed, threads in ((0, 1), (0, 2), (1, 1)):
        index = compact(seed=seed).fit(X, threads=threads)
        index.add(new, threads=threads)
        index.remove(np.arange(0, 300, 4))
        made.append({name: array.tobytes() for name, array in index._state()[1].items()})
    assert made[0] == made[1]
    assert made[0]["rows"] != made[2]["rows"]


# -------------------------------------------------------------------------------------------------------- odd indexes


@pytest.mark.parametrize("metric", oracle.METRICS)
def test_every_small_number_of_vectors(metric: str) -> None:
    for n in (1, 2, 3, 8, 31, 32, 33, 64, 65, 100):
        X, Q = clustered(n, 6, n), clustered(4, 6, 1000 + n)
        index = compact(metric).fit(X, threads=1)
        found = index.search(Q, n, effort=ALL)
        assert np.array_equal(np.sort(found[0], axis=1), np.tile(np.arange(n), (4, 1))), n
        for k in (1, n + 1, 130):
            found = index.search(Q, k, effort=ALL)
            honest(found, metric, Q, X, 0.05)
            assert ((found[0] >= 0).sum(axis=1) == min(k, n)).all(), n


def test_of_equal_vectors_as_many_are_found_as_are_wanted() -> None:
    X = np.tile(clustered(1, 16, 0), (600, 1))
    index = compact().fit(X, queries=X[:5], threads=1)
    for k, effort in ((10, 60), (100, 60), (300, 600)):
        found = index.search(X[:4], k, effort=effort)
        assert (found[0] >= 0).all() and np.abs(found[1]).max() < 1e-3, (k, effort)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e15])
@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.filterwarnings("ignore:(overflow|invalid|divide by zero):RuntimeWarning")
def test_vectors_at_the_ends_of_float32(metric: str, scale: float) -> None:
    """Squares vanish or overflow; answers may be poor then, and must still be ids of the index."""
    X = np.clip(clustered(200, 9, 0), -5, 5) * np.float32(scale)
    index = compact(metric).fit(X, threads=1)
    index.add(X[:20] * 0.5)
    index.remove(np.arange(30))
    for Q in (X[:5], np.ones((5, 9), np.float32)):
        found, distances = index.search(Q, 7, effort=100)
        assert np.isin(found, [-1, *range(30, 220)]).all() and not np.isnan(distances).any()


# ------------------------------------------------------------------------------------------------------------- changes


@pytest.mark.parametrize("refine", [None, "f16"])
@pytest.mark.parametrize("metric", oracle.METRICS)
def test_churn_keeps_recall(metric: str, refine: str | None) -> None:
    """Ten rounds of a tenth out and a tenth in: hardly worse than a graph built anew of what is there."""
    data = wordnet.load()
    lengths = np.random.default_rng(5).uniform(0.6, 1.4, (3000, 1)).astype(np.float32)
    pool, Q = data.X[:3000] * lengths, data.Q[:300]
    rng = np.random.default_rng(4)
    index = compact(metric, refine=refine).fit(pool[:1500], queries=Q[:10], threads=1)
    outside = np.arange(1500, 3000)
    for _ in range(10):
        gone, new = rng.choice(index.ids, 150, replace=False), outside[:150]
        index.remove(gone)
        index.add(pool[new], new, threads=1)
        outside = np.concatenate([outside[150:], gone])
    assert len(index) == 1500 and lost(index) == 0
    held = index.ids
    assert np.allclose(index.vector(int(held[7])), index._prepare(pool[held[7:8]])[0], atol=0.01)
    fresh = compact(metric, refine=refine).fit(pool[held], held, queries=Q[:10], threads=1)
    true = vs.Flat(metric).fit(pool[held], held).search(Q, 10)[0]
    for effort in (80, 300):
        recalls = [wordnet.recall(made.search(Q, 10, effort=effort)[0], true) for made in (index, fresh)]
        assert recalls[0] > recalls[1] - (0.035 if metric == "ip" else 0.015)
    assert recalls[0] > 0.94


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("refine", [None, "int8"])
def test_an_emptied_graph_answers_and_can_be_filled_again(metric: str, refine: str | None, tmp_path: Path) -> None:
    X = clustered(400, 12, 0)
    index = compact(metric, refine=refine).fit(X, threads=1)
    assert index.remove(index.ids) == 400 and len(index) == 0
    index.save(tmp_path / "empty.vsx")
    for again in (index, vs.load(tmp_path / "empty.vsx"), vs.load(tmp_path / "empty.vsx", mmap=True)):
        assert (again.search(X[:3], 4, effort=50)[0] == -1).all()
        new = clustered(300, 12, 2) * 3
        assert again.add(new[:1]).tolist() == [0] and again.search(new[0], 2)[0].tolist() == [0, -1]
        assert again.add(new[1:]).tolist() == list(range(1, 300))
        true = vs.Flat(metric).fit(new).search(X, 10)[0]
        assert wordnet.recall(again.search(X, 10, effort=300)[0], true) > 0.9
        assert lost(again) == 0


def test_longer_vectors_than_all_before_are_found_by_inner_product() -> None:
    X = np.random.default_rng(0).standard_normal((1000, 16)).astype(np.float32)
    index = compact("ip", refine="f32").fit(X, queries=X[:20], threads=1)
    held = X
    for scale in (1.2, 5, 40):
        new = np.random.default_rng(int(scale)).standard_normal((30, 16)).astype(np.float32) * np.float32(scale)
        index.add(new, threads=1)
        held = np.concatenate([held, new])
        Q = np.concatenate([X[:50], new])
        true = vs.Flat("ip").fit(held).search(Q, 5)[0]
        assert wordnet.recall(index.search(Q, 5, effort=300)[0], true) > 0.8
    assert index._core.store.n == len(held) == len(index)


def test_an_interrupted_addition_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from vsearch.index.graph_compact import GraphCompactCore

    X = clustered(600, 12, 0)
    index = compact(refine="f16").fit(X)
    calls, insert = 0, GraphCompactCore._insert

    def interrupted(self: Any, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        insert(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(GraphCompactCore, "_insert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            index.add(clustered(200, 12, 1))
    assert calls == 5 and len(index) == 600 and index._scan.consistent() and index._core.store.n == 600
    ids, _ = index.search(X, k=1, effort=100)
    assert (ids[:, 0] == np.arange(600)).mean() > 0.98
    assert len(index.add(X[:3])) == 3 and index._scan.consistent()
