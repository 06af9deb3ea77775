"""What SQLite can hold as a text."""

from __future__ import annotations

from collections.abc import Iterable

from vsearch.errors import ParameterError

#: Bytes of one text: SQLite takes a billion in a record, which has three of them (id, document, metadata).
MAX_BYTES = 300_000_000


def check_storable(name: str, values: Iterable[object], what: str = "texts of") -> None:
    """Refuse texts among ``values`` that are no valid text, or longer than `MAX_BYTES`.

    >>> check_storable("documents", ["a", None, 1])
    """
    texts = [value for value in values if isinstance(value, str)]
    try:
        total = len("".join(texts).encode())
    except UnicodeEncodeError as error:
        bad = error.object[error.start : error.end]
        raise ParameterError(f"`{name}` must hold valid text; got {bad!a}, a lone surrogate.") from None
    if total > MAX_BYTES:
        longest = max(len(text.encode()) for text in texts)
        if longest > MAX_BYTES:
            raise ParameterError(f"`{name}` must hold {what} at most {MAX_BYTES:,} bytes each; got one of {longest:,}.")
