"""Shared by all tests.

This folder is on the import path (for `oracle`), and a crash prints where it happened. Tests run in a folder of their
own: a child process started in the checkout would import the source beside it, which has no compiled core, in place of
the installed package.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator

import pytest

faulthandler.enable()


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


@pytest.fixture(scope="session", autouse=True)
def _away_from_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)
