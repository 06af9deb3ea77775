"""Exact truth equals a float64 oracle for every metric, also where float32 cannot tell neighbours apart."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.errors import DimensionError, DTypeError, ParameterError
from vsearch.evaluate import ground_truth, pair_distances, truth

METRICS = ("l2", "ip", "cosine")


def oracle(X: np.ndarray, Q: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    X, Q = X.astype(np.float64), Q.astype(np.float64)
    rows = []
    for q in Q:
        if metric == "l2":
            rows.append(((X - q) ** 2).sum(axis=1))
        elif metric == "ip":
            rows.append(-(X @ q))
        else:
            norms = np.linalg.norm(X, axis=1) * np.linalg.norm(q)
            rows.append(1 - (X @ q) / np.where(norms > 0, norms, 1))
    D = np.array(rows)
    ids = np.lexsort((np.broadcast_to(np.arange(len(X)), D.shape), D), axis=1)[:, :k]
    return ids, np.take_along_axis(D, ids, 1)


def same_up_to_rounding(X: np.ndarray, Q: np.ndarray, k: int, metric: str) -> None:
    ids, distances = ground_truth(X, Q, k, metric)
    _, expected = oracle(np.asarray(X), Q, k, metric)
    np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(pair_distances(X, Q, ids, metric), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8, np.int8])
def test_truth_equals_the_oracle(metric: str, dtype: type) -> None:
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(3000, 17)) * 20 + 60).clip(0, 120).astype(dtype)
    Q = (rng.normal(size=(40, 17)) * 20 + 60).astype(np.float32)
    same_up_to_rounding(X, Q, 10, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_truth_is_the_same_for_any_block_size(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    X, Q = rng.normal(size=(5000, 24)).astype(np.float32), rng.normal(size=(70, 24)).astype(np.float32)
    expected = ground_truth(X, Q, 12, metric)
    monkeypatch.setattr(truth, "QUERY_BLOCK", 32)
    ids, distances = ground_truth(X, Q, 12, metric, memory_mb=1)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(distances, expected[1])


def test_a_base_that_only_gets_better_is_merged_block_by_block() -> None:
    X = np.linspace(100, 1, 20_000, dtype=np.float32)[:, None] * np.ones(8, dtype=np.float32)
    ids, _ = ground_truth(X, np.zeros((3, 8)), 5)
    assert ids.tolist() == [[19_999, 19_998, 19_997, 19_996, 19_995]] * 3


@pytest.mark.parametrize("metric", METRICS)
def test_ties_beyond_the_shortlist_go_to_the_smaller_id(metric: str) -> None:
    rng = np.random.default_rng(3)
    order = rng.permutation(2000)
    X = np.repeat(rng.normal(size=(4, 16)), 500, axis=0).astype(np.float32)[order]  # the shortlist keeps 42 rows
    ids, _ = ground_truth(X, rng.normal(size=(6, 16)), 10, metric)
    for row in ids:
        equal = np.flatnonzero((X[row[0]] == X).all(axis=1))
        assert row.tolist() == equal[:10].tolist()


def test_neighbours_closer_than_float32_can_tell_are_exact() -> None:
    rng = np.random.default_rng(4)
    X = (1e4 + rng.normal(size=(2000, 64)) * 1e-2).astype(np.float32)  # far from the origin, close together
    same_up_to_rounding(X, X[:20].copy(), 10, "l2")
    Y = (np.ones(64) + rng.normal(size=(2000, 64)) * 1e-4).astype(np.float32)
    same_up_to_rounding(Y, Y[:20].copy(), 10, "cosine")


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 90), d=st.integers(1, 9), nq=st.integers(0, 5), k=st.integers(1, 12),
    metric=st.sampled_from(METRICS), levels=st.integers(1, 4), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_truth_on_small_grids_full_of_ties(
    n: int, d: int, nq: int, k: int, metric: str, levels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    X, Q = rng.integers(-levels, levels + 1, (n, d)), rng.integers(-levels, levels + 1, (nq, d))
    ids, distances = ground_truth(X, Q, k, metric)
    assert ids.shape == distances.shape == (nq, k)
    if nq and n:
        expected_ids, expected = oracle(X, Q, min(k, n), metric)
        np.testing.assert_allclose(distances[:, : min(k, n)], expected, rtol=1e-6, atol=1e-6)
        if metric != "cosine":  # integers: exact in float64, so the order of ties is defined
            np.testing.assert_array_equal(ids[:, : min(k, n)], expected_ids)
    assert np.all(ids[:, n:] == -1) and np.all(np.isinf(distances[:, n:]))


def test_truth_reads_hdf5_in_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    X, Q = rng.normal(size=(700, 12)).astype(np.float32), rng.normal(size=(9, 12)).astype(np.float32)
    with h5py.File(tmp_path / "base.hdf5", "w") as file:
        same = ground_truth(file.create_dataset("train", data=X), Q, 5, "cosine")
    np.testing.assert_array_equal(same[0], ground_truth(X, Q, 5, "cosine")[0])


def test_progress_shows_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    ground_truth(np.eye(4), np.eye(4), 1, progress=True)
    assert "ground truth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.eye(3), np.eye(3), 0), "`k` must be an int in [1, 65536]; got 0."),
        ((np.eye(3), np.eye(3), True), "`k` must be an int in [1, 65536]; got True"),
        ((np.eye(3), np.eye(3), 1, "hamming"), "`metric` must be one of 'l2', 'ip', 'cosine'; got 'hamming'."),
    ],
)
def test_bad_parameters_are_named(arguments: tuple, words: str) -> None:
    with pytest.raises((ParameterError, DTypeError), match=re.escape(words)):
        ground_truth(*arguments)


def test_other_dimension_is_refused() -> None:
    with pytest.raises(DimensionError, match="same d"):
        ground_truth(np.eye(3), np.eye(4))
