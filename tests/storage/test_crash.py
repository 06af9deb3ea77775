"""Saves that do not finish: killed, out of space, without permission. Afterwards the old file is there, or the new one.

The model is a number. A child saves version 1, 2, 3, ... into one file and reports each save that returned; whatever
kills it, the file must hold the last reported version or the one after it, whole, and the folder at most one
temporary file, which the next save removes.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsearch.errors import ParameterError
from vsearch.storage import atomic, container, failpoints
from vsearch.storage.container import read, write

CHUNKS = 4

#: Runs in the child: save version after version, report each, until killed.
SAVER = """
import os, sys
import numpy as np
from vsearch.storage import container
container.CHUNK = 1 << 14
def save_until_killed():
    version = 0
    while True:
        version += 1
        arrays = {"a": np.full(1 << 16, version % 256, np.uint8), "b": np.full(9, version)}
        container.write(sys.argv[1], "crash", {"version": version}, arrays)
        os.write(1, b"%d\\n" % version)  # whole or not at all, also where print is unbuffered and writes its end apart
"""
ONE = SAVER + "save_until_killed()"
#: A fork of the child saves, a new one for each line: to start Python and NumPy is most of the time of a kill.
MANY = f"""{SAVER}
for _ in sys.stdin:
    forked = os.fork()
    if not forked:
        print(os.getpid(), flush=True)
        save_until_killed()
    print("killed by", os.waitpid(forked, 0)[1], flush=True)
"""


@contextmanager
def saver(path: Path, failpoint: str | None = None, program: str = ONE) -> Iterator[subprocess.Popen[str]]:
    """A child that saves until it is killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("VSEARCH_FAILPOINT", None)
    if failpoint:
        environment["VSEARCH_FAILPOINT"] = failpoint
    command, pipe = [sys.executable, "-c", program, str(path)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as child:
        try:
            yield child
        finally:
            child.kill()


def reported(child: subprocess.Popen[str]) -> int:
    """The last version whose save returned, read after the child is dead."""
    assert child.stdout is not None
    lines = child.stdout.read().splitlines(keepends=True)
    return max((int(line) for line in lines if line.endswith("\n")), default=0)


def version_in(path: Path) -> int:
    """The version that the file holds, every byte of it; 0 without a file."""
    if not path.exists():
        return 0
    found = read(path)
    version = found.value("version", int)
    assert (found.array("a", np.uint8, (1 << 16,)) == version % 256).all()
    assert (found.array("b", np.int64, (9,)) == version).all()
    return version


def leftovers(path: Path) -> list[str]:
    return sorted(set(os.listdir(path.parent)) - {path.name})


needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")

# ------------------------------------------------------------------------------------------------------------- killed


@needs_sigkill
@pytest.mark.crash
@pytest.mark.parametrize("point", [point for point in failpoints.POINTS if point.startswith("container.")])
def test_kill_at_each_point_of_the_third_save(tmp_path: Path, point: str) -> None:
    path = tmp_path / "x.vsx"
    hit = 2 * (CHUNKS + 1) + 3 if point == "container.write" else 3  # one hit per chunk: in the midst of array "a"
    with saver(path, f"{point}:{hit}") as child:
        assert child.wait(60) == -signal.SIGKILL
        assert reported(child) == 2
    renamed = point in ("container.renamed", "container.done")
    assert version_in(path) == (3 if renamed else 2)
    assert len(leftovers(path)) == (0 if renamed else 1)
    write(path, "crash", {}, {})
    assert leftovers(path) == []


@needs_sigkill
@pytest.mark.crash
@pytest.mark.parametrize("point", ["container.create", "container.write", "container.rename"])
def test_kill_within_the_first_save_leaves_no_file(tmp_path: Path, point: str) -> None:
    path = tmp_path / "x.vsx"
    with saver(path, point) as child:
        assert child.wait(60) == -signal.SIGKILL
        assert reported(child) == 0
    assert not path.exists()


def kill_at_random(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    path = folder / "x.vsx"
    with saver(path, program=MANY) as child:
        assert child.stdin is not None and child.stdout is not None
        for _ in range(kills):
            print(file=child.stdin, flush=True)
            forked, last = int(child.stdout.readline()), int(child.stdout.readline())  # it has started and saved once
            time.sleep(rng.random() * 0.03)
            os.kill(forked, signal.SIGKILL)
            for line in child.stdout:  # what it had still reported
                if line == f"killed by {int(signal.SIGKILL)}\n":
                    break
                last = int(line)
            assert last <= version_in(path) <= last + 1
            assert len(leftovers(path)) <= 1  # each save removes what the last kill left


@needs_sigkill
@pytest.mark.crash
def test_kill_at_random_times(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 6, 0)


@needs_sigkill
@pytest.mark.crash
@pytest.mark.slow
def test_kill_at_many_random_times(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 40, 1)


# ------------------------------------------------------------------------------------------------------- out of space


def fail_at(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    act = failpoints._armed(spec)
    monkeypatch.setattr(container, "failpoint", act)
    monkeypatch.setattr(atomic, "failpoint", act)


@pytest.mark.parametrize("point", ["create", "write", "write:2", "header", "sync", "rename"])
@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_failure_at_each_point_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, code: str
) -> None:
    path = tmp_path / "x.vsx"
    write(path, "flat", {"version": 1}, {"a": np.ones(9)})
    name, _, count = point.partition(":")
    fail_at(monkeypatch, f"container.{name}:{count or 1}:{code}")
    with pytest.raises(OSError, match="nothing was saved") as caught:
        write(path, "flat", {"version": 2}, {"a": np.ones(9), "b": np.ones(9)})
    number = getattr(errno, code)
    assert caught.value.errno == number and caught.value.filename == str(path)
    words = f"{os.strerror(number)}; nothing was saved, and what was there before is untouched"
    assert str(caught.value) == f"[Errno {number}] {words}: {str(path)!r}"
    assert read(path).meta == {"version": 1} and leftovers(path) == []
    write(path, "flat", {"version": 2}, {})
    assert read(path).meta == {"version": 2}


def test_failure_after_the_rename_does_not_claim_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.vsx"
    fail_at(monkeypatch, "container.renamed:1:EIO")
    with pytest.raises(OSError, match=r"^\[Errno 5\] [^;]*$"):
        write(path, "flat", {"version": 2}, {})
    assert read(path).meta == {"version": 2} and leftovers(path) == []


def test_interrupt_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(name: str) -> None:
        if name == "container.header":
            raise KeyboardInterrupt

    monkeypatch.setattr(container, "failpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x.vsx", "flat", {}, {"a": np.ones(9)})
    assert os.listdir(tmp_path) == []


def test_full_disk(tmp_path: Path) -> None:
    """The operating system itself refuses bytes: the limit on file sizes stands in for the end of the disk."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "x.vsx"
    write(path, "flat", {"version": 1}, {"a": np.ones(9)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="nothing was saved") as caught:
            write(path, "flat", {"version": 2}, {"a": np.ones(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert read(path).meta == {"version": 1} and leftovers(path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = atomic._create

    def on_full(target: str) -> Any:
        name, file = create(target)
        file.close()
        return name, open("/dev/full", "wb", buffering=0)

    monkeypatch.setattr(atomic, "_create", on_full)
    with pytest.raises(OSError, match=r"^\[Errno 28\] .*; nothing was saved"):
        write(tmp_path / "x.vsx", "flat", {}, {})
    assert os.listdir(tmp_path) == []


# ----------------------------------------------------------------------------------------------------- wrong places


def test_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.vsx"
    write(path, "flat", {"version": 1}, {})
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):  # root may write anywhere

        def refuse(*args: Any, **kwargs: Any) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(atomic.os, "open", refuse)
    try:
        with pytest.raises(PermissionError, match="nothing was saved") as caught:
            write(path, "flat", {"version": 2}, {})
    finally:
        monkeypatch.undo()
        tmp_path.chmod(0o755)
    assert caught.value.filename == str(path)
    assert read(path).meta == {"version": 1}


def test_missing_folder_and_folder_as_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing was saved"):
        write(tmp_path / "missing" / "x.vsx", "flat", {}, {})
    with pytest.raises(IsADirectoryError, match="nothing was saved"):
        write(tmp_path, "flat", {}, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("code", "harmless"), [("EINVAL", True), ("EACCES", True), ("EIO", False)])
def test_folder_that_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, harmless: bool
) -> None:
    """The file has its name by then: only a disk that fails is worth an error."""

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(getattr(errno, code), "cannot")

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    if harmless:
        write(tmp_path / "x.vsx", "flat", {"version": 1}, {})
    else:
        with pytest.raises(OSError, match="cannot"):
            write(tmp_path / "x.vsx", "flat", {"version": 1}, {})
    assert read(tmp_path / "x.vsx").meta == {"version": 1}


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise PermissionError(errno.EACCES, "cannot")

    monkeypatch.setattr(atomic.os, "scandir", refuse)
    write(tmp_path / "x.vsx", "flat", {"version": 1}, {})
    monkeypatch.undo()
    assert read(tmp_path / "x.vsx").meta == {"version": 1}


# -------------------------------------------------------------------------------------------------------- neighbours


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    path = tmp_path / "x.vsx"
    (tmp_path / ".x.vsx.1-00000000.tmp").write_bytes(b"of a dead process")
    others = [".y.vsx.1-00000000.tmp", ".x.vsx.1-0000000.tmp", "x.vsx.1-00000000.tmp", ".x.vsx.tmp"]
    for other in others:
        (tmp_path / other).write_bytes(b"not ours")
    with atomic.replacing(path) as file:  # alive: it holds a lock on its temporary file
        file.write(b"slow")
        (mine,) = set(leftovers(path)) - set(others)
        write(path, "flat", {"version": 1}, {})
        assert set(leftovers(path)) == {mine, *others}
        assert read(path).meta == {"version": 1}
    assert path.read_bytes() == b"slow" and set(leftovers(path)) == set(others)


def test_sweep_between_creation_and_lock_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process takes a temporary file that is not locked yet for a dead one's, and removes it."""
    lock, removed = atomic.try_lock, []

    def late(handle: int) -> bool:
        for entry in os.scandir(tmp_path):
            if not removed:
                os.unlink(entry.path)
                removed.append(entry.name)
        return lock(handle)

    monkeypatch.setattr(atomic, "try_lock", late)
    write(tmp_path / "x.vsx", "flat", {"version": 1}, {})
    assert removed and read(tmp_path / "x.vsx").meta == {"version": 1}


def test_writers_and_readers_at_once(tmp_path: Path) -> None:
    """Readers see whole files only, whoever writes; the last rename wins."""
    path = tmp_path / "x.vsx"
    write(path, "crash", {"version": 0}, {"a": np.zeros(1 << 16, np.uint8), "b": np.zeros(9, np.int64)})
    failures: list[BaseException] = []
    until = time.monotonic() + 2.0

    def writer(first: int) -> None:
        version = first
        while time.monotonic() < until:
            arrays = {"a": np.full(1 << 16, version % 256, np.uint8), "b": np.full(9, version)}
            write(path, "crash", {"version": version}, arrays)
            version += 2

    def guarded(function: Any, *args: Any) -> None:
        try:
            function(*args)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(writer, first)) for first in (1, 2)]
    for thread in threads:
        thread.start()
    seen = set()
    while time.monotonic() < until:
        seen.add(version_in(path))
    for thread in threads:
        thread.join()
    assert failures == [] and len(seen) > 3 and leftovers(path) == []


# -------------------------------------------------------------------------------------------------------- failpoints


@pytest.mark.parametrize("spec", ["", "nowhere", "container.write:x", "container.write:1:EWHAT", "container.write:-1"])
def test_failpoints_refuse_what_they_do_not_know(spec: str) -> None:
    with pytest.raises(ParameterError) as caught:
        failpoints._armed(spec)
    words = f"`VSEARCH_FAILPOINT` must be a point, or point:count, or point:count:ERRNO; got {spec!r}."
    assert str(caught.value) == f"{words} The points are {', '.join(failpoints.POINTS)}."


def test_failpoints_are_idle_without_the_variable() -> None:
    assert failpoints.failpoint is failpoints._idle
    failpoints.failpoint("container.write")
