"""The Numba twin against the compiled core: integers, codes and rotations to the last bit, distances to rounding.

Distances differ in the order of their sums and nothing else, so ids may differ where distances tie within rounding, and
nowhere else. Searches are compared with the scalar unit, for whose sums the bounds of the test are as good as for any.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from fallback_lists import levels_codec, matrix, rotation, vectors

from vsearch import kernels

core = pytest.importorskip("vsearch._core")
pytest.importorskip("numba")
from vsearch.kernels import fallback as twin  # noqa: E402

DIMS = [1, 3, 16, 17, 31, 33, 64, 96, 100, 128, 200, 384, 768]
COUNTS = [0, 1, 31, 32, 33, 100]
BITS = range(1, 9)


def equal(a: Any, b: Any) -> None:
    """The same values in the same dtype and shape."""
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------------------------------- the same calls


def arguments(function: ast.FunctionDef) -> list[tuple[str, str | None]]:
    """Names and defaults."""
    names = [argument.arg for argument in function.args.args if argument.arg not in {"self", "cls"}]
    defaults = [None] * len(names) + [ast.unparse(default) for default in function.args.defaults]
    return list(zip(names, defaults[-len(names) :] if names else []))


def stub() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function and public method of the compiled core, by its dotted name."""
    tree = ast.parse(Path(kernels.__file__).parents[1].joinpath("_core.pyi").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            methods = [f for f in node.body if isinstance(f, ast.FunctionDef)]
            yield from (
                (f"{node.name}.{f.name}", f) for f in methods if "property" not in map(ast.unparse, f.decorator_list)
            )


def test_the_twin_takes_every_call_of_the_core() -> None:
    assert {name for name in dir(core) if not name.startswith("_")} <= set(dir(twin))
    for name, declared in stub():
        owner, _, method = name.rpartition(".")
        if owner.endswith("Exclusive"):
            continue
        made = inspect.getattr_static(getattr(twin, owner), method) if owner else getattr(twin, name)
        function = made.__func__ if isinstance(made, staticmethod) else made
        parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
        written = [(p.name, None if p.default is p.empty else repr(p.default)) for p in parameters]
        assert written == arguments(declared), name


def test_the_twin_describes_itself() -> None:
    assert (twin.isa(), twin.available_isas()) == ("numba", ["numba"])
    assert {name for name, _ in twin.kernel_origins()} == {name for name, _ in core.kernel_origins()}
    assert twin.cpu_features() == core.cpu_features()
    twin.use_isa("best")
    with pytest.raises(ValueError, match="best, numba"):
        twin.use_isa("avx2")


BAD_CALLS = {
    "rotation of other signs": lambda m: m.Rotation(17, np.zeros(3, np.uint8)),
    "rotation of another dimension": lambda m: m.Rotation(16, np.zeros(6, np.uint8)).apply(vectors(0, 2, 3)),
    "doubles": lambda m: m.unit_rows(np.zeros((2, 3))),
    "metric": lambda m: m.FlatScan("manhattan", "f32", 3),
    "dtype": lambda m: m.distances("l2", "f64", vectors(0, 1, 3), vectors(0, 1, 3)),
    "slots beyond the rows": lambda m: m.distances(
        "l2", "f32", vectors(0, 1, 3), vectors(0, 2, 3), None, np.uint32([2])
    ),
    "int8 rows without factors": lambda m: m.distances("l2", "int8", vectors(0, 1, 3), np.zeros((2, 3), np.int8)),
    "no centroids": lambda m: m.assign(vectors(0, 2, 3), vectors(0, 0, 3)),
    "nine bits": lambda m: m.pack_planes(9, np.zeros((1, 64), np.uint8)),
    "position beyond the blocks": lambda m: m.read_blocks(np.zeros((1, 448), np.uint8), 4, 2, 4, np.int64([32])),
    "blocks of another dimension": lambda m: m.read_blocks(np.zeros((1, 448), np.uint8), 8, 2, 4, np.int64([0])),
    "factors that are not whole": lambda m: m.write_blocks(
        np.zeros((1, 448), np.uint8), np.int64([0]), np.uint32([0]), np.zeros((1, 2), np.uint8),
        np.zeros((1, 7), np.uint8), 4,
    ),
    "list beyond the centroids": lambda m: m.RabitqCodec(16, 1).encode(
        vectors(0, 1, 16), np.uint32([1]), vectors(0, 1, 16), vectors(0, 16), "l2"
    ),
    "bits of no code": lambda m: m.RabitqCodec(16, 9),
    "dimension that is not padded": lambda m: m.RabitqCodec(17, 1),
    "codes of another codec": lambda m: m.RabitqCodec(16, 1).unpack(
        np.zeros((1, 4), np.uint8), np.zeros((1, 0), np.uint8)
    ),
    "matrix that is not padded": lambda m: m.Matrix(vectors(0, 15, 3), vectors(0, 15, 3), vectors(0, 3, 15)),
    "inverse of another shape": lambda m: m.Matrix(vectors(0, 16, 3), vectors(0, 16, 3), vectors(0, 16, 3)),
    "codec of another dimension": lambda m: m.IvfScan("l2", rotation(m, 33), m.RabitqCodec(32, 1)),
    "column of no name": lambda m: m.IvfScan("l2", rotation(m, 33), None, False, 8),
    "rule of no name": lambda m: levels_codec(m, 16, [(0, 16, 1, 1)], "golden"),
    "segment beyond the dimension": lambda m: levels_codec(m, 16, [(0, 32, 1, 1)]),
    "segments that overlap": lambda m: levels_codec(m, 32, [(0, 32, 1, 1), (16, 16, 1, 1)]),
    "segment of a part of a word": lambda m: levels_codec(m, 32, [(0, 24, 1, 1)]),
    "prefix of three bits": lambda m: levels_codec(m, 32, [(0, 32, 4, 3)]),
    "prefix longer than the code": lambda m: m.LevelsCodec(
        16, np.int64([[0, 16, 1, 2]]), np.float32([[1, 1, 1]]), np.float32([-1, 1]), np.float32([-2, -1, 1, 2]),
        None, "scaled", True, 0,
    ),
    "levels that fall": lambda m: m.LevelsCodec(
        16, np.int64([[0, 16, 1, 1]]), np.float32([[1, 1, 1]]), np.float32([1, -1]), np.float32([-1, 1]),
        None, "scaled", True, 0,
    ),
    "sigma of zero": lambda m: m.LevelsCodec(
        16, np.int64([[0, 16, 1, 1]]), np.float32([[0, 1, 1]]), np.float32([-1, 1]), np.float32([-1, 1]),
        None, "scaled", True, 0,
    ),
    "profile of another dimension": lambda m: m.LevelsCodec(
        16, np.int64([[0, 16, 1, 1]]), np.float32([[1, 1, 1]]), np.float32([-1, 1]), np.float32([-1, 1]),
        np.ones((2, 32), np.float32), "scaled", True, 0,
    ),
    "two intervals": lambda m: levels_codec(m, 32, [(0, 16, 1, 1), (16, 16, 1, 1)], "interval"),
    "lead beyond the segments": lambda m: levels_codec(m, 32, [(0, 32, 1, 1)], lead=2),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CALLS)
@pytest.mark.parametrize("module", [core, twin], ids=["core", "twin"])
def test_calls_that_do_not_fit_are_refused(module: Any, name: str) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        BAD_CALLS[name](module)


# --------------------------------------------------------------------------------------- the same integers and bits


@pytest.mark.parametrize("dim", DIMS)
def test_rotations_are_equal(dim: int) -> None:
    ours, theirs = rotation(core, dim), rotation(twin, dim)
    assert (theirs.dim, theirs.padded) == (ours.dim, ours.padded)
    for n in COUNTS:
        X = vectors(n, n, dim)
        turned = ours.apply(X)
        equal(theirs.apply(X), turned)
        equal(theirs.apply(X, 3), turned)
        equal(theirs.apply_query(X), ours.apply_query(X))
        equal(theirs.apply_inverse(turned), ours.apply_inverse(turned))


@pytest.mark.parametrize("dim", DIMS)
def test_matrices_agree_to_rounding(dim: int) -> None:
    ours, theirs = matrix(core, dim), matrix(twin, dim)
    assert (theirs.dim, theirs.padded) == (ours.dim, ours.padded)
    for n in COUNTS:
        X, Y = vectors(n, n, dim), vectors(n, n, ours.padded)
        for found, expected in [
            (theirs.apply(X, 2), ours.apply(X)),
            (theirs.apply_query(X), ours.apply_query(X)),
            (theirs.apply_inverse(Y), ours.apply_inverse(Y)),
        ]:
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            np.testing.assert_allclose(found, expected, atol=1e-6 * (dim + 8))
        assert n == 0 or abs(theirs.apply(X) - theirs.apply_query(X)).max() > 0.01  # two maps


@pytest.mark.parametrize(("columns", "size"), [(2, 4), (3, 4), (1, 2), (3, 2), (0, 4)])
@pytest.mark.parametrize("symbols", [0, 4, 12, 192])
def test_blocks_are_equal(symbols: int, columns: int, size: int) -> None:
    n, rng = 75, np.random.default_rng(symbols)
    assert twin.block_bytes(symbols, columns, size) == core.block_bytes(symbols, columns, size)
    blocks = np.zeros((4, core.block_bytes(symbols, columns, size)), np.uint8)
    theirs = blocks.copy()
    for _ in range(2):  # the second time over what the first wrote
        positions, slots = rng.permutation(128)[:n], rng.permutation(n).astype(np.uint32)
        rows, factors = (rng.integers(0, 256, (n, w), dtype=np.uint8) for w in (symbols // 2, columns * size))
        core.write_blocks(blocks, positions, slots, rows, factors, size)
        twin.write_blocks(theirs, positions, slots, rows, factors, size)
        equal(theirs, blocks)
        found = twin.read_blocks(blocks, symbols, columns, size, positions)
        for ours, expected in zip(found, (slots, rows, factors)):
            equal(ours, expected)
        for ours, expected in zip(core.read_blocks(blocks, symbols, columns, size, positions), found):
            equal(ours, expected)


@pytest.mark.parametrize("dim", [16, 48, 112, 128, 784])
def test_code_kernels_are_equal(dim: int) -> None:
    rng = np.random.default_rng(dim)
    codes = rng.integers(0, 256, (19, dim * 4), dtype=np.uint8)
    lut = rng.integers(0, 64, (dim // 4, 16), dtype=np.uint8)
    equal(twin.fastscan(codes, lut), core.fastscan(codes, lut))
    query = np.zeros(-(-dim // 64) * 64, np.int8)
    query[:dim] = rng.integers(-127, 128, dim)
    for bits in BITS:
        values = rng.integers(0, 2**bits, (7, dim), dtype=np.uint8)
        packed = core.pack_planes(bits, values)
        equal(twin.pack_planes(bits, values), packed)
        equal(twin.unpack_planes(bits, packed, dim), values)
        equal(twin.dot_planes(bits, packed, query), core.dot_planes(bits, packed, query))
    words = rng.integers(0, 2**64, (7, dim // 8), dtype=np.uint64)
    equal(twin.popcount_planes(words, words[:4]), core.popcount_planes(words, words[:4]))
    equal(twin.hamming(words[0], words), core.hamming(words[0], words))
    fine = rng.integers(-32768, 32768, dim, dtype=np.int16)
    bits = core.lane_symbols(codes[0, : dim * 4].reshape(-1, 16), 21)
    equal(twin.lane_symbols(codes[0, : dim * 4].reshape(-1, 16), 21), bits)
    assert twin.dot_bits(bits, fine) == core.dot_bits(bits, fine)
    x = vectors(dim, dim)
    for found, expected in zip(twin.lookup_tables(x), core.lookup_tables(x)):
        np.testing.assert_array_equal(found, expected)
    equal(twin.fht(vectors(1, 3, 1024)), core.fht(vectors(1, 3, 1024)))


@pytest.mark.parametrize("dim", DIMS)
def test_row_kernels_of_integers_are_equal(dim: int) -> None:
    rng = np.random.default_rng(dim)
    rows = rng.integers(-127, 128, (33, dim)).astype(np.int8)
    query = rng.integers(-32767, 32768, dim).astype(np.int16) // np.int16(8)
    equal(twin.dot_i8(query, rows), core.dot_i8(query, rows))
    factors = np.abs(vectors(dim, 33, 2))
    for metric in oracle.METRICS:
        call = metric, "int8", vectors(3, 2, dim), rows, factors
        equal(twin.distances(*call), core.distances(*call))
    X = vectors(dim, 5, dim)
    X[3] = 0
    for found, expected in ((twin.unit_rows(X), core.unit_rows(X)), (twin.unit_rows(X[:2]), core.unit_rows(X[:2]))):
        assert found[1] == expected[1]
        equal(found[0][: found[1]], expected[0][: found[1]])


def test_conversions_and_selection_are_equal() -> None:
    every = np.arange(65536, dtype=np.uint16)
    equal(twin.widen("f16", every), core.widen("f16", every))
    equal(twin.widen("bf16", every), core.widen("bf16", every))
    codes = np.arange(-128, 128).astype(np.int8)
    equal(twin.widen("int8", codes, 0.3), core.widen("int8", codes, 0.3))
    query, rows = codes[::8].copy(), np.arange(320, dtype=np.uint8).reshape(10, 32) % np.uint8(128)
    query[query == -128] = 0
    equal(twin.dot_u7(query, rows), core.dot_u7(query, rows))
    equal(twin.dot_u4(np.tile(query, 2), rows), core.dot_u4(np.tile(query, 2), rows))
    values = vectors(5, 100)
    equal(twin.select_below(values, 0.25), core.select_below(values, 0.25))
    whole = vectors(6, 33, 16)
    assert twin.read_all(whole) == core.read_all(whole)
    panel, rows, bias, bounds = (
        np.rint(vectors(7, 17, 16)),
        np.rint(vectors(8, 13, 17)),
        np.rint(vectors(9, 13)),
        np.rint(vectors(10, 16)),
    )
    equal(twin.tile(panel, rows, bias, bounds), core.tile(panel, rows, bias, bounds))


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_distances_agree_to_rounding(dtype: str) -> None:
    for dim in DIMS:
        rows, factors = oracle.stored(vectors(dim, 33, dim), dtype)
        slots = np.random.default_rng(dim).integers(0, 33, 50).astype(np.uint32)
        for metric in oracle.METRICS:
            call = metric, dtype, vectors(1, 2, dim), rows, factors
            tolerance = 1e-6 * (dim + 4)
            np.testing.assert_allclose(twin.distances(*call), core.distances(*call), rtol=1e-5, atol=tolerance)
            equal(twin.distances(*call, slots), twin.distances(*call)[:, slots])
