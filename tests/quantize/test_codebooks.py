"""Codebooks, encoders and bit plans beside exhaustive ones, and the table of specs section 3.1."""

from __future__ import annotations

from itertools import product

import numpy as np
import oracle
import pytest
from codecs_of import gaussian
from hypothesis import given, settings
from hypothesis import strategies as st

import vsearch as vs
from vsearch.quantize.allocation import OBJECTIVES, allocate, error_table, plan_text
from vsearch.quantize.codebooks import adapted, fitted, lloyd_max, two_level, uniform

#: Positive levels of the normal density, as printed.
LEVELS = {
    1: [0.79788],
    2: [0.45278, 1.51042],
    3: [0.24509, 0.75601, 1.34391, 2.15195],
    4: [0.12840, 0.38805, 0.65676, 0.94234, 1.25623, 1.61805, 2.06902, 2.73259],
}
ERRORS = {1: "0.363380", 2: "0.117482", 3: "0.034548", 4: "0.009501", 5: "0.002505", 6: "0.000644"}
SHANNON = {1: 1.454, 2: 1.880, 3: 2.211, 4: 2.432, 5: 2.565, 6: 2.639, 7: 2.678, 8: 2.699}
ENTROPY = {1: 1.000, 2: 1.911, 3: 2.825, 4: 3.765, 5: 4.730, 6: 5.710, 7: 6.700, 8: 7.694}


@pytest.mark.parametrize("bits", range(1, 9))
def test_levels_are_those_of_the_table(bits: int) -> None:
    book = lloyd_max(bits)
    assert book.bits == bits and len(book.levels) == 2**bits
    assert np.array_equal(book.levels, -book.levels[::-1])
    if bits in LEVELS:
        assert book.levels[2 ** (bits - 1) :].round(5).tolist() == LEVELS[bits]
    if bits in ERRORS:
        assert f"{book.error:.6f}" == ERRORS[bits]
    assert f"{book.error * 4**bits:.3f}" == f"{SHANNON[bits]:.3f}"
    assert f"{-(book.mass * np.log2(book.mass)).sum():.3f}" == f"{ENTROPY[bits]:.3f}"
    assert book.kappa == pytest.approx(book.error / (1 - book.error))
    assert book.mass.sum() == pytest.approx(1)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_10_distance_from_the_shannon_limit(bits: int) -> None:
    """Times 4^-bits, before factors: TurboQuant's levels as they are; a scale for each vector takes some off."""
    X = gaussian(1, 500, 1024)
    plain, scaled = (
        ((q.decode(q.fit(np.zeros((1, 1024))).encode(X)) - X) ** 2).mean() * 4**bits
        for q in (vs.TurboQuant(bits, seed=9), vs.LloydMax(bits, seed=9))
    )
    assert plain == pytest.approx({2: 1.88, 3: 2.21, 4: 2.43}[bits], rel=0.02)
    assert 0.9 * plain < scaled < 1.003 * plain


@pytest.mark.parametrize("bits", range(2, 9))
def test_prefixes_stand_for_their_levels(bits: int) -> None:
    book = lloyd_max(bits)
    for prefix in (p for p in (1, 2, 4) if p <= bits):
        levels, energy = book.prefix(prefix)
        assert len(levels) == 2**prefix and (np.diff(levels) > 0).all()
        mass = book.mass.reshape(2**prefix, -1).sum(axis=1)
        assert energy == pytest.approx((levels**2 * mass).sum())
        # Stretched so that a prefix has the inner product with its level that the level has with itself.
        product_of = (levels.repeat(2 ** (bits - prefix)) * book.levels * book.mass).sum()
        assert product_of == pytest.approx((book.levels**2 * book.mass).sum())
        assert book.lost(prefix) >= 0 and (prefix < bits or book.lost(prefix) < 1e-12)
    assert book.lost(1) == pytest.approx(1 - book.error - 2 / np.pi, abs=1e-9)


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_fitted_levels_are_best_for_their_values(bits: int) -> None:
    rng = np.random.default_rng(bits)
    normal = fitted(rng.standard_normal(100_000), bits)
    assert normal.error == pytest.approx(lloyd_max(bits).error, rel=0.07)
    values = rng.laplace(size=30_000)
    book = fitted(values, bits)
    codes = np.abs(values[:, None] - book.levels).argmin(axis=1)
    assert book.error == pytest.approx(((values - book.levels[codes]) ** 2).sum() / (values**2).sum(), rel=1e-6)
    assert np.allclose(book.mass, np.bincount(codes, minlength=2**bits) / len(values), atol=1e-4)
    plain = lloyd_max(bits).levels * values.std()
    assert book.error < ((np.abs(values[:, None] - plain).min(axis=1)) ** 2).sum() / (values**2).sum()


def test_adapted_levels_are_the_values_or_nearly_the_best() -> None:
    rng = np.random.default_rng(5)
    integers = rng.integers(0, 200, 5000).astype(np.float32)
    assert (adapted(integers, 256)[:200] == np.unique(integers)).all() and len(adapted(integers, 256)) == 256
    for values in (rng.standard_normal(50_000), rng.laplace(size=50_000) ** 3):
        levels = adapted(values, 64)
        assert (np.diff(levels) >= 0).all()
        edges = (levels[1:] + levels[:-1]) / 2
        error = ((values - levels[np.searchsorted(edges, values)]) ** 2).mean()
        more = adapted(values, 64, rounds=3000)
        best = ((values - more[np.searchsorted((more[1:] + more[:-1]) / 2, values)]) ** 2).mean()
        assert error < 1.1 * best


@pytest.mark.parametrize("values", [np.zeros(50), np.ones(2000), np.r_[np.zeros(1999), 1.0], np.array([3.0])])
def test_levels_fitted_to_few_values_ascend(values: np.ndarray) -> None:
    for bits in (1, 4, 8):
        levels = fitted(values, bits).levels.astype(np.float32)
        assert np.isfinite(levels).all() and (np.diff(levels) > 0).all()


def test_uniform_and_two_level_grids() -> None:
    assert uniform(2).levels.tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert two_level(2, 0).levels.tolist() == uniform(2).levels.tolist()
    # Each cell from end to end: its last step is the first of the next.
    assert np.allclose(two_level(1, 2).levels, [-1, -2 / 3, -1 / 3, 0, 0, 1 / 3, 2 / 3, 1])
    for bits in range(1, 9):
        assert uniform(bits).mass.sum() == pytest.approx(1) and (uniform(bits).mass > 0).all()


# ----------------------------------------------------------------------------------------------- 8: exhaustive encoders


def best_scaled_cosine(vector: np.ndarray, levels: np.ndarray) -> float:
    """The largest cosine of a vector with the levels nearest to any positive multiple of it: all multiples at which a
    level changes are tried in turn.
    """
    x = vector.astype(np.float64)
    edges = (levels[1:] + levels[:-1]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        changes = (edges[None, :] / x[:, None]).ravel()
    changes = np.sort(changes[np.isfinite(changes) & (changes > 0)])
    changes = np.concatenate([[changes[0] / 2], changes, [changes[-1] * 2]]) if len(changes) else np.ones(2)
    tried = (changes[1:] + changes[:-1]) / 2
    y = levels[np.searchsorted(edges, tried[:, None] * x[None, :])]
    norms = np.sqrt((y**2).sum(axis=1))
    return float(np.max((y @ x)[norms > 0] / norms[norms > 0]) / np.linalg.norm(x))


@pytest.mark.parametrize("dim", [16, 48])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6])
def test_8_codes_are_nearly_the_best(bits: int, dim: int) -> None:
    X = gaussian(2, 40, dim)
    quantizer = vs.LloydMax(bits, rotation="none").fit(np.zeros((1, dim)))
    codes = quantizer.encode(X)
    y = quantizer.codec.decode(codes.symbols, codes.extra).astype(np.float64)
    found = (X * y).sum(axis=1) / np.linalg.norm(X, axis=1) / np.linalg.norm(y, axis=1)
    peak = lloyd_max(bits).levels[-1] / 2047  # levels are multiples of this
    best = np.array([best_scaled_cosine(x, np.rint(lloyd_max(bits).levels / peak) * peak) for x in X])
    assert (found <= best + 1e-6).all()
    assert (found >= best - 0.006).all() and (best - found).mean() < 0.002


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_8_recurrent_binary_codes_are_nearly_the_best(bits: int) -> None:
    X = gaussian(3, 30, 48)
    quantizer = vs.Binary("recurrent", bits).fit(gaussian(4, 300, 48))
    Z = quantizer.apply(X - quantizer.mean).astype(np.float64)
    codes = quantizer.encode(X)
    y = quantizer.codec.decode(codes.symbols, codes.extra).astype(np.float64)
    found = (Z * y).sum(axis=1) / np.linalg.norm(Z, axis=1) / np.linalg.norm(y, axis=1)
    best = np.array([oracle.best_grid_cosine(z, bits) for z in Z])
    assert (found <= best * (1 + 1e-6)).all() and (found >= 0.998 * best).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_8_intervals_are_chosen_well(bits: int) -> None:
    """Beside all intervals of a fine grid: LVQ takes one of nearly the best cosine, OSQ one of nearly the least
    loss."""
    X = gaussian(5, 25, 32) + 0.3
    zero = np.zeros((1, 32))
    steps = np.arange(2**bits) / (2**bits - 1)
    narrow = np.linspace(0.05, 1.0, 60)

    def all_of(x: np.ndarray) -> np.ndarray:
        middle, half = (x.max() + x.min()) / 2, (x.max() - x.min()) / 2
        ends = np.array([(middle - half * a, middle + half * b) for a in narrow for b in narrow])
        scaled = (x[None, :] - ends[:, :1]) / (ends[:, 1:] - ends[:, :1]) * (2**bits - 1)
        level = np.clip(np.floor(scaled + 0.5), 0, 2**bits - 1).astype(int)
        return ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * steps[level]

    def loss(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        error = x - y
        return 0.9 * (error @ x) ** 2 / (x @ x) + 0.1 * (error**2).sum(axis=-1)

    def cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y @ x / np.linalg.norm(y, axis=-1) / np.linalg.norm(x)

    lost = []
    for coder in (vs.LVQ(bits), vs.LVQ(bits, unbiased=False), vs.OSQ(bits)):
        codes = coder.fit(zero).encode(X)
        lost.append(np.mean([1 - cosine(x, y) ** 2 for x, y in zip(X, coder.decode(codes).astype(np.float64))]))
    grids = [all_of(x.astype(np.float64)) for x in X]
    best = np.mean([1 - cosine(x, grid).max() ** 2 for x, grid in zip(X.astype(np.float64), grids)])
    least = np.mean([1 - cosine(x, grid[loss(x, grid).argmin()]) ** 2 for x, grid in zip(X.astype(np.float64), grids)])
    clipped, published, optimized = lost
    assert clipped <= published + 1e-9 and best - 1e-9 <= clipped < 1.35 * best
    assert optimized < 1.35 * least


# -------------------------------------------------------------------------------------------------------- 9: bit plans


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([16, 32, 64]), min_size=1, max_size=4),
    budget=st.integers(0, 900),
    seed=st.integers(0, 10**6),
)
def test_9_plans_cost_the_least(lengths: list[int], budget: int, seed: int) -> None:
    costs = np.random.default_rng(seed).random((len(lengths), 6)) * np.exp2(-np.arange(6))
    found = allocate(costs, np.array(lengths), budget)
    assert (found * lengths).sum() <= budget

    def cost(plan: tuple[int, ...]) -> float:
        return float(costs[np.arange(len(plan)), list(plan)].sum())

    every = (plan for plan in product(range(6), repeat=len(lengths)) if np.dot(plan, lengths) <= budget)
    assert cost(tuple(found)) <= min(map(cost, every)) * (1 + 1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("bits", [0.5, 1, 2.25, 4])
def test_9_plans_of_real_spectra_cost_the_least(objective: str, bits: float) -> None:
    """D = 256 in blocks of 64, all 9^4 plans beside the one that is found."""
    energy = (1 / np.arange(1, 257)).reshape(4, 64).sum(axis=1)
    lengths = np.full(4, 64)
    errors = np.tile([1.0] + [lloyd_max(b).error for b in range(1, 9)], (4, 1))
    costs = error_table(energy, energy, lengths, errors, objective)
    found = allocate(costs, lengths, bits * 256)
    plans = np.array([plan for plan in product(range(9), repeat=4) if 64 * sum(plan) <= bits * 256])
    every = costs[np.arange(4)[None, :], plans].sum(axis=1)
    assert costs[np.arange(4), found].sum() == pytest.approx(every.min(), rel=1e-12)
    assert (np.diff(found) <= 0).all()  # more where there is more


def test_plans_in_words() -> None:
    assert plan_text([16, 16, 32, 16], [5, 5, 1, 0]) == "32 dims x 5 bits, 32 dims x 1 bit, 16 dims x 0 bits"
    assert plan_text([], []) == ""
    X = gaussian(6, 500, 64) / np.arange(1, 65, dtype=np.float32)
    told = str(vs.SAQ(2).fit(X).plan)
    assert "2.00 bits a dim" in told and "predicted" in told and "times less than without allocation" in told
