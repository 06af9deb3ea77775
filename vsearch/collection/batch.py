"""What a caller hands in, checked as a whole before anything is written: ids, vectors, documents, metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from vsearch._typing import Vectors
from vsearch._validate import _show, check_vectors
from vsearch.collection.metadata import check_metadata
from vsearch.collection.storable import check_storable
from vsearch.errors import DimensionError, DTypeError, DuplicateIdError, ParameterError
from vsearch.index.base import unit_rows

Id: TypeAlias = "int | str"

Embedding: TypeAlias = "Callable[[list[str]], Vectors]"
"""Texts in, one vector for each out."""


class Batch(NamedTuple):
    """Checked columns of equal length; None for a column that was not given."""

    ids: list[Id]
    vectors: np.ndarray | None
    places: Sequence[int]
    """Positions of the ids that ``vectors`` belong to; the others have none."""
    documents: list[str | None] | None
    metadata: list[str | None] | None
    """JSON text, None for an empty dict."""


def check_batch(
    ids: Any, vectors: Any, documents: Any, metadata: Any, *, dim: int | None, metric: str, embedding: Embedding | None
) -> Batch:
    """All columns as they are written; vectors are made by ``embedding`` where only texts are given."""
    ids = check_ids(ids)
    documents = check_documents(documents, len(ids))
    texts = None if metadata is None else check_metadata(list(_sequence("metadata", metadata)), len(ids))
    if vectors is None and documents is not None and embedding is not None:
        if None in documents:
            raise ParameterError("`documents` must have a text for every id where vectors are to be made from them.")
        vectors = embedding([text for text in documents if text is not None])
    places: Sequence[int] = range(len(ids))
    if isinstance(vectors, (list, tuple)) and not vectors:
        vectors = np.empty((0, dim or 1))
    if isinstance(vectors, (list, tuple)) and any(vector is None for vector in vectors):
        if len(vectors) != len(ids):
            raise DimensionError(f"`vectors` must have {len(ids)} rows, one for each; got {len(vectors)}.")
        places = [place for place, vector in enumerate(vectors) if vector is not None]
        vectors = [vectors[place] for place in places] if places else np.empty((0, dim or 1))
    if vectors is not None:
        vectors = check_rows(vectors, len(places), dim, metric)
    return Batch(ids, vectors, places, documents, texts)


def check_ids(ids: Any, name: str = "ids") -> list[Id]:
    """Ids as a list of int and str, none twice."""
    if isinstance(ids, (str, int)) and not isinstance(ids, bool):
        ids = [ids]
    listed = ids.tolist() if isinstance(ids, np.ndarray) else list(_sequence(name, ids))
    kinds = set(map(type, listed))
    if not kinds <= {int, str}:
        listed = [_plain_id(name, id) for id in listed]
    if kinds != {str}:
        wide = next((id for id in listed if type(id) is int and not -(2**63) <= id < 2**63), None)
        if wide is not None:
            raise ParameterError(f"`{name}` must fit 64 bits where they are ints; got {_show(wide)}.")
    check_storable(name, listed)
    cut = next((id for id in listed if type(id) is str and "\0" in id), None)
    if cut is not None:
        raise ParameterError(f"`{name}` must not hold NUL characters; got {_show(cut)}.")
    if len(set(listed)) < len(listed):
        twice = Counter(listed).most_common(1)[0][0]
        raise DuplicateIdError(f"`{name}` must be unique; {twice!r} is given twice.")
    return listed


def check_documents(documents: Any, n: int, name: str = "documents") -> list[str | None] | None:
    """Documents as a list of str and None."""
    if documents is None:
        return None
    listed = list(_sequence(name, documents))
    if len(listed) != n:
        raise DimensionError(f"`{name}` must have {n} texts, one for each; got {len(listed)}.")
    if not set(map(type, listed)) <= {str, type(None)}:
        for row, text in enumerate(listed):
            if text is not None and not isinstance(text, str):
                raise DTypeError(f"`{name}` must be a str or None each; row {row} is {_show(text)}.")
        listed = [None if text is None else str(text) for text in listed]
    check_storable(name, listed)
    return listed


def check_rows(vectors: Any, n: int, dim: int | None, metric: str, name: str = "vectors") -> np.ndarray:
    """Vectors as float32 (n, d), refused now where an index would refuse them later."""
    checked = check_vectors(name, vectors, dim, allow_empty=n == 0, like="the collection")
    if len(checked) != n:
        raise DimensionError(f"`{name}` must have {n} rows, one for each; got {len(checked)}.")
    if metric == "cosine":
        unit_rows(checked, name)
    return checked


def _plain_id(name: str, id: Any) -> Id:
    if isinstance(id, np.integer):
        return int(id)
    if isinstance(id, bool) or not isinstance(id, (int, str)):
        raise DTypeError(f"`{name}` must be ints or strs; got {_show(id)}.")
    return str(id) if isinstance(id, str) else int(id)


def _sequence(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__"):
        raise DTypeError(f"`{name}` must be a list; got {_show(value)}.")
    return value
