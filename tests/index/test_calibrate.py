"""Recall by name: curves rise, are inverted where they were measured, and keep what they promise on other queries."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wordnet
from hypothesis import given
from hypothesis import strategies as st

import vsearch as vs
from vsearch.index.calibrate import CAUTION, FARTHER, Calibration, _pooled
from vsearch.index.pace import Pace

UNIT = st.floats(0, 1)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    count = draw(st.integers(1, 9))
    efforts = sorted(draw(st.lists(st.floats(0.5, 1e4), min_size=count, max_size=count, unique=True)))
    depths = draw(st.lists(st.sampled_from([1, 10, 100]), min_size=1, max_size=3, unique=True))
    curves = {k: sorted(draw(st.lists(UNIT, min_size=count, max_size=count))) for k in depths}
    pace = st.builds(Pace, st.floats(1e-9, 1e9), st.floats(0, 8))
    paces = draw(st.dictionaries(st.sampled_from(depths), pace))
    return Calibration(efforts, curves, draw(st.sampled_from(sorted(CAUTION))), paces)


# ----------------------------------------------------------------------------------------------------------- inversion


@given(calibrations(), st.lists(st.floats(0.001, 1), min_size=2, max_size=8), st.integers(1, 65536))
def test_effort_rises_with_recall_and_stays_near_the_ladder(made: Calibration, recalls: list[float], k: int) -> None:
    efforts = [made.effort(k, recall) for recall in sorted(recalls)]
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(efforts))
    assert made.efforts[0] * (1 - 1e-9) <= efforts[0] and efforts[-1] <= FARTHER * made.efforts[-1] * (1 + 1e-9)


@given(calibrations(), st.floats(0.001, 1))
def test_effort_is_the_least_that_was_measured_to_be_enough(made: Calibration, recall: float) -> None:
    target = 1 - CAUTION[made.source] * (1 - recall)
    for k, curve in made.recalls.items():
        enough = [effort for effort, reached in zip(made.efforts, curve) if reached >= target]
        short = [effort for effort, reached in zip(made.efforts, curve) if reached < target]
        effort = made.effort(k, recall)
        if not enough:
            assert made.efforts[-1] * (1 - 1e-9) <= effort <= FARTHER * made.efforts[-1] * (1 + 1e-9)
        elif not short:
            assert effort == made.efforts[0]
        else:
            assert short[-1] * (1 - 1e-9) <= effort <= enough[0] * (1 + 1e-9)


def test_between_two_measurements_misses_fall_as_a_power_of_effort() -> None:
    made = Calibration([1.0, 10.0, 100.0], {10: [0.0, 0.9, 0.99]}, "queries")
    tight = 1 - (1 - 0.99 + 1e-12) / CAUTION["queries"]
    assert made.effort(10, tight) == pytest.approx(100, rel=1e-6)
    middle = 1 - 10**-1.5 / CAUTION["queries"]  # half-way from 0.1 to 0.01 in logarithms
    assert made.effort(10, middle) == pytest.approx(10**1.5)


def test_beyond_the_last_measurement_effort_is_what_the_last_ones_let_expect() -> None:
    made = Calibration([1.0, 10.0, 100.0, 1000.0], {10: [0.0, 0.1, 0.2, 0.5]}, "queries")
    share = (np.log(0.9) - np.log(0.4)) / (np.log(0.9) - np.log(0.5))  # of the way from 10 to 1000, in logarithms
    assert made.effort(10, 1 - 0.4 / CAUTION["queries"]) == pytest.approx(10 * 100**share)
    assert made.effort(10, 0.999) == pytest.approx(FARTHER * 1000)  # no farther than that
    flat = Calibration([1.0, 10.0, 100.0], {10: [0.5, 0.5, 0.5]}, "queries")
    assert flat.effort(10, 0.9) == pytest.approx(100)  # where more effort brought nothing


def test_a_recall_that_no_walk_reaches_is_reached() -> None:
    # Under ip a graph knows vectors by their lifted distances, and lengths over many octaves leave these all alike.
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((4000, 32)) * rng.lognormal(0, 1.2, (4000, 1))).astype(np.float32)
    Q = rng.standard_normal((100, 32)).astype(np.float32)
    index = vs.Graph("ip").fit(X)
    true = vs.Flat("ip").fit(X).search(Q, 10)[0]
    recall = [
        np.mean([len(set(a) & set(b)) for a, b in zip(index.search(Q, 10, recall=r)[0], true)]) / 10 for r in (0.9, 1.0)
    ]
    assert recall[0] > 0.88 and recall[1] > 0.99  # of rows in 16 bits


def test_between_two_depths_efforts_are_interpolated() -> None:
    made = Calibration([1.0, 100.0], {10: [0.99, 1.0], 1000: [0.0, 1.0]}, "queries")
    assert made.effort(10, 0.9) == 1.0
    assert made.effort(5, 0.9) == 1.0 and made.effort(1, 0.9) == 1.0
    assert made.effort(1000, 0.9) == made.effort(60000, 0.9) > 1
    assert made.effort(100, 0.9) == pytest.approx(made.effort(1000, 0.9) ** 0.5)


@given(st.lists(UNIT, min_size=1, max_size=12))
def test_pooling_gives_the_nearest_rising_curve(values: list[float]) -> None:
    curve = np.array(values)
    pooled = _pooled(curve)
    assert (np.diff(pooled) >= -1e-12).all() and len(pooled) == len(curve)
    assert pooled.mean() == pytest.approx(curve.mean())
    assert np.allclose(_pooled(pooled), pooled)
    if (np.diff(curve) >= 0).all():
        assert np.allclose(pooled, curve)
    rng = np.random.default_rng(len(values))
    for _ in range(20):  # no other rising curve is nearer
        other = np.sort(pooled + rng.normal(0, 0.1, len(curve)))
        assert ((pooled - curve) ** 2).sum() <= ((other - curve) ** 2).sum() + 1e-12


# ---------------------------------------------------------------------------------------------------------------- files


@given(calibrations())
def test_json_keeps_everything(made: Calibration) -> None:
    assert Calibration.from_json(json.loads(json.dumps(made.to_json()))) == made
    n = len(made.efforts)
    assert repr(made).startswith(f"Calibration({n} effort{'s' * (n > 1)} up to ")


GOOD: dict[str, Any] = {
    "efforts": [1.0, 2.0, 4.0],
    "recalls": {"1": [0.5, 0.9, 1.0], "10": [0.4, 0.4, 0.9]},
    "source": "base",
    "paces": {"10": [0.5, 2.0]},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
((), None), ((), []), ((), "x"), ((), {}),
        (("efforts",), []), (("efforts",), [0.0, 1.0, 2.0]), (("efforts",), [-1.0, 1.0, 2.0]),
        (("efforts",), [2.0, 1.0, 4.0]), (("efforts",), [1.0, 2.0]), (("efforts",), [1.0, 2.0, float("nan")]),
        (("efforts",), [1.0, 2.0, float("inf")]), (("efforts",), None), (("efforts",), [None, 1.0, 2.0]),
        (("efforts",), {"a": 1}), (("efforts",), 3),
        (("recalls",), {}), (("recalls",), None), (("recalls",), [[0.5, 0.9, 1.0]]),
        (("recalls",), {"0": [0.5, 0.9, 1.0]}), (("recalls",), {"-1": [0.5, 0.9, 1.0]}),
        (("recalls",), {"x": [0.5, 0.9, 1.0]}), (("recalls",), {"1": None}),
        (("recalls", "1"), [0.5, 0.9]), (("recalls", "1"), [0.9, 0.5, 1.0]),
        (("recalls", "1"), [0.5, float("nan"), 1.0]), (("recalls", "10"), []), (("recalls", "10"), ["a", "b", "c"]),
        (("recalls", "10"), [[], [], []]),
        (("paces",), None), (("paces",), [[0.5, 2.0]]), (("paces", "10"), [0.5]), (("paces", "10"), None),
        (("paces", "10"), [0.0, 2.0]), (("paces", "10"), [0.5, -1.0]), (("paces", "10"), [float("inf"), 1.0]),
        (("paces", "10"), [0.5, float("nan")]), (("paces", "10"), ["a", 1.0]), (("paces", "0"), None),
        (("source",), "x"), (("source",), None), (("source",), ["base"]), (("source",), {}),
    ],
)  # fmt: skip
def test_damaged_json_is_refused(path: tuple[str, ...], value: Any) -> None:
    assert Calibration.from_json(copy.deepcopy(GOOD)).efforts == GOOD["efforts"]
    bad: Any = {"all": copy.deepcopy(GOOD)}
    place, keys = bad, ["all", *path]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):  # what `load` turns into CorruptFileError
        Calibration.from_json(bad["all"])


@pytest.mark.parametrize("missing", ["efforts", "recalls", "source"])
def test_json_without_a_part_is_refused(missing: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        Calibration.from_json({key: value for key, value in GOOD.items() if key != missing})


# ------------------------------------------------------------------------------------------------------------- indexes


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (2 * rng.standard_normal((30, d))[rng.integers(0, 30, n)] + rng.standard_normal((n, d))).astype(np.float32)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("given_queries", [False, True])
def test_a_fitted_index_has_curves_that_rise_to_all(metric: str, given_queries: bool) -> None:
    X = clustered(1500, 24, 0)
    queries = clustered(200, 24, 0)[100:] if given_queries else None
    index = vs.IVF(30, metric, quantizer=vs.RaBitQ(2), refine="f32").fit(X, queries=queries, threads=1)
    made = index.calibration
    assert made is not None and made.source == ("queries" if given_queries else "base")
    assert made.efforts[0] == 1 and made.efforts == sorted(set(made.efforts)) and made.efforts[-1] <= 30
    for curve in made.recalls.values():
        assert curve == sorted(curve) and len(curve) == len(made.efforts) and curve[-1] > 0.97
    assert repr(made) in repr(index)


def test_calibration_survives_changes_and_files(tmp_path: Path) -> None:
    index = vs.IVF(9).fit(clustered(400, 8, 1), threads=1)
    before = index.calibration
    index.add(clustered(10, 8, 2))
    index.remove(np.arange(30))
    index.save(tmp_path / "x.vsx")
    assert index.calibration == before == vs.load(tmp_path / "x.vsx").calibration
    index.fit(clustered(500, 8, 3), threads=1)
    assert index.calibration != before


def test_calibration_does_not_depend_on_ids_or_threads() -> None:
    X = clustered(700, 12, 4)
    made = [
        vs.IVF(12, quantizer=vs.RaBitQ(1)).fit(X, ids, threads=threads).calibration
        for ids, threads in ((None, 1), (np.arange(700)[::-1] * 7 + 5, 1), (None, 3))
    ]
    assert made[0] == made[1] == made[2]


def test_duplicates_count_as_neighbours() -> None:
    """Of many vectors at one distance any k are right: a search that finds others than the truth did loses nothing."""
    X = np.repeat(clustered(20, 6, 5), 40, axis=0)
    index = vs.IVF(10, quantizer=vs.RaBitQ(4), refine=None).fit(X, threads=1)
    assert index.calibration is not None
    assert index.calibration.recalls[10][0] > 0.95


def test_calibrating_leaves_no_table_of_ids() -> None:
    X = clustered(4000, 16, 6)
    index = vs.IVF(20, quantizer=vs.RaBitQ(1), refine=None).fit(X, np.arange(4000)[::-1].copy(), threads=1)
    assert index.bytes_per_vector < 2 + 8 + 4 + 8 + 6  # bits, factors, slot, position, id; then what is shared


@pytest.mark.parametrize(("bits", "refine"), [(None, None), (1, "bf16")])
def test_targets_are_met_on_queries_never_seen(bits: int | None, refine: str | None) -> None:
    data = wordnet.load()
    coder = None if bits is None else vs.RaBitQ(bits)
    index = vs.IVF(100, "cosine", quantizer=coder, refine=refine).fit(data.X, queries=data.Q[:250])
    unseen, truth = data.Q[250:], data.neighbours[250:]
    for target in (0.8, 0.9, 0.95, 0.99):
        reached = wordnet.recall(index.search(unseen, 10, recall=target)[0], truth)
        assert target - 0.02 <= reached <= target + 0.04
    first = wordnet.recall(index.search(unseen, 1, recall=0.95)[0], truth[:, :1])
    assert first > 0.92
    efforts = [index.calibration.effort(10, recall) for recall in (0.5, 0.8, 0.9, 0.95, 0.99)]  # type: ignore[union-attr]
    assert efforts == sorted(efforts) and efforts[0] < efforts[-1] / 5  # a low recall is cheap


def test_without_queries_targets_are_nearly_met() -> None:
    """Vectors of the base stand in for queries, and are a little easier."""
    data = wordnet.load()
    index = vs.IVF(100, "cosine", quantizer=vs.RaBitQ(1)).fit(data.X)
    for target in (0.9, 0.95, 0.99):
        reached = wordnet.recall(index.search(data.Q, 10, recall=target)[0], data.neighbours)
        assert target - 0.03 <= reached <= target + 0.04
