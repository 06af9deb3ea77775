"""LeanVec: what is kept of vectors, what queries change in that, and who takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest

import vsearch as vs


def decaying(n: int, d: int, seed: int) -> np.ndarray:
    """Vectors whose variance is mostly that of a few directions, which are no axes."""
    turn = np.linalg.qr(np.random.default_rng(98).standard_normal((d, d)))[0]
    X = np.random.default_rng(seed).standard_normal((n, d)) / np.sqrt(1 + np.arange(d))
    return np.ascontiguousarray((X + 0.3) @ turn, dtype=np.float32)


def test_what_is_kept_is_what_varies_most() -> None:
    X = decaying(2000, 60, 0)
    X -= X.mean(axis=0)
    variances = np.sort(np.linalg.eigvalsh(X.T @ X))[::-1]
    for kept in (1, 17, 60):
        q = vs.LeanVec(kept).fit(X)
        codes = q.encode(X)
        lost = ((q.decode(codes) - X) ** 2).sum() / (X**2).sum()
        expected = variances[kept:].sum() / variances.sum()
        assert expected - 1e-3 <= lost <= expected + 2e-3
        assert codes.nbytes / len(codes) == q.bytes_per_vector(60) == -(-kept // 16) * 16 + 6


def test_distances_are_those_of_the_projections() -> None:
    X, Q = decaying(1000, 48, 0), decaying(5, 48, 1)
    q = vs.LeanVec(20).fit(X)
    axes = q.arrays["base"][:20]
    exact = oracle.distances("l2", (Q - X.mean(axis=0)) @ axes.T, (X - X.mean(axis=0)) @ axes.T)
    assert np.abs(q.estimate(Q, q.encode(X)) - exact).max() < 0.02 * exact.mean()


def test_queries_choose_what_is_kept_for_inner_products() -> None:
    """Queries that see only what varies least: principal axes hold nothing of it, the queries' own coordinates do."""
    X = decaying(3000, 40, 0)
    directions = np.linalg.eigh(np.cov(X.T))[1]
    Q = (np.random.default_rng(2).standard_normal((400, 12)) @ directions[:, :12].T).astype(np.float32)
    true = vs.Flat("ip").fit(X).search(Q[200:], 10)[0]
    recalls = {}
    for name, quantizer, given in (
        ("axes", vs.LeanVec(16), None),
        ("own", vs.LeanVec(16, Q[:200]), None),
        ("of the fit", vs.LeanVec(16), Q[:200]),
    ):
        index = vs.Graph("ip", quantizer=quantizer, layout="compact", refine="f32").fit(X, queries=given, threads=1)
        found = index.search(Q[200:], 10, effort=400)[0]
        recalls[name] = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), true.tolist())])
    assert min(recalls["own"], recalls["of the fit"]) > max(0.9, recalls["axes"] + 0.05)


@pytest.mark.parametrize("make", [vs.Flat, vs.IVF, vs.Graph])
def test_only_a_compact_graph_takes_it(make: Any) -> None:
    with pytest.raises(vs.ParameterError, match=r"and LeanVec\(dim=4, bits=4\) drops coordinates; take another"):
        make(quantizer=vs.LeanVec(4, bits=4))


def test_a_fresh_one_knows_the_queries_and_a_file_what_was_learnt(tmp_path: Any) -> None:
    X = decaying(600, 30, 0)
    quantizer = vs.LeanVec(10, X[:100] * 2)
    assert np.array_equal(quantizer.fresh().queries, X[:100] * 2)
    assert quantizer.transform is None and repr(quantizer) == "LeanVec(dim=10, bits=8)"
    index = vs.Graph("cosine", quantizer=quantizer, layout="compact").fit(X, threads=1)
    assert quantizer.transform is None
    index.save(tmp_path / "lean.vsx")
    again = vs.load(tmp_path / "lean.vsx")
    for ours, theirs in zip(again.search(X[:50], 5, effort=40), index.search(X[:50], 5, effort=40)):
        assert np.array_equal(ours, theirs)
