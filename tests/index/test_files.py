"""Files of every kind of index: what comes back is what was saved, and damage gives `FormatError` or stays harmless.

Three kinds of damage, as in tests/storage: accidents (each byte, each length) are found without exception; parts that
do not fit each other under good checksums, as only a forger makes them, are refused by name; and forgeries at random
are refused or give an index that can be used (fuzz/forge.py).
"""

from __future__ import annotations

import copy
import random
import re
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import forge

import vsearch as vs
from vsearch.storage import container


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module", params=forge.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def good(kind: str, folder: Path) -> bytes:
    return forge.saved(kind, folder / "good.vsx")


@pytest.fixture(scope="module")
def part(good: bytes, folder: Path) -> forge.Parts:
    (folder / "part.vsx").write_bytes(good)
    return forge.parts(folder / "part.vsx")


def seen(index: Any) -> list[Any]:
    """Everything that an index answers, to the last bit."""
    Q = forge.vectors(20, index.dim, 5)
    answers = [index.search(Q[0], 9, effort=2), index.search(Q, 5, effort=1), index.search(Q, 5, effort=99)]
    if index.calibration is not None:
        answers.append(index.search(Q, 10, recall=0.9))
    arrays = [index.ids, *(array for answer in answers for array in answer), *(index.vector(id) for id in index.ids)]
    shown = re.sub(r"[\d,]+ bytes each", "", repr(index))  # a table of ids may not have been needed yet
    return [shown, len(index), index.dim, *(array.tobytes() for array in arrays)]


# -------------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("mode", forge.MODES)
def test_an_index_comes_back_as_it_was(kind: str, mode: dict[str, bool], folder: Path) -> None:
    index = forge.KINDS[kind]()
    before = seen(index)
    index.save(folder / "once.vsx")
    assert seen(index) == before  # saving compacts, and changes nothing
    loaded = vs.load(folder / "once.vsx", **mode)
    assert seen(loaded) == before
    loaded.save(folder / "twice.vsx")
    assert (folder / "twice.vsx").read_bytes() == (folder / "once.vsx").read_bytes()
    assert (folder / "once.vsx").stat().st_size < 20_000


def test_arrays_of_a_mapped_file_are_aligned_and_read_only(good: bytes, folder: Path) -> None:
    (folder / "mapped.vsx").write_bytes(good)
    for name, array in container.read(folder / "mapped.vsx", mmap=True).arrays.items():
        assert array.ctypes.data % 64 == 0 and not array.flags.writeable, name
    for name, array in container.read(folder / "mapped.vsx").arrays.items():
        assert array.ctypes.data % 64 == 0, name


def test_a_mapped_index_can_be_changed_and_its_file_is_not(good: bytes, folder: Path) -> None:
    path = folder / "changed.vsx"
    path.write_bytes(good)
    copied, mapped = vs.load(path), vs.load(path, mmap=True)
    for index in (copied, mapped):
        new = index.add(forge.vectors(40, index.dim, 3) * 2, np.arange(1000, 1040))
        index.remove(np.concatenate([new[::3], index.ids[:9]]))
    assert seen(mapped) == seen(copied)
    mapped.save(path)  # over the file that is still mapped
    assert seen(vs.load(path, mmap=True)) == seen(copied)


def test_a_file_replaced_while_mapped_is_still_the_old_one(good: bytes, folder: Path) -> None:
    path = folder / "replaced.vsx"
    path.write_bytes(good)
    mapped = vs.load(path, mmap=True)
    before = seen(mapped)
    vs.Flat().fit(np.eye(3)).save(path)
    assert seen(mapped) == before and len(vs.load(path)) == 3


def test_an_emptied_index_comes_back_empty(kind: str, folder: Path) -> None:
    index = forge.KINDS[kind]()
    X, ids = forge.vectors(6, index.dim, 9), index.ids
    index.remove(ids)
    index.save(folder / "empty.vsx")
    for mode in forge.MODES:
        loaded = vs.load(folder / "empty.vsx", **mode)
        assert len(loaded) == 0 and loaded.ids.size == 0
        found, distances = loaded.search(X, 3, effort=2)
        assert (found == -1).all() and np.isinf(distances).all()
        assert loaded.add(X).tolist() == [0, 1, 2, 3, 4, 5]
        assert set(loaded.search(X[0], 6, effort=99)[0].tolist()) == set(range(6))


# ---------------------------------------------------------------------------------------------------------- accidents


def flips(good: bytes, folder: Path, positions: Any) -> None:
    start = forge.data_start(good)
    with forge.Arena(folder / "flipped.vsx") as arena:
        for at in positions:
            bad = bytearray(good)
            bad[at] ^= 0xFF if at % 3 else 1 << at % 8
            for mode in forge.MODES[:2] if at % 2 else forge.MODES[:1]:
                assert arena.attempt(bytes(bad), at, mode) == "refused", at
            end = arena.attempt(bytes(bad), at, forge.MODES[2])  # the header is verified, and what a walk follows
            assert end == "refused" or at >= start


def cuts(good: bytes, folder: Path, lengths: Any) -> None:
    with forge.Arena(folder / "cut.vsx") as arena:
        for length in lengths:
            for mode in forge.MODES:
                assert arena.attempt(good[:length], length, mode) == "refused", length


def spread(size: int, count: int) -> list[int]:
    """Positions all over a file, other ones near each end."""
    rng = random.Random(size)
    return sorted({*range(0, size, max(1, size // count)), *(rng.randrange(size) for _ in range(count)), size - 1})


def test_flipped_bytes_are_found(good: bytes, folder: Path) -> None:
    flips(good, folder, spread(len(good), 40))


def test_cut_files_are_refused(good: bytes, folder: Path) -> None:
    cuts(good, folder, spread(len(good), 40))


@pytest.mark.exhaustive
def test_every_flipped_byte_is_found(good: bytes, folder: Path) -> None:
    flips(good, folder, range(len(good)))


@pytest.mark.exhaustive
def test_every_length_is_refused(good: bytes, folder: Path) -> None:
    cuts(good, folder, range(len(good)))


# ----------------------------------------------------------------------------------------------------------- forgeries


@pytest.mark.fuzz
def test_forgeries_are_refused_or_harmless(part: forge.Parts, folder: Path) -> None:
    ends = forge.attack(part, folder / "forged.vsx", 150, 0)
    assert ends["refused"] > ends["opened"] > 0


@pytest.mark.exhaustive
def test_many_forgeries_are_refused_or_harmless(part: forge.Parts, folder: Path) -> None:
    ends = forge.attack(part, folder / "forged.vsx", 3000, 150)
    assert ends["refused"] > ends["opened"] > 0


Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def put(name: str, at: Any, value: Any) -> Change:
    """Element `at` of an array becomes `value`, or what `value` makes of it."""

    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][at] = value(arrays[name][at]) if callable(value) else value

    return change


def become(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = make(arrays[name])

    return change


def say(**values: Any) -> Change:
    return lambda meta, arrays: meta.update(values)


def forget(name: str) -> Change:
    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        (meta if name in meta else arrays).pop(name)

    return change


def swap(a: str, b: str) -> Change:
    return lambda meta, arrays: arrays.update({a: arrays[b], b: arrays[a]})


def calibrate(**values: Any) -> Change:
    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        meta["calibration"] = {"efforts": [1.0, 2.0], "recalls": {"1": [0.5, 1.0]}, "source": "base"} | values

    return change


def slots(value: Any) -> Change:
    """The slots at the end of the first block are what `value` makes of them."""

    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        blocks = arrays["lists.blocks"] = arrays["lists.blocks"].copy()
        view = blocks[0, -128:].view(np.uint32)
        view[:] = value(view.copy())

    return change


ANY: dict[str, Change] = {
    "a metric that there is not": say(metric="l3"),
    "a metric that is a number": say(metric=2),
    "no metric": forget("metric"),
    "no dimension": forget("dim"),
    "a dimension of nothing": say(dim=0),
    "a dimension beyond all": say(dim=65537),
    "a huge dimension": say(dim=2**62),
    "another dimension": say(dim=28),
    "a dimension that is none": say(dim="12"),
    "one vector more": say(n=45),
    "one vector less": say(n=43),
    "fewer than no vectors": say(n=-1),
    "half a vector": say(n=44.5),
    "vectors beyond all": say(n=2**32),
    "a dtype that there is not": say(dtype="f64"),
    "bits beyond all": say(bits=9),
    "bits that are none": say(bits="4"),
    "a seed that is none": say(seed=-1),
    "no ids": forget("ids"),
    "an id twice": become("ids", lambda a: np.append(a[:-1], a[0])),
    "an id below zero": put("ids", 0, -1),
    "ids of another width": become("ids", lambda a: a.astype(np.int32)),
    "ids in a table": become("ids", lambda a: a[:, None]),
    "too few ids": become("ids", lambda a: a[:-1]),
    "a calibration that is a list": lambda meta, arrays: meta.update(calibration=[1, 2]),
    "a calibration without curves": calibrate(recalls={}),
    "a calibration that falls": calibrate(recalls={"1": [0.9, 0.5]}),
    "a calibration of other length": calibrate(recalls={"1": [0.9]}),
    "a calibration for no neighbours": calibrate(recalls={"0": [0.5, 1.0]}),
    "a calibration for a word": calibrate(recalls={"ten": [0.5, 1.0]}),
    "a calibration of a list": calibrate(recalls=[[0.5, 1.0]]),
    "a calibration without effort": calibrate(efforts=[0.0, 1.0]),
    "a calibration from nowhere": calibrate(source="x"),
    "a calibration of words": calibrate(efforts=["a", "b"]),
}
STORED: dict[str, Change] = {
    "no rows": forget("store.rows"),
    "a row less": become("store.rows", lambda a: a[:-1]),
    "a row more": become("store.rows", lambda a: np.concatenate([a, a[:1]])),
    "narrow rows": become("store.rows", lambda a: a[:, :-1]),
    "rows of another width": become("store.rows", lambda a: a.astype(np.float64)),
    "rows in a line": become("store.rows", lambda a: a.reshape(-1)),
}
FACTORS: dict[str, Change] = {
    "no factors": forget("store.factors"),
    "a factor less": become("store.factors", lambda a: a[:-1]),
    "a factor each": become("store.factors", lambda a: a[:, :1]),
    "wide factors": become("store.factors", lambda a: a.astype(np.float64)),
}
LISTED: dict[str, Change] = {
    "a list too long": put("lists.size", 0, lambda x: x + 1),
    "a list too short": put("lists.size", 0, lambda x: x - 1),
    "a list beyond all": put("lists.size", 0, 2**32 - 1),
    "lists of no one": become("lists.size", np.zeros_like),
    "a list elsewhere": put("lists.block", -1, lambda x: x + 1),
    "a list far away": put("lists.block", 0, 2**32 - 1),
    "sizes of another width": become("lists.size", lambda a: a.astype(np.int64)),
    "a list less": become("lists.size", lambda a: a[:-1]),
    "a block less": become("lists.blocks", lambda a: a[:-1]),
    "a block more": become("lists.blocks", lambda a: np.concatenate([a, a[:1]])),
    "blocks too narrow": become("lists.blocks", lambda a: a[:, :-4]),
    "blocks of words": become("lists.blocks", lambda a: a.view(np.uint32)),
    "a slot beyond all": slots(lambda s: np.concatenate([[2**32 - 1], s[1:]])),
    "a slot that is not": slots(lambda s: np.concatenate([[44], s[1:]])),
    "a slot twice": slots(lambda s: np.concatenate([s[1:2], s[1:]])),
    "slots in another order": slots(lambda s: np.concatenate([s[1::-1], s[2:]])),
    "a position beyond all": put("lists.position", 5, 2**32 - 1),
    "two positions exchanged": become("lists.position", lambda a: np.concatenate([a[1::-1], a[2:]])),
    "positions of another width": become("lists.position", lambda a: a.astype(np.uint64)),
    "too few positions": become("lists.position", lambda a: a[:-1]),
    "no positions": forget("lists.position"),
    "sizes for blocks": swap("lists.size", "lists.position"),
    "a centroid that is no number": put("centroids", (0, 3), np.nan),
    "a centroid without end": put("centroids", (0, 0), np.inf),
    "a mean that is no number": put("mean", 1, np.nan),
    "a spread that is no number": put("spreads", 0, np.nan),
    "three spreads": become("spreads", lambda a: np.append(a, 1.0)),
    "narrow spreads": become("spreads", lambda a: a.astype(np.float32)),
    "no centroids": become("centroids", lambda a: a[:0]),
    "narrow centroids": become("centroids", lambda a: a[:, :-1]),
    "centroids in another form": become("centroids", lambda a: a[None]),
    "a rotation too short": become("rotation", lambda a: a[:-1]),
    "a rotation of words": become("rotation", lambda a: a.view(np.uint16)),
    "no rotation": forget("rotation"),
}
EXTRA: dict[str, Change] = {
    "no extra bits": forget("extra"),
    "extra bits of one less": become("extra", lambda a: a[:-1]),
    "narrow extra bits": become("extra", lambda a: a[:, :-8]),
    "extra bits as words": become("extra", lambda a: a.view(np.uint32)),
    "other bits": lambda meta, arrays: meta.update(bits=meta["bits"] - 1),
}


def forgeries(part: forge.Parts) -> dict[str, Change]:
    """Those that concern a file."""
    tables = [
        (ANY, "ids"),
        (STORED, "store.rows"),
        (FACTORS, "store.factors"),
        (LISTED, "lists.size"),
        (EXTRA, "extra"),
    ]
    return {what: change for table, needs in tables if needs in part.arrays for what, change in table.items()}


def test_parts_that_do_not_fit_are_refused(kind: str, part: forge.Parts, folder: Path) -> None:
    if kind == "flat bytes":  # the table is for files of 44 vectors of 12 dimensions; this one differs in a number only
        return
    path = folder / "forged.vsx"
    opened = []
    for what, change in forgeries(part).items():
        meta, arrays = copy.deepcopy(part.meta), dict(part.arrays)
        change(meta, arrays)
        path.write_bytes(forge.assembled(part._replace(meta=meta, arrays=arrays)))
        for mode in forge.MODES:
            try:
                vs.load(path, **mode)
            except vs.CorruptFileError as error:
                message = str(error)
            else:
                opened.append(what)
                continue
            assert message.startswith(f"{path} is a damaged vsearch index: ") and "\n" not in message, what
    assert opened == []


def test_the_other_kind_of_index_is_refused(part: forge.Parts, folder: Path) -> None:
    path = folder / "forged.vsx"
    path.write_bytes(forge.assembled(part._replace(kind="ivf" if part.kind == "flat" else "flat")))
    with pytest.raises(vs.CorruptFileError):
        vs.load(path)
    path.write_bytes(forge.assembled(part._replace(kind="graph")))
    with pytest.raises(vs.ForeignFileError, match="holds a vsearch 'graph', which is not an index"):
        vs.load(path)


def test_a_huge_claim_takes_no_memory(part: forge.Parts, folder: Path) -> None:
    path = folder / "forged.vsx"
    for claim in ({"dim": 65536}, {"n": 2**32 - 64}, {"dim": 65536, "n": 2**32 - 64}, {"lists": 2**20}):
        path.write_bytes(forge.assembled(part._replace(meta=part.meta | claim)))
        tracemalloc.start()
        with suppress(vs.FormatError):
            vs.load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4_000_000, claim
