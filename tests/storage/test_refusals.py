"""What the container does not write and does not read, and in which words."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import MODES, some_arrays, with_metadata

from vsearch.errors import CorruptFileError, DTypeError, ForeignFileError, NewerFormatError, ParameterError
from vsearch.storage.container import read, write

NUMBERS = "an int or a float of up to 64 bits, with at most 8 dimensions"
JSON = "a str, bool, None, int of 64 bits, finite float, list, or dict of these with str keys"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.vsx"


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("kind", "meta", "arrays", "error", "message"),
    [
        (
            "Flat",
            {},
            {},
            ParameterError,
            "`kind` must be a lower-case letter, then up to 63 of [a-z0-9_.-]; got 'Flat'.",
        ),
        (
            "flat",
            {},
            {"../a": np.ones(1)},
            ParameterError,
            "an array's name must be a letter, then up to 63 of [A-Za-z0-9_.-]; got '../a'.",
        ),
        (
            "flat",
            {},
            {"__pad_0__": np.ones(1)},
            ParameterError,
            "an array's name must be a letter, then up to 63 of [A-Za-z0-9_.-]; got '__pad_0__'.",
        ),
        (
            "flat",
            {},
            {"a": np.ones((1, 2), bool)},
            DTypeError,
            f"array `a` must be {NUMBERS}; got dtype bool and shape (1, 2).",
        ),
        (
            "flat",
            {},
            {"a": np.array(["x"], object)},
            DTypeError,
            f"array `a` must be {NUMBERS}; got dtype object and shape (1,).",
        ),
        (
            "flat",
            {"x": {"y": [1, np.int64(3)]}},
            {},
            DTypeError,
            f"`meta['x']['y'][1]` must be {JSON}; got {np.int64(3)!r}.",
        ),
        ("flat", {1: 2}, {}, DTypeError, "`meta` must be a dict with str keys; got {1: 2}."),
    ],
)
def test_write_refuses(path: Path, kind: str, meta: Any, arrays: Any, error: type[Exception], message: str) -> None:
    path.write_bytes(b"before")
    with pytest.raises(error) as caught:
        write(path, kind, meta, arrays)
    assert str(caught.value) == message
    assert path.read_bytes() == b"before" and os.listdir(path.parent) == [path.name]


def test_write_refuses_bf16_that_is_none(path: Path) -> None:
    message = (
        r"^array `a` must be uint16, holding bfloat16, with at most 8 dimensions; got dtype float32 and shape \(1,\)\.$"
    )
    with pytest.raises(DTypeError, match=message):
        write(path, "flat", {}, {"a": np.ones(1, np.float32)}, bf16=["a"])
    with pytest.raises(ParameterError, match=r"^`arrays` must have `b`, which `bf16` names\.$"):
        write(path, "flat", {}, {"a": np.ones(1, np.float32)}, bf16=["b"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**64, {1}, b"x", object()])
def test_meta_refuses_what_json_cannot_give_back(path: Path, value: Any) -> None:
    with pytest.raises(DTypeError, match=r"^`meta\['x'\]` must be"):
        write(path, "flat", {"x": value}, {})


def test_meta_refuses_what_is_deep_or_large(path: Path) -> None:
    deep: Any = {}
    for _ in range(40):
        deep = {"x": deep}
    with pytest.raises(ParameterError, match=r"must be nested at most 32 deep\.$"):
        write(path, "flat", deep, {})
    with pytest.raises(ParameterError, match=r"Store arrays instead\.$"):
        write(path, "flat", {"x": "y" * (17 << 20)}, {})
    with pytest.raises(ParameterError, match=r"Store arrays instead\.$"):
        write(path, "flat", {"x": [[]] * (1 << 18)}, {})
    assert not path.exists()


def test_later_format_is_refused_and_later_keys_are_not(path: Path) -> None:
    write(path, "flat", {}, some_arrays())
    with_metadata(path, remark="hello")
    assert len(read(path).arrays) == 5
    with_metadata(path, requires='{"wavelets":1}', vsearch_version="2.1.0")
    with pytest.raises(NewerFormatError) as caught:
        read(path)
    assert str(caught.value) == (
        f"`{path}` needs 'wavelets', which this vsearch does not know. "
        "It was written by vsearch 2.1.0: install that version or a later one."
    )
    with_metadata(path, vsearch_format="7")
    with pytest.raises(NewerFormatError) as caught:
        read(path)
    assert str(caught.value) == (
        f"`{path}` has format 7, and this vsearch reads format 1. "
        "It was written by vsearch 2.1.0: install that version or a later one."
    )
    with_metadata(path, vsearch_version="\x1b[31m")
    with pytest.raises(NewerFormatError, match="written by vsearch unknown"):  # nothing reaches a terminal unseen
        read(path)


def test_accessors_check_what_they_give(path: Path) -> None:
    write(path, "flat", {"bits": 4, "name": "x"}, some_arrays())
    found = read(path)
    assert found.array("vectors", np.float32, (None, 5)).shape == (7, 5)
    assert found.array("one", "i8", ()) == -3
    assert found.value("bits", int, 1, 8) == 4 and found.value("name", str) == "x"
    tail = " Restore it from a copy, or build it again."
    for call, why in (
        (lambda: found.array("gone", "u1", ()), "it has no array `gone`."),
        (
            lambda: found.array("vectors", np.float32, (8, None)),
            "its array `vectors` should be float32 (8, any) and is float32 (7, 5).",
        ),
        (lambda: found.array("codes", np.int8, (77,)), "its array `codes` should be int8 (77) and is uint8 (77,)."),
        (lambda: found.value("bits", str), "its parameter `bits` should be of type str and is 4."),
        (lambda: found.value("gone", int), "its parameter `gone` should be of type int and is None."),
        (lambda: found.value("bits", int, 5), "its parameter `bits` should be in [5, None] and is 4."),
    ):
        with pytest.raises(CorruptFileError) as caught:
            call()
        assert str(caught.value) == f"`{path}` is damaged: {why}{tail}"


# -------------------------------------------------------------------------------------------------------- foreigners


def foreign(what: str, path: Path) -> None:
    if what == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(10))
    elif what == "npz":
        with path.open("wb") as file:
            np.savez(file, np.zeros(10))
    elif what == "pickle":
        import pickle

        path.write_bytes(pickle.dumps([1, 2, 3]))
    elif what == "safetensors":
        from safetensors.numpy import save_file

        save_file({"a": np.zeros(3)}, path, {"format": "np"})
    elif what == "faiss":
        path.write_bytes(b"IxF2" + bytes(60))
    elif what == "text":
        path.write_bytes(b"hello, world, this is a text and nothing else whatever you may think of it")
    elif what == "huge header":
        path.write_bytes(struct.pack("<Q", 2**63) + bytes(100))
    elif what == "zeros":
        path.write_bytes(bytes(1000))


@pytest.mark.parametrize(
    ("what", "hint"),
    [
        ("npy", "; it looks like a NumPy array: load it with numpy.load and fit an index"),
        ("npz", "; it looks like a zip archive, as numpy.savez makes"),
        ("pickle", "; it looks like a pickle, which vsearch never opens"),
        ("safetensors", "; it looks like a safetensors file"),
        ("faiss", "; it looks like a faiss index"),
        ("text", ""),
        ("huge header", ""),
        ("zeros", ""),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_foreign_files_are_refused(path: Path, what: str, hint: str, mode: dict[str, bool]) -> None:
    foreign(what, path)
    with pytest.raises(ForeignFileError) as caught:
        read(path, **mode)
    assert str(caught.value) == f"`{path}` is not a vsearch file{hint}."


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    odd = [tmp_path, Path(os.devnull)]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        odd.append(tmp_path / "pipe")  # opening it would wait for a writer that never comes
    for path in odd:
        with pytest.raises(ForeignFileError) as caught:
            read(path)
        assert str(caught.value) == f"`{path}` is not a regular file."
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")
