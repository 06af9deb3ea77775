"""Bad values for every parameter of every call of an index: the exact class, the exact message, and nothing changed.

`FITTING` and `ELSEWHERE` name every parameter; `test_no_parameter_is_forgotten` compares them with the signatures.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import (
    NAN,
    TOP,
    D,
    Fault,
    N,
    P,
    S,
    T,
    X,
    choices,
    flags,
    ints,
    matrices,
    numbers,
    parameters,
    queries,
    refuses,
)

import vsearch as vs

NEW = X[:3] + 1
IDS = np.arange(100, 100 + N)


def some_ids(n: int | None) -> list[Fault]:
    """What no ids may be: n of them, or any number."""
    shape = "(n,)" if n is None else f"({n},), one id per vector"
    rest = list(range(n or 3))
    return [
        ([-1, *rest[1:]], P, "`ids` must be >= 0; got -1."),
        ([rest[1], *rest[1:]], vs.DuplicateIdError, "`ids` must be unique; 1 is given twice."),
        (np.array([2**63, *rest[1:]], np.uint64), P, f"`ids` must be below 2**63; got {2**63}."),
        ([0.5, *rest[1:]], T, "`ids` must be an array of ints; got a list (dtype float64)."),
        (["a"] * len(rest), T, "`ids` must be an array of ints; got a list (dtype <U1)."),
        (np.zeros(len(rest), bool), T, "`ids` must be an array of ints; got dtype bool."),
        ([rest], S, f"`ids` must have shape {shape}; got (1, {len(rest)})."),
        ({5}, T, "`ids` must be an array of ints; got a set (dtype object)."),
        *([] if n is None else [(rest[1:], S, f"`ids` must have shape {shape}; got ({n - 1},).")]),
        *([] if n is not None else [(None, T, "`ids` must be an array of ints; got a NoneType (dtype object).")]),
    ]


FILTERS: list[Fault] = [
    (np.ones(N - 1, bool), S, f"`filter` must be a mask of shape ({N},), one bool per id; got ({N - 1},)."),
    (np.ones((N, 1), bool), S, f"`filter` must be a mask of shape ({N},), one bool per id; got ({N}, 1)."),
    (
        np.ones(7, np.uint8), S,
        "`filter` must be a bitmap of shape (8,), one bit per id; got (7,). For a list of ids, pass int64.",
    ),
    ([100, 99], vs.UnknownIdError, "`filter` must hold ids of the index; 99 is not in it."),
    ([-5], vs.UnknownIdError, "`filter` must hold ids of the index; -5 is not in it."),
    ([[100]], S, "`filter` must have one dimension; got shape (1, 1)."),
    ([1.5], T, "`filter` must be a bool mask, packed bits or ids; got a list (dtype float64)."),
    ("100", T, "`filter` must be a bool mask, packed bits or ids; got a str (dtype <U3)."),
    ({"id": 100}, T, "`filter` must be a bool mask, packed bits or ids; got a dict (dtype object)."),
]  # fmt: skip

METRIC_FOR_LISTS: Fault = (
    "cosine", T, "`lists` must be an int in [1, 1048576]; got 'cosine'. Write metric='cosine'."
)  # fmt: skip

NO_PATH: list[Fault] = [
    (None, T, "`path` must be a str or a path; got None."),
    (7, T, "`path` must be a str or a path; got 7."),
    (["x"], T, "`path` must be a str or a path; got ['x'] (list)."),
    ("", P, "`path` must be the name of a file; got ''."),
    ("a\0b", P, "`path` must be the name of a file; got 'a\\x00b'."),
]
IN_WORDS = "`memory` must be a number of bytes, or in words such as '512MB'; got "
SIZES: list[Fault] = [
    (0, P, "`memory` must be an int >= 1; got 0."),
    (1e9, T, "`memory` must be an int >= 1; got 1000000000.0."),
    (True, T, "`memory` must be an int >= 1; got True (bool)."),
    *((wrong, P, f"{IN_WORDS}{wrong!r}.") for wrong in ("", "512", "MB", "-1MB", "1e9B", "1,5GB", "0.1 B", "2 MB/s")),
    ("1kB", P, "`memory` must be at least 1.44 kB or so for 60 vectors of 8 dimensions; got 1 kB."),
]
WANTED = "`quantizer` must be a quantizer, as vs.RaBitQ(), or None; got "
NO_QUANTIZER: list[Fault] = [
    ("rabitq", T, f"{WANTED}'rabitq'."),
    (4, T, f"{WANTED}4."),
    (vs.RaBitQ, T, f"{WANTED}<class 'vsearch.quantize.rabitq.RaBitQ'>. Write `vs.RaBitQ()` with brackets."),
    (vs.SAQ, T, f"{WANTED}<class 'vsearch.quantize.saq.SAQ'>. Write `vs.SAQ()` with brackets."),
    (vs.Flat, T, f"{WANTED}<class 'vsearch.index.flat.Flat'>."),
]
METRICS = choices("metric", "'l2', 'ip', 'cosine'", ("cosin", "cosine"), ("L2", "l2"))
DTYPES = choices("dtype", "'f32', 'f16', 'bf16', 'int8'", ("f32 ", "f32"), ("uint8", "int8"))
REFINE_OF_GRAPH = choices("refine", "'auto', 'f32', 'f16', 'bf16', 'int8', None", ("f32 ", "f32"), ("uint8", "int8"))
REFINE = choices("refine", "'f32', 'f16', 'bf16', 'int8', None", ("int4", "int8"))


Call = Callable[[Any, Any], Any]


def many_and_one(name: str) -> Call:
    """A search with one argument given, for a batch of queries and for one."""

    def call(index: Any, value: Any) -> None:
        with pytest.raises(vs.VsearchError) as first:
            index.search(X[:70], **{name: value})
        with pytest.raises(vs.VsearchError) as second:
            index.search(X[0], **{name: value})
        assert (type(first.value), str(first.value)) == (type(second.value), str(second.value))
        raise first.value

    return call


FITTING: dict[str, tuple[list[Fault], Call]] = {
    "fit.X": (matrices("X", None), lambda index, v: index.fit(v)),
    "fit.ids": (some_ids(N), lambda index, v: index.fit(X, v)),
    "fit.queries": (
        [fault for fault in matrices("queries", D) if fault[0] is not None],
        lambda index, v: index.fit(X, queries=v),
    ),
    "fit.threads": (ints("threads", 1, 1024, none=True), lambda index, v: index.fit(X, threads=v)),
    "fit.progress": (flags("progress", none=True), lambda index, v: index.fit(X, progress=v)),
    "add.X": (matrices("X", D, empty=True), lambda index, v: index.add(v)),
    "add.ids": (
        [
            *some_ids(3),
            (
                [7, 8, 101], vs.DuplicateIdError,
                "`ids` must be new; 101 is in the index. To replace a vector, remove its id first.",
            ),
        ],
        lambda index, v: index.add(NEW, v),
    ),
    "add.threads": (ints("threads", 1, 1024, none=True), lambda index, v: index.add(NEW, threads=v)),
    "add.progress": (flags("progress", none=True), lambda index, v: index.add(NEW, progress=v)),
    "remove.ids": (
        [
            *some_ids(None),
            ([100, 7, 101], vs.UnknownIdError, "id 7 is not in the index."),
            (160, vs.UnknownIdError, "id 160 is not in the index."),
        ],
        lambda index, v: index.remove(v),
    ),
    "vector.id": (
        [*ints("id", 0, TOP), (99, vs.UnknownIdError, "id 99 is not in the index.")],
        lambda index, v: index.vector(v),
    ),
    "search.Q": (queries("Q"), lambda index, v: index.search(v)),
    "search.k": (ints("k", 1, 65536), many_and_one("k")),
    "search.recall": (numbers("recall", "(0, 1]", [0, -0.5, 1.01, 2]), many_and_one("recall")),
    "search.effort": (numbers("effort", "(0, inf)", [0, 0.0, -3]), many_and_one("effort")),
    "search.filter": (FILTERS, many_and_one("filter")),
    "search.threads": (ints("threads", 1, 1024, none=True), many_and_one("threads")),
    "search.progress": (flags("progress", none=True), many_and_one("progress")),
    "save.path": (NO_PATH, lambda index, v: index.save(v)),
    "save.vectors": (flags("vectors"), lambda index, v: index.save("x.vsx", vectors=v)),
}  # fmt: skip

ELSEWHERE: dict[str, tuple[list[Fault], Callable[[Any], Any]]] = {
    "Flat.metric": (METRICS, lambda v: vs.Flat(v)),
    "Flat.dtype": (DTYPES, lambda v: vs.Flat(dtype=v)),
    "Flat.quantizer": (NO_QUANTIZER, lambda v: vs.Flat(quantizer=v)),
    "Flat.refine": (REFINE, lambda v: vs.Flat(refine=v)),
    "Flat.seed": (ints("seed", 0, TOP), lambda v: vs.Flat(seed=v)),
    "IVF.lists": ([*ints("lists", 1, 2**20, none=True), METRIC_FOR_LISTS], lambda v: vs.IVF(v)),
    "IVF.metric": (METRICS, lambda v: vs.IVF(metric=v)),
    "IVF.dtype": (DTYPES, lambda v: vs.IVF(dtype=v)),
    "IVF.quantizer": (NO_QUANTIZER, lambda v: vs.IVF(quantizer=v)),
    "IVF.refine": (REFINE, lambda v: vs.IVF(refine=v)),
    "IVF.seed": (ints("seed", 0, TOP), lambda v: vs.IVF(seed=v)),
    "Graph.metric": (METRICS, lambda v: vs.Graph(v)),
    "Graph.quantizer": (NO_QUANTIZER, lambda v: vs.Graph(quantizer=v)),
    "Graph.degree": (choices("degree", "32, 64, 96, 128"), lambda v: vs.Graph(degree=v)),
    "Graph.layout": (choices("layout", "'fast', 'compact'", ("compat", "compact")), lambda v: vs.Graph(layout=v)),
    "Graph.refine": (REFINE_OF_GRAPH, lambda v: vs.Graph(refine=v)),
    "Graph.seed": (ints("seed", 0, TOP), lambda v: vs.Graph(seed=v)),
    "load.path": (NO_PATH, lambda v: vs.load(v)),
    "build.X": (matrices("X", None), lambda v: vs.build(v)),
    "build.metric": (METRICS, lambda v: vs.build(X, v)),
    "build.recall": (numbers("recall", "(0, 1]", [0, -0.5, 1.01, 2]), lambda v: vs.build(X, recall=v)),
    "build.memory": (SIZES, lambda v: vs.build(X, memory=v)),
    "build.ids": (some_ids(N), lambda v: vs.build(X, ids=v)),
    "build.queries": (
        [fault for fault in matrices("queries", D) if fault[0] is not None],
        lambda v: vs.build(X, queries=v),
    ),
    "build.seed": (ints("seed", 0, TOP), lambda v: vs.build(X, seed=v)),
    "build.threads": (ints("threads", 1, 1024, none=True), lambda v: vs.build(X, threads=v)),
    "build.progress": (flags("progress", none=True), lambda v: vs.build(X, progress=v)),
}

KINDS: dict[str, Callable[[], Any]] = {
    "flat": vs.Flat,
    "flat codes": lambda: vs.Flat(quantizer=vs.RaBitQ(4), refine="int8"),
    "ivf": lambda: vs.IVF(4, "ip", dtype="bf16"),
    "ivf codes": lambda: vs.IVF(4, "cosine", quantizer=vs.RaBitQ(2)),
    "graph": lambda: vs.Graph("cosine"),
    "graph int8": lambda: vs.Graph("ip", refine="int8"),
    "graph compact": lambda: vs.Graph("cosine", layout="compact"),
}


@pytest.fixture(scope="module", params=KINDS)
def index(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param]().fit(X, IDS, threads=1)


def state(index: Any) -> list[Any]:
    """What can be seen of an index from outside."""
    calibration = index.calibration.to_json() if index.calibration is not None else None
    vectors = np.stack([index.vector(id) for id in index.ids]) if len(index) else None
    answers = index.search(X[:9], 7, effort=3)
    arrays = [index.ids, vectors, *answers]
    return [repr(index), len(index), index.dim, calibration, *(a if a is None else a.tobytes() for a in arrays)]


@pytest.mark.parametrize("name", FITTING)
def test_bad_arguments_of_an_index_change_nothing(index: Any, name: str) -> None:
    faults, call = FITTING[name]
    before = state(index)
    for fault in faults:
        refuses(fault, lambda value: call(index, value))
    assert state(index) == before


@pytest.mark.parametrize("name", ELSEWHERE)
def test_bad_arguments_elsewhere(name: str) -> None:
    faults, call = ELSEWHERE[name]
    for fault in faults:
        refuses(fault, call)


@pytest.mark.parametrize("name", ["mmap", "check"])
def test_bad_flags_of_load(tmp_path: Path, name: str) -> None:
    vs.Flat().fit(X).save(tmp_path / "x.vsx")
    for fault in flags(name):
        refuses(fault, lambda value: vs.load(tmp_path / "x.vsx", **{name: value}))


def test_no_parameter_is_forgotten() -> None:
    known = {*ELSEWHERE, "load.mmap", "load.check"}
    for cls in (vs.Flat, vs.IVF, vs.Graph):
        assert {f"{cls.__name__}.{name}" for name in parameters(cls)} <= known
        for method, call in inspect.getmembers(cls, inspect.isfunction):
            if not method.startswith("_"):
                assert {f"{method}.{name}" for name in parameters(call)} <= set(FITTING)
    for function in (vs.load, vs.build):
        assert {f"{function.__name__}.{name}" for name in parameters(function)} <= known


# ------------------------------------------------------------------------------------------- what depends on the state


@pytest.mark.parametrize("kind", KINDS)
def test_not_fitted(kind: str, tmp_path: Path) -> None:
    index = KINDS[kind]()
    message = f"{type(index).__name__} is not fitted; call fit(X) first."
    calls: list[Callable[[], Any]] = [
        lambda: index.search(X[0]), lambda: index.search(X[:5], 3, effort=2), lambda: index.search(X, filter=[1]),
        lambda: index.add(X), lambda: index.remove([1]), lambda: index.vector(1), lambda: index.ids,
        lambda: index.save(tmp_path / "x.vsx"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(vs.NotFittedError) as caught:
            call()
        assert str(caught.value) == message
    assert len(index) == 0 and 3 not in index and index.dim is None and "not fitted" in repr(index)
    assert list(tmp_path.iterdir()) == []


def test_a_recall_of_the_index_is_checked(index: Any) -> None:
    for fault in numbers("recall", "(0, 1]", [0, -0.5, 1.01, 2]):
        refuses(fault, lambda value: setattr(index, "recall", value))
    assert index.recall == 0.95


def test_recall_and_effort_exclude_each_other(index: Any) -> None:
    message = "`recall` and `effort` must not both be given; name the recall, or set the effort yourself."
    for Q in (X[0], X[:3]):
        refuses((0.9, P, message), lambda value, Q=Q: index.search(Q, recall=value, effort=3))


def test_more_lists_than_vectors() -> None:
    index = vs.IVF(5).fit(X)
    before = state(index)
    refuses((X[:4], P, "`lists` must be at most the number of vectors, 4; got 5."), index.fit)
    assert state(index) == before


@pytest.mark.parametrize("cls", [vs.Flat, vs.IVF, vs.Graph])
def test_zero_vectors_have_no_cosine(cls: Any) -> None:
    zero = X[:5].copy()
    zero[3] = 0
    index = cls(metric="cosine").fit(X)
    before = state(index)
    text = "`{}` must not hold zero vectors where the metric is 'cosine'; row {} is zero."
    refuses((zero, P, text.format("X", 3)), index.fit)
    refuses((zero, P, text.format("X", 3)), index.add)
    refuses((zero, P, text.format("queries", 3)), lambda value: index.fit(X, queries=value))
    refuses((zero, P, text.format("Q", 3)), index.search)
    refuses((zero[3], P, text.format("Q", 0)), index.search)
    assert state(index) == before


@pytest.mark.parametrize(
    "make", [lambda: vs.Flat(dtype="f16"), lambda: vs.IVF(4, quantizer=vs.RaBitQ(), refine="f16"), vs.Graph]
)
def test_what_a_half_cannot_hold(make: Any) -> None:
    index = make().fit(X, IDS)
    before = state(index)
    large = X[:40].copy()
    large[39, 2] = -65536
    message = "`X` must be within ±65504 to be stored as f16. Take bf16, or scale it."
    refuses((large, P, message), index.fit)
    refuses((large, P, message), index.add)
    assert state(index) == before


def test_no_numbers_left_after_the_largest_id(index: Any) -> None:
    last = type(index)().fit(X, [*range(N - 1), TOP])
    before = state(last)
    refuses((NEW, P, f"`ids` must be given: no numbers are left after the largest id, {TOP}."), last.add)
    assert state(last) == before
    assert last.add(NEW, [500, 501, TOP - 1]).tolist() == [500, 501, TOP - 1]


def test_membership_never_raises(index: Any) -> None:
    assert 100 in index and np.int64(159) in index
    for stranger in (99, -1, 2**63, 2**70, 100.0, "100", None, [100], [], True, NAN, np.array([100, 101])):
        assert stranger not in index


def test_files_that_are_not_there(index: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        vs.load(tmp_path / "none.vsx")
    with pytest.raises(FileNotFoundError):
        index.save(tmp_path / "no folder" / "x.vsx")
    with pytest.raises(OSError, match="directory"):
        index.save(tmp_path)
    with pytest.raises(vs.ForeignFileError):
        vs.load(tmp_path)
    index.save(bytes(tmp_path / "x.vsx"))
    assert state(vs.load(tmp_path / "x.vsx")) == state(index)


def test_environment_is_checked(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("0", "two", "-1", "1025", "1.5"):
        monkeypatch.setenv("VSEARCH_THREADS", wrong)
        message = f"`VSEARCH_THREADS` must be an int in [1, 1024]; got {wrong!r}."
        refuses((X[:3], P, message), index.search)
