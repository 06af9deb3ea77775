"""One writer at a time: who comes second is told who holds the lock, and a dead holder holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from vsearch.errors import LockedError
from vsearch.storage.locks import WriterLock

HOLDER = """
import sys, time
from vsearch.storage.locks import WriterLock
lock = WriterLock(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def test_second_writer_is_told_who_is_first(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with WriterLock(path):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(LockedError) as caught:
            WriterLock(path)
        assert str(caught.value) == f"`{path}` is locked by this process. Wait for it, or stop it."
        assert isinstance(caught.value, OSError)
    assert path.read_text() == ""
    with WriterLock(path) as lock:
        lock.release()
        lock.release()
        WriterLock(path).release()


def test_holder_that_left_no_name(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with WriterLock(path):
        path.write_text("\x1b[31m who?")
        with pytest.raises(LockedError, match="is locked by another process"):
            WriterLock(path)


@pytest.mark.crash
def test_other_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=rf"^`.*` is locked by process {child.pid}\. "):
            WriterLock(path)
        child.kill()
        child.wait(60)
        with WriterLock(path, timeout=10):
            assert path.read_text() == f"{os.getpid()}\n"


def test_waiting_for_the_first_writer(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    first = WriterLock(path)
    timer = threading.Timer(0.1, first.release)
    timer.start()
    with WriterLock(path, timeout=30):
        timer.join()
    with WriterLock(path):
        start = time.monotonic()
        with pytest.raises(LockedError):
            WriterLock(path, timeout=0.1)
        assert time.monotonic() - start >= 0.1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = WriterLock(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forking beside threads: the child below only sleeps
        child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        with pytest.raises(LockedError):
            WriterLock(path)  # the fork did not unlock it
        lock.release()
        WriterLock(path, timeout=10).release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_lock_in_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WriterLock(tmp_path / "missing" / "x.lock")
