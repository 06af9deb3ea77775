"""The container: what is written is what is read, by us and by safetensors, in aligned memory or in place."""

from __future__ import annotations

import json
import os
import stat
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import MODES, same, some_arrays

from vsearch.errors import CorruptFileError
from vsearch.storage import container, header
from vsearch.storage.container import read, write

FINITE = st.floats(allow_nan=False, allow_infinity=False)
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.vsx"


# ---------------------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("mode", MODES)
def test_read_gives_what_was_written(path: Path, mode: dict[str, bool]) -> None:
    arrays = some_arrays()
    meta = {
        "metric": "l2",
        "bits": 4,
        "scale": 0.1,
        "flag": True,
        "none": None,
        "list": [1, [2.5, "\u00e9\ud800"]],
        "x": {},
    }
    write(path, "flat", meta, arrays)
    found = read(path, **mode)
    assert (found.kind, found.meta, found.path) == ("flat", meta, str(path))
    assert list(found.arrays) == list(arrays)
    assert all(same(found.arrays[name], array) for name, array in arrays.items())


@pytest.mark.parametrize("mode", MODES)
def test_arrays_are_aligned(path: Path, mode: dict[str, bool]) -> None:
    write(path, "flat", {}, {f"a{i}": np.full(i, i, np.uint8) for i in range(1, 130)})
    found = read(path, **mode)
    for array in found.arrays.values():
        assert array.ctypes.data % 64 == 0 and array.flags.aligned and array.flags.c_contiguous


def test_copies_are_writable_and_maps_are_not(path: Path) -> None:
    write(path, "flat", {}, some_arrays())
    assert all(array.flags.writeable for array in read(path).arrays.values())
    mapped = read(path, mmap=True).arrays
    for array in mapped.values():
        assert not array.flags.writeable
        if array.size == 0:  # not in the file at all
            continue
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        mapped["vectors"][0] = 0
    os.truncate(path, os.stat(path).st_size)  # still a plain file that others may touch
    assert same(mapped["ids"], some_arrays()["ids"])


def test_map_outlives_the_name_of_the_file(path: Path) -> None:
    write(path, "flat", {}, {"a": np.arange(1000)})
    old = read(path, mmap=True)
    write(path, "flat", {}, {"a": np.zeros(1000)})
    assert (old.arrays["a"] == np.arange(1000)).all()
    path.unlink()
    assert (old.arrays["a"] == np.arange(1000)).all()


def test_mapping_copies_nothing(path: Path) -> None:
    write(path, "flat", {}, {"a": np.zeros(8 << 20, np.uint8)})
    for check in (False, True):
        tracemalloc.start()
        read(path, mmap=True, check=check)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


@pytest.mark.parametrize("mode", MODES)
def test_no_arrays_and_no_meta(path: Path, mode: dict[str, bool]) -> None:
    write(path, "empty", {}, {})
    found = read(path, **mode)
    assert found.arrays == {} and found.meta == {}


@settings(max_examples=60, deadline=None)
@given(
    arrays=st.dictionaries(
        st.from_regex(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}", fullmatch=True),
        st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0, max_side=9))),
        max_size=5,
    ),
    meta=st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**64) + 1, 2**64 - 1) | FINITE | st.text(),
            lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    ),
)  # fmt: skip
def test_anything_comes_back(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any], meta: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.vsx"
    write(path, "any", meta, arrays)
    for mode in MODES:
        found = read(path, **mode)
        assert found.meta == meta and list(found.arrays) == list(arrays)
        assert all(same(found.arrays[name], array) for name, array in arrays.items())


@pytest.mark.parametrize("view", ["f", "strided", "reversed", "transposed", "big-endian", "big-endian scalar", "3d"])
def test_arrays_of_any_layout(path: Path, view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "CHUNK", 64)
    base = np.random.default_rng(0).standard_normal((12, 10)).astype(np.float32)
    array = {
        "f": np.asfortranarray(base),
        "strided": base[::2, 1::3],
        "reversed": base[::-1],
        "transposed": base.T,
        "big-endian": base.astype(">f4"),
        "big-endian scalar": np.array(7, ">i8"),
        "3d": base.reshape(3, 4, 10)[:, ::2].transpose(2, 0, 1),
    }[view]
    write(path, "flat", {}, {"a": array})
    found = read(path).arrays["a"]
    assert found.dtype == array.dtype.newbyteorder("<") and found.flags.c_contiguous and (found == array).all()


def test_large_arrays_are_hashed_by_threads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in (1000, 4096, container.CHUNK):
        monkeypatch.setattr(container, "CHUNK", chunk)
        monkeypatch.setattr("vsearch.storage.checksum.CHUNK", min(chunk, 4096))
        array = np.random.default_rng(chunk).integers(0, 256, 123_457, np.uint8)
        write(path, "flat", {}, {"a": array, "b": array[::3]})
        for mode in MODES:
            assert same(read(path, **mode).arrays["b"], np.ascontiguousarray(array[::3]))
        raw = bytearray(path.read_bytes())
        raw[-5000] ^= 1
        path.write_bytes(raw)
        for mode in MODES[:2]:
            with pytest.raises(CorruptFileError, match="array `b` does not match its checksum"):
                read(path, **mode)


def test_no_array_is_doubled_in_memory(path: Path) -> None:
    array = np.zeros((2048, 4096), np.float32)  # 32 MB
    crooked = np.zeros((2049, 4096), ">f4")[1:, ::2]  # 16 MB
    tracemalloc.start()
    write(path, "flat", {}, {"a": array, "b": crooked})
    assert tracemalloc.get_traced_memory()[1] < 48 << 20  # chunks in flight, however large the arrays
    tracemalloc.reset_peak()
    found = read(path)
    assert tracemalloc.get_traced_memory()[1] < (48 << 20) + (1 << 20)
    tracemalloc.stop()
    assert len(found.arrays) == 2


# ------------------------------------------------------------------------------------------------- others' readers


def test_safetensors_reads_it(path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file

    arrays = some_arrays()
    write(path, "flat", {"bits": 4}, arrays)
    found = load_file(path)
    assert all(same(found[name], array) for name, array in arrays.items())
    assert all(not found[name].any() for name in found.keys() - arrays.keys())
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    assert metadata["kind"] == "flat" and json.loads(metadata["meta"]) == {"bits": 4}
    assert metadata["vsearch_format"] == str(header.FORMAT)


def test_bfloat16_is_known_as_such(path: Path) -> None:
    import safetensors

    half = np.arange(6, dtype=np.uint16).reshape(2, 3)
    write(path, "flat", {}, {"half": half, "plain": half}, bf16=["half"])
    found = read(path)
    assert same(found.arrays["half"], half) and found.bf16 == {"half"}
    stored = dict(safetensors.deserialize(path.read_bytes()))
    assert stored["half"]["dtype"] == "BF16" and stored["plain"]["dtype"] == "U16"
    assert bytes(stored["half"]["data"]) == half.tobytes() and stored["half"]["shape"] == [2, 3]


def test_layout_in_the_file(path: Path) -> None:
    write(path, "flat", {}, {"a": np.ones(3, np.uint8), "b": np.full(2, 2, np.uint8)})
    raw = path.read_bytes()
    size = struct.unpack_from("<Q", raw)[0]
    assert (8 + size) % 64 == 0 and raw[8:].startswith(header.MAGIC)
    assert raw[8 + size :] == b"\1\1\1" + bytes(61) + b"\2\2"
    tree = json.loads(raw[8 : 8 + size])
    assert tree["__pad_0__"] == {"dtype": "U8", "shape": [61], "data_offsets": [3, 64]}
    assert all(isinstance(value, str) for value in tree["__metadata__"].values())


def test_meta_that_changes_meanwhile_is_saved_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = {"a": [1, 2]}
    monkeypatch.setattr(container, "failpoint", lambda name: meta["a"].append(3))
    write(path, "flat", meta, some_arrays())
    assert read(path).meta == {"a": [1, 2]} and len(meta["a"]) > 2


def test_same_content_same_bytes(path: Path) -> None:
    write(path, "flat", {"b": 1, "a": {"d": 2, "c": 3}}, some_arrays())
    first = path.read_bytes()
    write(path, "flat", {"a": {"c": 3, "d": 2}, "b": 1}, some_arrays())
    assert path.read_bytes() == first


# ------------------------------------------------------------------------------------------------------------ places


def test_links_are_followed_and_permissions_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real.vsx", tmp_path / "link.vsx"
    write(real, "flat", {"v": 1}, {})
    real.chmod(0o640)
    link.symlink_to(real)
    write(link, "flat", {"v": 2}, {})
    assert link.is_symlink() and read(real).meta == {"v": 2}
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_new_files_obey_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write(tmp_path / "x.vsx", "flat", {}, {})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x.vsx").stat().st_mode) == 0o640


def test_relative_and_long_and_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x.vsx", "\u00e9" * 120, "a b\n[c]*?.vsx", "." + "x" * 250):
        write(name, "flat", {}, some_arrays())
        assert len(read(name).arrays) == 5
    assert len(os.listdir(tmp_path)) == 4
