"""Searches beside an addition: they go on while vectors are linked, and see all of them or none."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest

import vsearch as vs

LAYOUTS: dict[str, dict[str, Any]] = {
    "fast": {},
    "fast int8": {"refine": "int8"},
    "compact": {"layout": "compact"},
    "compact f16": {"layout": "compact", "refine": "f16"},
}
OLD, NEW = 1500, 2500


def clustered(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((20, 16))
    return (centres[np.arange(n) % 20] + 0.5 * rng.standard_normal((n, 16))).astype(np.float32)


def add_in_a_thread(index: vs.Graph, X: np.ndarray, done: threading.Event) -> threading.Thread:
    def work() -> None:
        try:
            index.add(X, threads=1)
        finally:
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_search_sees_all_that_an_addition_adds_or_nothing(layout: str, metric: str) -> None:
    old, new = clustered(OLD, 1), clustered(NEW, 2)
    if metric == "ip":  # none longer than those there are, for then all is linked anew
        new *= 0.9 * np.linalg.norm(old, axis=1).max() / np.linalg.norm(new, axis=1).max()
    index = vs.Graph(metric, **LAYOUTS[layout]).fit(old, queries=old[:50])
    Q, done = np.ascontiguousarray(new[:: NEW // 50][:50]), threading.Event()
    both = np.concatenate([old, new])
    before, after = (oracle.nearest(oracle.distances(metric, Q, X), np.arange(len(X)), 10)[0] for X in (old, both))
    adding, seen = add_in_a_thread(index, new, done), []
    even = np.arange(OLD) % 2 == 0
    while not done.is_set():
        seen.append(index.search(Q, 10, effort=300, threads=1)[0])
        if not done.is_set() and len(index) == OLD:
            try:
                some, _ = index.search(Q[0], 5, effort=300, filter=even)
            except vs.ParameterError:
                assert len(index) == OLD + NEW  # the mask is of before
            else:
                assert (some < OLD).all() and (some % 2 == 0).all()
    adding.join()
    seen.append(index.search(Q, 10, effort=300, threads=1)[0])
    assert len(seen) > 5  # some hundred batches were linked meanwhile
    for ids in seen:
        shown = (ids >= OLD).any()
        truth = after if shown else before
        hits = [len(set(a) & set(b)) for a, b in zip(ids, truth)]
        assert np.mean(hits) > 9, (shown, np.mean(hits))
    assert (seen[-1] >= OLD).any() and not (seen[0] >= OLD).any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_addition_that_fails_midway_was_never_seen(
    layout: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old, new = clustered(600, 3), clustered(300, 4)
    index = vs.Graph("l2", **LAYOUTS[layout]).fit(old, queries=old[:50])
    core_of: Any = index._core
    insert, batches = type(core_of)._insert, 0

    def failing(self: Any, *arguments: Any) -> None:
        nonlocal batches
        batches += 1
        if batches == 6:
            raise MemoryError
        insert(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(type(core_of), "_insert", failing)
        with pytest.raises(MemoryError):
            index.add(new)
    assert batches == 6 and len(index) == 600 == core_of.n
    ids, _ = index.search(np.concatenate([old, new]), 10, effort=300)
    assert ids.max() < 600 and (ids[:600, 0] == np.arange(600)).mean() > 0.98
    monkeypatch.setattr(type(core_of), "_insert", failing)
    batches = 3
    with monkeypatch.context() as patch:  # and a second Ctrl-C, while the first is seen to
        patch.setattr(type(core_of), "withdraw", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            index.add(new)
    assert len(index) == 600 < core_of.n
    assert (index.search(old, 1, effort=300)[0] < 600).all()
    index.save(tmp_path / "index.vsx")
    assert core_of.n == 600 == len(vs.load(tmp_path / "index.vsx"))
    assert index.add(new).tolist() == list(range(600, 900))
    assert (index.search(new, 1, effort=300)[0][:, 0] == np.arange(600, 900)).mean() > 0.98


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_addition_that_ends_before_the_first_batch_leaves_no_trace_in_a_file(
    layout: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old, new = clustered(600, 5), clustered(50, 6)
    index = vs.Graph("l2", **LAYOUTS[layout]).fit(old, queries=old[:50])
    core_of: Any = index._core
    store = type(core_of)._store

    def stopped(self: Any, *arguments: Any) -> None:
        store(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(core_of), "_store", stopped)
        with pytest.raises(KeyboardInterrupt):
            index.add(new)
    index.save(tmp_path / "index.vsx")
    loaded = vs.load(tmp_path / "index.vsx")
    for one in (index, loaded):
        assert len(one) == 600
        assert (one.search(old, 1, effort=300)[0][:, 0] == np.arange(600)).mean() > 0.98
        one.add(new)
        assert (one.search(new, 1, effort=300)[0][:, 0] == np.arange(600, 650)).mean() > 0.95
