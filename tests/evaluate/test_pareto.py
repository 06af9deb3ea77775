"""The front keeps what nothing beats, and speed at a recall is read off it without extrapolating."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.evaluate import pareto, qps_at


@dataclass(frozen=True)
class P:
    recall: float
    qps: float


POINTS = st.lists(st.builds(P, st.integers(0, 20).map(lambda i: i / 20), st.integers(1, 50).map(float)), max_size=30)


@given(POINTS)
def test_every_point_is_matched_or_beaten_by_the_front(points: list[P]) -> None:
    front = pareto(points)
    assert [p.recall for p in front] == sorted({p.recall for p in front})
    assert [p.qps for p in front] == sorted({p.qps for p in front}, reverse=True)
    for p in points:
        assert any(f.recall >= p.recall and f.qps >= p.qps for f in front)
    for f in front:
        assert not any(
            (p.recall >= f.recall and p.qps > f.qps) or (p.recall > f.recall and p.qps >= f.qps) for p in points
        )


@given(POINTS, st.floats(0, 1))
def test_speed_at_a_recall_lies_between_its_neighbours(points: list[P], recall: float) -> None:
    speed = qps_at(points, recall)
    reached = [p.qps for p in points if p.recall >= recall]
    if not reached:
        assert math.isnan(speed)
    else:
        assert max(reached) * (1 - 1e-12) <= speed <= max(p.qps for p in points) * (1 + 1e-12)


def test_interpolation_is_in_the_logarithm() -> None:
    points = [P(0.8, 1000), P(1.0, 10), P(0.5, 900)]
    assert qps_at(points, 0.9) == pytest.approx(100)
    assert qps_at(points, 0.8) == pytest.approx(1000)
    assert qps_at(points, 0.1) == pytest.approx(1000)
    assert math.isnan(qps_at(points[:1], 0.81)) and math.isnan(qps_at([], 0.5))
