"""What the files of the Numba twin share: the decorator, checks at the door, threads, the gate of readers and writers.

The twin (fallback.py, numba_*.py) is csrc/ said again in Python that Numba compiles: same names, same layouts, same
order of operations. Integers, codes and rotations agree with the compiled core to the last bit, distances to rounding.

House rules of jitted code, each learnt from a way to lose:
(1) nothing compiles at import, and what compiled is cached on disk; no function is passed to a function (that defeats
    the cache), and no slice is assigned to (that alone compiles for a second);
(2) float32 stays float32: Numba takes int64 * float32 and float32 * 0.5 to float64, so constants are np.float32 and
    integers are cast;
(3) arrays that are only read come in as read-only views (`frozen`), so that a mapped file and an array in memory share
    one compilation;
(4) arrays that belong together travel in a NamedTuple, with dummies in the fields that a case does not use: one
    compilation for all cases.

Numba's cache looks at the file of the function called from Python and not at those of its callees: after an edit here,
touch the callers (numba_walk.py, numba_flat.py) or point NUMBA_CACHE_DIR somewhere new, as tests/kernels does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Int: TypeAlias = Any  # scalars in jitted code, whose arithmetic type checkers see differently from Numba
Float: TypeAlias = Any
Bool: TypeAlias = Any

L2, INNER_PRODUCT, COSINE = 0, 1, 2
METRICS = {"l2": L2, "ip": INNER_PRODUCT, "cosine": COSINE}
LOOK_SECONDS = 0.05  # who waits looks again by itself: a notification may have been cut off
TASKS_PER_THREAD = 4  # enough that a slow piece does not leave the others idle


def jit(function: F) -> F:
    """Numba's njit as the twin uses it: compiled at the first call, cached, without the GIL, floats as written."""
    return _njit(function, fastmath=False)


def jit_sum(function: F) -> F:
    """The same for the two sums that distances are made of: their order is left to the compiler's vector registers."""
    return _njit(function, fastmath={"reassoc"})


def jit_part(function: F) -> F:
    """For what only jitted code calls: compiled as a part of its callers, and plain Python when called from Python.

    Without the wrapper that unpacks Python's arguments, which for groups of arrays costs as much as the function.
    """
    made: F = register_jitable(fastmath=False, nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    return made


def _njit(function: F, **options: Any) -> F:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        made: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written: compile in every process
        made = numba.njit(**options)(function)
    return made


def require(condition: bool, what: str) -> None:
    """ValueError unless `condition`: a mistake in our own Python, said before it leaves an array."""
    if not condition:
        raise ValueError(f"vsearch.kernels.fallback: {what}")


def metric_code(name: str) -> int:
    """L2, INNER_PRODUCT or COSINE."""
    require(name in METRICS, "unknown metric")
    return METRICS[name]


def array(value: Any, dtype: Any) -> np.ndarray:
    """`value` as a C-contiguous, read-only array of `dtype`; TypeError where that would lose something."""
    given = np.asarray(value)
    if given.dtype != dtype:
        if not np.can_cast(given.dtype, dtype, "safe"):
            raise TypeError(f"vsearch.kernels.fallback: {given.dtype} is not {np.dtype(dtype)}")
        given = given.astype(dtype)
    return frozen(np.require(given, requirements=["C", "A"]))


def frozen(given: np.ndarray) -> np.ndarray:
    """A read-only view."""
    view = given.view()
    view.flags.writeable = False
    return view


def parallel(tasks: int, threads: int, body: Callable[[int], None]) -> None:
    """Calls body(task) for every task, in threads of this call where there is work for more than one."""
    threads = min(threads, tasks)
    if threads <= 1:
        for task in range(tasks):
            body(task)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="vsearch") as pool:
        list(pool.map(body, range(tasks)))  # waits, and raises what a task raised


def over_ranges(n: int, threads: int, least: int, body: Callable[[int, int], None]) -> None:
    """Calls body(first, last) over pieces of [0, n) of at least `least`; one thread does the whole at once."""
    pieces = max(1, min(-(-n // least), threads * TASKS_PER_THREAD)) if threads > 1 else 1
    step = -(-n // pieces)
    parallel(pieces, threads, lambda i: body(min(n, i * step), min(n, (i + 1) * step)))


class Gate:
    """Many readers or one writer. A writer that waits keeps new readers out; those that waited while one wrote enter
    before the next (csrc/base/gate.hpp)."""

    def __init__(self) -> None:
        self._guard = threading.Lock()  # entered as such: a Condition's own `with` is Python, which may be left locked
        self._changed = threading.Condition(self._guard)
        self._readers: dict[object, bool] = {}  # by token: whether it reads, or waits; leaving both is one call into C
        self._owed: set[object] = set()  # of those that waited, who enter before any writer, while they are readers
        self._writers_waiting = 0
        self._writing = False

    def read(self, work: Callable[[], T]) -> T:
        """What the work returns; nobody writes meanwhile. Ctrl-C may come between any two lines of it."""
        token = object()
        try:
            with self._guard:
                self._readers[token] = False
                while self._writing or (self._writers_waiting and token not in self._owed):
                    self._changed.wait(LOOK_SECONDS)
                self._readers[token] = True
            return work()
        finally:
            self._readers.pop(token, None)
            with self._guard:
                self._changed.notify_all()

    def enter_exclusive(self) -> None:
        """Waits until nobody reads or writes, and keeps both out. Ctrl-C is held off by whoever writes."""
        with self._guard:
            self._writers_waiting += 1
            try:
                while self._writing or True in self._readers.values() or not self._owed.isdisjoint(self._readers):
                    self._changed.wait(LOOK_SECONDS)
                self._writing = True
            finally:
                self._writers_waiting -= 1
                self._changed.notify_all()  # a wait that was ended must not leave the door shut

    def leave_exclusive(self) -> None:
        """Lets the others in."""
        with self._guard:
            self._writing = False
            self._owed = set(self._readers)
            self._changed.notify_all()


class Exclusive:
    """`with scan.exclusive():` waits until no search is running, and keeps new ones out."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._gate.enter_exclusive()

    def __exit__(self, *_: object) -> None:
        self._gate.leave_exclusive()
