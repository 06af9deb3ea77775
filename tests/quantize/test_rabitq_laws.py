"""What RaBitQ promises, measured: the laws of estimates, bounds and codes, on every engine.

The numbers in the names are those of the list of acceptance tests that the quantizers are built to. The table is of
1 - cos^2 between a Gaussian vector and its best grid point at 1024 dims; kappa = (1 - cos^2) / cos^2, and the error of
an estimated inner product is |o| |q| sqrt(kappa / (D - 1)).
"""

from __future__ import annotations

import numpy as np
import oracle
import pytest

import vsearch as vs
from vsearch.quantize import RaBitQ, base
from vsearch.quantize.codes import Codes, Encoded

SIN2_AT_1024 = {1: 0.3634, 2: 0.12034, 3: 0.03802, 4: 0.01155, 5: 0.00343, 6: 0.00095}
DIMS = [64, 96, 100, 128, 200, 768, 960, 1024, 1536, 3072]
ALL_BITS = range(1, 9)


def gaussian(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def centred(bits: int, dim: int, seed: int = 0) -> RaBitQ:
    """A RaBitQ about the origin, so that a vector is its own residual."""
    return RaBitQ(bits, seed=seed).fit(np.zeros((1, dim)))


def levels(quantizer: RaBitQ, codes: Codes | Encoded) -> np.ndarray:
    """The grid points y of codes, float64."""
    return quantizer.codec.unpack(codes.symbols, codes.extra) - (2.0**quantizer.bits - 1) / 2


def encoded(quantizer: RaBitQ, X: np.ndarray, metric: str = "l2") -> Encoded:
    """What the codec returns for vectors about the origin, with float32 factors of both stages."""
    transformed = quantizer.transform.apply(X)
    origin = np.zeros((1, transformed.shape[1]), np.float32)
    return quantizer.encode_residuals(transformed, np.zeros(len(X), np.uint32), origin, origin[0], metric, 1)


def cosines(quantizer: RaBitQ, X: np.ndarray, codes: Codes | Encoded) -> np.ndarray:
    rotated = quantizer.transform.apply(X).astype(np.float64)
    y = levels(quantizer, codes)
    return (rotated * y).sum(axis=1) / np.linalg.norm(rotated, axis=1) / np.linalg.norm(y, axis=1)


def estimated(quantizer: RaBitQ, codes: Codes, Q: np.ndarray) -> np.ndarray:
    """1-bit estimate, its bound and full estimate of every query: (3, nq, n)."""
    return np.stack([quantizer.estimate_stages(q, codes) for q in Q], axis=1).astype(np.float64)


def relative_errors(estimates: np.ndarray, Q: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Errors of <x, q> / (|x| |q|) from estimates of |x - q|^2."""
    size = np.linalg.norm(Q, axis=1)[:, None] * np.linalg.norm(X, axis=1)[None, :]
    return (oracle.distances("l2", Q, X) - estimates) / 2 / size


# ----------- 1, 2, 3: laws


@pytest.mark.parametrize("dim", [256, 1024])
@pytest.mark.parametrize("bits", range(1, 7))
def test_1_error_is_the_one_that_the_angle_allows(engine: str, bits: int, dim: int) -> None:
    X, Q = gaussian(1, 800, dim), gaussian(2, 16, dim)
    quantizer = centred(bits, dim)
    codes = quantizer.encode(X)
    measured = np.sqrt((relative_errors(estimated(quantizer, codes, Q)[2], Q, X) ** 2).mean() * (dim - 1))
    cos2 = cosines(quantizer, X, codes) ** 2
    assert measured == pytest.approx(np.sqrt(((1 - cos2) / cos2).mean()), rel=0.03)
    if dim == 1024:
        sin2 = SIN2_AT_1024[bits]
        assert measured == pytest.approx(np.sqrt(sin2 / (1 - sin2)), rel=0.03)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["near", "axes"])
def test_2_estimates_are_unbiased_over_rotations(engine: str, bits: int, kind: str) -> None:
    """Queries lie near the vectors, where a wrong scale would show; axes are what a rotation likes least."""
    dim, rotations = 96, 20
    X = gaussian(3, 60, dim) if kind == "near" else np.eye(dim, dtype=np.float32)[:60]
    Q = X[:6] + X[6:12]
    stages = []
    for seed in range(rotations):
        quantizer = centred(bits, dim, seed)
        stages.append(estimated(quantizer, quantizer.encode(X), Q)[[0, 2]])
    for stage in range(2):
        errors = np.stack([relative_errors(each[stage], Q, X) for each in stages])  # (rotations, nq, n)
        cosine = oracle.unit(Q) @ oracle.unit(X).T
        for chosen in (cosine > -2, cosine > 0.3):
            means = errors[:, chosen].mean(axis=1)
            assert abs(means.mean()) < 4 * means.std(ddof=1) / np.sqrt(rotations)


@pytest.mark.parametrize("dim", [256, 1024])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_3_bounds_fail_as_often_as_a_normal_law_says(engine: str, bits: int, dim: int) -> None:
    X, Q = gaussian(4, 800, dim), gaussian(5, 20, dim)
    quantizer = centred(bits, dim)
    bounds = estimated(quantizer, quantizer.encode(X), Q)[1]
    assert 0.02 < (bounds > oracle.distances("l2", Q, X)).mean() < 0.04
    codes = quantizer.encode(X[:200])
    half = np.stack([quantizer.estimate_stages(q, codes, 0.0) for q in Q[:8]], axis=1)
    assert np.array_equal(half[0], half[1])
    assert 0.45 < (half[1] > oracle.distances("l2", Q[:8], X[:200])).mean() < 0.55


@pytest.mark.parametrize("radius", [1.0, 0.3, 0.1, 0.03])
@pytest.mark.parametrize("bits", [1, 5, 6])
def test_3_bounds_and_errors_in_clusters_carry_the_rounding_of_the_query(engine: str, bits: int, radius: float) -> None:
    """Tight lists far from the mean: |q'| is up to 30 times |q - c|, and so is what rounding the query costs."""
    dim, lists = 256, 12
    rng = np.random.default_rng(6)
    centres = rng.standard_normal((lists, dim))
    X = (centres[np.arange(1200) % lists] + radius * rng.standard_normal((1200, dim))).astype(np.float32)
    Q = (centres[np.arange(24) % lists] + radius * rng.standard_normal((24, dim))).astype(np.float32)
    index = vs.IVF(lists, quantizer=RaBitQ(bits), refine=None).fit(X, queries=Q, threads=1)
    owner = index._core.assign(X[index._idmap.ids_by_slot], 1)
    own_centre = index._core.centroids.astype(np.float64)[owner]
    violations, errors = [], []
    for q in Q:
        _, bound, full = index._scan.estimate(q, base.EPSILON)
        stored = X[index._idmap.ids_by_slot].astype(np.float64)
        truth = ((stored - q) ** 2).sum(axis=1)
        away = np.linalg.norm(own_centre - q, axis=1)
        near = away < 1.5 * away.min()
        violations.append((bound > truth)[near].mean())
        size = 2 * np.linalg.norm(stored - own_centre, axis=1) * away
        errors.append(((full - truth) / size)[near] ** 2)
    assert np.mean(violations) < 0.04
    kappa = np.concatenate(errors).mean() * (dim - 1)
    sin2 = SIN2_AT_1024.get(bits, 0)
    rounding = {1: 4e-4, 5: 2e-5, 6: 4e-8}[bits] / radius**2  # of a query in 6 bits a group, 8 and 15 bits a dim
    assert kappa < 1.25 * (sin2 / (1 - sin2) + rounding)


# -------- 4: the same everywhere


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("bits", [1, 3, 4, 8])
def test_4_codes_and_estimates_are_the_same_on_every_engine(engine: str, bits: int, dim: int) -> None:
    """Codes bit for bit; factors are sums, which each engine rounds in an order of its own."""
    X, q = gaussian(7, 64, dim), gaussian(8, dim)
    quantizer = centred(bits, dim)
    found, reference = encoded(quantizer, X), by_scalar(bits, X)
    assert found.symbols.tobytes() == reference.symbols.tobytes()
    assert found.extra.tobytes() == reference.extra.tobytes()
    assert np.allclose(found.first, reference.first, rtol=1e-5)
    assert np.allclose(found.full, reference.full, rtol=1e-5)
    assert np.allclose(found.spreads[:, 0], reference.spreads[:, 0], rtol=1e-4)
    assert np.allclose(found.spreads[:, 1], reference.spreads[:, 1], rtol=1e-2)  # 1 - cos^2: 8 bits leave 5e-5 of 1
    codes = quantizer.encode(X)
    assert codes.symbols.tobytes() == found.symbols.tobytes() and codes.extra.tobytes() == found.extra.tobytes()
    y, rotated = levels(quantizer, codes), quantizer.transform.apply(X).astype(np.float64)
    rotated_query = quantizer.transform.apply(q[None]).astype(np.float64)[0]
    scale = (rotated**2).sum(axis=1) / (rotated * y).sum(axis=1)
    rounded = np.abs(codes.compact.read(codes.factors) - found.full)
    assert (rounded <= rounding(codes, found.full) + 1e-6 * np.abs(found.full)).all()
    assert np.allclose(found.full[:, 1], -2 * scale, rtol=1e-5)
    formula = (rotated**2).sum(axis=1) + (rotated_query**2).sum() - 2 * scale * (y @ rotated_query)
    for count in (1, 31, 32, 33, 64):
        full = quantizer.estimate(q, first(codes, count))
        assert np.allclose(full, formula[:count], rtol=2e-2 if bits == 1 else 3e-3)
        assert np.array_equal(full, quantizer.estimate(q, codes)[:count])


def rounding(codes: Codes, full: np.ndarray) -> np.ndarray:
    """The most that 16 bits may be off: half a step where steps are even, and of f16 deviations a half of 2^-10."""
    step = codes.compact.step.astype(np.float64)
    apart = np.abs(full - codes.compact.low.astype(np.float64))
    return np.where(step >= 0, 0.501 * step, 2.0**-11 * apart - step * 2.0**-25 + 1e-6 * np.abs(full))


def first(codes: Codes, count: int) -> Codes:
    parts = (codes.symbols, codes.extra, codes.factors)
    return Codes(*(np.ascontiguousarray(part[:count]) for part in parts), codes.compact)


def by_scalar(bits: int, X: np.ndarray) -> Encoded:
    from vsearch.kernels import core

    level = core.isa()
    core.use_isa(core.available_isas()[0])
    try:
        rotated = core.Rotation(X.shape[1], base.random_signs(X.shape[1], 0)).apply(X)
        zero = np.zeros((1, rotated.shape[1]), np.float32)
        codec = core.RabitqCodec(rotated.shape[1], bits)
        return Encoded(**codec.encode(rotated, np.zeros(len(X), np.uint32), zero, zero[0], "l2", 1))
    finally:
        core.use_isa(level)


@pytest.mark.parametrize("dim", [16, 64, 100, 200, 3072])
@pytest.mark.parametrize("bits", ALL_BITS)
def test_4_planes_are_packed_as_drawn(engine: str, bits: int, dim: int) -> None:
    X = gaussian(9, 33, dim)
    quantizer = centred(bits, dim)
    codes = quantizer.encode(X)
    padded = quantizer.transform.padded
    found = quantizer.codec.unpack(codes.symbols, codes.extra)
    signs = np.unpackbits(codes.symbols, axis=1, bitorder="little").astype(np.int64)
    assert np.array_equal(signs, quantizer.transform.apply(X) > 0)
    extra = oracle.unpacked(codes.extra, padded, bits) if bits > 1 else 0
    assert np.array_equal(found, signs << (bits - 1) | extra)
    expected = padded / 8 + 4 + (codes.extra.shape[1] if bits > 1 else 0)
    assert quantizer.bytes_per_vector(dim) == expected == codes.nbytes / len(codes)


@pytest.mark.parametrize("symbols", [4, 12, 16, 28, 384])
@pytest.mark.parametrize(("columns", "size"), [(2, 4), (3, 4), (1, 2), (3, 2), (0, 4)])
def test_4_blocks_are_laid_out_as_drawn(engine: str, symbols: int, columns: int, size: int) -> None:
    rng = np.random.default_rng(10)
    core = base.core
    width = core.block_bytes(symbols, columns, size)
    assert width == 32 * (symbols // 2 + columns * size + 4)
    blocks = rng.integers(0, 256, (3, width), np.uint8)  # what was there must not matter
    before = blocks.copy()
    positions = rng.permutation(96)[:70].astype(np.int64)
    slots = rng.integers(0, 2**32, 70).astype(np.uint32)
    rows = rng.integers(0, 256, (70, symbols // 2), np.uint8)
    factors = rng.integers(0, 256, (70, columns * size), np.uint8)
    core.write_blocks(blocks, positions, slots, rows, factors, size)
    for got, given in zip(core.read_blocks(blocks, symbols, columns, size, positions), (slots, rows, factors)):
        assert got.tobytes() == given.tobytes()
    untouched = np.setdiff1d(np.arange(96), positions)
    kept = (core.read_blocks(each, symbols, columns, size, untouched) for each in (blocks, before))
    for got, given in zip(*kept):
        assert got.tobytes() == given.tobytes()
    for number, block in enumerate(blocks):
        held = oracle.lanes(block, symbols)
        tail = block[16 * symbols : 16 * symbols + 32 * columns * size].reshape(columns, 32, size)
        for i in np.flatnonzero(positions // 32 == number):
            lane = positions[i] % 32
            assert np.array_equal(held[lane, ::2] | held[lane, 1::2] << 4, rows[i])
            assert np.array_equal(tail[:, lane].reshape(-1), factors[i])
            assert block[-128:].view(np.uint32)[lane] == slots[i]
    for bad in ([-1], [96], [2**40]):
        with pytest.raises(ValueError, match="out of range"):
            core.read_blocks(blocks, symbols, columns, size, np.array(bad, np.int64))


# ----------------------------------------------------- 5: degenerate input


@pytest.mark.parametrize("size", [1e3, 1e15])
@pytest.mark.parametrize("bits", ALL_BITS)
def test_5_degenerate_vectors_and_queries(engine: str, bits: int, size: float) -> None:
    """Factors share their 16 bits: beside a vector of length 1e16, those of short ones are rounded to much less."""
    dim = 40
    axis, ones = np.eye(dim)[0], np.ones(dim)
    X = np.stack([0 * ones, ones, -3 * ones, axis, axis, 1e-15 * ones, size * ones]).astype(np.float32)
    quantizer = centred(bits, dim)
    codes = quantizer.encode(X)
    for part in (codes.symbols, codes.extra, codes.factors):
        assert np.array_equal(part[3], part[4])
    off = rounding(codes, encoded(quantizer, X).full)
    grid = np.linalg.norm(levels(quantizer, codes), axis=1)
    decoded = quantizer.decode(codes)
    assert np.isfinite(decoded).all() and np.linalg.norm(decoded[0]) <= off[0, 1] * grid[0]
    add = codes.compact.read(codes.factors)[:, 0]
    for q in (np.zeros(dim), np.ones(dim), X[3], X[6]):
        q = q.astype(np.float32)
        square = float((q.astype(np.float64) ** 2).sum())
        found = np.stack(quantizer.estimate_stages(q, codes)).astype(np.float64)
        assert np.isfinite(found).all()
        zero = off[0, 0] + off[0, 1] * grid[0] * np.sqrt(square) + 1e-5 * square
        assert abs(found[2, 0] - square) <= zero  # the zero residual
        assert np.array_equal(found[:, 3], found[:, 4])
        near = found[0] < square + add
        assert (found[1] <= found[0] + 1e-6 * abs(found[0]))[near].all()
    exact = (X.astype(np.float64) ** 2).sum(axis=1)
    about = quantizer.estimate(np.zeros(dim, np.float32), codes)  # nothing to estimate
    assert (np.abs(about - exact) <= off[:, 0] + 1e-5 * exact).all()


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("bits", [1, 4])
def test_5_identical_vectors_in_an_index(engine: str, metric: str, bits: int) -> None:
    X = np.tile(gaussian(13, 1, 24), (100, 1))
    index = vs.IVF(4, metric, quantizer=RaBitQ(bits), refine=None).fit(X, threads=1)
    ids, distances = index.search(X[0], 100, effort=4)
    assert sorted(ids.tolist()) == list(range(100))
    unit = oracle.unit(X[:1]) if metric == "cosine" else X[:1]
    assert np.allclose(distances, oracle.distances(metric, unit, unit)[0, 0], atol=1e-3)


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e12])
def test_5_scale_changes_no_code(engine: str, scale: float) -> None:
    X = gaussian(14, 50, 64)
    quantizer = centred(4, 64)
    codes, scaled = quantizer.encode(X), quantizer.encode(X * np.float32(scale))
    assert np.array_equal(codes.symbols, scaled.symbols)
    y, z = levels(quantizer, codes), levels(quantizer, scaled)
    assert (y == z).mean() > 0.999  # a rounding may fall the other way


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_5_what_is_not_finite_is_refused(engine: str, bad: float) -> None:
    X = gaussian(15, 5, 8)
    X[3, 2] = bad
    quantizer = centred(2, 8)
    codes = quantizer.encode(X[:3])
    for call in (quantizer.fit, quantizer.encode):
        with pytest.raises(vs.ParameterError, match="`X` must be finite; row 3"):
            call(X)
    with pytest.raises(vs.ParameterError, match="`query` must be finite"):
        quantizer.estimate(X[3], codes)


# ------------------------------------------------ 6, 7, 8: codes agree


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_6_inner_products_are_those_that_distances_give(engine: str, bits: int) -> None:
    """|q|^2 + |x|^2 - 2 <x, q>, with centroids far from the origin: the additive factor of ip is not that of l2. Under
    ip q is searched as a power of two times itself (csrc/index/query_length.hpp)."""
    rng = np.random.default_rng(16)
    X = (rng.standard_normal((600, 96)) + 2 * rng.standard_normal((6, 96))[np.arange(600) % 6] + 1).astype(np.float32)
    Q = X[:10] + gaussian(17, 10, 96)
    made = [
        vs.IVF(6, metric, quantizer=RaBitQ(bits, seed=3), refine=None, seed=1).fit(X, queries=Q, threads=1)
        for metric in ("l2", "ip")
    ]
    assert np.array_equal(made[0]._core.centroids, made[1]._core.centroids)
    assert np.linalg.norm(made[0]._core.centroids, axis=1).min() > 5
    stored = X[made[0]._idmap.ids_by_slot].astype(np.float64)
    for q in Q:
        ip = np.stack(made[1]._scan.estimate(q, base.EPSILON)).astype(np.float64)
        alike = []
        for longer in 2.0 ** np.arange(-5, 6):
            l2 = np.stack(made[0]._scan.estimate((longer * q).astype(np.float32), base.EPSILON)).astype(np.float64)
            norms = (stored**2).sum(axis=1) + ((longer * q.astype(np.float64)) ** 2).sum()
            alike.append(np.allclose(longer * ip, (l2 - norms) / 2, rtol=0, atol=2e-6 * norms.max()))
        assert sum(alike) == 1


@pytest.mark.parametrize("bits", range(2, 9))
def test_7_one_bit_of_every_code_is_the_one_bit_code(engine: str, bits: int) -> None:
    X, q = gaussian(18, 70, 100), gaussian(19, 100)
    one, many = centred(1, 100), centred(bits, 100)
    for metric in oracle.METRICS:
        a, b = encoded(one, X, metric), encoded(many, X, metric)
        assert a.symbols.tobytes() == b.symbols.tobytes() and a.first.tobytes() == b.first.tobytes()
        assert a.first.tobytes() == a.full.tobytes() and np.array_equal(a.spreads[:, 0], b.spreads[:, 0])
    a, b = one.encode(X), many.encode(X)
    assert np.array_equal(levels(one, a) > 0, levels(many, b) > 0)
    indexes = [vs.IVF(3, quantizer=coder.fresh(), refine=None).fit(X, queries=X[:9]) for coder in (one, many)]
    stages = [np.stack(index._scan.estimate(q, base.EPSILON))[:2] for index in indexes]
    assert np.array_equal(*stages)
    # A compact code keeps one rescale for both stages: that of the symbols is a mean share of it, or of the length.
    exact, about = (quantizer.estimate_stages(q, codes)[0] for quantizer, codes in ((one, a), (many, b)))
    deviation = 2 * np.linalg.norm(X, axis=1) * np.linalg.norm(q) * np.sqrt(0.571 / 111)
    assert np.sqrt((((about - exact) / deviation) ** 2).mean()) < 0.15


@pytest.mark.parametrize("dim", [48, 128, 1024])
@pytest.mark.parametrize("bits", range(2, 9))
def test_8_codes_are_nearly_the_best(engine: str, bits: int, dim: int) -> None:
    X = gaussian(20, 24, dim)
    quantizer = centred(bits, dim)
    found = cosines(quantizer, X, quantizer.encode(X))
    best = np.array([oracle.best_grid_cosine(row, bits) for row in quantizer.transform.apply(X)])
    assert (found <= best * (1 + 1e-6)).all()  # nothing beats the exhaustive search
    assert (found >= 0.998 * best).all()
    lost = ((1 - found**2) / (1 - best**2)).mean()
    assert lost < {2: 1.003, 3: 1.003, 4: 1.004, 5: 1.01, 6: 1.02, 7: 1.04, 8: 1.08}[bits] + (0.04 if dim < 100 else 0)


@pytest.mark.parametrize("bits", ALL_BITS)
def test_decoding_is_off_by_the_angle(engine: str, bits: int) -> None:
    X = gaussian(21, 400, 200) + 3
    quantizer = RaBitQ(bits).fit(X)
    codes = quantizer.encode(X)
    around = X - quantizer.mean
    sin2 = 1 - cosines(quantizer, around, codes) ** 2
    lost = ((quantizer.decode(codes) - X) ** 2).sum(axis=1) / (around**2).sum(axis=1)
    assert lost.mean() <= 1.01 * sin2.mean() + 1e-9  # less where padding, which is known to be zero, is cut off
    if bits > 1:
        for metric in ("l2", "ip"):
            index = vs.Flat(metric, quantizer=RaBitQ(bits), refine=None).fit(X)
            held = np.stack([index.vector(i) for i in range(100)])
            assert ((held - X[:100]) ** 2).sum() / (around[:100] ** 2).sum() < 1.05 * sin2.mean() + 1e-9
