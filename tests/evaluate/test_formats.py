"""Files of vectors come back as they were written, and damaged ones are refused without harm."""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vsearch.errors import DimensionError, DTypeError, FormatError, ParameterError
from vsearch.evaluate.formats import BIN, VECS, read_truth, read_vectors, write_vectors

RAW = {**VECS, **BIN}
SUFFIXES = [*RAW, ".npy", ".parquet"]
DAMAGE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def toy(suffix: str, n: int = 7, dim: int = 5) -> np.ndarray:
    dtype = np.dtype(RAW.get(suffix, "<f4"))
    return (np.random.default_rng(n).normal(size=(n, dim)) * 20 + 60).clip(0, 120).astype(dtype)


def write(path: Path, X: np.ndarray) -> Path:
    if path.suffix == ".parquet":
        write_parquet(path, {"v": X.tolist()})
    else:
        write_vectors(path, X)
    return path


def write_parquet(path: Path, columns: dict[str, Any], kind: Any = None) -> Path:
    import pyarrow
    from pyarrow import parquet

    kind = kind or pyarrow.list_(pyarrow.float32())
    arrays = {
        name: pyarrow.array(values, type=kind) if isinstance(values[0], list) else values
        for name, values in columns.items()
    }
    parquet.write_table(pyarrow.table(arrays), path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("mmap", [False, True])
def test_file_comes_back_as_written(suffix: str, mmap: bool, tmp_path: Path) -> None:
    X = toy(suffix)
    path = write(tmp_path / f"toy{suffix}", X)
    read = read_vectors(path, mmap=mmap)
    np.testing.assert_array_equal(read, X)
    assert read.dtype == X.dtype
    assert isinstance(read, np.memmap) == (mmap and suffix != ".parquet")
    for limit in (1, 3, 7, 1000):
        np.testing.assert_array_equal(read_vectors(path, mmap=mmap, limit=limit), X[:limit])


@given(data=st.data(), suffix=st.sampled_from([*RAW, ".npy"]), n=st.integers(1, 40), dim=st.integers(1, 70))
@settings(deadline=None, max_examples=80)
def test_any_values_come_back(
    data: st.DataObject, suffix: str, n: int, dim: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    X = data.draw(
        hnp.arrays(RAW.get(suffix, "<f4"), (n, dim), elements={"allow_nan": False} if "f" in suffix else None)
    )
    path = write(tmp_path_factory.mktemp("any") / f"x{suffix}", np.nan_to_num(X))
    np.testing.assert_array_equal(read_vectors(path), np.nan_to_num(X))


def test_blocks_meet_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch.evaluate.formats._CHUNK_BYTES", 100)
    monkeypatch.setattr("vsearch.evaluate.parquet._BATCH_ROWS", 4)
    X = toy(".fvecs", 33)
    for name in ("a.fvecs", "a.parquet"):
        path = write(tmp_path / name, X)
        np.testing.assert_array_equal(read_vectors(path), X)
        np.testing.assert_array_equal(read_vectors(path, limit=30), X[:30])


def test_layouts_are_the_published_ones(tmp_path: Path) -> None:
    X = np.array([[1, 2], [3, 4]])
    write_vectors(tmp_path / "x.bvecs", X)
    assert (tmp_path / "x.bvecs").read_bytes() == b"\2\0\0\0\1\2\2\0\0\0\3\4"
    write_vectors(tmp_path / "x.i8bin", X)
    assert (tmp_path / "x.i8bin").read_bytes() == b"\2\0\0\0\2\0\0\0\1\2\3\4"


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i2", "<i8", "<u4"])
def test_npy_of_other_numbers_becomes_float32(dtype: str, tmp_path: Path) -> None:
    X = toy(".npy").round().astype(dtype)
    write_vectors(tmp_path / "x.npy", X)
    for mmap in (False, True):
        read = read_vectors(tmp_path / "x.npy", mmap=mmap)
        assert read.dtype == np.dtype("float32")
        assert read.dtype.isnative
        np.testing.assert_array_equal(read, X)


@pytest.mark.parametrize("dtype", ["f2", "u1", "i1"])
def test_npy_of_small_types_stays_so(dtype: str, tmp_path: Path) -> None:
    write_vectors(tmp_path / "x.npy", toy(".npy").astype(dtype))
    assert read_vectors(tmp_path / "x.npy").dtype == np.dtype(dtype)


def test_npy_in_fortran_order_is_turned(tmp_path: Path) -> None:
    X = np.asfortranarray(toy(".npy"))
    np.save(tmp_path / "x.npy", X)
    read = read_vectors(tmp_path / "x.npy", mmap=True)
    np.testing.assert_array_equal(read, X)
    assert read.flags.c_contiguous


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return sys.exit, ("a pickle was loaded",)


def test_npy_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[Bomb()]]))
    with pytest.raises(FormatError, match=r"cannot be read as .npy"):
        read_vectors(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FormatError, match=r"cannot be read as .npy"):
        read_vectors(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"must hold an array of shape \(n, d\); got \(5,\)"),
        (np.zeros((2, 2, 2)), r"must hold an array of shape \(n, d\); got \(2, 2, 2\)"),
        (np.zeros((5, 0)), r"must hold an array of shape \(n, d\); got \(5, 0\)"),
        (np.zeros((2, 2), bool), "holds bits, which Hamming distance compares"),
        (np.zeros((2, 2), complex), "must hold real numbers; got complex128"),
        (np.zeros((2, 2), "U3"), "must hold real numbers; got <U3"),
        (np.zeros((2, 2), "M8[s]"), "must hold real numbers"),
    ],
)
def test_npy_of_something_else_is_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(FormatError, match=message):
        read_vectors(tmp_path / "x.npy")


@pytest.mark.parametrize("suffix", RAW)
def test_every_cut_is_noticed(suffix: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"x{suffix}", toy(suffix, 3, 2)).read_bytes()
    rows = {12 * i for i in range(1, 3)} | {6 * i for i in range(1, 3)}
    for length in range(len(whole)):
        (tmp_path / f"x{suffix}").write_bytes(whole[:length])
        if suffix in VECS and length and length % (len(whole) // 3) == 0:
            assert len(read_vectors(tmp_path / f"x{suffix}")) == length // (len(whole) // 3)  # whole rows: not seen
            assert length in rows
            continue
        with pytest.raises(FormatError):
            read_vectors(tmp_path / f"x{suffix}")


@pytest.mark.fuzz
@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
@DAMAGE
def test_damage_gives_vectors_or_format_error(suffix: str, data: st.DataObject, tmp_path: Path) -> None:
    whole = bytearray(write(tmp_path / f"whole{suffix}", toy(suffix)).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.one_of(st.integers(0, min(len(whole) - 1, 130)), st.integers(0, len(whole) - 1)))
        whole[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(whole[: data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))])
    for mmap in (False, True):
        try:
            read = read_vectors(path, mmap=mmap)
        except FormatError:
            pass
        else:
            assert read.ndim == 2
            assert read.nbytes <= 64 * len(whole)  # Parquet repeats values in few bytes; all else is 1 to 1


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\0" * 64, b"\xff" * 64, b"PK\3\4" + b"\0" * 60, b"text, not vectors\n" * 9]
)
def test_foreign_content_is_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        read_vectors(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux counts ru_maxrss in KiB")
@pytest.mark.parametrize("suffix", [*BIN, *VECS, ".npy"])
def test_huge_claims_are_refused_before_allocating(suffix: str, tmp_path: Path) -> None:
    import resource

    path = tmp_path / f"x{suffix}"
    if suffix in BIN:
        path.write_bytes(struct.pack("<II", 2**32 - 1, 2**20) + bytes(64))
    elif suffix in VECS:
        path.write_bytes(struct.pack("<i", 2**20) + bytes(64))
    else:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 999), }".ljust(117) + b"\n"
        path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(64))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError):
        read_vectors(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


@pytest.mark.parametrize("suffix", [*BIN, *VECS])
@pytest.mark.parametrize("dim", [0, 2**31, 2**32 - 1, 2**20 + 1])
def test_impossible_dimensions_are_named(suffix: str, dim: int, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes((struct.pack("<I", 1) if suffix in BIN else b"") + struct.pack("<I", dim) + bytes(64))
    with pytest.raises(FormatError, match=r"says -?\d+ dimensions, so it is damaged or no"):
        read_vectors(path)


def test_row_of_another_dimension_is_named(tmp_path: Path) -> None:
    whole = bytearray(write(tmp_path / "x.fvecs", toy(".fvecs")).read_bytes())
    whole[4 * 24 : 4 * 24 + 4] = struct.pack("<i", 6)
    (tmp_path / "x.fvecs").write_bytes(whole)
    with pytest.raises(FormatError, match="row 4 says 6 dimensions, the first row 5"):
        read_vectors(tmp_path / "x.fvecs")
    assert len(read_vectors(tmp_path / "x.fvecs", limit=4)) == 4


def test_header_and_size_are_both_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.fbin", toy(".fbin"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"says 7 x 5 float32, 148 bytes; it has 147. Was it cut off\?"):
        read_vectors(path)


def test_unknown_ending_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"ends in '.csv', which is no format read here; known are .hdf5 .fvecs"):
        read_vectors(tmp_path / "x.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_file_is_said_to_be_missing(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_vectors(tmp_path / f"none{suffix}")


@pytest.mark.parametrize("name", ["x.ivecs", "x.ibin"])
def test_truth_comes_back(name: str, tmp_path: Path) -> None:
    ids = np.arange(12, dtype=np.int32).reshape(4, 3)
    write_vectors(tmp_path / name, ids)
    truth = read_truth(tmp_path / name)
    np.testing.assert_array_equal(truth, ids)
    assert truth.dtype == np.int64


def test_truth_with_distances_gives_the_ids(tmp_path: Path) -> None:
    ids = np.arange(12, dtype="<i4").reshape(4, 3)
    path = tmp_path / "x.ibin"
    path.write_bytes(struct.pack("<II", 4, 3) + ids.tobytes() + np.ones((4, 3), "<f4").tobytes())
    np.testing.assert_array_equal(read_truth(path), ids)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"says 4 x 3 neighbours, which 103 bytes do not hold"):
        read_truth(path)


def test_writer_refuses_what_the_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match=r"that .bvecs \(uint8\) can hold; got float64"):
        write_vectors(tmp_path / "x.bvecs", [[0.5]])
    with pytest.raises(DimensionError, match=r"must have shape \(n, d\); got \(3,\)"):
        write_vectors(tmp_path / "x.fvecs", [1, 2, 3])
    with pytest.raises(ParameterError, match=r"must end in one of .fvecs"):
        write_vectors(tmp_path / "x.txt", [[1]])


def kinds() -> list[Any]:
    pa = pytest.importorskip("pyarrow")
    numbers = [pa.float32(), pa.float64(), pa.uint8(), pa.int8(), pa.int64()]
    return [make(n) for n in numbers for make in (pa.list_, pa.large_list, lambda n: pa.list_(n, 5))]


@pytest.mark.parametrize("kind", kinds(), ids=str)
def test_parquet_lists_of_every_kind(kind: Any, tmp_path: Path) -> None:
    X = toy(".parquet").round()
    rows = (X if "float" in str(kind) or "double" in str(kind) else X.astype(int)).tolist()
    read = read_vectors(write_parquet(tmp_path / "x.parquet", {"id": list(range(7)), "v": rows}, kind))
    np.testing.assert_array_equal(read, X)
    assert read.dtype.name in ("float32", "uint8", "int8")


def test_parquet_column_is_chosen(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", {"a": [[1.0, 2.0]], "b": [[3.0, 4.0]], "c": [5]})
    np.testing.assert_array_equal(read_vectors(path, column="b"), [[3.0, 4.0]])
    with pytest.raises(FormatError, match=r"needs `column=` to choose: columns of numbers are 'a', 'b'"):
        read_vectors(path)
    with pytest.raises(FormatError, match=r"has no column of vectors called 'c': columns of numbers are 'a', 'b'"):
        read_vectors(path, column="c")
    path = write_parquet(tmp_path / "y.parquet", {"c": [5]})
    with pytest.raises(FormatError, match=r"it has no column of lists of numbers"):
        read_vectors(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 2.0], [3.0]], "row 1 has 1 values, row 0 has 2"),
        ([[1.0, 2.0], [1.0], [1.0, 2.0, 3.0]], "row 1 has 1 values, row 0 has 2"),
        ([[1.0, 2.0], None], "has missing values near row 0"),
        ([[1.0, None]], "has missing values near row 0"),
        ([[], []], "holds lists of 0 values"),
    ],
)
def test_parquet_that_is_no_rectangle_is_refused(rows: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        read_vectors(write_parquet(tmp_path / "x.parquet", {"v": rows}))


def test_parquet_batches_of_different_length_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch.evaluate.parquet._BATCH_ROWS", 2)
    path = write_parquet(tmp_path / "x.parquet", {"v": [[1.0, 2.0], [1.0, 2.0], [1.0], [1.0]]})
    with pytest.raises(FormatError, match="row 2 has 1 values, row 0 has 2"):
        read_vectors(path)


def test_parquet_without_rows_is_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"v": pa.array([], type=pa.list_(pa.float32()))}), tmp_path / "x.parquet")
    with pytest.raises(FormatError, match="column 'v' has no rows"):
        read_vectors(tmp_path / "x.parquet")
