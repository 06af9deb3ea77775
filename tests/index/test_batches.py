"""Batches as the user gave them: made ready by the workers, in pieces, with the answers that single queries have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.index.pieces import MOST_FIRST

rng = np.random.default_rng(8)
X = rng.standard_normal((1500, 40)).astype(np.float32)
Q = rng.standard_normal((200, 40)).astype(np.float32)
KINDS: dict[str, Any] = {
    "flat": lambda metric: vs.Flat(metric),
    "ivf": lambda metric: vs.IVF(16, metric),
    "fast": lambda metric: vs.Graph(metric),
    "compact": lambda metric: vs.Graph(metric, layout="compact"),
}


@pytest.fixture(scope="module", params=[(kind, metric) for kind in KINDS for metric in ("l2", "ip", "cosine")])
def index(request: pytest.FixtureRequest) -> vs.Index:
    kind, metric = request.param
    return KINDS[kind](metric).fit(X)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("many", [0, 1, 64, 65, 200])
def test_a_batch_answers_as_its_queries_do(index: vs.Index, many: int, threads: int) -> None:
    ids, distances = index.search(Q[:many], 5, effort=20, threads=threads)
    assert ids.shape == distances.shape == (many, 5)
    for i in range(0, many, 13):
        alone = index.search(Q[i], 5, effort=20)
        np.testing.assert_array_equal(ids[i], alone[0])
        np.testing.assert_allclose(distances[i], alone[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "change", [lambda q: q.astype(np.float64), lambda q: q[:, ::-1][:, ::-1], lambda q: q.tolist()]
)
def test_queries_that_need_a_conversion_get_the_same(index: vs.Index, change: Any) -> None:
    if index.metric == "cosine":  # whose rows are scaled to length 1 by the same steps
        assert (index.search(change(Q), 5, effort=20)[0] == index.search(Q, 5, effort=20)[0]).mean() > 0.99
    else:
        for found, wanted in zip(index.search(change(Q), 5, effort=20), index.search(Q, 5, effort=20), strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 150, 199])
def test_a_query_that_is_not_finite_is_named_wherever_it_is(index: vs.Index, row: int, bad: float) -> None:
    wrong = Q.copy()
    wrong[row, 7] = bad
    with pytest.raises(vs.ParameterError, match=f"`Q` must be finite; row {row} has"):
        index.search(wrong, 5, threads=2)


def test_a_query_without_a_direction_is_named_under_cosine(index: vs.Index) -> None:
    zero = Q.copy()
    zero[190] = 0
    if index.metric != "cosine":
        assert (index.search(zero, 5)[0] >= 0).all()
    else:
        with pytest.raises(vs.ParameterError, match="row 190 is zero"):
            index.search(zero, 5)


def test_norms_beyond_float32_are_no_obstacle_under_cosine(index: vs.Index) -> None:
    if index.metric == "cosine":
        long, short = Q * np.float32(1e37), Q * np.float32(1e-37)
        wanted = index.search(Q, 5, effort=20)[0]
        for scaled in (long, short):
            assert (index.search(scaled, 5, effort=20)[0] == wanted).mean() > 0.99


def test_the_callers_array_stays_as_it_was(index: vs.Index) -> None:
    before = Q.copy()
    index.search(Q, 5)
    np.testing.assert_array_equal(Q, before)
    frozen = Q.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(index.search(frozen, 5)[0], index.search(Q, 5)[0])


def test_a_piece_grows_no_further_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    index = vs.Graph().fit(X[:300])
    sizes: list[int] = []
    find = index._find_given

    def seen(some: np.ndarray, *rest: Any) -> Any:
        sizes.append(len(some))
        return find(some, *rest)

    monkeypatch.setattr(index, "_find_given", seen)
    monkeypatch.setattr("vsearch._progress.Progress.advance", lambda self, steps=1: 1e-3 * steps)  # 1 ms a query
    many = np.tile(Q, (10, 1))
    index.search(many, 5)
    assert sizes[0] == 256 and max(sizes) == 256 and sum(sizes) == 2000  # 0.2 s hold 200
    sizes.clear()
    for _ in range(50):  # short batches tell little, and must not make a long one
        index.search(Q[:70], 5)
    index.search(many, 5)
    assert max(sizes) <= 200
    monkeypatch.setattr("vsearch._progress.Progress.advance", lambda self, steps=1: 0.0)  # too quick for the clock
    index.search(many, 5)
    sizes.clear()
    index.search(np.tile(many, (3, 1)), 5)
    assert sizes[0] == MOST_FIRST  # the index may have grown since, or the effort
