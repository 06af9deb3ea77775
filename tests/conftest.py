"""Shared by all tests: this folder is on the import path (for `oracle`), and a crash prints where it happened."""

from __future__ import annotations

import faulthandler
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
