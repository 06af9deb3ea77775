"""What is measured was never seen by the calibration, and is judged by its own true neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from vsearch.cli.measure import Trial
from vsearch.evaluate import ground_truth
from vsearch.evaluate.datasets import Dataset


def made(n: int, nq: int | None, known: int = 0) -> Dataset:
    rng = np.random.default_rng(1)
    train = rng.normal(size=(n, 6)).astype(np.float32)
    test = None if nq is None else rng.normal(size=(nq, 6)).astype(np.float16)
    neighbors = ground_truth(train, test, known)[0] if known and test is not None else None
    return Dataset("made", train=train, test=test, neighbors=neighbors)


@pytest.mark.parametrize(("nq", "limit", "asked", "calibrating"), [(500, 1000, 250, 250), (4000, 700, 700, 1000)])
def test_queries_are_shared_out(nq: int, limit: int, asked: int, calibrating: int) -> None:
    data = made(300, nq)
    trial = Trial.of(data, limit)
    assert trial.calibrating is not None and (len(trial.asked), len(trial.calibrating)) == (asked, calibrating)
    assert trial.asked.dtype == trial.calibrating.dtype == np.float32
    rows = {row.tobytes() for row in trial.calibrating}
    assert not rows & {row.tobytes() for row in trial.asked}
    assert trial.calibrated_on == f"{calibrating:,} other queries"


@pytest.mark.parametrize(("data", "asked"), [(made(300, 40), 40), (made(300, None), 60)])
def test_too_few_queries_are_all_measured(data: Dataset, asked: int) -> None:
    trial = Trial.of(data, 60)
    assert len(trial.asked) == asked and trial.calibrating is None and trial.calibrated_on == "the base"
    assert trial.data.n == (300 if data.test is not None else 240)


@pytest.mark.parametrize("known", [0, 3, 10])
def test_truth_belongs_to_what_is_asked(known: int) -> None:
    trial = Trial.of(made(300, 400, known), 150)
    expected, _ = ground_truth(trial.data.train, trial.asked, 5)
    np.testing.assert_array_equal(trial.truth(5).ids, expected)
