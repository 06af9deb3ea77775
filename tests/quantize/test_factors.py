"""Factors in 16 bits: fine where they are alike, wide enough for outliers, and never out of step with what is
stored."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from codecs_of import gaussian
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vsearch as vs
from vsearch.quantize.codes import ADD, RESCALE, SHIFT, CompactFactors, Encoded

ALL = ADD | RESCALE | SHIFT


def encoded(full: np.ndarray, ratio: float = 0.5) -> Encoded:
    """Codes of which nothing but the factors matters."""
    full = np.asarray(full, np.float32)
    none = np.zeros((len(full), 0), np.uint8)
    spreads = np.tile(np.float32([0.3, 0.1]), (len(full), 1))
    return Encoded(none, none, full * np.float32([1, ratio, ratio]), full, spreads)


def off(compact: CompactFactors, full: np.ndarray) -> np.ndarray:
    """The most by which what is read may differ from what was stored."""
    step = compact.step.astype(np.float64)
    apart = np.abs(full - compact.low.astype(np.float64))
    return np.where(step >= 0, 0.501 * step, 2.0**-11 * apart - step * 2.0**-25) + 1e-6 * np.abs(full) + 1e-30


def put(compact: CompactFactors, full: np.ndarray) -> tuple[CompactFactors, np.ndarray]:
    """The factors with room for these, and how these are stored."""
    codes = encoded(full)
    compact = compact.widened(codes) or compact
    compact.learn(codes, np.ones(len(full)))
    return compact, compact.store(codes.full)


def test_factors_that_are_alike_are_fine() -> None:
    full = np.column_stack([100 + gaussian(0, 500), -3 + 0.01 * gaussian(1, 500), 0.2 * gaussian(2, 500)])
    compact, stored = put(CompactFactors(ALL), full)
    assert stored.shape == (500, 6) and stored.dtype == np.uint8
    assert (np.abs(compact.read(stored) - full) <= off(compact, full)).all()
    assert (compact.step < 2e-4 * full.std(axis=0)).all()
    assert compact.widened(encoded(full[:7] * 1.0001)) is None  # there is room


def test_outliers_cost_the_many_little() -> None:
    full = np.abs(gaussian(3, 1000, 3)) + 1
    full[:3] *= 1e6
    compact, stored = put(CompactFactors(ALL), full)
    read = compact.read(stored)
    assert (np.abs(read - full) <= off(compact, full)).all()
    assert (np.abs(read[3:] - full[3:]) < 2e-3).all() and np.allclose(read[:3], full[:3], rtol=1e-3)


@pytest.mark.parametrize("factor", [1.5, 30, 1e6, -1e4])
def test_later_vectors_with_far_larger_factors(factor: float) -> None:
    old, new = np.abs(gaussian(4, 400, 3)) + 1, factor * (np.abs(gaussian(5, 50, 3)) + 1)
    narrow, stored = put(CompactFactors(ALL), old)
    wide, more = put(narrow, new)
    again = wide.store(narrow.read(stored))
    assert (np.abs(wide.read(again) - old) <= off(narrow, old) + off(wide, old)).all()
    assert (np.abs(wide.read(more) - new) <= off(wide, new)).all()
    assert np.allclose(wide.read(again), old, atol=3e-3) and np.allclose(wide.read(more), new, rtol=2e-3, atol=3e-3)


def test_columns_that_are_not_stored_are_constants() -> None:
    full = np.column_stack([np.full(9, 2.0), -np.arange(1.0, 10), np.full(9, 7.0)])
    compact = CompactFactors(RESCALE, low=np.float32([2, 0, 7]))
    compact, stored = put(compact, full)
    assert stored.shape == (9, 2) and np.allclose(compact.read(stored), full, atol=1e-3)
    none = CompactFactors(0, low=np.float32([0, -2, 0]))
    none, stored = put(none, np.zeros((5, 3)))
    assert stored.shape == (5, 0) and none.read(stored).tolist() == [[0, -2, 0]] * 5
    assert CompactFactors(ALL).widened(encoded(np.zeros((0, 3)))) is None


def test_means_are_of_all_vectors_so_far() -> None:
    compact = CompactFactors(ALL)
    norms = 1 + np.abs(gaussian(6, 60))
    full = np.column_stack([norms**2, -norms, 0 * norms])
    for part in (slice(0, 10), slice(10, 60)):
        codes = encoded(full[part], ratio=0.25)
        compact = compact.widened(codes) or compact
        compact.learn(codes, norms[part])
    assert compact.count == 60 and compact.ratio == pytest.approx(0.25) and compact.wobble == pytest.approx(0, abs=1e-6)
    assert compact.spreads == pytest.approx([0.3, 0.1])
    compact.learn(encoded(np.zeros((20, 3))), np.zeros(20))  # vectors on the mean tell nothing about ratios
    assert compact.count == 80 and compact.ratio == pytest.approx(0.25)
    by_length = CompactFactors(ALL, norm2_add=1.0)
    codes = encoded(full * np.float32([1, 1, 1]) * (1 + 0.1 * gaussian(7, 60))[:, None])
    codes.first[:, 1] = -3 * norms
    by_length.learn(codes, norms)
    assert by_length.root == pytest.approx(-3) and by_length.wobble == pytest.approx(0, abs=1e-6)


def test_what_a_file_keeps_comes_back() -> None:
    full = np.abs(gaussian(8, 40, 3))
    compact, stored = put(CompactFactors(ALL, norm2=0.5, norm2_add=2.0), full)
    array = compact.as_array()
    assert array.dtype == np.float32 and array.shape == (11,)
    fresh = CompactFactors(ALL)
    fresh.restore(array, compact.spreads, 40)
    assert np.array_equal(fresh.read(stored), compact.read(stored)) and fresh.as_array().tobytes() == array.tobytes()
    assert fresh.count == 40 and fresh.widened(encoded(full)) is None
    array[10] = -1e-3
    with pytest.raises(ValueError, match="wobble"):
        fresh.restore(array, compact.spreads, 40)


@settings(max_examples=150, deadline=None)
@given(
    batches=st.lists(
        hnp.arrays(
            np.float32, st.tuples(st.integers(0, 20), st.just(3)), elements=st.floats(-(2.0**40), 2.0**40, width=32)
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_factors_come_back(batches: list[np.ndarray]) -> None:
    compact, stored, given_, allowed = (
        CompactFactors(ALL),
        np.zeros((0, 6), np.uint8),
        np.zeros((0, 3)),
        np.zeros((0, 3)),
    )
    for batch in batches:
        codes = encoded(batch)
        wide = compact.widened(codes)
        if wide is not None:
            allowed = allowed + off(wide, given_)
            stored = wide.store(compact.read(stored)) if len(stored) else stored
            compact = wide
        compact.learn(codes, np.ones(len(batch)))
        stored = np.concatenate([stored, compact.store(codes.full)])
        given_ = np.concatenate([given_, batch])
        allowed = np.concatenate([allowed, off(compact, batch)])
        assert np.isfinite(compact.as_array()).all()
    read = compact.read(stored)
    assert np.isfinite(read).all()
    assert (np.abs(read - given_) <= 1.5 * allowed + 1e-6 * np.abs(compact.low).max()).all()


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("quantizer", [vs.RaBitQ(8), vs.LVQ(8), vs.SAQ(6)], ids=repr)
def test_a_flat_index_of_vectors_of_all_lengths(quantizer: vs.Quantizer, metric: str) -> None:
    """Estimates of old vectors stay as they were when others come that are a thousand times as long."""
    X, far, Q = gaussian(9, 900, 32), 1000 * gaussian(10, 60, 32), gaussian(11, 25, 32)
    index = vs.Flat(metric, quantizer=quantizer, refine=None).fit(X, np.arange(900))
    _, before = index.search(Q, 900)
    index.add(far, np.arange(5000, 5060))
    mask = index.ids < 900
    ids, after = index.search(Q, 900, filter=mask)
    truth = oracle.distances(metric, *((oracle.unit(v) for v in (Q, X)) if metric == "cosine" else (Q, X)))
    size = np.abs(truth).max()
    assert np.sort(ids, axis=1).tolist() == [list(range(900))] * 25
    assert np.abs(np.sort(after, axis=1) - np.sort(before, axis=1)).max() < 4e-3 * size
    assert np.abs(np.take_along_axis(truth, ids, axis=1) - after).max() < 0.05 * size
    new, distances = index.search(far, 1)
    assert np.array_equal(new[:, 0], np.arange(5000, 5060)) or metric == "ip"
    if metric == "l2":
        assert np.abs(distances[:, 0]).max() < 2e-2 * (far**2).sum(axis=1).max()
