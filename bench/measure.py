"""What the benches share: passes that take turns, a pinned core, peers that may be absent, a file of the figures."""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing as mp
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
RESULTS = Path(__file__).parent / "results"


def best_seconds(contenders: Mapping[str, Callable[[], object]], passes: int) -> dict[str, float]:
    """Shortest time of each contender over passes that take turns, so that all of them meet the same noise."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(passes):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keep this process on one core, where the system has a say in that."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def alone(work: Callable[..., Iterator[Any]], *args: Any, core: int | None = 0) -> Iterator[Any]:
    """What the generator `work(*args)` yields in a process of its own, on one core, every library with one thread.

    Raises RuntimeError with the child's own words when it fails, also where a library takes the process down.
    """
    context = mp.get_context("spawn")
    pipe, end = context.Pipe()
    process = context.Process(target=_answer, args=(end, work, args, core), daemon=True)
    before = dict(os.environ)
    os.environ.update(ONE_THREAD)  # read by thread pools when they are loaded: in the child, not here
    try:
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    end.close()
    try:
        while True:
            try:
                kind, value = pipe.recv()
            except EOFError:
                process.join()
                raise RuntimeError(f"the process ended with exit code {process.exitcode}") from None
            if kind == "failed":
                raise RuntimeError(value)
            if kind == "end":
                return
            yield value
    finally:
        process.terminate()
        process.join()


def _answer(pipe: Any, work: Callable[..., Iterator[Any]], args: tuple[Any, ...], core: int | None) -> None:
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with pinned(core):
        try:
            for value in work(*args):
                pipe.send(("value", value))
        except Exception as error:
            pipe.send(("failed", f"{type(error).__name__}: {error}"))
        else:
            pipe.send(("end", None))


def _leave_with_parent() -> None:
    """Hours of training are for nobody once the parent was killed."""
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def peer(name: str) -> Any | None:
    """A peer's module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def keep(name: str, figures: Mapping[str, Any]) -> Path:
    """Write figures to bench/results/<name>.json and return the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return path
