"""Files of vectors that the field passes around, read with care.

    .fvecs .ivecs .bvecs              TEXMEX: every row is [d: int32][d values]; f32, i32, u8
    .fbin .f16bin .u8bin .i8bin .ibin big-ann: [n: uint32][d: uint32], then n * d values; f32, f16, u8, i8, i32
    .npy                              NumPy, any real dtype; never unpickled
    .parquet                          Arrow (parquet.py), a column of lists

All are little-endian. A file is untrusted: what its header claims is compared with its size, in Python integers, before
anything is allocated, and whatever does not fit is a `FormatError` that says in what way. Every reader takes ``limit``
(only the first rows) and ``mmap`` (map the file instead of reading it, where its layout allows).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from vsearch.errors import DimensionError, DTypeError, FormatError, ParameterError

#: TEXMEX formats and the type of their values.
VECS = {".fvecs": "<f4", ".ivecs": "<i4", ".bvecs": "|u1"}

#: big-ann formats and the type of their values.
BIN = {".fbin": "<f4", ".f16bin": "<f2", ".u8bin": "|u1", ".i8bin": "|i1", ".ibin": "<i4"}

#: Value types that indexes take as they are; other real numbers become float32.
KEPT = ("float32", "float16", "uint8", "int8")

#: More dimensions than this are taken for damage: no embedding comes near it.
MAX_DIM = 1 << 20

_CHUNK_BYTES = 16 << 20


def read_vectors(
    path: str | os.PathLike[str], *, limit: int | None = None, mmap: bool = False, column: str | None = None
) -> np.ndarray:
    """Return the rows of a file of vectors, in a format told by its ending.

    Parameters
    ----------
    path : path
        A file of one of the formats at the head of this module.
    limit : int, optional
        Read only the first ``limit`` rows.
    mmap : bool
        Return a read-only map of the file where its layout allows (not Parquet, nor types that need converting).
    column : str, optional
        The column to read, for Parquet; by default the only one that holds lists of numbers.

    Returns
    -------
    array of shape (n, d)
        float32, float16, uint8 or int8; int32 for .ivecs and .ibin, which hold row numbers.

    Raises
    ------
    FormatError
        The file is damaged, cut off, or of another format than its name says.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from vsearch.evaluate.formats import read_vectors, write_vectors
    >>> path = tempfile.mkdtemp() + "/toy.fvecs"
    >>> write_vectors(path, np.eye(3, dtype=np.float32))
    >>> read_vectors(path, limit=2)
    array([[1., 0., 0.],
           [0., 1., 0.]], dtype=float32)
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in VECS:
        return _read_vecs(path, np.dtype(VECS[suffix]), limit, mmap)
    if suffix in BIN:
        return _read_bin(path, np.dtype(BIN[suffix]), limit, mmap)
    if suffix == ".npy":
        return _read_npy(path, limit, mmap)
    if suffix in (".parquet", ".pq"):
        from vsearch.evaluate.parquet import read_parquet

        return read_parquet(path, column=column, limit=limit)
    raise FormatError(
        f"{path} ends in {suffix or 'nothing'!r}, which is no format read here; "
        f"known are .hdf5 {' '.join([*VECS, *BIN])} .npy .parquet."
    )


def read_truth(path: str | os.PathLike[str]) -> np.ndarray:
    """Return known true neighbours, int64 of shape (nq, k), from .ivecs or .ibin.

    big-ann's truth files hold n * k row numbers and after them n * k distances; the size tells. The distances are not
    returned: whether they are squared, and the sign of an inner product, differ from maker to maker.

    Parameters
    ----------
    path : path
        The file.
    """
    path = Path(path)
    if path.suffix.lower() in VECS:
        return _read_vecs(path, np.dtype("<i4"), None, False).astype(np.int64)
    size = path.stat().st_size
    n, k = _bin_header(path, size)
    if size not in (8 + 4 * n * k, 8 + 8 * n * k):
        raise FormatError(f"{path} says {n:,} x {k} neighbours, which {size:,} bytes do not hold. Was it cut off?")
    return np.fromfile(path, dtype="<i4", count=n * k, offset=8).reshape(n, k).astype(np.int64)


def write_vectors(path: str | os.PathLike[str], X: Any) -> None:
    """Write rows in the format that the ending of ``path`` names (TEXMEX, big-ann or .npy).

    Parameters
    ----------
    path : path
        The file to make; one that is there is replaced.
    X : array of shape (n, d)
        Values that the format's type holds exactly.
    """
    path, X = Path(path), np.asarray(X)
    suffix = path.suffix.lower()
    if X.ndim != 2 or not X.shape[1]:
        raise DimensionError(f"`X` must have shape (n, d); got {X.shape}.")
    if suffix == ".npy":
        np.save(path, X, allow_pickle=False)
        return
    code = {**VECS, **BIN}.get(suffix)
    if code is None:
        raise ParameterError(f"`path` must end in one of {' '.join([*VECS, *BIN])} .npy; got {path.name!r}.")
    values = X.astype(code)
    if not np.array_equal(values, X):
        raise DTypeError(f"`X` must hold values that {suffix} ({np.dtype(code).name}) can hold; got {X.dtype}.")
    if suffix in VECS:
        rows = np.empty(len(X), dtype=_row_type(values.dtype, X.shape[1]))
        rows["d"], rows["values"] = X.shape[1], values
        rows.tofile(path)
        return
    with path.open("wb") as file:
        np.array(X.shape, dtype="<u4").tofile(file)
        values.tofile(file)


def vector_type(dtype: np.dtype, where: str) -> np.dtype:
    """Return the type in which values of ``dtype`` are kept: their own, or float32.

    Parameters
    ----------
    dtype : dtype
        What the file holds.
    where : str
        The file, for the error.

    Raises
    ------
    FormatError
        They are no real numbers.
    """
    if dtype.kind == "b":
        raise FormatError(f"{where} holds bits, which Hamming distance compares; vsearch measures l2, ip and cosine.")
    if dtype.kind not in "fiu":
        raise FormatError(f"{where} must hold real numbers; got {dtype}.")
    return np.dtype(dtype.name if dtype.name in KEPT else np.float32)


def _row_type(dtype: np.dtype, dim: int) -> np.dtype:
    return np.dtype([("d", "<i4"), ("values", dtype, (dim,))])


def _read_vecs(path: Path, dtype: np.dtype, limit: int | None, mmap: bool) -> np.ndarray:
    size = path.stat().st_size
    if size < 4:
        raise FormatError(f"{path} holds {size} bytes, which is no {path.suffix} file.")
    dim = int(np.fromfile(path, dtype="<i4", count=1)[0])
    _check_dim(path, dim)
    row = _row_type(dtype, dim)
    n, rest = divmod(size, row.itemsize)
    if rest or not n:
        raise FormatError(
            f"{path} says {dim} dimensions, {row.itemsize:,} bytes a row, which {size:,} bytes are no multiple of. "
            "Was it cut off?"
        )
    n = n if limit is None else min(n, limit)
    rows = np.memmap(path, dtype=row, mode="r", shape=(n,))
    if mmap:
        _check_rows(path, rows[[0, n - 1]]["d"], dim, 0)
        return rows["values"]
    vectors = np.empty((n, dim), dtype=dtype)
    step = max(1, _CHUNK_BYTES // row.itemsize)
    for start in range(0, n, step):
        block = rows[start : start + step]
        _check_rows(path, block["d"], dim, start)
        vectors[start : start + step] = block["values"]
    return vectors


def _check_rows(path: Path, dims: np.ndarray, dim: int, start: int) -> None:
    wrong = np.flatnonzero(dims != dim)
    if len(wrong):
        raise FormatError(f"{path}: row {start + wrong[0]:,} says {dims[wrong[0]]} dimensions, the first row {dim}.")


def _check_dim(path: Path, dim: int) -> None:
    if not 1 <= dim <= MAX_DIM:
        raise FormatError(f"{path} says {dim} dimensions, so it is damaged or no {path.suffix} file.")


def _bin_header(path: Path, size: int) -> tuple[int, int]:
    if size < 8:
        raise FormatError(f"{path} holds {size} bytes, which is no {path.suffix} file.")
    n, dim = (int(value) for value in np.fromfile(path, dtype="<u4", count=2))
    _check_dim(path, dim)
    return n, dim


def _read_bin(path: Path, dtype: np.dtype, limit: int | None, mmap: bool) -> np.ndarray:
    size = path.stat().st_size
    n, dim = _bin_header(path, size)
    if size != 8 + n * dim * dtype.itemsize:
        raise FormatError(
            f"{path} says {n:,} x {dim} {dtype.name}, {8 + n * dim * dtype.itemsize:,} bytes; it has {size:,}. "
            "Was it cut off?"
        )
    n = n if limit is None else min(n, limit)
    if mmap and n:
        return np.memmap(path, dtype=dtype, mode="r", offset=8, shape=(n, dim))
    return np.fromfile(path, dtype=dtype, count=n * dim, offset=8).reshape(n, dim)


def _read_npy(path: Path, limit: int | None, mmap: bool) -> np.ndarray:
    path.stat()  # a missing file is no format error
    try:
        # A map checks the claimed shape against the file before anything is allocated, which reading does not.
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header can raise anything that Python's tokenizer and parser can
        raise FormatError(f"{path} cannot be read as .npy: {error}. It may be damaged or cut off.") from error
    if array.ndim != 2 or not 1 <= array.shape[1] <= MAX_DIM:
        raise FormatError(f"{path} must hold an array of shape (n, d); got {array.shape}.")
    dtype = vector_type(array.dtype, str(path))
    array = array[:limit]
    if mmap and array.dtype == dtype and array.flags.c_contiguous:
        return array
    return np.array(array, dtype=dtype, order="C")
