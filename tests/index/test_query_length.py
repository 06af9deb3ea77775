"""Inner products with codes: the length of a query changes neither what is found nor how well it is estimated."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import wordnet

import vsearch as vs

pytestmark = pytest.mark.usefixtures("briefly_calibrated")
SHORTER = np.float32(2.0**-7)
PROBE_ALL = 1e6

#: Of the codes alone, among 20 000 vectors of the first test: as they were estimated from queries of the best length.
RECALL = {
    "rabitq": (lambda: vs.RaBitQ(4), 0.82),
    "pq": (lambda: vs.PQ(16), 0.60),
    "lvq": (lambda: vs.LVQ(8), 0.98),
    "saq": (lambda: vs.SAQ(4), 0.84),
}
QUANTIZERS = RECALL | {
    "rabitq 1": (lambda: vs.RaBitQ(), 0),
    "rabitq 8 dense": (lambda: vs.RaBitQ(8, rotation="dense"), 0),
    "lloydmax": (lambda: vs.LloydMax(3), 0),
    "turboquant": (lambda: vs.TurboQuant(4), 0),
    "turboquant prod": (lambda: vs.TurboQuant(4, "prod"), 0),
    "lvq two levels": (lambda: vs.LVQ(4, 4), 0),
    "lvq published": (lambda: vs.LVQ(8, unbiased=False), 0),
    "osq": (lambda: vs.OSQ(4), 0),
    "saq 1.5": (lambda: vs.SAQ(1.5), 0),
    "sphering": (lambda: vs.SAQ(4, transform="sphering"), 0),
    "binary sign": (lambda: vs.Binary("sign"), 0),
    "recurrent": (lambda: vs.Binary("recurrent", 2), 0),
    "pq of nibbles": (lambda: vs.PQ(8, 4), 0),
    "opq": (lambda: vs.OPQ(8, 4), 0),
    "residual": (lambda: vs.ResidualQuantizer(4, 4), 0),
}


def vectors(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """With a mean that is as long as they are, about."""
    X = np.random.default_rng(seed).standard_normal((n, dim))
    return (np.maximum(X + 0.5, 0) * 10).astype(np.float32)


def directions(n: int, dim: int) -> np.ndarray:
    Q = np.random.default_rng(1).standard_normal((n, dim))
    return (Q / np.linalg.norm(Q, axis=1, keepdims=True)).astype(np.float32)


def made(kind: str, quantizer: vs.Quantizer | None, refine: str | None) -> Any:
    if kind == "flat":
        return vs.Flat("ip", quantizer=quantizer, refine=refine)
    return vs.IVF(6, "ip", quantizer=quantizer, refine=refine)


@lru_cache(maxsize=1)
def many() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    X, Q = vectors(20000, 64), directions(200, 64)
    return X, Q, vs.Flat("ip").fit(X).search(Q, 10)[0]


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("name", RECALL)
def test_the_mean_does_not_swamp_short_queries(name: str, kind: str) -> None:
    X, Q, truth = many()
    make, floor = RECALL[name]
    index = made(kind, make(), None).fit(X)
    ids, distances = index.search(Q, 10, effort=PROBE_ALL)
    assert wordnet.recall(ids, truth) > floor
    exact = -np.einsum("qd,qkd->qk", Q, X[ids])
    assert np.abs(distances - exact).mean() < 0.15 * np.abs(exact).mean()
    for longer in (1e-6, 5000.0):
        found = index.search(Q * np.float32(longer), 10, effort=PROBE_ALL)[0]
        assert wordnet.recall(found, truth) > floor


def test_what_long_queries_share_with_the_mean_is_not_estimated() -> None:
    X, Q = vectors(5000, 64), vectors(100, 64, 2)
    truth = vs.Flat("ip").fit(X).search(Q, 10)[0]
    index = vs.Flat("ip", quantizer=vs.RaBitQ(3), refine=None).fit(X)
    reached = wordnet.recall(index.search(Q, 10)[0], truth)
    assert reached > 0.75
    assert wordnet.recall(index.search(Q * np.float32(300), 10)[0], truth) > reached - 0.01


@pytest.mark.parametrize("refine", [None, "int8"])
@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("name", [None, *QUANTIZERS])
def test_powers_of_two_change_no_bit(name: str | None, kind: str, refine: str | None) -> None:
    if name is None and (kind, refine) != ("ivf", None):
        pytest.skip("rows without codes are scored by the query as it is")
    X, Q = vectors(700, 24), np.r_[directions(9, 24), vectors(9, 24, 3)]
    quantizer = None if name is None else QUANTIZERS[name][0]()
    index = made(kind, quantizer, refine).fit(X, threads=1, **({"queries": Q} if name == "sphering" else {}))
    rare = np.arange(0, 700, 50)
    for k, options in [(5, {"effort": PROBE_ALL}), (70, {"effort": PROBE_ALL}), (4, {"filter": rare}), (3, {})]:
        ids, distances = index.search(Q, k, **options)
        assert (ids >= 0).all() or not options
        for scale in (SHORTER, np.float32(2.0**20)):
            found, scaled = index.search(Q * scale, k, **options)
            np.testing.assert_array_equal(found, ids)
            np.testing.assert_array_equal(scaled, distances * scale)
        one, alone = index.search(Q[3] * SHORTER, k, **options)  # by the shorter way for one query
        assert np.array_equal(one, ids[3]) and np.array_equal(alone, distances[3] * SHORTER)
    if name is not None:
        for short, long in zip(index._scan.estimate(Q[0] * SHORTER, 1.9), index._scan.estimate(Q[0], 1.9)):
            np.testing.assert_array_equal(short, long * SHORTER)


@pytest.mark.parametrize("refine", [None, "f16"])
@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("name", ["rabitq", "pq", "saq"])
def test_stored_rows_are_scored_as_without_codes(name: str, kind: str, refine: str | None) -> None:
    X, Q = vectors(500, 24), directions(20, 24)
    index = made(kind, QUANTIZERS[name][0](), refine).fit(X, threads=1)
    rows = vs.Flat("ip", dtype=refine or "f32").fit(X)
    for length in (1e-30, 1e-12, 1.0, 1e15, 1e18):
        asked = Q * np.float32(length)
        ids, distances = index.search(asked, 500, effort=PROBE_ALL)
        assert np.isfinite(distances).all() and (np.sort(ids, axis=1) == np.arange(500)).all()
        if refine is not None:
            exact = rows.search(asked, 500)
            assert np.array_equal(distances, exact[1]) and np.array_equal(ids, exact[0])


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("name", ["rabitq", "pq", "lvq", "saq"])
@pytest.mark.parametrize("size", [1e-15, 1.0, 1e16])
@pytest.mark.parametrize("centred", [False, True])
def test_vectors_of_any_length(name: str, kind: str, size: float, centred: bool) -> None:
    X = vectors(600, 24)
    X, Q = (X - X.mean(axis=0) * centred).astype(np.float32) * np.float32(size), directions(30, 24)
    truth = vs.Flat("ip").fit(X).search(Q, 10)[0]
    index = made(kind, QUANTIZERS[name][0](), None).fit(X, threads=1)
    for length in (1e-6, 1.0, 1e6):
        ids, distances = index.search(Q * np.float32(length), 10, effort=PROBE_ALL)
        assert np.isfinite(distances).all()
        assert wordnet.recall(ids, truth) > 0.75
    zero = index.search(np.zeros(24, np.float32), 10)[1]
    assert np.abs(zero).max() <= 0.2 * np.linalg.norm(X, axis=1).max() ** 2


def test_lists_are_ranked_alike_by_short_queries() -> None:
    X, Q, truth = many()
    index = vs.IVF(50, "ip").fit(X)
    reached = wordnet.recall(index.search(Q * np.float32(100), 10, effort=12)[0], truth)
    assert wordnet.recall(index.search(Q * np.float32(1e-4), 10, effort=12)[0], truth) > reached - 0.01
