"""How many threads a call uses: `threads=`, then VSEARCH_THREADS, then the cores this process may run on."""

from __future__ import annotations

import os

from vsearch._validate import check_int
from vsearch.errors import ParameterError

MAX_THREADS = 1024


def default_threads() -> int:
    """VSEARCH_THREADS if set, else the number of cores this process may run on."""
    value = os.environ.get("VSEARCH_THREADS", "")
    if value:
        try:
            return check_int("VSEARCH_THREADS", int(value), 1, MAX_THREADS)
        except ValueError:
            raise ParameterError(f"`VSEARCH_THREADS` must be an int in [1, {MAX_THREADS}]; got {value!r}.") from None
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_threads(threads: int | None) -> int:
    """`threads` checked, or the default where it is None."""
    return default_threads() if threads is None else check_int("threads", threads, 1, MAX_THREADS)
