"""Searches by the Numba twin and by the compiled core: the same answers, from the same arrays or each other's files.

Distances differ in the order of their sums and nothing else, so ids may differ where distances tie within rounding, and
nowhere else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest

import vsearch as vs
from vsearch import kernels
from vsearch.index.ivf_core import IvfCore
from vsearch.quantize.grid import EPSILON, RaBitQ

core = pytest.importorskip("vsearch._core")
pytest.importorskip("numba")
from vsearch.kernels import fallback as twin  # noqa: E402

compiled_here = pytest.mark.skipif(kernels.backend != "compiled", reason="the compiled core builds the indexes")


def vectors(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def bitmap(n: int, share: float) -> tuple[np.ndarray, int]:
    mask = np.random.default_rng(n).random(n) < share
    return np.packbits(mask, bitorder="little"), int(mask.sum())


def same(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray], tolerance: float) -> None:
    """The same distances to rounding, and the same ids but where neighbours in the answer are as near as that."""
    (ids, distances), (true_ids, true_distances) = found, expected
    assert (ids.dtype, distances.dtype, ids.shape) == (np.int64, np.float32, true_ids.shape)
    np.testing.assert_allclose(distances, true_distances, rtol=1e-5, atol=tolerance)
    for row, column in zip(*np.nonzero(np.atleast_2d(ids != true_ids))):
        values = np.atleast_2d(true_distances)[row].astype(np.float64)
        beside = values[max(0, column - 1) : column + 2]
        assert np.ptp(beside) <= 4 * tolerance + 1e-5 * abs(values[column]) or column == len(values) - 1


# ------------------------------------------------------------------------------------------------------------- exact


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("metric", oracle.METRICS)
def test_exact_search_agrees(metric: str, dtype: str) -> None:
    for dim, n in [(1, 1), (3, 0), (17, 31), (33, 32), (100, 33), (128, 1500), (384, 100)]:
        rows, factors = oracle.stored(vectors(n, n, dim), dtype)
        Q = vectors(9, 23, dim)
        scans = [module.FlatScan(metric, dtype, dim) for module in (twin, core)]
        for scan in scans:
            scan.bind(rows, factors, np.random.default_rng(3).permutation(n) * 7, n)
        for queries, k, threads, share in [(Q, 10, 1, None), (Q[:3], 70, 2, None), (Q, 5, 3, 0.3), (Q[0], 1, 1, 0.0)]:
            bits = None if share is None else bitmap(n, share)[0]
            ours, theirs = (scan.search(queries, k, threads, bits) for scan in scans)
            same(ours, theirs, 1e-6 * (dim + 4))
        together = scans[0].search(Q, 10)
        for i in range(3):
            np.testing.assert_array_equal(
                scans[0].try_search(Q[i], 10)[0] if metric != "cosine" else together[0][i], together[0][i]
            )
            np.testing.assert_array_equal(scans[0].search(Q[i], 10)[1], together[1][i])


def test_assignment_agrees() -> None:
    for dim, n, lists in [(1, 33, 2), (17, 100, 1), (100, 1000, 37)]:
        X, C = vectors(1, n, dim), vectors(2, lists, dim)
        C[-1] = C[0]  # the first of several
        (ours, near), (theirs, far) = twin.assign(X, C, 2), core.assign(X, C, 1)
        assert (ours.dtype, near.dtype) == (theirs.dtype, far.dtype)
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(near, far, rtol=1e-5, atol=1e-6 * dim)
    overflow = np.full((2, 3), 3e38, np.float32)
    assert twin.assign(overflow, -overflow, 1)[0].tolist() == core.assign(overflow, -overflow, 1)[0].tolist() == [0, 0]


# -------------------------------------------------------------------------------------------------------------- lists


def scans_of(metric: str, bits: int, dtype: str | None, dim: int, n: int, lists: int) -> tuple[Any, Any]:
    """An IvfScan of each, bound to the same arrays."""
    X = vectors(dim, n, dim)
    X[: n // 2] += 2 * vectors(5, 12, dim)[np.arange(n // 2) % 12]
    X = core.unit_rows(X)[0] if metric == "cosine" else X
    parts = IvfCore(metric, dim, RaBitQ(bits) if bits else None, 0)
    parts.train(X, lists, 1)
    assign = parts.assign(X, 1)
    order = parts.start_lists(assign)
    parts.append(np.arange(n), assign[order], parts.encode(X[order], assign[order], 1))
    rows, factors = oracle.stored(X[order], dtype) if dtype else (None, None)
    ids = np.random.default_rng(n).permutation(n) * 3
    scans = []
    for module in (twin, core):
        parts.scan = module.IvfScan(metric, dim, bits, parts.rotation_signs)
        parts.scan.bind_centroids(parts.rotated_centroids, parts.rotated_mean)
        parts.bind(ids, n, dtype or "f32", rows, factors)
        scans.append(parts.scan)
    return scans[0], scans[1]


CASES = [
    (0, "f32", 33),
    (0, "int8", 100),
    (1, "bf16", 128),
    (1, None, 17),
    (2, "f16", 31),
    (3, None, 96),
    (4, "f32", 200),
    (5, None, 128),
    (6, "int8", 64),
    (7, None, 384),
    (8, "bf16", 3),
]


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize(("bits", "dtype", "dim"), CASES)
def test_walks_agree_in_answers_and_in_what_they_refuse(metric: str, bits: int, dtype: str | None, dim: int) -> None:
    n = 1200
    ours, theirs = scans_of(metric, bits, dtype, dim, n, 16)
    assert ours.consistent()
    Q = core.unit_rows(vectors(8, 15, dim))[0]
    tolerance = 2e-6 * (dim + 8)
    for queries, k, probes, threads, share in [
        (Q, 10, 4, 1, None),
        (Q, 40, 99, 3, None),
        (Q[0], 1, 1, 1, None),
        (Q, 10, 8, 2, 0.5),
        (Q, 10, 8, 1, 0.01),
    ]:
        bits_of_filter, matches = (None, 0) if share is None else bitmap(n, share)
        call = queries, k, probes, EPSILON, threads, bits_of_filter, matches
        same(ours.search(*call), theirs.search(*call), tolerance)
    did, should = ours.counters(), theirs.counters()
    for name in should:  # a bound may fall on either side of the k-th best that it equals within rounding
        assert abs(did[name] - should[name]) <= 3 + 0.002 * should[name], name
    if metric != "cosine":  # there a ready query is scaled once more
        expected = ours.search(Q[0], 10, 4, EPSILON, 1, None, 0)
        np.testing.assert_array_equal(ours.try_search(Q[0], 10, 4, EPSILON), expected)
    if bits:
        for found, expected in zip(ours.estimate(Q[1], EPSILON), theirs.estimate(Q[1], EPSILON)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 100])
def test_small_lists_agree(n: int) -> None:
    X, Q = vectors(n, n, 20), vectors(1, 4, 20)
    quantizer = RaBitQ(4).start(20)
    quantizer.mean = np.zeros(20, np.float32)
    quantizer.rotated_mean = np.zeros(32, np.float32)
    codes = quantizer.encode_residuals(
        quantizer.rotation.apply(X),
        np.zeros(n, np.uint32),
        np.zeros((1, 32), np.float32),
        quantizer.rotated_mean,
        "l2",
        1,
    )
    answers = []
    for module in (twin, core):
        blocks = np.zeros((-(-n // 32), module.block_bytes(32)), np.uint8)
        slots = np.arange(n, dtype=np.uint32)
        module.write_blocks(blocks, 32, np.arange(n), slots, codes.signs, codes.add, codes.rescale)
        scan = module.IvfScan("l2", 20, 4, quantizer.signs_of_rotation)
        scan.bind_centroids(np.zeros((1, 32), np.float32), quantizer.rotated_mean)
        scan.bind(
            np.arange(n), np.zeros(1, np.uint32), np.uint32([n]), blocks, np.zeros(len(blocks), np.uint32), slots,
            codes.extra, 0.01, 0.01, "f32", None, None, n,
        )  # fmt: skip
        assert scan.consistent()
        answers.append(scan.search(Q, 7, 1, EPSILON, 1, None, 0))
    same(*answers, 1e-4)


DAMAGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "run beyond the blocks": lambda a: a["list_block"].__setitem__(0, 999),
    "list too long": lambda a: a["list_size"].__setitem__(1, 2**31),
    "slot beyond the rows": lambda a: a["blocks"].view(np.uint32).__setitem__((0, -32), 2**32 - 1),
    "slot twice": lambda a: a["blocks"].view(np.uint32).__setitem__((0, -32), a["blocks"].view(np.uint32)[0, -31]),
    "position of another": lambda a: a["position"].__setitem__(0, a["position"][1]),
    "block of another list": lambda a: a["block_list"].__setitem__(0, 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("bits", [0, 1])
def test_damage_is_seen_by_both(bits: int, damage: str) -> None:
    X = vectors(1, 200, 16)
    parts = IvfCore("l2", 16, RaBitQ(bits) if bits else None, 0)
    parts.train(X, 4, 1)
    assign = parts.assign(X, 1)
    parts.append(np.arange(200), np.sort(assign), parts.encode(X[parts.start_lists(assign)], np.sort(assign), 1))
    lists = parts.lists
    arrays = {
        name: getattr(lists, name).copy() for name in ("list_block", "list_size", "blocks", "block_list", "position")
    }
    DAMAGES[damage](arrays)
    for module in (twin, core):
        scan = module.IvfScan("l2", 16, bits, parts.rotation_signs)
        scan.bind_centroids(parts.rotated_centroids, parts.rotated_mean)
        scan.bind(
            ids=np.arange(200), n=200, row_dtype="f32", rows=X, factors=None,
            extra=None, sign_spread=0.0, full_spread=0.0, **arrays,
        )  # fmt: skip
        assert not scan.consistent()


# ----------------------------------------------------------------------------------------------- writers and readers


def test_a_writer_waits_for_readers_and_goes_before_the_next() -> None:
    from vsearch.kernels.numba_base import Exclusive, Gate

    gate, log, inside, leave = Gate(), [], threading.Event(), threading.Event()

    def read_long() -> None:
        with gate.shared():
            inside.set()
            leave.wait(10)
            log.append("reader")

    def write() -> None:
        with Exclusive(gate):
            log.append("writer")

    def read_late() -> None:
        with gate.shared():
            log.append("late reader")

    threads = [threading.Thread(target=work) for work in (read_long, write, read_late)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    while not gate._writers_waiting:
        pass
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert log == ["reader", "writer", "late reader"]


def test_a_search_that_fails_leaves_the_gate() -> None:
    scan = twin.FlatScan("l2", "f32", 3)
    scan.bind(vectors(0, 50, 3), None, np.arange(50), 50)
    with pytest.raises(ValueError, match="filter"):
        scan.search(vectors(1, 2, 3), 1, 1, np.zeros(1, np.uint8))
    with scan.exclusive():
        pass
    assert scan.search(vectors(1, 2, 3), 1)[0].shape == (2, 1)


# ------------------------------------------------------------------------------------------------------ whole indexes

MAKERS = {
    "flat-int8": lambda: vs.Flat("ip", dtype="int8"),
    "flat-rabitq": lambda: vs.Flat("cosine", quantizer=vs.RaBitQ(bits=4), refine="f16"),
    "ivf": lambda: vs.IVF(12, "l2"),
    "ivf-1": lambda: vs.IVF(12, "cosine", quantizer=vs.RaBitQ(bits=1), refine="bf16"),
    "ivf-8": lambda: vs.IVF(12, "ip", quantizer=vs.RaBitQ(bits=8), refine=None),
}
DIM = 40


def build(folder: Path, name: str) -> None:
    """Writes <name>.vsx with the kernels of this process."""
    index: Any = MAKERS[name]()
    index.fit(vectors(1, 900, DIM), ids=np.arange(900) * 2, threads=1)
    index.add(vectors(2, 100, DIM), ids=np.arange(100) * 2 + 1, threads=1)
    index.remove(np.arange(0, 100, 2))
    index.save(folder / f"{name}.vsx")


def answer(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What an index of a file says, with the kernels of this process, copied and mapped alike."""
    copied, mapped = vs.load(folder / f"{name}.vsx"), vs.load(folder / f"{name}.vsx", mmap=True)
    keep = copied.ids % 3 != 0
    ids, distances = copied.search(vectors(3, 20, DIM), k=10, effort=5, filter=keep)
    again = mapped.search(vectors(3, 20, DIM), k=10, effort=5, filter=keep)
    np.testing.assert_array_equal(ids, again[0])
    np.testing.assert_array_equal(distances, again[1])
    return ids, distances


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import test_fallback_search as tests
from vsearch import kernels

assert kernels.backend == "numba"
ours, theirs = Path(sys.argv[1]), Path(sys.argv[2])
for name in tests.MAKERS:
    tests.build(ours, name)
    for folder in (ours, theirs):
        np.savez(ours / f"{folder.name}-{name}.npz", *tests.answer(folder, name))
"""


@compiled_here
def test_each_opens_what_the_other_saved_and_says_the_same(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "twin", tmp_path / "core"
    ours.mkdir()
    theirs.mkdir()
    for name in MAKERS:
        build(theirs, name)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(oracle.__file__).parent), *filter(None, sys.path)])
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ours), str(theirs)],
        env={**os.environ, "VSEARCH_KERNELS": "numba", "PYTHONPATH": path},
        check=True,
        timeout=300,
    )
    for name in MAKERS:
        for folder in (ours, theirs):
            with np.load(ours / f"{folder.name}-{name}.npz") as said:
                same((said["arr_0"], said["arr_1"]), answer(folder, name), 1e-4)
