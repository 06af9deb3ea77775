"""Stored vectors: f32, f16, bf16 or int8 rows by slot, from which an index scans or refines.

int8 rows carry two float32 factors each, a scale and the squared norm of what is stored (x ~ scale * code). Vectors
that are integers in [-128, 127] keep scale 1 and are stored exactly.
"""

from __future__ import annotations

import numpy as np

from vsearch._validate import check_choice
from vsearch.errors import ParameterError

LARGEST_HALF = 65504.0
DTYPES = ("f32", "f16", "bf16", "int8")
_NUMPY = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16, "int8": np.int8}


def encode_rows(X: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of X in a store's dtype, and the factors of int8 rows (else None)."""
    if dtype == "f32":
        return np.ascontiguousarray(X, dtype=np.float32), None
    if dtype == "f16":
        if X.size and max(X.max(), -X.min()) > LARGEST_HALF:
            raise ParameterError(f"`X` must be within ±{LARGEST_HALF:g} to be stored as f16. Take bf16, or scale it.")
        return X.astype(np.float16), None
    if dtype == "bf16":
        bits = np.ascontiguousarray(X, dtype=np.float32).view(np.uint32)
        rounded = bits + 0x7FFF + ((bits >> 16) & 1)  # to nearest, ties to even
        finite = np.minimum(rounded & 0x7FFFFFFF, 0x7F7F0000) | (bits & 0x80000000)
        return (finite >> 16).astype(np.uint16), None
    peak = np.abs(X).max(axis=1, initial=0)
    integral = (np.rint(X) == X).all(axis=1) & (X >= -128).all(axis=1) & (X <= 127).all(axis=1)
    scale = np.where(integral, np.float32(1), peak / np.float32(127)).astype(np.float32)
    scale[scale == 0] = 1  # a few denormals divided by 127
    codes = np.rint(X / scale[:, None]).astype(np.int8)
    norms = np.einsum("ij,ij->i", codes, codes, dtype=np.float64) * scale.astype(np.float64) ** 2
    return codes, np.stack([scale, norms.astype(np.float32)], axis=1)


def row_nbytes(dtype: str | None, dim: int) -> int:
    """Bytes of a stored row with its factors; none where nothing is stored.

    >>> row_nbytes("bf16", 100), row_nbytes("int8", 100), row_nbytes(None, 100)
    (200, 108, 0)
    """
    if dtype is None:
        return 0
    return np.dtype(_NUMPY[dtype]).itemsize * dim + (8 if dtype == "int8" else 0)


def decode_rows(rows: np.ndarray, factors: np.ndarray | None, dtype: str) -> np.ndarray:
    """Stored rows as float32."""
    if dtype == "bf16":
        return (rows.astype(np.uint32) << 16).view(np.float32)
    if factors is not None:
        return rows.astype(np.float32) * factors[:, :1]
    return rows.astype(np.float32)


class VectorStore:
    """Rows of one dtype by slot, with room to grow.

    Parameters
    ----------
    dtype : "f32", "f16", "bf16" or "int8"
    dim : elements of a row
    """

    def __init__(self, dtype: str, dim: int) -> None:
        self.dtype = check_choice("dtype", dtype, DTYPES)
        self.dim = dim
        self.rows = np.zeros((0, dim), dtype=_NUMPY[dtype])
        self.factors = np.zeros((0, 2), dtype=np.float32) if dtype == "int8" else None
        self.n = 0

    def __len__(self) -> int:
        return self.n

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use and their factors."""
        return self.n * row_nbytes(self.dtype, self.dim)

    def reserve(self, n: int) -> None:
        """Room for n rows in all; grows by half at least, so that many small adds cost little each."""
        if len(self.rows) >= n:
            return
        capacity = n if self.n == 0 else max(n, len(self.rows) * 3 // 2)
        rows = _resized(self.rows, self.n, capacity)
        factors = _resized(self.factors, self.n, capacity) if self.factors is not None else None
        self.rows, self.factors = rows, factors  # Ctrl-C leaves both as they were, or neither

    def append(self, rows: np.ndarray, factors: np.ndarray | None) -> None:
        """Takes rows that `encode_rows` made."""
        end = self.n + len(rows)
        self.reserve(end)
        self.rows[self.n : end] = rows
        if self.factors is not None:
            self.factors[self.n : end] = factors
        self.n = end

    def remove(self, moved_from: np.ndarray, moved_to: np.ndarray, n: int) -> None:
        """Moves rows into the holes that a removal left, and keeps the first n."""
        self.own()
        self.rows[moved_to] = self.rows[moved_from]
        if self.factors is not None:
            self.factors[moved_to] = self.factors[moved_from]
        self.n = n

    def own(self) -> None:
        """Copies rows that belong to a read-only file, before they are changed."""
        if not self.rows.flags.writeable:
            self.rows = np.array(self.rows)
        if self.factors is not None and not self.factors.flags.writeable:
            self.factors = np.array(self.factors)

    def take(self, slots: np.ndarray) -> np.ndarray:
        """The rows of some slots as float32."""
        factors = self.factors[slots] if self.factors is not None else None
        return decode_rows(self.rows[slots], factors, self.dtype)

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """What a file keeps of it."""
        out = {f"{prefix}.rows": self.rows[: self.n]}
        if self.factors is not None:
            out[f"{prefix}.factors"] = self.factors[: self.n]
        return out

    @classmethod
    def from_arrays(cls, dtype: str, dim: int, arrays: dict[str, np.ndarray], prefix: str) -> VectorStore:
        """The store of a file; shapes and dtypes must be what `arrays` wrote, else ValueError."""
        store = cls(dtype, dim)
        rows, factors = arrays[f"{prefix}.rows"], arrays.get(f"{prefix}.factors")
        if rows.ndim != 2 or rows.shape[1] != dim or rows.dtype != store.rows.dtype:
            raise ValueError(f"{prefix}.rows has dtype {rows.dtype} and shape {rows.shape}")
        if (factors is None) != (store.factors is None):
            raise ValueError(f"{prefix}.factors must be there for int8 rows and no others")
        if factors is not None and (factors.shape != (len(rows), 2) or factors.dtype != np.float32):
            raise ValueError(f"{prefix}.factors has dtype {factors.dtype} and shape {factors.shape}")
        store.rows, store.factors, store.n = rows, factors, len(rows)
        return store


def _resized(array: np.ndarray, used: int, capacity: int) -> np.ndarray:
    fresh = np.empty((capacity, *array.shape[1:]), dtype=array.dtype)
    fresh[:used] = array[:used]
    return fresh
