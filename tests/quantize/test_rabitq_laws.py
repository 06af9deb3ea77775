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
from vsearch.quantize import grid
from vsearch.quantize.grid import Codes, RaBitQ

SIN2_AT_1024 = {1: 0.3634, 2: 0.12034, 3: 0.03802, 4: 0.01155, 5: 0.00343, 6: 0.00095}
DIMS = [64, 96, 100, 128, 200, 768, 960, 1024, 1536, 3072]
ALL_BITS = range(1, 9)


def gaussian(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def centred(bits: int, dim: int, seed: int = 0) -> RaBitQ:
    """A RaBitQ about the origin, so that a vector is its own residual."""
    return RaBitQ(bits, seed=seed).fit(np.zeros((1, dim)))


def levels(quantizer: RaBitQ, codes: Codes) -> np.ndarray:
    """The grid points y of codes, float64."""
    return grid.core.rabitq_levels(codes.signs, codes.extra, quantizer.bits) - (2.0**quantizer.bits - 1) / 2


def cosines(quantizer: RaBitQ, X: np.ndarray, codes: Codes) -> np.ndarray:
    rotated = quantizer.rotation.apply(X).astype(np.float64)
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
        _, bound, full = index._scan.estimate(q, grid.EPSILON)
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
def test_4_codes_have_the_same_bits_and_estimates_the_same_value(engine: str, bits: int, dim: int) -> None:
    X, q = gaussian(7, 64, dim), gaussian(8, dim)
    quantizer = centred(bits, dim)
    codes = quantizer.encode(X)
    reference = by_scalar(bits, X)
    for name in ("signs", "extra", "add", "rescale"):
        assert getattr(codes, name).tobytes() == getattr(reference, name).tobytes(), name
    assert np.allclose(codes.spreads, reference.spreads, rtol=1e-6)
    y, rotated = levels(quantizer, codes), quantizer.rotation.apply(X).astype(np.float64)
    rotated_query = quantizer.rotation.apply(q[None]).astype(np.float64)[0]
    scale = (rotated**2).sum(axis=1) / (rotated * y).sum(axis=1)
    formula = (rotated**2).sum(axis=1) + (rotated_query**2).sum() - 2 * scale * (y @ rotated_query)
    for count in (1, 31, 32, 33, 64):
        full = quantizer.estimate(q, first(codes, count))
        assert np.allclose(full, formula[:count], rtol=2e-2 if bits == 1 else 3e-3)
        assert np.array_equal(full, quantizer.estimate(q, codes)[:count])


def first(codes: Codes, count: int) -> Codes:
    parts = (codes.signs, codes.extra, codes.add, codes.rescale)
    return Codes(*(np.ascontiguousarray(part[:count]) for part in parts), codes.spreads)


def by_scalar(bits: int, X: np.ndarray) -> Codes:
    from vsearch.kernels import core

    level = core.isa()
    core.use_isa(core.available_isas()[0])
    try:
        signs = grid.random_signs(X.shape[1], 0)
        rotated = core.Rotation(X.shape[1], signs).apply(X)
        zero = np.zeros((1, rotated.shape[1]), np.float32)
        return Codes(**core.rabitq_encode(rotated, np.zeros(len(X), np.uint32), zero, zero[0], bits, "l2", 1))
    finally:
        core.use_isa(level)


@pytest.mark.parametrize("dim", [16, 64, 100, 200, 3072])
@pytest.mark.parametrize("bits", ALL_BITS)
def test_4_planes_are_packed_as_drawn(engine: str, bits: int, dim: int) -> None:
    X = gaussian(9, 33, dim)
    quantizer = centred(bits, dim)
    codes = quantizer.encode(X)
    padded = quantizer.rotation.padded
    found = grid.core.rabitq_levels(codes.signs, codes.extra, bits)
    signs = np.unpackbits(codes.signs, axis=1, bitorder="little").astype(np.int64)
    assert np.array_equal(signs, quantizer.rotation.apply(X) > 0)
    extra = oracle.unpacked(codes.extra, padded, bits) if bits > 1 else 0
    assert np.array_equal(found, signs << (bits - 1) | extra)
    expected = padded / 8 + 8 + (codes.extra.shape[1] if bits > 1 else 0)
    assert quantizer.bytes_per_vector(dim) == expected == codes.nbytes / len(codes)


@pytest.mark.parametrize("dim", [16, 48, 64, 112, 1536])
def test_4_blocks_are_laid_out_as_drawn(engine: str, dim: int) -> None:
    rng = np.random.default_rng(10)
    core = grid.core
    blocks = rng.integers(0, 256, (3, core.block_bytes(dim)), np.uint8)  # what was there must not matter
    before = blocks.copy()
    positions = rng.permutation(96)[:70].astype(np.int64)
    slots = rng.integers(0, 2**32, 70).astype(np.uint32)
    signs = rng.integers(0, 256, (70, dim // 8), np.uint8)
    add, rescale = gaussian(11, 70), gaussian(12, 70)
    core.write_blocks(blocks, dim, positions, slots, signs, add, rescale)
    for got, given in zip(core.read_blocks(blocks, dim, positions), (slots, signs, add, rescale)):
        assert got.tobytes() == given.tobytes()
    untouched = np.setdiff1d(np.arange(96), positions)
    for got, given in zip(core.read_blocks(blocks, dim, untouched), core.read_blocks(before, dim, untouched)):
        assert got.tobytes() == given.tobytes()
    for number, block in enumerate(blocks):
        bits = oracle.lanes(block, dim)
        tail = block[4 * dim :].view(np.float32).reshape(3, 32)
        for i in np.flatnonzero(positions // 32 == number):
            lane = positions[i] % 32
            assert np.array_equal(bits[lane], np.unpackbits(signs[i], bitorder="little"))
            assert tail[0, lane] == add[i] and tail[1, lane] == rescale[i]
            assert tail[2].view(np.uint32)[lane] == slots[i]
    for bad in ([-1], [96], [2**40]):
        with pytest.raises(ValueError, match="out of range"):
            core.read_blocks(blocks, dim, np.array(bad, np.int64))


# ----------------------------------------------------- 5: degenerate input


@pytest.mark.parametrize("bits", ALL_BITS)
def test_5_degenerate_vectors_and_queries(engine: str, bits: int) -> None:
    dim = 40
    axis, ones = np.eye(dim)[0], np.ones(dim)
    X = np.stack([0 * ones, ones, -3 * ones, axis, axis, 1e-15 * ones, 1e15 * ones]).astype(np.float32)
    quantizer = centred(bits, dim)
    codes = quantizer.encode(X)
    assert np.array_equal(codes.signs[3], codes.signs[4]) and np.array_equal(codes.extra[3], codes.extra[4])
    decoded = quantizer.decode(codes)
    assert np.isfinite(decoded).all() and (decoded[0] == 0).all()
    for q in (np.zeros(dim), np.ones(dim), X[3], X[6]):
        q = q.astype(np.float32)
        found = np.stack(quantizer.estimate_stages(q, codes))
        assert np.isfinite(found).all()
        assert found[0][0] == pytest.approx(float((q.astype(np.float64) ** 2).sum()), rel=1e-5)  # the zero residual
        assert np.array_equal(found[:, 3], found[:, 4])
        assert (found[1] <= found[0] * (1 + 1e-6)).all()
    exact = (X.astype(np.float64) ** 2).sum(axis=1)
    assert np.allclose(quantizer.estimate(np.zeros(dim, np.float32), codes), exact, rtol=1e-5)  # nothing to estimate


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
    assert np.array_equal(codes.signs, scaled.signs)
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
    """|q|^2 + |x|^2 - 2 <x, q>, with centroids far from the origin: the additive factor of ip is not that of l2."""
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
        l2, ip = (np.stack(index._scan.estimate(q, grid.EPSILON)).astype(np.float64) for index in made)
        norms = (stored**2).sum(axis=1) + (q.astype(np.float64) ** 2).sum()
        assert np.allclose(ip, (l2 - norms) / 2, rtol=0, atol=2e-6 * norms.max())


@pytest.mark.parametrize("bits", range(2, 9))
def test_7_one_bit_of_every_code_is_the_one_bit_code(engine: str, bits: int) -> None:
    X, q = gaussian(18, 70, 100), gaussian(19, 100)
    one, many = centred(1, 100), centred(bits, 100)
    a, b = one.encode(X), many.encode(X)
    for name in ("signs", "add", "rescale"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
    assert np.array_equal(a.spreads[:, 0], b.spreads[:, 0])
    assert np.array_equal(levels(one, a) > 0, levels(many, b) > 0)
    assert np.array_equal(np.stack(one.estimate_stages(q, a))[:2], np.stack(many.estimate_stages(q, b))[:2])


@pytest.mark.parametrize("dim", [48, 128, 1024])
@pytest.mark.parametrize("bits", range(2, 9))
def test_8_codes_are_nearly_the_best(engine: str, bits: int, dim: int) -> None:
    X = gaussian(20, 24, dim)
    quantizer = centred(bits, dim)
    found = cosines(quantizer, X, quantizer.encode(X))
    best = np.array([oracle.best_grid_cosine(row, bits) for row in quantizer.rotation.apply(X)])
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
