"""The Shannon bound: the table of power-law spectra, the laws of water-filling, and codes whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vsearch as vs
from vsearch.quantize.limits import gap_bits, reverse_water_filling, shannon_bound, spectrum, times_shannon
from vsearch.quantize.transforms import Center, Rotation, Sphering

spectra = hnp.arrays(np.float64, st.integers(1, 40), elements=st.just(0.0) | st.floats(1e-200, 1e6))
rates = st.floats(0, 12)


def gaussian(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def exact(eigenvalues: np.ndarray, bits: float) -> float:
    """The same without a search: with the k largest above the water, its level has a closed form."""
    ordered = np.sort(eigenvalues[eigenvalues > 0])[::-1]
    logs = np.cumsum(np.log2(ordered))
    for k in range(len(ordered), 0, -1):
        level = 2.0 ** ((logs[k - 1] - 2 * bits * len(eigenvalues)) / k)
        if level <= ordered[k - 1] * (1 + 1e-12):
            return float(np.minimum(level, ordered).sum())
    return 0.0


@pytest.mark.parametrize(
    ("alpha", "printed"),
    [(0.5, (".2104", ".0526", ".00329")), (1.0, (".0901", ".0225", ".00141")), (1.5, (".01365", ".00341", ".00021"))],
)
def test_power_laws_give_the_printed_digits(alpha: float, printed: tuple[str, ...]) -> None:
    power = np.arange(1, 1025) ** -alpha
    found = reverse_water_filling(power / power.sum(), [1, 2, 4])
    assert found.shape == (3,)
    for got, digits in zip(found, printed):
        assert f"{got:.{len(digits) - 1}f}".lstrip("0") == digits


@given(spectra, rates)
@settings(max_examples=200, deadline=None)
def test_search_finds_what_the_closed_form_gives(eigenvalues: np.ndarray, bits: float) -> None:
    assert reverse_water_filling(eigenvalues, bits) == pytest.approx(exact(eigenvalues, bits), rel=1e-9, abs=1e-290)


@given(st.integers(1, 300), st.floats(1e-30, 1e30), rates)
@settings(deadline=None)
def test_isotropic_is_a_quarter_for_each_bit(dim: int, variance: float, bits: float) -> None:
    assert reverse_water_filling(np.full(dim, variance), bits) == pytest.approx(dim * variance * 4**-bits, rel=1e-9)


@given(spectra, st.lists(rates, min_size=2, max_size=6), st.floats(1e-20, 1e20), st.randoms())
@settings(deadline=None)
def test_laws_of_the_rate(eigenvalues: np.ndarray, bits: list[float], scale: float, random: object) -> None:
    bits = sorted(bits)
    found = reverse_water_filling(eigenvalues, bits)
    total = eigenvalues.sum()
    assert (np.diff(found) <= 1e-9 * total).all()  # more bits, less error
    assert (found <= total * (1 + 1e-12)).all() and (found >= 0).all()
    assert reverse_water_filling(eigenvalues, 0) == pytest.approx(total, rel=1e-9)
    assert np.allclose(reverse_water_filling(eigenvalues * scale, bits), found * scale, rtol=1e-9, atol=1e-300)
    assert np.allclose(reverse_water_filling(np.sort(eigenvalues), bits), found, rtol=1e-9, atol=0)
    flat = np.full(len(eigenvalues), total / len(eigenvalues))  # nothing is harder than all dimensions alike
    assert (found <= reverse_water_filling(flat, bits) * (1 + 1e-9)).all()


def test_rates_come_back_in_their_shape() -> None:
    assert isinstance(reverse_water_filling([2, 1], 1), float)
    grid = reverse_water_filling([2, 1], [[0, 1], [2, 3]])
    assert grid.shape == (2, 2) and grid[0, 0] == 3 and grid[1, 1] == reverse_water_filling([2, 1], 3)
    assert reverse_water_filling([0.0, 0.0], [1, 2]).tolist() == [0, 0]
    assert reverse_water_filling([1e-310, 1e300], 4) == pytest.approx(1e300 * 2.0**-16)  # only the large one is lit
    assert reverse_water_filling(np.ones(65536), 16) == pytest.approx(65536 * 4.0**-16)


# ------------------------------------------------------------------ of data


def test_bound_of_data_is_that_of_its_covariance() -> None:
    X = gaussian(0, 4000, 24) * np.arange(1, 25, dtype=np.float32) + 100
    bound = shannon_bound(X, [1, 2.5])
    eigenvalues = np.linalg.eigvalsh(np.cov(X.T.astype(np.float64), bias=True))
    assert np.allclose(bound.mse, reverse_water_filling(eigenvalues, [1, 2.5]), rtol=1e-6)
    assert np.allclose(bound.relative, bound.mse / eigenvalues.sum(), rtol=1e-6)
    turned = shannon_bound(Rotation("dense", seed=1).fit(X).apply(X), [1, 2.5])  # what keeps distances keeps the bound
    assert np.allclose(turned.mse, bound.mse, rtol=1e-4)
    assert isinstance(shannon_bound(X, 2).relative, float)


def test_inner_products_weigh_directions_by_the_queries() -> None:
    X = gaussian(1, 3000, 12) * np.linspace(3, 0.1, 12, dtype=np.float32) + 1
    Q = gaussian(2, 500, 12) * np.linspace(0.1, 2, 12, dtype=np.float32) - 1
    sphered = Sphering(ridge=1e-9).fit(Center().fit(X).apply(X), queries=Q)
    assert np.allclose(spectrum(X, queries=Q, metric="ip"), sphered.variances, rtol=1e-4)
    moment = Q.astype(np.float64).T @ Q / len(Q)
    centred = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    variance = (centred @ moment * centred).sum(axis=1).mean()  # of inner products about each query's own mean
    assert shannon_bound(X, 0, queries=Q, metric="ip").mse == pytest.approx(variance, rel=1e-5)
    axes = np.eye(12) * np.sqrt(12)  # queries that see all directions alike
    assert np.allclose(spectrum(X, queries=axes, metric="ip"), spectrum(X), rtol=1e-6)
    assert np.allclose(spectrum(X, metric="ip"), spectrum(X, queries=X, metric="ip"))


@pytest.mark.parametrize(
    ("levels", "factor"),
    [([0.79788], 1.454), ([0.45278, 1.51042], 1.880), ([0.24509, 0.75601, 1.34391, 2.15195], 2.211)],
)
def test_lloyd_max_is_as_far_away_as_known(levels: list[float], factor: float) -> None:
    X = gaussian(3, 20000, 16)
    points = np.sort(np.concatenate([-np.array(levels), levels]))
    coded = points[np.abs(X[..., None] - points).argmin(axis=2)]
    error = float(((X - coded) ** 2).sum(axis=1).mean())
    bits = np.log2(len(points))
    assert times_shannon(error, X, 16 * bits / 8) == pytest.approx(factor, rel=0.02)
    assert gap_bits(times_shannon(error, X, 2 * bits)) == pytest.approx(np.log2(factor) / 2, abs=0.02)
    assert times_shannon(error, X, 2 * bits + 1) > 1.9 * times_shannon(error, X, 2 * bits)  # half a bit of factors


def test_gap_is_one_bit_for_a_factor_of_four() -> None:
    assert gap_bits([0.25, 1, 4, 16]).tolist() == [-1, 0, 1, 2]


# ------------------------------------------------------------------ refusals

X = np.random.default_rng(4).standard_normal((50, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: reverse_water_filling([1, -1e-9], 1),
            vs.ParameterError,
            "`eigenvalues` must be finite and >= 0; got -1e",
        ),
        (lambda: reverse_water_filling([1, np.nan], 1), vs.ParameterError, "`eigenvalues` must be finite.*got nan"),
        (lambda: reverse_water_filling([], 1), vs.DimensionError, r"`eigenvalues` must have shape \(d,\)"),
        (lambda: reverse_water_filling(np.eye(2), 1), vs.DimensionError, r"got \(2, 2\)"),
        (lambda: reverse_water_filling("abc", 1), vs.DTypeError, "`eigenvalues` must be numbers"),
        (lambda: reverse_water_filling([[1], [1, 2]], 1), vs.DTypeError, "`eigenvalues` must be numbers"),
        (lambda: reverse_water_filling([1], -1), vs.ParameterError, "`bits` must be finite and >= 0; got -1"),
        (lambda: reverse_water_filling([1], np.inf), vs.ParameterError, "`bits` must be finite and >= 0; got inf"),
        (lambda: spectrum(X * np.nan), vs.ParameterError, "`X` must be finite; row 0 has NaN"),
        (lambda: spectrum(X, queries=X[:, :2], metric="ip"), vs.DimensionError, "`queries` must have d=3"),
        (lambda: spectrum(X, metric="cosine"), vs.ParameterError, "`metric` must be one of 'l2', 'ip'"),
        (lambda: shannon_bound(np.ones((5, 2)), 1), vs.ParameterError, "`X` must vary; its 5 vectors"),
        (lambda: shannon_bound(X, 1, queries=0 * X, metric="ip"), vs.ParameterError, "`X` must vary"),
        (lambda: gap_bits(0), vs.ParameterError, "`x_shannon` must be above 0"),
        (lambda: times_shannon(-1, X, 1), vs.ParameterError, "`error` must be a number in"),
        (lambda: times_shannon(1, X, "8"), vs.DTypeError, "`bytes_per_vector` must be a number"),
        (lambda: times_shannon(1, X, 1000), vs.ParameterError, "`bytes_per_vector` must be smaller"),
    ],
)
def test_refusals_name_what_is_wrong(call, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call()
