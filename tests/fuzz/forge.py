"""Index files as a forger makes them: parts that do not fit each other, under checksums that are right.

A file is taken apart into its kind, parameters and arrays; a few of these are changed (`mutated`); they are put
together again with good checksums (`assembled`), so that the container has nothing to object to and the index must.
Whatever opens is used in every way (`use`): it may give any answers, from its own ids, but must not fail or leave its
arrays.

`test_files.py` runs some of these; `run_asan.py` runs 10^5 under AddressSanitizer.
"""

from __future__ import annotations

import copy
import random
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import vsearch as vs
from vsearch.storage import container, header

MODES: list[dict[str, bool]] = [{}, {"mmap": True}, {"mmap": True, "check": False}]


class Parts(NamedTuple):
    """What a file holds."""

    kind: str
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    bf16: frozenset[str]


def vectors(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def _shrunk(index: Any, n: int = 45, d: int = 12) -> Any:
    """Fitted, with ids out of order and one vector removed."""
    ids = np.random.default_rng(1).permutation(3 * n)[:n]
    index.fit(vectors(n, d), ids, threads=1)
    index.remove(ids[7:8])
    return index


#: One index of each kind of file, a few kilobytes each.
KINDS: dict[str, Callable[[], Any]] = {
    "flat f32": lambda: _shrunk(vs.Flat()),
    "flat int8": lambda: _shrunk(vs.Flat(dtype="int8")),
    "flat bytes": lambda: vs.Flat(dtype="int8").fit(
        np.random.default_rng(0).integers(0, 256, (30, 5)).astype(np.uint8)
    ),
    "flat bf16": lambda: _shrunk(vs.Flat("cosine", dtype="bf16")),
    "flat codes": lambda: _shrunk(vs.Flat("ip", quantizer=vs.RaBitQ(3), refine="f16")),
    "ivf rows": lambda: _shrunk(vs.IVF(3)),
    "ivf int8": lambda: _shrunk(vs.IVF(4, "ip", dtype="int8")),
    "ivf 1 bit": lambda: _shrunk(vs.IVF(4, "cosine", quantizer=vs.RaBitQ(1), refine=None)),
    "ivf 1 bit refined": lambda: _shrunk(vs.IVF(3, quantizer=vs.RaBitQ(1), refine="int8")),
    "ivf 4 bits": lambda: _shrunk(vs.IVF(3, quantizer=vs.RaBitQ(4), refine=None)),
    "ivf 4 bits refined": lambda: _shrunk(vs.IVF(5, "ip", quantizer=vs.RaBitQ(4), refine="bf16")),
    "ivf 8 bits": lambda: _shrunk(vs.IVF(2, quantizer=vs.RaBitQ(8), refine="f32")),
    "flat osq": lambda: _shrunk(vs.Flat(quantizer=vs.OSQ(2, rotation="dense"), refine=None)),
    "ivf lvq": lambda: _shrunk(vs.IVF(3, "ip", quantizer=vs.LVQ(2, 3), refine=None)),
    "ivf saq": lambda: _shrunk(vs.IVF(2, "cosine", quantizer=vs.SAQ(3), refine="f16"), d=20),
    "flat pq": lambda: _shrunk(vs.Flat(quantizer=vs.PQ(4), refine=None)),
    "flat opq": lambda: _shrunk(vs.Flat("cosine", quantizer=vs.OPQ(5, 4), refine="int8")),
    "ivf pq": lambda: _shrunk(vs.IVF(3, "ip", quantizer=vs.PQ(6, 4), refine=None)),
    "ivf residual": lambda: _shrunk(vs.IVF(2, quantizer=vs.ResidualQuantizer(4, 4, splits=2), refine=None)),
    "ivf turboquant": lambda: _shrunk(vs.IVF(2, quantizer=vs.TurboQuant(2, "prod"), refine=None)),
    "graph": lambda: _shrunk(vs.Graph(refine="f32")),
    "graph int8": lambda: _shrunk(vs.Graph("ip", refine="int8")),
    "graph compact": lambda: _shrunk(vs.Graph(layout="compact")),
    "graph compact int8": lambda: _shrunk(vs.Graph("ip", quantizer=vs.LVQ(4), layout="compact", refine="int8")),
    "graph leanvec": lambda: _shrunk(vs.Graph("cosine", quantizer=vs.LeanVec(6), layout="compact")),
    "graph pq": lambda: _shrunk(vs.Graph("cosine", quantizer=vs.PQ(4, 4), degree=64)),
}


def saved(kind: str, path: Path) -> bytes:
    """The file of a small index."""
    KINDS[kind]().save(path)
    return path.read_bytes()


def parts(path: Path) -> Parts:
    held = container.read(path)
    return Parts(held.kind, held.meta, held.arrays, held.bf16)


def assembled(part: Parts) -> bytes:
    """A file with good checksums, as `container.write` lays it out."""
    arrays = {name: np.ascontiguousarray(array) for name, array in part.arrays.items()}
    arrays = {name: array.astype(array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    entries = header.plan(arrays, part.bf16 & {name for name, a in arrays.items() if a.dtype == np.uint16})
    sums = {name: f"{zlib.crc32(array.tobytes()):08x}" for name, array in arrays.items()}
    raw = header.encode(header.Header(part.kind, part.meta, entries, sums, "1"))
    return raw + b"".join(bytes(e.nbytes) if e.is_padding else arrays[e.name].tobytes() for e in entries)


# ---------------------------------------------------------------------------------------------------------- mutations

INTS = [
    0,
    1,
    2,
    3,
    31,
    32,
    33,
    63,
    127,
    128,
    255,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 32,
    2**32 - 1,
    2**63 - 1,
    -1,
    -2,
]
FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 1e30, 3e38, -3e38, np.inf, -np.inf, np.nan]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 8, 9, 16, 17, 64, 2**16, 2**20, 2**31, 2**32, 2**63 - 1, 0.0, 0.5, 128.0, -1.5,
    1e300, "", "l2", "ip", "cosine", "f32", "f16", "bf16", "int8", "base", [], {}, [1], {"a": 1},
]  # fmt: skip
DTYPES = [
    np.uint8,
    np.int8,
    np.uint16,
    np.int16,
    np.uint32,
    np.int32,
    np.uint64,
    np.int64,
    np.float16,
    np.float32,
    np.float64,
]


def _value(rng: random.Random, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return rng.choice(FLOATS)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return min(max(rng.choice(INTS), low), high)


def _some_elements(rng: random.Random, array: np.ndarray) -> np.ndarray:
    """A few elements, or all, become something else; in floats packed into bytes, too."""
    array = array.copy()
    if array.dtype == np.uint8 and array.size % 4 == 0 and array.size and rng.random() < 0.5:
        view = array.reshape(-1).view(rng.choice([np.float32, np.uint32]))
    else:
        view = array.reshape(-1)
    if view.size == 0:
        return array
    for _ in range(rng.choice([1, 1, 2, 5, view.size])):
        at = rng.randrange(view.size)
        near = rng.random() < 0.3 and view.dtype.kind != "f"
        with np.errstate(all="ignore"):
            view[at] = view[at] + view.dtype.type(1) if near else _value(rng, view.dtype)
    return array


def _reshaped(rng: random.Random, array: np.ndarray) -> np.ndarray:
    act = rng.randrange(9)
    if act == 0:
        return array[: rng.randrange(len(array) + 1)] if array.ndim else array
    if act == 1:
        return np.concatenate([array, array[: rng.randrange(1, 40)]]) if array.ndim else array
    if act == 2:
        return array.reshape(-1)
    if act == 3:
        return array.T
    if act == 4:
        return array[None]
    if act == 5:
        return array[..., : array.shape[-1] // 2] if array.ndim else array
    if act == 6:
        return array[:0] if array.ndim else array
    if act == 7:
        return array.reshape(-1)[:1].reshape(()) if array.size else array
    return array[..., None]


def _retyped(rng: random.Random, array: np.ndarray) -> np.ndarray:
    dtype = np.dtype(rng.choice(DTYPES))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if rng.random() < 0.5 and array.ndim and array.shape[-1] * array.itemsize % dtype.itemsize == 0:
            return np.ascontiguousarray(array).view(dtype)
        return array.astype(dtype)


def _mutate_array(rng: random.Random, arrays: dict[str, np.ndarray]) -> None:
    name = rng.choice(list(arrays))
    array = arrays[name]
    act = rng.randrange(12)
    if act < 5:
        arrays[name] = _some_elements(rng, array)
    elif act == 5:
        arrays[name] = _reshaped(rng, array)
    elif act == 6:
        arrays[name] = _retyped(rng, array)
    elif act == 7:
        order = np.random.default_rng(rng.randrange(2**32)).permutation(len(array)) if array.ndim else ...
        arrays[name] = array[order]
    elif act == 8:
        other = rng.choice(list(arrays))
        arrays[name], arrays[other] = arrays[other], arrays[name]
    elif act == 9:
        del arrays[name]
    elif act == 10:
        arrays[rng.choice(["store.rows", "store.factors", "extra", "ids", "centroids", "compact", "rows", "x"])] = array
    else:  # a row that is there twice
        if array.ndim and len(array) > 1:
            arrays[name] = array.copy()
            arrays[name][rng.randrange(len(array))] = array[rng.randrange(len(array))]


def _mutate_meta(rng: random.Random, meta: dict[str, Any]) -> None:
    key = rng.choice([*meta, "calibration", "n", "dim"])
    value = meta.get(key)
    if isinstance(value, dict) and value and rng.random() < 0.9:
        inner = rng.choice(list(value))
        if isinstance(value[inner], list) and value[inner] and rng.random() < 0.7:
            value[inner][rng.randrange(len(value[inner]))] = rng.choice([*VALUES, 1e-300])
        elif isinstance(value[inner], dict) and value[inner]:
            depth = rng.choice(list(value[inner]))
            value[inner][rng.choice([depth, "0", "-1", "x", "1000000"])] = rng.choice([value[inner][depth], *VALUES])
        else:
            value[inner] = rng.choice(VALUES)
    elif rng.random() < 0.1:
        meta.pop(key, None)
    elif type(value) is int and rng.random() < 0.5:
        meta[key] = value + rng.choice([-1, 1, value, -value, 16])
    else:
        meta[key] = rng.choice(VALUES)


def _resize(rng: random.Random, part: Parts) -> None:
    """Fewer or more vectors, or lists, in all places at once: a size that is consistently wrong, or even right."""
    meta, arrays = part.meta, part.arrays
    n = meta.get("n")
    lists = len(arrays["lists.size"]) if "lists.size" in arrays and arrays["lists.size"].ndim else None
    old = rng.choice([x for x in (n, lists) if type(x) is int and x > 0] or [1])
    new = max(0, old + rng.choice([-old, -1, 1, -2, 30]))
    for name, array in arrays.items():
        if array.ndim and len(array) == old:
            arrays[name] = np.resize(array, (new, *array.shape[1:])) if array.size else array
    if old == n:
        meta["n"] = new


def mutated(rng: random.Random, part: Parts) -> Parts:
    """A copy with a few changes."""
    part = Parts(part.kind, copy.deepcopy(part.meta), dict(part.arrays), part.bf16)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        act = rng.random()
        if act < 0.6 and part.arrays:
            _mutate_array(rng, part.arrays)
        elif act < 0.85:
            _mutate_meta(rng, part.meta)
        elif act < 0.95:
            _resize(rng, part)
        else:
            part = part._replace(kind=rng.choice(["flat", "ivf", "graph"]))
    return part


# ---------------------------------------------------------------------------------------------------------------- use


def use(index: Any, seed: int) -> None:
    """Asks an index of unknown content everything there is to ask; its answers must lie within its own ids."""
    rng = np.random.default_rng(seed)
    n, d = len(index), index.dim
    ids = index.ids
    assert len(ids) == n and (n == 0 or ids[0] >= 0) and (np.diff(ids) > 0).all()
    assert repr(index) and index.nbytes >= 0
    Q = rng.standard_normal((5, d)).astype(np.float32)
    k = int(rng.choice([1, 3, 64, 65, n + 5]))
    _check(index.search(Q[0], k, effort=float(rng.choice([1, 2, 1e9]))), ids, k)
    _check(index.search(Q, k, effort=2, threads=2), ids, k)
    if index.calibration is not None:
        _check(index.search(Q[1], min(k, 10), recall=float(rng.choice([0.5, 0.9, 1.0]))), ids, min(k, 10))
    for share in (0.0, 0.1, 0.9):
        mask = rng.random(n) < share
        _check(index.search(Q[2], 4, effort=2, filter=mask), ids[mask], 4)
    if n:
        assert index.vector(int(ids[n // 2])).shape == (d,)
    new = index.add(rng.standard_normal((3, d)), [] if n > 10**6 else _free(ids, 3))
    index.remove(np.concatenate([new[:2], ids[: n // 2]]))
    left = np.sort(np.concatenate([new[2:], ids[n // 2 :]]))
    assert np.array_equal(index.ids, left)
    _check(index.search(Q, 7, effort=3), left, 7)


def _free(ids: np.ndarray, count: int) -> np.ndarray:
    return np.setdiff1d(np.arange(len(ids) + count), ids)[:count]


def _check(answer: tuple[np.ndarray, np.ndarray], ids: np.ndarray, k: int) -> None:
    found, distances = answer
    assert found.shape == distances.shape and found.shape[-1] == k
    known = found[found >= 0]
    assert np.isin(known, ids).all() and (found >= -1).all()
    for row in np.atleast_2d(found):
        row = row[row >= 0]
        assert len(set(row.tolist())) == len(row)
    assert not np.isnan(distances).any()


class Arena:
    """One file name, kept open, for files are slow to make."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path.open("w+b", buffering=0)

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def attempt(self, raw: bytes, seed: int, mode: dict[str, bool]) -> str:
        """What becomes of a file: "refused", "opened" and usable, or an exception for any other end."""
        self.file.seek(0)
        self.file.write(raw)
        self.file.truncate()
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # overflows of forged numbers
            try:
                index = vs.load(self.path, **mode)
            except vs.FormatError as error:
                if len(str(error)) > 500 + len(str(self.path)) or "\n" in str(error):
                    raise ValueError(f"no message for a user: {error}") from error
                return "refused"
            use(index, seed)
        return "opened"


def attack(part: Parts, path: Path, count: int, seed: int) -> Counter[str]:
    """How `count` forgeries of one file ended; the number of one that ended badly is told, to run it again."""
    ends = Counter[str]()
    with Arena(path) as arena:
        for number in range(seed, seed + count):
            rng = random.Random(number)
            try:
                raw = assembled(mutated(rng, part))
            except vs.VsearchError:  # the container cannot hold it
                ends["unwritable"] += 1
                continue
            try:
                ends[arena.attempt(raw, number, rng.choice(MODES))] += 1
            except Exception as error:
                raise AssertionError(f"forgery {number} of a {part.kind} file: {error!r}") from error
    return ends


def data_start(raw: bytes) -> int:
    """Where the arrays begin."""
    return 8 + int(struct.unpack_from("<Q", raw)[0])
