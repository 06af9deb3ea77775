"""Named points at which a test makes the process die, or an operation fail; off unless an environment variable asks.

``VSEARCH_FAILPOINT=container.write:3`` kills the process (SIGKILL: no handler, no flush) the third time it passes
``container.write``; ``VSEARCH_FAILPOINT=container.write:3:ENOSPC`` raises that OSError instead, once. Without a count
it is the first time. The variable is read once, at import, so an unarmed point costs one call of an empty function.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

from vsearch.errors import ParameterError

#: Every point there is, in the order in which a save, then a write to a collection, passes them.
POINTS = (
    "container.create",  # the temporary file exists and is empty
    "container.write",  # once per chunk of an array, before it is written
    "container.header",  # arrays are written, the header still lacks its checksums
    "container.sync",  # everything is written, nothing is forced to disk
    "container.rename",  # the temporary file is on disk, the old file still has the name
    "container.renamed",  # the new file has the name, the folder is not forced to disk
    "container.done",  # all is on disk
    "collection.commit",  # a transaction is written and not committed
    "collection.committed",  # it is on disk, memory does not show it yet
    "collection.applied",  # every query sees it
)


def _idle(name: str) -> None:
    pass


def _armed(spec: str) -> Callable[[str], None]:
    """The function that acts at the point ``spec`` names, and only there."""
    point, _, rest = spec.partition(":")
    count, _, error = rest.partition(":")
    code = getattr(errno, error, None) if error else 0
    if point not in POINTS or not (count or "1").isdecimal() or code is None:
        raise ParameterError(
            f"`VSEARCH_FAILPOINT` must be a point, or point:count, or point:count:ERRNO; got {spec!r}. "
            f"The points are {', '.join(POINTS)}."
        )
    left = int(count or "1")

    def act(name: str) -> None:
        nonlocal left
        if name != point:
            return
        left -= 1
        if left == 0 and code:
            raise OSError(code, os.strerror(code))
        if left == 0:
            kill = getattr(signal, "SIGKILL", None)
            if kill is None:  # Windows has no signal that cannot be handled
                os._exit(137)
            os.kill(os.getpid(), kill)

    return act


_spec = os.environ.get("VSEARCH_FAILPOINT")

#: ``failpoint("container.write")`` marks a point.
failpoint: Callable[[str], None] = _armed(_spec) if _spec else _idle
