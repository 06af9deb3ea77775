"""Words of messages and reprs."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one.

    >>> counted(1, "list"), counted(2000, "vector")
    ('1 list', '2,000 vectors')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
