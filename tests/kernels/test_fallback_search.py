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
from fallback_lists import CODECS, Lists, rotation, stretched, vectors

import vsearch as vs
from vsearch import kernels

core = pytest.importorskip("vsearch._core")
pytest.importorskip("numba")
from vsearch.kernels import fallback as twin  # noqa: E402

EPSILON = 1.9
compiled_here = pytest.mark.skipif(kernels.backend != "compiled", reason="the compiled core builds the indexes")


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
        assert np.diff(beside).min() <= 4 * tolerance + 1e-5 * abs(values[column]) or column == len(values) - 1


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


# codec or None, dtype of the stored rows or None, transform, lists
CASES = [
    (None, "f32", rotation, 16),
    (None, "int8", stretched, 16),
    ("rabitq-1", "bf16", rotation, 16),
    ("rabitq-1", None, rotation, 16),
    ("rabitq-2", "f16", rotation, 16),
    ("rabitq-4", None, stretched, 16),
    ("rabitq-5", "f32", rotation, 16),
    ("rabitq-6", "int8", rotation, 16),
    ("rabitq-8", None, rotation, 16),
    ("lloyd-max-1", None, rotation, 16),
    ("lloyd-max-3", "f16", rotation, 16),
    ("two-symbols", None, stretched, 16),
    ("sixteen", None, rotation, 16),
    ("plain-3", None, rotation, 16),
    ("saq", None, stretched, 16),
    ("saq", "f32", stretched, 1),
    ("saq-symbols", None, stretched, 16),
    ("interval-8", None, rotation, 16),
    ("clipped-4", "f32", rotation, 16),
    ("optimized-1", None, rotation, 16),
    ("pq", None, rotation, 16),
    ("pq-4", "f32", rotation, 16),
    ("residual", None, stretched, 16),
    ("residual-4", None, rotation, 1),
]
# codec, columns of factors that are stored in f16
COMPACT_CASES = [
    ("rabitq-1", 3),
    ("rabitq-4", 1),
    ("lloyd-max-3", 3),
    ("plain-3", 2),
    ("saq", 3),
    ("interval-8", 7),
    ("pq-norms", 0),
    ("pq-4", 0),
    ("residual", 1),
]


def agree(lists: Lists, columns: int | None = None) -> None:
    """Searches and estimates over lists, and what the scans refuse."""
    ours, theirs = lists.scan(twin, columns), lists.scan(core, columns)
    assert ours.consistent()
    Q = core.unit_rows(vectors(8, 15, lists.dim))[0]
    tolerance = 2e-6 * (lists.dim + 8) * lists.stretch
    for queries, k, probes, threads, share in [
        (Q, 10, 4, 1, None),
        (Q, 40, 99, 3, None),
        (Q[0], 1, 1, 1, None),
        (Q, 10, 8, 2, 0.5),
        (Q, 10, 8, 1, 0.01),
    ]:
        bits_of_filter, matches = (None, 0) if share is None else bitmap(lists.n, share)
        call = queries, k, probes, EPSILON, threads, bits_of_filter, matches
        same(ours.search(*call), theirs.search(*call), tolerance)
    did, should = ours.counters(), theirs.counters()
    assert should["scanned"] > should["survivors"] + should["refined"] or not lists.make or lists.rows is not None
    for name in should:  # a bound may fall on either side of the k-th best that it equals within rounding
        assert abs(did[name] - should[name]) <= 3 + 0.002 * should[name], name
    if lists.metric != "cosine":  # there a ready query is scaled once more
        expected = ours.search(Q[0], 10, 4, EPSILON, 1, None, 0)
        np.testing.assert_array_equal(ours.try_search(Q[0], 10, 4, EPSILON), expected)
    if lists.make:
        for found, expected in zip(ours.estimate(Q[1], EPSILON), theirs.estimate(Q[1], EPSILON)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize(("codec", "dtype", "through", "lists"), CASES)
def test_walks_agree_in_answers_and_in_what_they_refuse(
    metric: str, codec: str | None, dtype: str | None, through: Callable[[Any, int], Any], lists: int
) -> None:
    padded, make = CODECS[codec] if codec else (48, None)
    agree(Lists(metric, padded - 3, make, dtype, 1200, lists, through))


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize(("codec", "columns"), COMPACT_CASES)
def test_walks_of_compact_indexes_agree(metric: str, codec: str, columns: int) -> None:
    padded, make = CODECS[codec]
    if columns == 1 and metric != "l2":
        columns = 3  # only under l2 the length of a residual is its `add`
    agree(Lists(metric, padded - 3, make, None, 1200, 1, rotation), columns)


@pytest.mark.parametrize(
    ("codec", "dtype", "columns"),
    [("rabitq-1", "f32", 3), ("rabitq-4", None, None), ("saq", None, 3), ("pq-norms", None, 0), ("pq-4", None, 0)],
)
def test_long_lists_are_primed_alike(codec: str, dtype: str | None, columns: int | None) -> None:
    """Of a list of many blocks the first are looked at in the order of their bounds."""
    padded, make = CODECS[codec]
    lists = Lists("l2", padded - 3, make, dtype, 9000, 1, rotation)
    agree(lists, columns)
    scan = lists.scan(core, columns)
    scan.search(vectors(8, 15, lists.dim), 10, 1, EPSILON, 1, None, 0)
    assert scan.counters()["scanned"] == 15 * 9000


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 100])
@pytest.mark.parametrize("codec", ["rabitq-4", "saq", "pq", "pq-4"])
def test_small_lists_agree(codec: str, n: int) -> None:
    padded, make = CODECS[codec]
    lists = Lists("l2", padded, make, None, n, 1, rotation)
    ours, theirs = lists.scan(twin), lists.scan(core)
    assert ours.consistent()
    assert theirs.consistent()
    call = vectors(1, 4, padded), 7, 1, EPSILON, 1, None, 0
    same(ours.search(*call), theirs.search(*call), 1e-3)


DAMAGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "run beyond the blocks": lambda a: a["list_block"].__setitem__(0, 999),
    "list too long": lambda a: a["list_size"].__setitem__(1, 2**31),
    "slot beyond the rows": lambda a: a["blocks"].view(np.uint32).__setitem__((0, -32), 2**32 - 1),
    "slot twice": lambda a: a["blocks"].view(np.uint32).__setitem__((0, -32), a["blocks"].view(np.uint32)[0, -31]),
    "position of another": lambda a: a["position"].__setitem__(0, a["position"][1]),
    "block of another list": lambda a: a["block_list"].__setitem__(0, 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("codec", [None, "rabitq-1"])
def test_damage_is_seen_by_both(codec: str | None, damage: str) -> None:
    padded, make = CODECS[codec] if codec else (48, None)
    lists = Lists("l2", padded, make, "f32", 200, 4, rotation)
    for module in (twin, core):
        assert lists.scan(module).consistent()
        assert not lists.scan(module, damage=DAMAGES[damage]).consistent()


# ----------------------------------------------------------------------------------------------- writers and readers


def test_a_writer_waits_for_readers_and_goes_before_the_next() -> None:
    from vsearch.kernels.numba_base import Exclusive, Gate

    gate, log, inside, leave = Gate(), [], threading.Event(), threading.Event()

    def read_long() -> None:
        def work() -> None:
            inside.set()
            leave.wait(10)
            log.append("reader")

        gate.read(work)

    def write() -> None:
        with Exclusive(gate):
            log.append("writer")

    def read_late() -> None:
        gate.read(lambda: log.append("late reader"))

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


class PressedAfterLeaving(dict[object, bool]):
    """Ctrl-C as soon as a reader has left: Python looks for signals after each call into C."""

    def pop(self, *token: object) -> Any:
        super().pop(*token)
        raise KeyboardInterrupt


def test_a_search_that_is_interrupted_while_it_leaves_has_left_the_gate() -> None:
    from vsearch.kernels.numba_base import Exclusive, Gate

    gate = Gate()
    gate._readers = PressedAfterLeaving()
    with pytest.raises(KeyboardInterrupt) as kept:  # as a notebook keeps the last error, and what its frames hold
        gate.read(lambda: None)
    with Exclusive(gate):
        assert kept and not gate._readers


def test_those_that_waited_while_one_wrote_go_before_the_next_writer() -> None:
    from vsearch.kernels.numba_base import Exclusive, Gate

    gate, log = Gate(), []
    gate.enter_exclusive()
    waiting = [threading.Thread(target=gate.read, args=(lambda: log.append("reader"),)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    while len(gate._readers) < 3:
        pass
    gate.leave_exclusive()
    with Exclusive(gate):  # at once
        log.append("writer")
    for thread in waiting:
        thread.join(10)
    assert log == ["reader"] * 3 + ["writer"]


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
    "flat-saq": lambda: vs.Flat("l2", quantizer=vs.SAQ(bits=3), refine=None),
    "ivf-saq": lambda: vs.IVF(12, "cosine", quantizer=vs.SAQ(bits=4), refine=None),
    "flat-lloyd-max": lambda: vs.Flat("l2", quantizer=vs.LloydMax(bits=3), refine=None),
    "ivf-osq": lambda: vs.IVF(12, "l2", quantizer=vs.OSQ(bits=4), refine="f16"),
    "ivf-lvq": lambda: vs.IVF(12, "ip", quantizer=vs.LVQ(bits=8), refine=None),
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
