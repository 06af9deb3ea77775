"""Queries far from their neighbours get more effort, as much more as vectors taught that were held out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import oracle
import pytest
import wordnet
from hypothesis import given
from hypothesis import strategies as st

import vsearch as vs
from vsearch.index.pace import MOST_STEEPNESS, Effort, Pace, learn_pace, pace_of

EFFORTS = np.array([20.0, 40.0, 80.0, 160.0])
PACES = {1: Pace(2.0, 1.0), 10: Pace(4.0, 3.0), 100: Pace(16.0, 2.0)}


def test_an_effort_is_a_number_with_paces() -> None:
    effort = Effort(32.5, PACES)
    assert effort == 32.5 and effort * 2 == 65 and effort.paces is PACES
    assert Effort(3).paces == {} and pace_of(Effort(3), 10) is None and pace_of(3.0, 10) is None


def test_between_depths_paces_are_interpolated_and_beyond_them_the_usual_distance_grows_on() -> None:
    effort = Effort(1, PACES)
    for k, pace in PACES.items():
        assert pace_of(effort, k) == pytest.approx(pace)
    assert pace_of(effort, 0.5) == PACES[1]
    assert pace_of(effort, 10**0.5) == pytest.approx((8**0.5, 2.0))
    assert pace_of(effort, 10**1.5) == pytest.approx((8.0, 2.5))
    assert pace_of(effort, 1000) == pytest.approx((64.0, 2.0))
    assert pace_of(Effort(1, {10: PACES[10]}), 1000) == PACES[10]


@given(st.floats(0.3, 6), st.floats(0.8, 3), st.floats(1e-6, 1e6), st.integers(0, 100))
def test_the_steepness_of_such_a_model_is_found(steepness: float, by_effort: float, unit: float, seed: int) -> None:
    """Recalls that are the model's own give its steepness, in whatever unit distances are."""
    distances = np.exp(np.random.default_rng(seed).normal(0, 0.2, 2000))
    logits = 2 - by_effort * (np.log(EFFORTS / 20) - steepness * np.log(distances)[:, None])
    learnt = learn_pace(EFFORTS, 1 / (1 + np.exp(logits)), distances * unit)
    assert learnt is not None
    assert learnt.usual == pytest.approx(unit * np.median(distances), rel=1e-6)
    assert learnt.steepness == pytest.approx(steepness, rel=0.02)


def test_there_is_no_pace_where_nothing_can_be_learnt() -> None:
    rng = np.random.default_rng(0)
    distances, recalls = rng.uniform(1, 2, 500), rng.uniform(0, 1, (500, 4))
    assert learn_pace(EFFORTS, np.ones((500, 4)), distances) is None  # nothing is missed
    assert learn_pace(EFFORTS, recalls, np.zeros(500)) is None  # all are equal to their neighbours
    assert learn_pace(EFFORTS, recalls, np.full(500, np.inf)) is None  # there are not k vectors
    assert learn_pace(EFFORTS, np.sort(recalls)[:, ::-1], distances) is None  # more effort finds less
    partly = np.where(np.arange(500) < 100, np.inf, distances)
    steep = learn_pace(EFFORTS, np.where(distances[:, None] > 1.5, 0.2, 0.9) + 0.01 * np.arange(4), partly)
    assert steep is not None and steep.steepness <= MOST_STEEPNESS and math.isfinite(steep.usual)


@pytest.fixture(scope="module")
def held() -> vs.Graph:
    return vs.Graph("cosine").fit(wordnet.load().X)


def test_queries_from_elsewhere_find_what_was_asked_though_none_was_given(held: vs.Graph) -> None:
    """Usage examples are farther from glosses than glosses are; at the efforts that suit these they would miss more."""
    data = wordnet.load()
    assert held.calibration is not None and held.calibration.source == "held" and set(held.calibration.paces) >= {1, 10}
    for target in (0.9, 0.95, 0.99):
        reached = wordnet.recall(held.search(data.Q, 10, recall=target)[0], data.neighbours)
        assert target - 0.025 <= reached <= min(1, target + 0.04)


def test_near_and_far_queries_are_treated_alike(held: vs.Graph) -> None:
    """Where all have one effort the far half of the queries finds less than the near half."""
    data = wordnet.load()
    cosines = np.sort(oracle.unit(data.Q) @ oracle.unit(data.X).T, axis=1)[:, -10]
    far = cosines < np.median(cosines)

    def gap(ids: np.ndarray) -> float:
        return wordnet.recall(ids[~far], data.neighbours[~far]) - wordnet.recall(ids[far], data.neighbours[far])

    paced, alike = held.search(data.Q, 10, recall=0.9)[0], held.search(data.Q, 10, effort=30)[0]
    assert gap(alike) > 0.08
    assert gap(paced) < 0.6 * gap(alike)


def test_an_effort_that_is_set_is_the_same_for_all(held: vs.Graph, tmp_path: Path) -> None:
    data = wordnet.load()
    before = held.counters()["visited"]
    held.search(data.Q, 10, effort=40)
    assert held.counters()["visited"] - before <= 40 * len(data.Q)
    held.save(tmp_path / "x.vsx")
    again = vs.load(tmp_path / "x.vsx")
    assert again.calibration == held.calibration
    for recall in (0.8, 0.97):
        before_it, after_it = (index.search(data.Q, 10, recall=recall)[0] for index in (held, again))
        np.testing.assert_array_equal(before_it, after_it)
    np.testing.assert_array_equal(again.search(data.Q[3], 7)[0], held.search(data.Q[:5], 7)[0][3])


@pytest.mark.parametrize("share", [0.7, 0.3, 0.1])
def test_under_a_filter_the_usual_distance_is_that_of_deeper_neighbours(held: vs.Graph, share: float) -> None:
    data = wordnet.load()
    mask = np.random.default_rng(1).random(len(data.X)) < share
    near = np.where(mask, oracle.unit(data.Q) @ oracle.unit(data.X).T, -np.inf)
    before = held.counters()["visited"]
    ids = held.search(data.Q, 10, recall=0.9, filter=mask)[0]
    visits = (held.counters()["visited"] - before) / len(data.Q)
    assert mask[ids].all()
    assert wordnet.recall(ids, np.argsort(-near, axis=1)[:, :10]) > 0.87
    assert visits < 120 / share


def test_queries_that_are_given_are_told_nothing_of_others() -> None:
    data = wordnet.load()
    index = vs.Graph("cosine").fit(data.X[:2000], queries=data.Q[:100], threads=1)
    assert index.calibration is not None and index.calibration.source == "queries" and index.calibration.paces == {}


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_every_metric_has_a_pace(metric: str) -> None:
    data = wordnet.load()
    X = data.X[:4000] * np.random.default_rng(0).uniform(0.8, 1.2, (4000, 1)).astype(np.float32)
    index = vs.Graph(metric).fit(X, threads=1)
    assert index.calibration is not None and index.calibration.paces
    near = data.Q @ X.T - (0 if metric == "ip" else (X**2).sum(axis=1) / 2)
    true = np.argsort(-near, axis=1)[:, :10]
    reached = wordnet.recall(index.search(data.Q, 10, recall=0.9)[0], true)
    assert 0.84 <= reached <= 0.97
