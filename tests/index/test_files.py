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
from contextlib import suppress
from pathlib import Path
from typing import Any

import damage
import numpy as np
import pytest
from fuzz import forge

import vsearch as vs
from vsearch.collection.schema import DATABASE
from vsearch.index.io import COLLECTION
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
    assert (folder / "once.vsx").stat().st_size < (40_000 if index.kind == "graph" else 20_000)


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


def test_parts_that_do_not_fit_are_refused(kind: str, part: forge.Parts, folder: Path) -> None:
    if kind == "flat bytes":  # the table is for files of 44 vectors of 12 dimensions; this one differs in a number only
        return
    path = folder / "forged.vsx"
    opened = []
    for what, change in damage.forgeries(part).items():
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


def test_a_collection_is_told_from_a_file(tmp_path: Path) -> None:
    assert COLLECTION == DATABASE
    vs.Collection.open(tmp_path / "wiki").close()
    with pytest.raises(vs.ForeignFileError) as caught:
        vs.load(tmp_path / "wiki")
    said = f"`{tmp_path / 'wiki'}` is not a regular file."
    assert str(caught.value) == f"{said} It is a collection: `vs.Collection.open` opens it."
    (tmp_path / "empty").mkdir()
    with pytest.raises(vs.ForeignFileError, match=r"is not a regular file\.$"):
        vs.load(tmp_path / "empty")


def test_the_other_kind_of_index_is_refused(part: forge.Parts, folder: Path) -> None:
    path = folder / "forged.vsx"
    path.write_bytes(forge.assembled(part._replace(kind="ivf" if part.kind == "flat" else "flat")))
    with pytest.raises(vs.CorruptFileError):
        vs.load(path)
    path.write_bytes(forge.assembled(part._replace(kind="sieve")))
    with pytest.raises(vs.ForeignFileError, match="holds a vsearch 'sieve', which is not an index"):
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
