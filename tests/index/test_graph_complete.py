"""A graph finds k where there are k: behind a filter, beyond a far group, among equals, for queries of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest

import vsearch as vs

LAYOUTS: dict[str, dict[str, Any]] = {
    "fast": {},
    "compact": {"layout": "compact"},
    "compact f16": {"layout": "compact", "refine": "f16"},
}


def far_groups(groups: int, each: int) -> np.ndarray:
    """Groups so far apart that no walk leads from one to another."""
    rng = np.random.default_rng(1)
    centres = 20 * rng.standard_normal((groups, 32))
    return (np.repeat(centres, each, axis=0) + rng.standard_normal((groups * each, 32))).astype(np.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_matches_of_a_filter_that_are_all_far_away(layout: str) -> None:
    X = far_groups(2, 2500)
    index = vs.Graph(**LAYOUTS[layout]).fit(X)
    other = np.arange(len(X)) >= 2500
    for effort in (None, 500.0):
        ids, distances = index.search(X[:20], 10, effort=effort, filter=other)
        truth, _ = oracle.nearest(oracle.distances("l2", X[:20], X[2500:]), np.arange(2500, 5000), 10)
        assert (ids >= 2500).all() and np.isfinite(distances).all()
        assert np.mean([len(set(a) & set(b)) for a, b in zip(ids, truth)]) > 9


@pytest.mark.parametrize("layout", LAYOUTS)
def test_k_beyond_the_group_of_the_query(layout: str) -> None:
    X = far_groups(5, 300)
    index = vs.Graph(**LAYOUTS[layout]).fit(X)
    for k in (350, len(X), len(X) + 7):
        ids, distances = index.search(X[3], k, effort=100)
        there = min(k, len(X))
        assert len(set(ids[:there].tolist())) == there and (ids[:there] >= 0).all() and (ids[there:] == -1).all()
        assert (np.diff(distances[:there]) >= 0).all() and set(ids[:300].tolist()) == set(range(300))


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_one_of_equal_vectors(layout: str, metric: str) -> None:
    X = np.ones((300, 16), np.float32)
    index = vs.Graph(metric, degree=64, **LAYOUTS[layout]).fit(X)
    assert sorted(index.search(X[0], 300)[0].tolist()) == list(range(300))
    index.remove(np.arange(0, 300, 3))
    assert len(set(index.search(X[0], 200)[0].tolist())) == 200


def test_codebooks_of_equal_vectors() -> None:
    """There are no differences between neighbours to learn from."""
    X = np.ones((50, 16), np.float32)
    assert sorted(vs.Graph(quantizer=vs.PQ(4, 4)).fit(X).search(X[0], 50)[0].tolist()) == list(range(50))
    assert len(vs.Graph(quantizer=vs.PQ(4, 4)).fit(X[:1]).search(X[0], 1)[0]) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_answers_do_not_depend_on_how_long_a_query_is(layout: str) -> None:
    rng = np.random.default_rng(0)
    X = (10 * np.maximum(rng.standard_normal((4000, 32)) + 0.5, 0)).astype(np.float32)  # far from the origin
    Q = rng.standard_normal((60, 32)).astype(np.float32)
    Q /= np.linalg.norm(Q, axis=1, keepdims=True)
    index = vs.Graph("ip", **LAYOUTS[layout]).fit(X, queries=Q)
    truth, products = oracle.nearest(oracle.distances("ip", Q, X), np.arange(len(X)), 10)
    for length in (1.0, 2.0**-10, 2.0**10):
        ids, distances = index.search(Q * np.float32(length), 10, effort=200)
        assert np.mean([len(set(a) & set(b)) for a, b in zip(ids, truth)]) > 9.3
        np.testing.assert_allclose(distances[:, 0] / length, products[:, 0], rtol=0.02, atol=0.5)
