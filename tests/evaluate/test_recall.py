"""Recall counts what is truly near: ties are fair, near misses, doubles and padding are not forgiven."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.errors import DimensionError, ParameterError, UnknownIdError
from vsearch.evaluate import Truth, ground_truth, id_recall, recall_at_k

METRICS = ("l2", "ip", "cosine")


Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def data() -> Pair:
    rng = np.random.default_rng(1)
    return rng.normal(size=(800, 20)).astype(np.float32), rng.normal(size=(30, 20)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_the_truth_itself_has_recall_one(data: Pair, metric: str) -> None:
    X, Q = data
    ids, _ = ground_truth(X, Q, 10, metric)
    truth = Truth(X, Q, 10, metric, ids=ids)
    assert truth.recall(ids) == 1.0
    assert truth.recall(ids[:, ::-1]) == 1.0
    assert recall_at_k(ids, X, Q, 10, metric) == 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_the_next_neighbour_is_a_miss(data: Pair, metric: str) -> None:
    X, Q = data
    ids, _ = ground_truth(X, Q, 11, metric)
    wrong = np.column_stack([ids[:, :9], ids[:, 10]])
    assert Truth(X, Q, 10, metric).recall(wrong) == pytest.approx(0.9)


@pytest.mark.parametrize("metric", METRICS)
def test_an_equally_near_row_is_a_hit(data: Pair, metric: str) -> None:
    X, Q = data
    twice = np.concatenate([X, X])
    ids, _ = ground_truth(X, Q, 5, metric)
    truth = Truth(twice, Q, 5, metric, ids=ids)
    assert truth.recall(ids + len(X)) == 1.0
    assert id_recall(ids + len(X), ids) == 0.0


def test_a_gap_of_a_thousandth_is_a_miss_on_angular_data() -> None:
    angles = np.array([0.5, 0.5005, 0.7])
    X = np.column_stack([np.cos(angles), np.sin(angles)])
    assert recall_at_k([[1]], X, [[1.0, 0.0]], k=1, metric="cosine") == 0.0


def test_doubles_count_once_and_padding_never() -> None:
    X, Q = np.arange(6.0)[:, None], np.array([[0.0]])
    truth = Truth(X, Q, 4)
    assert truth.recall([[0, 0, 0, 0]]) == 0.25
    assert truth.recall([[0, 1, -1, -1]]) == 0.5
    assert id_recall([[0, 0, 1, -1]], [[0, 1, 2, -1]]) == pytest.approx(2 / 3)


def test_a_base_smaller_than_k_can_still_be_answered_fully() -> None:
    truth = Truth(np.arange(3.0)[:, None], np.array([[0.0]]), 10)
    assert truth.recall([[2, 1, 0] + [-1] * 7]) == 1.0
    assert truth.recall([[2, 1] + [-1] * 8]) == pytest.approx(2 / 3)


def test_no_base_and_no_queries_are_answered_fully() -> None:
    assert Truth(np.zeros((0, 3)), np.zeros((1, 3)), 5).recall(np.full((1, 5), -1)) == 1.0
    assert Truth(np.zeros((4, 3)), np.zeros((0, 3)), 5).recall(np.zeros((0, 5), dtype=int)) == 1.0


def test_the_first_queries_alone_can_be_judged(data: Pair) -> None:
    X, Q = data
    truth = Truth(X, Q, 10)
    assert truth.recalls(truth.ids[:7]).tolist() == [1.0] * 7


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from(METRICS), k=st.integers(1, 8), n=st.integers(1, 40))
def test_recall_by_distance_is_never_below_recall_by_id(seed: int, metric: str, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    X, Q = rng.integers(-2, 3, (n, 3)), rng.integers(-2, 3, (6, 3))
    truth = Truth(X, Q, k, metric)
    found = rng.integers(-1, n, (6, k))
    assert id_recall(found, truth.ids) <= truth.recall(found) + 1e-12 <= 1.0 + 1e-9


def test_what_cannot_be_judged_is_refused(data: Pair) -> None:
    X, Q = data
    with pytest.raises(ParameterError, match="`metric` must be one of"):
        Truth(X, Q, 10, "dot")
    with pytest.raises(DimensionError, match="fewer true neighbours than the k"):
        Truth(X, Q, 10, ids=np.zeros((len(Q), 4), dtype=int))
    with pytest.raises(DimensionError, match="one row for each of the 30 queries"):
        Truth(X, Q, 10).recall(np.zeros((31, 10), dtype=int))
    for judge in (lambda ids: Truth(X, Q, 10).recall(ids), lambda ids: Truth(X, Q, 10, ids=ids)):
        with pytest.raises(UnknownIdError, match=f"rows of X, of which there are {len(X)}, or negative; got 7565935"):
            judge(np.full((len(Q), 10), 7565935))
