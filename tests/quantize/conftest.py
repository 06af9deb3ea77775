"""Every engine in turn: the compiled core at each instruction set of this CPU, and its Numba twin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from vsearch import kernels

ENGINES = list(kernels.core.available_isas())
if kernels.backend == "compiled" and find_spec("numba") and find_spec("vsearch.kernels.fallback"):
    ENGINES.append("numba")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Runs a test once on each engine, by its name; whoever computes inside vsearch is exchanged for it."""
    if request.param == "numba" and kernels.backend != "numba":
        from vsearch.kernels import fallback

        compiled = kernels.core
        for name, module in list(sys.modules.items()):
            inside = name.startswith("vsearch.") and module is not kernels  # where tests find the compiled one
            if inside and getattr(module, "core", None) is compiled:
                monkeypatch.setattr(module, "core", fallback)
        yield "numba"
        return
    before = kernels.core.isa()
    kernels.core.use_isa(request.param)
    yield request.param
    kernels.core.use_isa(before)
