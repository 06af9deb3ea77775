"""Vectors from a Parquet column of lists (list, large_list or fixed_size_list of numbers), through pyarrow.

Rows are read batch by batch, so that memory grows with what is really there and not with what the footer claims.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from vsearch.errors import FormatError, MissingExtraError
from vsearch.evaluate.formats import MAX_DIM, vector_type

_BATCH_ROWS = 16_384


def read_parquet(path: str | os.PathLike[str], *, column: str | None = None, limit: int | None = None) -> np.ndarray:
    """Return the vectors in a column of a Parquet file, shape (n, d).

    Parameters
    ----------
    path : path
        The file.
    column : str, optional
        The column; by default the only one that holds lists of numbers.
    limit : int, optional
        Read only the first ``limit`` rows.

    Raises
    ------
    FormatError
        The file is damaged, has no such column, or its lists differ in length or have gaps.
    """
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("Reading Parquet needs pyarrow: pip install 'vsearch-ann[datasets]'") from error
    path = Path(path)
    path.stat()  # a missing file is no format error
    try:
        with parquet.ParquetFile(path) as file:
            column = _choose(file.schema_arrow, column, path)
            blocks = _blocks(file, column, limit, path)
    except FormatError:
        raise
    except Exception as error:  # Arrow's own errors have no one root, and its wrappers raise Python's too
        raise FormatError(f"{path} cannot be read as Parquet: {error}. It may be damaged or cut off.") from error
    if not blocks:
        raise FormatError(f"{path}: column {column!r} has no rows.")
    return np.concatenate(blocks)


def _choose(schema: Any, column: str | None, path: Path) -> str:
    lists: list[str] = [field.name for field in schema if _holds_numbers(field.type)]
    if column is None and len(lists) == 1:
        return lists[0]
    if column is not None and column in lists:
        return column
    found = f"columns of numbers are {', '.join(map(repr, lists))}" if lists else "it has no column of lists of numbers"
    wanted = "needs `column=` to choose" if column is None else f"has no column of vectors called {column!r}"
    raise FormatError(f"{path} {wanted}: {found}.")


def _holds_numbers(kind: Any) -> bool:
    from pyarrow import types

    is_list: bool = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list and bool(types.is_floating(kind.value_type) or types.is_integer(kind.value_type))


def _blocks(file: Any, column: str, limit: int | None, path: Path) -> list[np.ndarray]:
    blocks: list[np.ndarray] = []
    rows = 0
    for batch in file.iter_batches(batch_size=min(_BATCH_ROWS, limit or _BATCH_ROWS), columns=[column]):
        if not len(batch):
            continue
        block = _rectangle(batch.column(0), rows, path)
        if blocks and block.shape[1] != blocks[0].shape[1]:
            raise FormatError(f"{path}: row {rows:,} has {block.shape[1]} values, row 0 has {blocks[0].shape[1]}.")
        blocks.append(block)
        rows += len(block)
        if limit is not None and rows >= limit:
            blocks[-1] = block[: len(block) - (rows - limit)]
            break
    return blocks


def _rectangle(lists: Any, first_row: int, path: Path) -> np.ndarray:
    """Return a batch of lists as an array, refusing missing rows, missing values and lists of different lengths."""
    values = lists.flatten()  # skips missing lists, which the count below notices
    if lists.null_count or values.null_count:
        raise FormatError(f"{path} has missing values near row {first_row:,}; vectors must be complete.")
    dim, rest = divmod(len(values), len(lists))
    lengths = np.asarray(lists.value_lengths())
    wrong = np.flatnonzero(lengths != lengths[0])
    if rest or len(wrong):
        row = int(wrong[0])
        raise FormatError(
            f"{path}: row {first_row + row:,} has {lengths[row]} values, row {first_row:,} has {lengths[0]}."
        )
    if not 1 <= dim <= MAX_DIM:
        raise FormatError(f"{path} holds lists of {dim} values.")
    flat: np.ndarray = values.to_numpy(zero_copy_only=False)
    return flat.astype(vector_type(flat.dtype, str(path))).reshape(len(lists), dim)
