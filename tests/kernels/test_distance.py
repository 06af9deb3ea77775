"""Distance kernels, selection and tiles, as Python reaches them, against float64 NumPy at every instruction set."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from vsearch.kernels import core

DIMS = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 96, 100, 128, 200, 384, 900, 1536]
COUNTS = [0, 1, 3, 4, 5, 31, 32, 33, 100]


def unaligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts one element after a cache line."""
    raw = np.zeros(array.nbytes + 64 + array.itemsize, np.uint8)
    start = -raw.ctypes.data % 64 + array.itemsize
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def tolerance(metric: str, Q: np.ndarray, X: np.ndarray) -> np.ndarray:
    """What d float32 additions and products may be off by: gamma_d times the sum of the magnitudes added."""
    d = Q.shape[1]
    size = np.linalg.norm(Q, axis=1)[:, None] * np.linalg.norm(X, axis=1)[None, :]
    if metric == "l2":
        size = oracle.distances("l2", Q, X) + 1e-30
    return (d + 4) * 2.0**-23 * size + 2.0**-22


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_distances_match_the_oracle(isa: str, dtype: str, metric: str) -> None:
    rng = np.random.default_rng(1)
    for d in DIMS:
        for n in COUNTS:
            rows, _ = oracle.stored(rng.standard_normal((n, d)), dtype)
            Q = unaligned(rng.standard_normal((2, d)).astype(np.float32))
            X = oracle.values(rows, None, dtype)
            found = core.distances(metric, dtype, Q, unaligned(rows))
            assert found.shape == (2, n)
            assert (np.abs(found - oracle.distances(metric, Q, X)) <= tolerance(metric, Q, X)).all(), (d, n)


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_a_row_scores_the_same_alone_among_others_and_by_slot(isa: str, dtype: str) -> None:
    rng = np.random.default_rng(2)
    for d in (3, 17, 100, 384):
        rows, factors = oracle.stored(rng.standard_normal((67, d)), dtype)
        Q = rng.standard_normal((1, d)).astype(np.float32)
        together = core.distances("l2", dtype, Q, rows, factors)[0]
        slots = rng.integers(0, len(rows), 150).astype(np.uint32)
        by_slot = core.distances("l2", dtype, Q, rows, factors, slots)[0]
        alone = [core.distances("l2", dtype, Q, rows, factors, slots[i : i + 1])[0, 0] for i in range(len(slots))]
        assert by_slot.tolist() == together[slots].tolist() == alone


def test_integers_give_exact_distances(isa: str) -> None:
    rng = np.random.default_rng(3)
    for d in DIMS:
        X = rng.integers(-128, 128, (20, d)).astype(np.float64)
        Q = rng.integers(-300, 301, (3, d)).astype(np.float64)
        factors = np.stack([np.ones(20), (X**2).sum(axis=1)], axis=1).astype(np.float32)
        for metric in ("l2", "ip"):
            found = core.distances(metric, "int8", Q.astype(np.float32), X.astype(np.int8), factors)
            assert np.array_equal(found, oracle.distances(metric, Q, X).astype(np.float32)), (d, metric)


def test_int8_distances_are_within_the_precision_of_the_query(isa: str) -> None:
    rng = np.random.default_rng(4)
    for d in (3, 64, 384, 900):
        rows, factors = oracle.stored(rng.standard_normal((50, d)), "int8")
        Q = rng.standard_normal((4, d)).astype(np.float32)
        X = oracle.values(rows, factors, "int8")
        step = np.abs(Q).max(axis=1) / 16000  # of the int16 query, at these dimensions
        bound = 2 * step[:, None] * np.abs(X).sum(axis=1)[None, :] + 1e-4
        assert (np.abs(core.distances("l2", "int8", Q, rows, factors) - oracle.distances("l2", Q, X)) <= bound).all()


def test_integer_dots_are_exact_at_their_extremes(isa: str) -> None:
    rng = np.random.default_rng(5)
    for d in (32, 64, 96, 160, 384, 1024):
        for codes, query in (
            (np.full((3, d), 127), np.full(d, -127)),
            (np.full((3, d), 127), np.full(d, 127)),
            (rng.integers(0, 128, (9, d)), rng.integers(-127, 128, d)),
        ):
            found = core.dot_u7(query.astype(np.int8), codes.astype(np.uint8))
            assert np.array_equal(found, codes @ query), d
    for d in (64, 128, 192, 384, 1024):
        for codes, query in (
            (np.full((5, d), 15), np.full(d, -127)),
            (rng.integers(0, 16, (9, d)), rng.integers(-127, 128, d)),
        ):
            halves = codes.reshape(len(codes), -1, 2, 32).astype(np.uint8)
            packed = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(len(codes), -1)
            assert np.array_equal(core.dot_u4(query.astype(np.int8), packed), codes @ query), d
    for d in DIMS:
        limit = min(32767, (2**31 - 1) // (128 * d))
        for rows, query in (
            (np.full((5, d), -128), np.full(d, limit)),
            (rng.integers(-128, 128, (9, d)), rng.integers(-limit, limit + 1, d)),
        ):
            assert np.array_equal(core.dot_i8(query.astype(np.int16), rows.astype(np.int8)), rows @ query), d


@pytest.mark.parametrize("n", [0, 1, 7, 31, 32, 33, 64, 100, 1000])
def test_select_below_finds_positions_in_order(isa: str, n: int) -> None:
    values = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    values[::9] = np.nan
    for bound in (-np.inf, -0.5, 0.0, 0.5, np.inf):
        with np.errstate(invalid="ignore"):
            expected = np.flatnonzero(values < np.float32(bound))
        assert core.select_below(values, bound).tolist() == expected.tolist()


def test_widening_is_exact(isa: str) -> None:
    every = np.arange(2**16, dtype=np.uint16)
    halves = every[(every >> 10 & 31) != 31]
    assert np.array_equal(core.widen("f16", halves), halves.view(np.float16).astype(np.float32))
    wide = (every.astype(np.uint32) << 16).view(np.float32)
    finite = np.isfinite(wide)
    assert np.array_equal(core.widen("bf16", every[finite]), wide[finite])
    codes = np.arange(-128, 128, dtype=np.int8)
    for n in (1, 3, 8, 17, 256):
        assert np.array_equal(core.widen("int8", codes[:n], 0.25), codes[:n] * np.float32(0.25))


def test_tile_reports_what_reaches_the_bound(isa: str) -> None:
    rng = np.random.default_rng(6)
    for d in (1, 5, 16, 33, 128):
        for n in (1, 5, 6, 7, 12, 13, 50):
            rows = rng.integers(-9, 10, (n, d)).astype(np.float32)  # integers: sums are exact in any order
            panel = rng.integers(-9, 10, (d, 16)).astype(np.float32)
            bias = rng.integers(-50, 50, n).astype(np.float32)
            scores = bias[:, None] + rows @ panel
            bounds = np.quantile(scores, 0.8, axis=0).astype(np.float32)
            bounds[3], bounds[7] = np.inf, -np.inf
            expected = np.argwhere(scores >= bounds)
            found = core.tile(panel, rows, bias, bounds)
            assert found.tolist() == expected.tolist()


def test_tile_takes_nan_for_a_hit(isa: str) -> None:
    panel = np.ones((4, 16), np.float32)
    rows = np.array([[1, 1, 1, 1], [np.nan, 1, 1, 1]], np.float32)
    found = core.tile(panel, rows, np.zeros(2, np.float32), np.full(16, 100, np.float32))
    assert found.tolist() == [[1, q] for q in range(16)]


def test_unit_rows_have_length_one_and_zero_rows_are_named() -> None:
    X = np.random.default_rng(7).standard_normal((9, 33)).astype(np.float32) * np.float32(1e-18)
    units, whole = core.unit_rows(X)
    assert whole == 9 and np.allclose(units, oracle.unit(X), rtol=1e-6)
    X[5] = 0
    assert core.unit_rows(X)[1] == 5


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 5), (40, 17, 16), (1000, 64, 12), (257, 300, 30)])
def test_assign_is_the_nearest_and_first_of_equals(isa: str, shape: tuple[int, int, int]) -> None:
    n, count, d = shape
    rng = np.random.default_rng(8)
    X = rng.integers(-3, 4, (n, d)).astype(np.float32)  # many ties
    C = rng.integers(-3, 4, (count, d)).astype(np.float32)
    for threads in (1, 3):
        nearest, distances = core.assign(X, C, threads)
        truth = oracle.distances("l2", X, C)
        assert nearest.dtype == np.uint32 and nearest.tolist() == truth.argmin(axis=1).tolist()
        assert distances.tolist() == truth.min(axis=1).tolist()


def test_an_unknown_isa_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"must be one of best, (scalar|numba).*got 'sse9'"):
        core.use_isa("sse9")


def test_every_kernel_has_an_origin(isa: str) -> None:
    origins = dict(core.kernel_origins())
    assert "missing" not in origins.values()
    if isa == "scalar":
        assert set(origins.values()) == {"scalar"}
    if isa == "avx2":
        assert origins["l2_f32"] == origins["tile_f32"] == origins["dot_u7"] == "avx2"
