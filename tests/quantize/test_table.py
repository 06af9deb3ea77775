"""Encoders of table quantizers and the steps of their training: against NumPy, and the same bits on every engine."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vsearch import kernels
from vsearch.quantize import table_training

SHAPES = [(1, 1, 1, 16), (7, 2, 3, 16), (33, 4, 8, 256), (100, 3, 5, 48), (300, 6, 6, 256)]
"""(dims, sub-spaces, codebooks, centroids)"""


@pytest.fixture
def core(engine: str) -> object:
    return table_training.core


def case(dim: int, splits: int, books: int, count: int, n: int = 70) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(dim)
    starts = (np.arange(splits + 1) * dim // splits).astype(np.int64)
    first = (np.arange(splits + 1) * books // splits).astype(np.int64)
    width = int(np.diff(starts).max())
    C = rng.standard_normal((books, count, width)).astype(np.float32)
    return rng.standard_normal((n, dim)).astype(np.float32), starts, first, C


def sums_of(codes: np.ndarray, starts: np.ndarray, first: np.ndarray, C: np.ndarray) -> np.ndarray:
    out = np.zeros((len(codes), starts[-1]))
    for s in range(len(starts) - 1):
        for b in range(first[s], first[s + 1]):
            out[:, starts[s] : starts[s + 1]] += C[b, codes[:, b], : starts[s + 1] - starts[s]]
    return out


@pytest.mark.parametrize(("dim", "splits", "books", "count"), SHAPES)
def test_the_nearest_centroid_is_the_nearest(core, dim, splits, books, count) -> None:
    x, starts, _, C = case(dim, splits, splits, count)
    codes = core.table_nearest(x, starts, C)
    for s, (begin, end) in enumerate(itertools.pairwise(starts)):
        squares = ((x[:, None, begin:end].astype(float) - C[s, :, : end - begin]) ** 2).sum(axis=2)
        chosen = np.take_along_axis(squares, codes[:, s : s + 1].astype(int), axis=1)[:, 0]
        assert (chosen <= squares.min(axis=1) + 1e-5 * (1 + squares.min(axis=1))).all()


def test_of_equal_centroids_the_first_is_taken(core) -> None:
    C = np.tile(np.float32([[1, 2]]), (32, 1))[None]
    assert (core.table_nearest(np.float32([[5, 6], [0, 0]]), np.int64([0, 2]), C) == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_decoding_adds_centroids(core, shape) -> None:
    x, starts, first, C = case(*shape)
    codes = np.random.default_rng(1).integers(0, shape[3], (len(x), shape[2])).astype(np.uint8)
    decoded = core.table_decode(codes, starts, first, C)
    assert decoded.shape == (len(x), starts[-1])
    assert np.allclose(decoded, sums_of(codes, starts, first, C), atol=1e-5)


def test_a_full_beam_finds_the_best_code(core) -> None:
    """256 partial codes over two codebooks of 16 are all there are."""
    x, starts, first, C = case(5, 1, 2, 16)
    codes = core.table_beam(x, starts, first, C, 256, 0)
    every = np.array(list(itertools.product(range(16), range(16))), dtype=np.uint8)
    values = sums_of(every, starts, first, C)
    best = ((x[:, None] - values) ** 2).sum(axis=2).min(axis=1)
    got = ((x - sums_of(codes, starts, first, C)) ** 2).sum(axis=1)
    assert np.allclose(got, best, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_wider_beams_and_sweeps_lower_the_error(core, shape) -> None:
    x, starts, first, C = case(*shape, n=200)

    def error(beam: int, sweeps: int) -> float:
        codes = core.table_beam(x, starts, first, C, beam, sweeps)
        return float(((x[:, : starts[-1]] - sums_of(codes, starts, first, C)) ** 2).sum())

    greedy, wide = error(1, 0), error(8, 0)
    assert wide <= greedy * 1.000001
    assert error(1, 3) <= greedy * 1.000001
    assert error(8, 3) <= wide * 1.000001


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_those_of_each_centroid(core, shape) -> None:
    _, splits, _, count = shape
    x, starts, _, C = case(*shape)
    codes = np.random.default_rng(2).integers(0, count, (len(x), splits)).astype(np.uint8)
    sums, sizes = core.table_sums(x, starts, codes, count, C.shape[2])
    for s, (begin, end) in enumerate(itertools.pairwise(starts)):
        assert (sizes[s] == np.bincount(codes[:, s], minlength=count)).all()
        for k in np.unique(codes[:, s]):
            rows = x[codes[:, s] == k, begin:end].astype(float)
            assert np.allclose(sums[s, k, : end - begin], rows.sum(axis=0), atol=1e-9)
        assert not sums[s, :, end - begin :].any()


@pytest.mark.parametrize("shape", [(7, 2, 3, 16), (33, 4, 8, 48)])
def test_refining_lowers_the_error_down_to_least_squares(core, shape) -> None:
    x, starts, first, C = case(*shape, n=400)
    codes = core.table_beam(x, starts, first, C, 2, 0)

    def error(books: np.ndarray) -> float:
        return float(((x - sums_of(codes, starts, first, books)) ** 2).sum())

    errors = [error(core.table_refine(x, starts, first, C, codes, passes)) for passes in (0, 1, 3, 200)]
    assert all(a >= b * 0.999999 for a, b in itertools.pairwise(errors))
    least = 0.0
    for s, (begin, end) in enumerate(itertools.pairwise(starts)):
        hot = np.concatenate([np.eye(shape[3])[codes[:, b]] for b in range(first[s], first[s + 1])], axis=1)
        solution = np.linalg.lstsq(hot, x[:, begin:end].astype(float), rcond=None)[0]
        least += float(((x[:, begin:end] - hot @ solution) ** 2).sum())
    assert errors[-1] <= 1.01 * least + 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_every_engine_gives_the_same_bits(core, shape) -> None:
    first_engine = kernels.core
    level = first_engine.isa()
    x, starts, first, C = case(*shape, n=150)
    single = case(shape[0], shape[1], shape[1], shape[3])[3]

    def everything(engine) -> list[np.ndarray]:
        codes = engine.table_beam(x, starts, first, C, 4, 2)
        nearest = engine.table_nearest(x, starts, single)
        sums, sizes = engine.table_sums(x, starts, nearest, shape[3], single.shape[2])
        refined = engine.table_refine(x, starts, first, C, codes, 2)
        return [codes, nearest, sums, sizes, refined, engine.table_decode(codes, starts, first, refined)]

    ours = everything(core)
    try:
        first_engine.use_isa(first_engine.available_isas()[0])
        reference = everything(first_engine)
    finally:
        first_engine.use_isa(level)
    for a, b in zip(ours, reference, strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def test_threads_change_nothing(core) -> None:
    x, starts, first, C = case(33, 4, 8, 256, n=700)
    assert (core.table_beam(x, starts, first, C, 3, 1) == core.table_beam(x, starts, first, C, 3, 1, 3)).all()
    assert (core.table_nearest(x, starts, C[:4]) == core.table_nearest(x, starts, C[:4], 3)).all()


def test_no_vectors_and_vectors_beyond_float32(core) -> None:
    x, starts, first, C = case(33, 4, 8, 256)
    assert core.table_beam(x[:0], starts, first, C, 3, 1).shape == (0, 8)
    assert core.table_nearest(x[:0], starts, C[:4]).shape == (0, 4)
    far = np.full((3, 33), 3e38, dtype=np.float32)
    for codes in (core.table_beam(far, starts, first, 1e3 * C, 3, 1), core.table_nearest(far, starts, 1e3 * C[:4])):
        assert codes.dtype == np.uint8


BAD = {
    "starts that go down": lambda m, x, s, f, C: m.table_beam(x, s[::-1].copy(), f, C, 1, 0),
    "dims beyond the vectors": lambda m, x, s, f, C: m.table_beam(x[:, :5].copy(), s, f, C, 1, 0),
    "codebooks left over": lambda m, x, s, f, C: m.table_beam(x, s, f[:-1].copy(), C, 1, 0),
    "no beam": lambda m, x, s, f, C: m.table_beam(x, s, f, C, 0, 0),
    "17 centroids": lambda m, x, s, f, C: m.table_beam(x, s, f, C[:, :17].copy(), 1, 0),
    "wider than a split": lambda m, x, s, f, C: m.table_nearest(x, np.int64([0, 33]), C[:1]),
    "code beyond the centroids": lambda m, x, s, f, C: m.table_decode(np.full((2, 8), 99, np.uint8), s, f, C[:, :16]),
    "codes of other vectors": lambda m, x, s, f, C: m.table_sums(x, s, np.zeros((3, 4), np.uint8), 16, 9),
    "codes of other codebooks": lambda m, x, s, f, C: m.table_refine(x, s, f, C, np.zeros((70, 3), np.uint8), 1),
    "doubles": lambda m, x, s, f, C: m.table_nearest(x.astype(float), s, C[:4]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_calls_that_do_not_fit_are_refused(core, name) -> None:
    with pytest.raises((ValueError, TypeError)):
        BAD[name](core, *case(33, 4, 8, 256))
