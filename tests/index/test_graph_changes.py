"""A graph that grows and shrinks: all stays within reach, recall stays, and histories agree with a dictionary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import oracle
import pytest
import wordnet
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import vsearch as vs
from vsearch.kernels import core

ALL = 1e9  # an effort that ends when nothing is left to visit


def neighbours(index: Any) -> np.ndarray:
    """(n, degree) slots, by the drawing in csrc/index/graph_layout.hpp."""
    core_of: Any = index._core
    blocks, words = index.degree // 32, core_of.scan.block_bytes // 4
    rows = core_of.rows[: core_of.n].view(np.uint32)
    return np.concatenate([rows[:, rows.shape[1] - b * words - 32 :][:, :32] for b in range(blocks)], axis=1)


def lost(index: Any) -> int:
    """Vertices that no way from the entries leads to."""
    core_of: Any = index._core
    blocks = core_of.entries.view(np.uint32)
    todo = np.unique(blocks[:, -32:].reshape(-1)[: core_of.entry_count])
    near = neighbours(index)
    assert near.max() < core_of.n and todo.max() < core_of.n
    reached = np.zeros(core_of.n, bool)
    while len(todo):
        reached[todo] = True
        next_ones = np.unique(near[todo])
        todo = next_ones[~reached[next_ones]]
    return int((~reached).sum())


def gaussian(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def islands(n: int, each: int, seed: int = 0) -> np.ndarray:
    """Groups so far from each other that a vertex's neighbours are all of its own."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n, 16)) * 300
    return (np.repeat(centres, each, axis=0) + rng.standard_normal((n * each, 16))).astype(np.float32)


SHAPES: dict[str, Callable[[], np.ndarray]] = {
    "gaussian": lambda: gaussian(1200),
    "islands": lambda: islands(30, 40),
    "equals": lambda: np.repeat(gaussian(30), 40, axis=0),
    "a line": lambda: np.outer(np.arange(1200), np.ones(16)).astype(np.float32),
}


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_vertex_is_within_reach(shape: str, metric: str) -> None:
    X = SHAPES[shape]()
    rng = np.random.default_rng(1)
    X = X[rng.permutation(len(X))]
    index = vs.Graph(metric, refine="f32").fit(X[:800], queries=X[:10], threads=1)
    assert lost(index) == 0
    index.add(X[800:], threads=1)  # more than one in sixteen: looked for at once
    assert lost(index) == 0
    index.remove(rng.permutation(len(X))[:500])
    assert lost(index) == 0


def test_one_more_vector_is_found_at_once_wherever_it_lies() -> None:
    X = gaussian(2000)
    index = vs.Graph().fit(X, queries=X[:20], threads=1)
    for scale in (0.01, 1, 3, 30):
        new = gaussian(6, seed=int(scale * 100)) * np.float32(scale)
        for x in new:
            own = index.add(x[None], threads=1)[0]
            assert index.search(x, 1, effort=200)[0][0] == own
    assert lost(index) == 0


def test_the_last_way_to_a_group_is_not_forgotten() -> None:
    """Entries that a build found to be needed outlive single changes."""
    X = islands(40, 40, seed=3)
    index = vs.Graph(refine="f32").fit(X, queries=X[:10], threads=1)
    left = np.arange(len(X))
    for id in range(0, len(X), 53):
        index.remove(id)
        left = left[left != id]
        assert lost(index) == 0
    found = index.search(X[left], 1, effort=200)[0][:, 0]
    assert (found == left).mean() > 0.98


@pytest.mark.parametrize("metric", oracle.METRICS)
def test_churn_keeps_recall(metric: str) -> None:
    """Ten rounds of a tenth out and a tenth in: hardly worse than a graph built anew of what is there."""
    data = wordnet.load()
    lengths = np.random.default_rng(5).uniform(0.6, 1.4, (4000, 1)).astype(np.float32)
    pool, Q = data.X[:4000] * lengths, data.Q[:300]
    rng = np.random.default_rng(4)
    index = vs.Graph(metric).fit(pool[:2000], queries=Q[:10], threads=2)
    outside = np.arange(2000, 4000)
    for _ in range(10):
        gone, new = rng.choice(index.ids, 200, replace=False), outside[:200]
        index.remove(gone)
        index.add(pool[new], new, threads=2)
        outside = np.concatenate([outside[200:], gone])
    assert len(index) == 2000 and lost(index) == 0
    held = index.ids
    fresh = vs.Graph(metric).fit(pool[held], held, queries=Q[:10], threads=2)
    true = vs.Flat(metric).fit(pool[held], held).search(Q, 10)[0]
    margin = 0.035 if metric == "ip" else 0.015
    for effort in (200, 500) if metric == "ip" else (80, 200):
        recalls = [wordnet.recall(made.search(Q, 10, effort=effort)[0], true) for made in (index, fresh)]
        assert recalls[0] > recalls[1] - margin
    assert wordnet.recall(index.search(Q, 10, effort=800)[0], true) > 0.98


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("refine", ["f32", "int8"])
def test_an_emptied_graph_answers_and_can_be_filled_again(metric: str, refine: str, tmp_path: Path) -> None:
    X = gaussian(500, 12)
    index = vs.Graph(metric, refine=refine).fit(X, threads=1)
    calibration = index.calibration
    assert index.remove(index.ids) == 500 and len(index) == 0
    index.save(tmp_path / "empty.vsx")
    for again in (index, vs.load(tmp_path / "empty.vsx"), vs.load(tmp_path / "empty.vsx", mmap=True)):
        for Q in (X[0], X[:3], X[:100]):
            for answer in (again.search(Q, 4), again.search(Q, 4, effort=50), again.search(Q, 4, filter=[])):
                assert (answer[0] == -1).all() and np.isinf(answer[1]).all()
        new = gaussian(400, 12, 2) * 3
        assert again.add(new[:1]).tolist() == [0] and again.search(new[0], 2)[0].tolist() == [0, -1]
        assert again.add(new[1:]).tolist() == list(range(1, 400))
        true = vs.Flat(metric).fit(new).search(X, 10)[0]
        assert wordnet.recall(again.search(X, 10, effort=300)[0], true) > (0.9 if refine == "int8" else 0.98)
        assert again.calibration == calibration and lost(again) == 0


def test_longer_vectors_than_all_before_are_found_by_inner_product() -> None:
    X = gaussian(1500)
    index = vs.Graph("ip", refine="f32").fit(X, queries=X[:20], threads=1)
    held = X
    for scale in (1.2, 5, 40):
        new = gaussian(30, seed=int(scale)) * np.float32(scale)
        index.add(new, threads=1)
        held = np.concatenate([held, new])
        Q = np.concatenate([gaussian(100, seed=9), new])
        true = vs.Flat("ip").fit(held).search(Q, 5)[0]
        assert wordnet.recall(index.search(Q, 1, effort=300)[0], true[:, :1]) > 0.85
        assert wordnet.recall(index.search(Q, 5, effort=300)[0], true) > 0.8


def test_a_refused_addition_changes_nothing() -> None:
    X = gaussian(300)
    large = np.concatenate([X[:10], X[10:11] * 1e6])
    for metric in ("l2", "ip"):
        index = vs.Graph(metric).fit(X, queries=X[:10], threads=1)
        before = [array.tobytes() for array in (*index._state()[1].values(), *index.search(X, 5, effort=40))]
        for _ in range(2):
            with pytest.raises(vs.ParameterError, match="stored as f16"):
                index.add(large)
        assert [a.tobytes() for a in (*index._state()[1].values(), *index.search(X, 5, effort=40))] == before
        index.add(large[:10])
        index.remove(np.arange(300, 310))
        assert len(index) == 300 and lost(index) == 0


# ------------------------------------------------------------------------------------------------ histories, at random


def whole_numbers(rng: np.random.Generator, n: int, d: int = 7, top: int = 9) -> np.ndarray:
    """Vectors of small integers, whose distances are exact."""
    X = rng.integers(-top, top + 1, (n, d)).astype(np.float32)
    X[(X == 0).all(axis=1), 0] = 1
    return X


class History(RuleBasedStateMachine):
    """Random histories of a graph, its file and its mapped file, against a dictionary."""

    folder: Path

    @initialize(
        metric=st.sampled_from(oracle.METRICS), degree=st.sampled_from([32, 32, 64]), n=st.integers(1, 150),
        seed=st.integers(0, 2**32 - 1),
    )  # fmt: skip
    def start(self, metric: str, degree: int, n: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        X = whole_numbers(self.rng, n)
        ids = self.rng.permutation(3 * n)[:n] + 100
        self.index: Any = vs.Graph(metric, degree=degree, refine="f32").fit(X, ids, threads=1)
        self.metric, self.model = metric, dict(zip(ids.tolist(), X))

    @rule(m=st.integers(0, 60), threads=st.integers(1, 2))
    def add(self, m: int, threads: int) -> None:
        X = whole_numbers(self.rng, m)
        first = max(self.model, default=-1) + 1
        assert self.index.add(X, threads=threads).tolist() == list(range(first, first + m))
        self.model |= zip(range(first, first + m), X)

    @rule(share=st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]))
    def remove(self, share: float) -> None:
        ids = np.array(list(self.model), np.int64)
        gone = self.rng.permutation(ids)[: int(np.ceil(share * len(ids)))]
        assert self.index.remove(gone) == len(gone)
        for id in gone.tolist():
            del self.model[id]

    @rule(mmap=st.booleans())
    def save_and_load(self, mmap: bool) -> None:
        self.index.save(self.folder / "history.vsx")
        self.index = vs.load(self.folder / "history.vsx", mmap=mmap)

    @rule(
        k=st.sampled_from([1, 5, 64, 65, 300]), effort=st.sampled_from([1, 20, ALL]),
        share=st.sampled_from([None, 0.0, 0.05, 0.5, 0.98]), rows=st.sampled_from([None, 1, 5, 70]),
    )  # fmt: skip
    def search(self, k: int, effort: float, share: float | None, rows: int | None) -> None:
        Q = whole_numbers(self.rng, rows or 1)
        ids = np.array(sorted(self.model), np.int64)
        mask = np.ones(len(ids), bool) if share is None else self.rng.random(len(ids)) < share
        answer = self.index.search(
            Q[0] if rows is None else Q, k, effort=effort, filter=None if share is None else mask
        )
        assert answer[0].shape == answer[1].shape == ((k,) if rows is None else (rows, k))
        for q, found, distances in zip(Q, np.atleast_2d(answer[0]), np.atleast_2d(answer[1])):
            known = found[found >= 0]
            assert np.isin(known, ids[mask]).all() and len(set(known.tolist())) == len(known)
            assert (found[len(known) :] == -1).all() and np.isinf(distances[len(known) :]).all()
            assert (np.diff(distances[: len(known)]) >= 0).all()
            if len(known):
                self.check_distances(q, np.array([self.model[id] for id in known.tolist()]), distances[: len(known)])

    def check_distances(self, q: np.ndarray, X: np.ndarray, distances: np.ndarray) -> None:
        if self.metric == "cosine":
            assert np.allclose(
                distances, oracle.distances("cosine", oracle.unit(q[None]), oracle.unit(X))[0], atol=2e-6
            )
        else:
            assert np.array_equal(distances, oracle.distances(self.metric, q[None], X)[0])

    @precondition(lambda self: self.model and self.metric != "ip")
    @rule()
    def find_themselves(self) -> None:
        ids = self.rng.choice(list(self.model), min(20, len(self.model)), replace=False)
        Q = np.array([self.model[id] for id in ids.tolist()])
        assert np.abs(self.index.search(Q, 10, effort=ALL)[1][:, 0]).max() < 1e-6

    @invariant()
    def agrees(self) -> None:
        assert len(self.index) == len(self.model) and self.index.ids.tolist() == sorted(self.model)
        for id in list(self.model)[:3]:
            stored = self.model[id]
            expected = oracle.unit(stored[None])[0] if self.metric == "cosine" else stored
            assert np.allclose(self.index.vector(id), expected, atol=1e-6)
        if self.model:
            assert lost(self.index) == 0 or len(self.model) > 16


def test_histories_agree_with_a_dictionary(tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    History.folder = tmp_path
    run_state_machine_as_test(History, settings=settings(max_examples=30, stateful_step_count=10, deadline=None))


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_an_interrupted_addition_leaves_no_edge_to_what_it_began(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    X = rng.standard_normal((600, 12)).astype(np.float32)
    index = vs.Graph(metric).fit(X)
    truth, _ = vs.Flat(metric).fit(X).search(X, k=1)
    calls = 0

    class Interrupted:
        def __init__(self, *arguments: Any) -> None:
            self.builder = core.GraphBuilder(*arguments)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.builder, name)

        def insert(self, *arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 5:
                raise KeyboardInterrupt
            self.builder.insert(*arguments)

    stand_in = SimpleNamespace(GraphBuilder=Interrupted)
    with monkeypatch.context() as patch:
        patch.setattr("vsearch.index.graph_core.core", stand_in)
        with pytest.raises(KeyboardInterrupt):
            index.add(rng.standard_normal((200, 12)).astype(np.float32))
    assert calls == 5 and len(index) == 600 and index._scan.consistent()
    ids, _ = index.search(X, k=1, effort=100)
    assert (ids == truth).mean() > 0.9 and ids.max() < 600
    assert len(index.add(X[:3])) == 3 and index._scan.consistent()


def test_an_interrupted_relinking_leaves_the_graph_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    X = rng.standard_normal((400, 12)).astype(np.float32)
    index = vs.Graph("ip").fit(X)
    before = index.search(X, k=3, effort=50)

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vsearch.index.graph_core.GraphCore._reach_all", stopped)
        with pytest.raises(KeyboardInterrupt):
            index.add(5 * X[:2])
    after = index.search(X, k=3, effort=50)
    assert len(index) == 400 and (before[0] == after[0]).all() and (before[1] == after[1]).all()
