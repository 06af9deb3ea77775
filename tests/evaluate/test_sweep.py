"""A sweep asks what it says it asks, judges the answers it timed, and counts the best pass."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stand_in import Slices

from vsearch.errors import ParameterError
from vsearch.evaluate import Truth, default_efforts, sweep, sweep_all

Data = tuple[np.ndarray, np.ndarray, Truth]


@pytest.fixture(scope="module")
def data() -> Data:
    rng = np.random.default_rng(1)
    X, Q = rng.normal(size=(1200, 4)).astype(np.float32), rng.normal(size=(40, 4)).astype(np.float32)
    return X, Q, Truth(X, Q, 10)


def test_recall_rises_with_effort_to_one(data: Data) -> None:
    X, Q, truth = data
    points = sweep(Slices(8).fit(X), Q, truth, passes=1)
    recalls = [point.recall for point in points]
    assert recalls == sorted(recalls) and recalls[0] < 0.9 and recalls[-1] == 1.0
    assert points[0].label == "Slices" and points[0].effort == 1.0 and points[-1].effort == 8.0


def test_single_queries_run_on_one_thread_and_batches_on_many(data: Data) -> None:
    X, Q, truth = data
    index = Slices(2).fit(X)
    (point,) = sweep(index, Q, truth, k=10, efforts=[2], passes=2, threads=3)
    singles = [call for call in index.calls if len(call["shape"]) == 1]
    batches = [call for call in index.calls if len(call["shape"]) == 2]
    assert {call["threads"] for call in singles} == {1} and {call["threads"] for call in batches} == {3}
    assert len(singles) == 20 + 2 * len(Q) and len(batches) == 1 + 2
    assert point.threads == 3 and point.batch_qps > 0
    assert point.median_us <= point.p99_us and point.us == pytest.approx(1e6 / point.qps)


def test_a_slower_index_measures_slower(data: Data) -> None:
    X, Q, _ = data
    indexes = {"quick": Slices(2).fit(X), "slow": Slices(2, pause=0.003).fit(X)}
    points = {p.label: p for p in sweep_all(indexes, Q[:20], Truth(X, Q[:20], 10), batch=False, passes=2)}
    assert points["slow"].qps < points["quick"].qps and points["slow"].us > 3000
    assert points["slow"].batch_qps is None


def test_passes_of_all_settings_are_interleaved(data: Data) -> None:
    X, Q, truth = data
    index = Slices(4).fit(X)
    sweep(index, Q, truth, efforts=[1, 4], passes=2, batch=False)
    order = [call["effort"] for call in index.calls]
    changes = [effort for i, effort in enumerate(order) if i == 0 or order[i - 1] != effort]
    assert changes == [1, 4, 1, 4]


def test_a_time_limit_cuts_the_pass_and_judges_what_was_answered(data: Data) -> None:
    X, Q, truth = data
    index = Slices(2, pause=0.01).fit(X)
    (point,) = sweep(index, Q, truth, efforts=[None], passes=1, batch=False, seconds=0.05)
    assert len(index.calls) < 20 + len(Q) and point.recall == 1.0 and point.effort is None


def test_recall_can_be_the_knob(data: Data) -> None:
    X, Q, truth = data

    class Named(Slices):
        def search(self, Q: Any, k: int = 10, *, recall: float | None = None, effort: float | None = None) -> Any:
            assert effort is None
            return super().search(Q, k, effort=8 if recall == 0.9 else 1)

    points = sweep(Named(8).fit(X), Q, truth, efforts=[None], targets=[0.9], passes=1)
    assert [point.target for point in points] == [None, 0.9] and points[1].recall == 1.0


def test_default_efforts_span_the_lists() -> None:
    assert default_efforts(object()) == [None]
    assert default_efforts(Slices(1)) == [1.0]
    efforts = default_efforts(Slices(400))
    calibrated = SimpleNamespace(calibration=SimpleNamespace(efforts=[1, 2.5]), lists=400)
    assert default_efforts(calibrated) == [1.0, 2.5]
    assert efforts[0] == 1.0 and efforts[-1] == 400.0 and efforts == sorted(set(efforts))


def test_no_passes_are_refused(data: Data) -> None:
    X, Q, truth = data
    with pytest.raises(ParameterError, match="`passes` must be an int >= 1; got 0"):
        sweep(Slices().fit(X), Q, truth, passes=0)


def test_progress_shows_a_bar(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    X, Q, truth = data
    sweep(Slices().fit(X), Q, truth, efforts=[1], passes=1, progress=True)
    assert "sweep" in capsys.readouterr().err
