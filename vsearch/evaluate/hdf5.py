"""Data sets in the HDF5 layout of ann-benchmarks, read with care.

    train       (n, d)    f32, f16, f64, u8, i8 ...      the base
    test        (nq, d)   likewise                       the queries
    neighbors   (nq, k)   int                            rows of train, nearest first
    distances   (nq, k)   float                          of those; angular: 1 - cos, euclidean: not squared
    @distance             "angular" | "euclidean" | "dot"
    and, in sets of our own making: texts (n,), queries (nq,), query_target (nq,), metadata/* (n,)

An HDF5 file can declare more than it holds (chunks that were never written read as zeros, gzip blows up a thousandfold)
and can point outside itself (external links, external storage, virtual data sets). Neither is ever followed: what is
declared must be in proportion to the bytes that are stored, and must be stored in this file.

What cannot be promised here: the HDF5 library itself is not hardened. Version 2.0 was seen to loop for ever on a
damaged string heap, after about one in a hundred random damages to a small file with strings in it. Take HDF5 files
from people you trust, or take .npy or .fbin, which are read by code of our own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vsearch.errors import FormatError, MissingExtraError
from vsearch.evaluate.dataset import Dataset
from vsearch.evaluate.formats import MAX_DIM, vector_type
from vsearch.evaluate.registry import METRIC_NAMES, metric_of

#: Declared bytes per stored byte that are believed; deflate cannot exceed 1032.
MAX_RATIO = 1100


def read_hdf5(
    path: str | os.PathLike[str], *, metric: str | None = None, limit: int | None = None, mmap: bool = False
) -> Dataset:
    """Return the data set in an HDF5 file of the ann-benchmarks layout.

    Parameters
    ----------
    path : path
        The file.
    metric : {"l2", "ip", "cosine"}, optional
        Overrides what the file says; true neighbours by another metric are then left out.
    limit : int, optional
        Read only the first ``limit`` base vectors. Their true neighbours are then unknown.
    mmap : bool
        Map ``train`` instead of reading it, where it is stored in one uncompressed piece.

    Raises
    ------
    FormatError
        The file is no such file, is damaged, or is measured by a distance that vsearch does not have.
    """
    h5py = _h5py()
    path = Path(path)
    with _as_format_error(path), h5py.File(path, "r") as file:
        reader = _Reader(path, file)
        return reader.dataset(metric, limit, mmap)


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtraError("Reading HDF5 data sets needs h5py: pip install 'vsearch-ann[datasets]'") from error
    return h5py


@contextmanager
def _as_format_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (FormatError, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # what h5py raises on damage depends on the byte: OSError, KeyError, RuntimeError ...
        raise FormatError(
            f"{path} cannot be read as HDF5: {error}. It may be damaged or not downloaded fully."
        ) from error


class _Reader:
    """One open file: finds arrays by name and refuses those that cannot be honest."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self.file = file
        self.bytes = path.stat().st_size

    def dataset(self, metric: str | None, limit: int | None, mmap: bool) -> Dataset:
        stated = self.stated_metric()
        metric = metric or metric_of(stated, str(self.path))
        train = self.find("train", 2)
        if train is None:
            raise FormatError(f"{self.path} holds no array named train, so it is not an ann-benchmarks file.")
        n, dim = train.shape
        rows = n if limit is None else min(limit, n)
        test = self.find("test", 2)
        if test is not None and test.shape[1] != dim:
            raise FormatError(f"{self.path}: train has {dim} dimensions, test has {test.shape[1]}.")
        nq = None if test is None else test.shape[0]
        neighbors, distances = None, None
        if nq is not None and rows == n and METRIC_NAMES.get(stated) == metric:
            neighbors, distances = self.truth(nq, n, metric)
        return Dataset(
            name=self.path.stem,
            train=self.vectors(train, rows, mmap),
            metric=metric,
            test=None if test is None else self.vectors(test, test.shape[0], False),
            neighbors=neighbors,
            distances=distances,
            texts=self.strings("texts", n, rows),
            query_texts=None if nq is None else self.strings("queries", nq, nq),
            query_targets=self.targets(nq, rows),
            metadata=self.metadata(n, rows),
            source=_text(self.file.attrs.get("source", "")),
        )

    def stated_metric(self) -> str:
        """Return the metric that the file states, or that its name ends in, or l2, in the words of its makers."""
        if "distance" in self.file.attrs:
            return _text(self.file.attrs["distance"]).lower()
        ending = self.path.stem.rpartition("-")[2].lower()
        return ending if ending in METRIC_NAMES or ending in ("hamming", "jaccard") else "l2"

    def find(self, name: str, ndim: int, length: int | None = None) -> Any:
        """Return the array called ``name``, or None; refuse one that is not what it claims to be."""
        array: Any = self.file
        for part in name.split("/"):
            array = self.member(array, part)
            if array is None:
                return None
        if not hasattr(array, "is_virtual") or array.ndim != ndim:
            raise FormatError(f"{self.path}: {name} must be an array of {ndim} dimension{'s' * (ndim > 1)}.")
        if array.external or array.is_virtual:
            raise FormatError(f"{self.path}: {name} is stored outside the file, and that is not followed.")
        stored = array.id.get_storage_size()
        declared = array.size * array.dtype.itemsize
        if stored > self.bytes or declared > MAX_RATIO * stored:
            raise FormatError(f"{self.path}: {name} declares {declared:,} bytes and stores {stored:,}.")
        if length is not None and array.shape[0] != length:
            raise FormatError(f"{self.path}: {name} has {array.shape[0]:,} rows, {length:,} expected.")
        return array

    def member(self, group: Any, name: str) -> Any:
        """Return what a group holds under ``name``, or None; links, which may lead to other files, are refused."""
        if not hasattr(group, "keys") or name not in group:
            return None
        if type(group.get(name, getlink=True)).__name__ != "HardLink":
            raise FormatError(f"{self.path}: {name} is a link, and links are not followed.")
        return group[name]

    def vectors(self, array: Any, rows: int, mmap: bool) -> np.ndarray:
        dtype = vector_type(array.dtype, f"{self.path}: {array.name[1:]}")
        if not 1 <= array.shape[1] <= MAX_DIM:
            raise FormatError(f"{self.path}: {array.name[1:]} has vectors of {array.shape[1]} dimensions.")
        offset = array.id.get_offset()  # None where the array is in chunks or compressed
        if mmap and array.dtype == dtype and offset is not None and array.size:
            return np.memmap(self.path, dtype=dtype, mode="r", offset=offset, shape=array.shape)[:rows]
        return np.asarray(array.astype(dtype)[:rows])

    def truth(self, nq: int, n: int, metric: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        neighbors = self.find("neighbors", 2, nq)
        if neighbors is None:
            return None, None
        if neighbors.dtype.kind not in "iu":
            raise FormatError(f"{self.path}: neighbors must hold integers; got {neighbors.dtype}.")
        ids = neighbors[:].astype(np.int64)
        if ids.size and (ids.min() < -1 or ids.max() >= n):
            raise FormatError(f"{self.path}: neighbors names rows outside of train, which has {n:,}.")
        distances = self.find("distances", 2, nq)
        if distances is None or metric == "ip":  # the sign of an inner product differs from maker to maker
            return ids, None
        if distances.shape != neighbors.shape or distances.dtype.kind != "f":
            raise FormatError(f"{self.path}: distances must be numbers of the same shape as neighbors.")
        values = distances[:].astype(np.float64)
        with np.errstate(over="ignore"):  # a damaged distance may be anything
            return ids, (values**2 if metric == "l2" else values).astype(np.float32)

    def strings(self, name: str, length: int, rows: int) -> list[str] | None:
        array = self.find(name, 1, length)
        if array is None:
            return None
        if array.dtype.kind not in "OS":
            raise FormatError(f"{self.path}: {name} must hold strings; got {array.dtype}.")
        return [_text(value) for value in array[:rows]]

    def targets(self, nq: int | None, rows: int) -> np.ndarray | None:
        array = None if nq is None else self.find("query_target", 1, nq)
        if array is None:
            return None
        if array.dtype.kind not in "iu":
            raise FormatError(f"{self.path}: query_target must hold integers; got {array.dtype}.")
        targets = array[:].astype(np.int64)
        return targets if not targets.size or targets.max() < rows else None

    def metadata(self, n: int, rows: int) -> dict[str, np.ndarray]:
        columns: dict[str, np.ndarray] = {}
        for name in self.member(self.file, "metadata") or ():
            array = self.find(f"metadata/{name}", 1, n)
            column = array[:rows]
            columns[name] = np.array([_text(v) for v in column]) if array.dtype.kind in "OS" else column
        return columns


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
