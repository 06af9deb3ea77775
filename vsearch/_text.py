"""Words of messages and reprs."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one.

    >>> counted(1, "list"), counted(2000, "vector")
    ('1 list', '2,000 vectors')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def kilobytes(count: float) -> str:
    """A number of bytes for a reader.

    >>> kilobytes(512), kilobytes(15_360_000)
    ('512 B', '15.4 MB')
    """
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
