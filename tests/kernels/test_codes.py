"""Code kernels against NumPy, at every instruction set: integers exactly, floats alike at every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from vsearch.kernels import core

LANE = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]
DIMS = [16, 32, 48, 64, 96, 112, 128, 208, 384, 768, 912, 1024]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_fastscan_sums_table_entries(isa, rng, dim, blocks):
    groups = dim // 4
    nibbles = rng.integers(0, 16, (blocks, 32, groups), dtype=np.uint8)
    lut = rng.integers(0, 64, (groups, 16), dtype=np.uint8)
    codes = np.empty((blocks, groups, 16), dtype=np.uint8)
    for byte, lane in enumerate(LANE):
        codes[:, :, byte] = nibbles[:, lane] | nibbles[:, lane + 16] << 4
    expected = np.take_along_axis(lut.astype(np.int64)[None, None], nibbles[..., None].astype(np.int64), axis=3).sum(
        axis=(2, 3)
    )
    np.testing.assert_array_equal(core.fastscan(codes.reshape(blocks, -1), lut), expected)


def test_fastscan_full_range_does_not_overflow(isa):
    groups = 256
    lut = np.full((groups, 16), 63, dtype=np.uint8)
    codes = np.zeros((1, groups * 16), dtype=np.uint8)
    assert (core.fastscan(codes, lut) == 63 * groups).all()


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dim", [1, 17, 63, 64, 65, 100, 128, 200, 384, 960])
def test_dot_planes_is_exact(isa, rng, bits, dim):
    values = rng.integers(0, 2**bits, (33, dim), dtype=np.uint8)
    values[0] = 2**bits - 1
    padded = -(-dim // 64) * 64
    query = np.zeros(padded, dtype=np.int8)
    query[:dim] = rng.integers(-127, 128, dim)
    query[: dim // 2] = np.where(rng.random(dim // 2) < 0.5, -127, 127)
    codes = core.pack_planes(bits, values)
    assert codes.shape == (33, padded * bits // 8)
    np.testing.assert_array_equal(core.unpack_planes(bits, codes, dim), values)
    np.testing.assert_array_equal(core.dot_planes(bits, codes, query), values.astype(np.int64) @ query[:dim])


@pytest.mark.parametrize("words", [1, 2, 3, 6, 7, 8, 9, 12, 16, 33, 64])
def test_popcounts_are_exact(isa, rng, words):
    codes = rng.integers(0, 2**64, (37, words), dtype=np.uint64)
    planes = rng.integers(0, 2**64, (4, words), dtype=np.uint64)

    def ones(x):
        return np.unpackbits(np.ascontiguousarray(x).view(np.uint8), axis=-1).sum(axis=-1, dtype=np.int64)

    expected = sum(ones(codes & plane) << b for b, plane in enumerate(planes))
    np.testing.assert_array_equal(core.popcount_planes(codes, planes), expected)
    np.testing.assert_array_equal(core.hamming(planes[0], codes), ones(codes ^ planes[0]))


@pytest.mark.parametrize("dim", DIMS)
def test_the_symbols_of_a_lane_are_read_in_order(isa, rng, dim):
    nibbles = rng.integers(0, 16, (32, dim // 4), dtype=np.uint8)
    codes = np.stack([nibbles[lane] | nibbles[lane + 16] << 4 for lane in LANE], axis=1)
    for lane in range(32):
        symbols = core.lane_symbols(codes, lane)
        np.testing.assert_array_equal(symbols, nibbles[lane, ::2] | nibbles[lane, 1::2] << 4)


@pytest.mark.parametrize("dim", DIMS)
def test_dot_bits_adds_what_is_set(isa, rng, dim):
    bits = rng.integers(0, 256, dim // 8, dtype=np.uint8)
    query = rng.integers(-32768, 32768, dim, dtype=np.int16)
    expected = np.unpackbits(bits, bitorder="little") @ query.astype(np.int64)
    assert core.dot_bits(bits, query) == expected
    for extreme in (-32768, 32767):
        assert core.dot_bits(np.full_like(bits, 255), np.full_like(query, extreme)) == extreme * dim


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32, 64, 256, 1024, 4096])
def test_fht_is_the_hadamard_matrix(isa, rng, size):
    x = rng.standard_normal((3, size)).astype(np.float32)
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    answer = core.fht(x)
    np.testing.assert_allclose(answer, x @ matrix.T, rtol=0, atol=1e-5 * size)
    core.use_isa("scalar" if "scalar" in core.available_isas() else isa)
    np.testing.assert_array_equal(answer, core.fht(x))


@pytest.mark.parametrize("dim", DIMS)
def test_lookup_tables_hold_subset_sums(isa, rng, dim):
    query = rng.standard_normal(dim).astype(np.float32)
    table, low, widest, small = core.lookup_tables(query)
    bits = (np.arange(16)[:, None] >> np.arange(4)) & 1
    groups = query.reshape(-1, 4)
    sums = groups @ bits.T
    floor = np.minimum(groups, 0).sum(axis=1)
    np.testing.assert_allclose(table, sums - floor[:, None], atol=1e-5)
    np.testing.assert_allclose([low, widest], [floor.sum(), np.abs(groups).sum(axis=1).max()], rtol=1e-5)
    assert np.abs(small.astype(float) - table * (255 / widest)).max() <= 0.501
    core.use_isa("scalar" if "scalar" in core.available_isas() else isa)
    for ours, reference in zip((table, low, widest, small), core.lookup_tables(query)):
        np.testing.assert_array_equal(ours, reference)


def test_lookup_tables_of_a_zero_query_are_zero(isa):
    table, low, widest, small = core.lookup_tables(np.zeros(32, dtype=np.float32))
    assert not table.any() and not small.any() and low == widest == 0
