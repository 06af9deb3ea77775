"""Opening index files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from vsearch._typing import Path
from vsearch._validate import check_flag, check_path
from vsearch.errors import CorruptFileError, ForeignFileError, FormatError
from vsearch.index.base import Index, unit_rows
from vsearch.index.flat import Flat
from vsearch.index.graph import Graph
from vsearch.index.ivf import IVF
from vsearch.storage import container
from vsearch.storage.stores import encode_rows

COLLECTION = "collection.db"
"""What the folder of a collection holds (vsearch/collection/schema.py, two floors up)."""

KINDS: dict[str, type[Index]] = {cls.kind: cls for cls in (Flat, IVF, Graph)}


def load(path: Path, *, mmap: bool = False, check: bool = True) -> Index:
    """Opens an index that `Index.save` wrote.

    Parameters
    ----------
    path : file name
    mmap : bool, default False
        Map the arrays instead of reading them: opening is immediate, and processes share the pages. Adding or removing
        then copies what it changes.
    check : bool, default True
        Verify the checksum of every array. Without it a mapped file opens faster, but damage to codes or vectors goes
        unseen; what a search follows as an index into memory is checked in any case.

    Returns
    -------
    Flat, IVF or Graph

    Raises
    ------
    FormatError
        If the file is damaged, foreign, or from a newer version; the message says which.
    FileNotFoundError, OSError

    Examples
    --------
    >>> import os, tempfile, numpy as np, vsearch as vs
    >>> path = os.path.join(tempfile.mkdtemp(), "x.vsx")
    >>> vs.Flat().fit(np.eye(4)).save(path)
    >>> len(vs.load(path))
    4
    """
    path = check_path("path", path)
    try:
        held = container.read(path, mmap=check_flag("mmap", mmap), check=check_flag("check", check))
    except ForeignFileError as error:
        if not os.path.isfile(os.path.join(path, COLLECTION)):
            raise
        raise ForeignFileError(f"{error} It is a collection: `vs.Collection.open` opens it.") from None
    if held.meta.get("vectors") is False:
        raise ForeignFileError(f"{path} was saved without its vectors and is of use only to the collection beside it.")
    return _opened(path, held.kind, held.meta, held.arrays)


def load_light(path: Path, dim: int, chunks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Index:
    """Opens what ``Index.save(path, vectors=False)`` wrote, with its vectors from elsewhere; any other index as it is.

    Parameters
    ----------
    path : file name
    dim : int
        Of the vectors.
    chunks : iterable of ids, int64 (m,), and vectors, float32 (m, dim)
        Ids that the file does not hold are passed over. What it holds and is not given is zero, and to be removed
        before anybody searches.

    Raises
    ------
    FormatError, OSError

    Examples
    --------
    >>> import os, tempfile, numpy as np, vsearch as vs
    >>> from vsearch.index.io import load_light
    >>> path = os.path.join(tempfile.mkdtemp(), "x.vsx")
    >>> X = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    >>> vs.IVF(4).fit(X).save(path, vectors=False)
    >>> int(load_light(path, 8, [(np.arange(100), X)]).search(X[5], 1)[0][0])
    5
    """
    path = check_path("path", path)
    held = container.read(path)
    arrays = dict(held.arrays)
    if held.meta.get("vectors") is False:
        try:
            arrays |= _stored(held.meta, arrays["ids"], dim, chunks)
        except (ValueError, LookupError, TypeError) as error:
            raise CorruptFileError(f"{path} is a damaged vsearch index: {error}.") from error
    return _opened(path, held.kind, held.meta, arrays)


def _stored(
    meta: dict[str, Any], ids: np.ndarray, dim: int, chunks: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of stored vectors that a light file lacks."""
    dtype = meta["dtype"] if meta["quantizer"] is None else meta["refine"]
    if ids.dtype != np.int64 or ids.ndim != 1 or meta["dim"] != dim or len(ids) != meta["n"]:
        raise ValueError("its ids or its dimension do not fit")
    if dtype is None:
        return {}
    row, factor = encode_rows(np.zeros((1, dim), np.float32), dtype)
    rows = np.zeros((len(ids), dim), row.dtype)
    factors = None if factor is None else np.zeros((len(ids), factor.shape[1]), factor.dtype)
    order = np.argsort(ids, kind="stable")
    for some, vectors in chunks:
        at = np.minimum(np.searchsorted(ids, some, sorter=order), max(len(ids) - 1, 0))
        slots = order[at] if len(ids) else at
        known = ids[slots] == some if len(ids) else np.zeros(len(some), bool)
        made, scales = encode_rows(unit_rows(vectors, "vectors") if meta["metric"] == "cosine" else vectors, dtype)
        rows[slots[known]] = made[known]
        if factors is not None and scales is not None:
            factors[slots[known]] = scales[known]
    return {"store.rows": rows} if factors is None else {"store.rows": rows, "store.factors": factors}


def _opened(path: str, kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Index:
    if kind not in KINDS:
        raise ForeignFileError(f"{path} holds a vsearch {kind!r}, which is not an index.")
    try:
        return KINDS[kind]._open(meta, arrays)
    except FormatError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:  # what forged parts lead to
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error).split("\n")[0].rstrip(".")
        raise CorruptFileError(f"{path} is a damaged vsearch index: {why}.") from error
