"""The encoder's kernels against NumPy, at every instruction set, and the Numba twin against both: all to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vsearch.kernels import core

DIMS = [16, 32, 48, 64, 112, 208, 384, 912, 4096, 8224]


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def agreed(name: str, *args: Any) -> Any:
    """The answer, which must be that of the lowest instruction set and of the Numba twin."""
    pytest.importorskip("numba")
    from vsearch.kernels import fallback

    answer, level = getattr(core, name)(*args), core.isa()
    core.use_isa(core.available_isas()[0])
    try:
        reference = getattr(core, name)(*args)
    finally:
        core.use_isa(level)
    for other in (reference, getattr(fallback, name)(*args)):
        for a, b in zip(flat(other), flat(answer), strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == np.asarray(b).dtype
    return answer


def flat(answer: Any) -> tuple[Any, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dim", DIMS)
def test_sign_moments_are_sums_of_the_residual(isa, rng, dim):
    x, center, mean = normal(rng, 3, dim)
    x[3], x[5] = 0, -0.0
    signs, sums = agreed("sign_moments", x, center, mean)
    np.testing.assert_array_equal(np.unpackbits(signs, bitorder="little"), x > 0)
    wide, sign = x.astype(float), np.where(x > 0, 1.0, -1.0)
    expected = [wide @ wide, abs(wide).sum(), sign @ center, wide @ (center + mean), abs(wide).max()]
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dim", DIMS)
def test_quantize_i16_rounds_to_even_and_clamps(isa, rng, dim):
    x = np.round(normal(rng, dim) * 40) / 2
    x[:4] = [1e30, -1e30, 0.5, 1.5]
    expected = np.clip(np.rint(x.astype(float)), -32767, 32767)
    np.testing.assert_array_equal(agreed("quantize_i16", x, 1.0), expected)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("bits", range(2, 9))
def test_grids_are_scored_exactly(isa, rng, dim, bits):
    top, half = 2 ** (bits - 1) - 1, 2 ** (bits - 1)
    a = rng.integers(-32767, 32768, dim).astype(np.int16)
    a[: dim // 2] = 32767  # as large as sums can become
    shift = 8 - bits
    scales = (np.array([0.3, 1.0, 1.5, 1.99]) * half * 2**shift).astype(np.uint16)
    dots, norms = agreed("grid_scores", a, scales, shift, top)
    for i, scale in enumerate(scales):
        t = np.minimum(np.floor(abs(a.astype(float)) * scale / 65536 / 2**shift), top)
        assert dots[i] == (abs(a.astype(float)) * t).sum() and norms[i] == (t * (t + 1)).sum()


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("top", [1, 7, 127])
def test_grid_codes_are_the_points_of_the_grid(isa, rng, dim, top):
    x, center = normal(rng, 2, dim)
    x[7] = 0
    a = core.quantize_i16(x, 32767 / float(abs(x).max()))
    codes, sums = agreed("grid_codes", x, center, a, 512 * top, 8, top)
    t = np.minimum(abs(a.astype(np.int64)) * 512 * top >> 24, top)
    np.testing.assert_array_equal(codes, np.where(x > 0, t, top - t))
    y = np.where(x > 0, 1, -1) * (t + 0.5)
    np.testing.assert_allclose(sums, [x.astype(float) @ y, center.astype(float) @ y], rtol=1e-4, atol=1e-2 * top)


@pytest.mark.parametrize("dim", [16, 32, 48, 64, 112, 128, 256, 384, 512, 912, 1024, 1536, 2048, 4096])
def test_rotation_rounds_are_orthogonal_up_to_a_factor(isa, rng, dim):
    x, span = normal(rng, dim), 1 << (dim.bit_length() - 1)
    flips = rng.integers(0, 2, dim).astype(np.uint32) << 31
    scale = float(np.float32(1 / np.sqrt(span)))
    for offset in {0, dim - span}:
        y = agreed("rotate_round", x, offset, span, flips, scale)
        expected = np.where(flips > 0, -x, x)
        expected[offset : offset + span] = core.fht(expected[None, offset : offset + span])[0] * np.float32(scale)
        if span < dim:
            a, b = np.split(expected, 2)
            expected = np.concatenate([a + b, a - b])
        np.testing.assert_array_equal(y, expected)


def test_rotation_rounds_stay_within_their_vector(isa, rng):
    x, flips = normal(rng, 48), np.zeros(48, np.uint32)
    for offset, span in ((32, 32), (0, 64), (8, 32), (0, 24), (2**63, 16)):
        with pytest.raises(ValueError, match="wrong span"):
            core.rotate_round(x, offset, span, flips, 1.0)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_few_levels_are_scored_exactly(isa, rng, dim, count):
    values = rng.integers(-32767, 32768, dim).astype(np.int16)
    values[: dim // 2] = -32767
    thresholds = np.sort(rng.integers(-32768, 32768, count - 1)).astype(np.int16)
    thresholds[0] = values[-1]  # a tie goes down
    thresholds.sort()
    levels = np.sort(rng.integers(-2047, 2048, count)).astype(np.int16)
    levels[0] = -2047
    y = levels[(values[:, None] > thresholds).sum(axis=1)].astype(float)
    w = np.floor(values / 16 + 0.5)
    assert agreed("level_scores", values, thresholds, levels) == (w @ y, y @ y)


@pytest.mark.parametrize("dim", DIMS)
def test_bins_are_clamped_at_both_ends(isa, rng, dim):
    x, w = normal(rng, 2, dim)
    table = np.sort(normal(rng, 1024))
    at = np.clip(x * np.float32(200) + np.float32(500), 0, 1023).astype(int)
    assert dim < 900 or ((at == 0).any() and (at == 1023).any())
    y = table[at].astype(float)
    dot, norm2 = agreed("bin_scores", x, w, 200.0, 500.0, table)
    np.testing.assert_allclose([dot, norm2], [w @ y, y @ y], rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_level_codes_count_the_thresholds_below(isa, rng, dim, bits):
    x, thresholds = normal(rng, dim), np.sort(normal(rng, 2**bits - 1))
    x[0], x[1], x[2] = thresholds[0] / np.float32(2), -np.inf, np.inf
    codes = agreed("level_codes", x, 2.0, thresholds)
    np.testing.assert_array_equal(codes, (x[:, None] * np.float32(2) > thresholds).sum(axis=1))


@pytest.mark.parametrize("units", [1, 2, 3, 24])
@pytest.mark.parametrize("prefix", [1, 2, 4])
def test_codes_are_put_together_from_symbols_and_extra_bits(isa, rng, units, prefix):
    for rest in range(9 - prefix):
        codes = rng.integers(0, 2 ** (prefix + rest), 16 * units, dtype=np.uint8)
        leading = (codes >> rest).reshape(-1, 4 // prefix) << np.arange(0, 4, prefix)
        bits = np.stack([codes.reshape(units, 16) >> b & 1 for b in range(rest)] or [np.zeros((units, 0))], axis=1)
        extra = np.packbits(bits.astype(np.uint8), axis=2, bitorder="little").reshape(-1) if rest else codes[:0]
        symbols = leading.sum(axis=1).astype(np.uint8)
        answer = agreed("unpack_levels", symbols[::2] | symbols[1::2] << 4, extra, prefix, rest)
        np.testing.assert_array_equal(answer, codes)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("count", [2, 4, 8, 16, 32, 64, 100, 128, 256])
@pytest.mark.parametrize("form", ["any", "symmetric", "almost"])
def test_level_dots_look_levels_up(isa, rng, dim, count, form):
    codes, levels = rng.integers(0, count, dim, dtype=np.uint8), rng.integers(-2047, 2048, count, dtype=np.int16)
    if form != "any":
        levels = np.sort(np.concatenate([-np.abs(levels[: count // 2]), np.abs(levels[: count // 2])]))
    if form == "almost":
        levels[0] += 1
    most = min(2**20 // dim, 16383)
    for query in (rng.integers(-most, most + 1, dim, dtype=np.int16), np.full(dim, most, np.int16)):
        assert agreed("level_dot", codes, levels, query) == levels[codes].astype(np.int64) @ query
    levels[:] = -2047
    assert core.level_dot(codes, levels, query) == -2047 * most * dim


def test_codes_beyond_the_levels_and_sums_beyond_32_bits_are_refused(isa):
    codes, levels, query = np.full(16, 4, np.uint8), np.full(4, 2047, np.int16), np.full(16, 32767, np.int16)
    with pytest.raises(ValueError, match="out of range"):
        core.level_dot(codes, levels, query)
    with pytest.raises(ValueError, match="32 bits"):
        core.level_dot(np.tile(codes - 4, 16), levels, np.tile(query, 16))
    with pytest.raises(ValueError, match=r"-2047\.\.2047"):
        core.level_dot(codes - 4, levels + np.int16(1), query - query)
