"""Shared by all tests.

This folder is on the import path (for `oracle`), and a crash prints where it happened. Tests run in a folder of their
own: a child process started in the checkout would import the source beside it, which has no compiled core, in place of
the installed package.
"""

from __future__ import annotations

import faulthandler
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

faulthandler.enable()

# Beside other workers one thread of BLAS to each, told before anything loads NumPy: more threads than cores spin while
# they wait for each other, and a small SVD then takes ten times its time. A run without workers keeps all threads.
if "PYTEST_XDIST_WORKER" in os.environ:
    for library in ("OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def numba_cache() -> Path:
    """Where compilations of these very kernels are kept: Numba alone would miss a change in a callee's file."""
    spec = importlib.util.find_spec("vsearch")
    assert spec is not None
    assert spec.origin is not None
    sources = sorted((Path(spec.origin).parent / "kernels").glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return Path(__file__).parents[1] / ".pytest_cache" / f"numba-{digest[:16]}"


os.environ.setdefault("NUMBA_CACHE_DIR", str(numba_cache()))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Neighbours stay in one worker, whose fixtures and compilations they share, until another one has nothing left."""
    if config.getoption("dist") != "load":
        return None  # somebody asked for another way
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


def levels() -> list[str]:
    """Instruction sets that this CPU can be made to use."""
    from vsearch.kernels import core

    return list(core.available_isas())


@pytest.fixture(params=levels())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test once for each instruction set."""
    from vsearch.kernels import core

    before = core.isa()
    core.use_isa(request.param)
    yield request.param
    core.use_isa(before)


@pytest.fixture
def briefly_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits calibrate by few queries, for tests that ask nothing of `recall=`: it is most of the time of a small fit."""
    from vsearch.index import calibrate

    monkeypatch.setattr(calibrate, "SAMPLES", dict.fromkeys(calibrate.SAMPLES, 30))


@pytest.fixture(scope="session", autouse=True)
def _away_from_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)
