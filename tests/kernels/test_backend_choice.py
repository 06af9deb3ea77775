"""Which kernels a process gets: by VSEARCH_KERNELS, by what is installed, and what it is told about it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

NUMBA = pytest.param("numba", marks=pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="needs Numba"))
COMPILED = pytest.param(
    "compiled",
    marks=pytest.mark.skipif(not importlib.util.find_spec("vsearch._core"), reason="needs the compiled core"),
)


def python(program: str, *hidden: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in which the `hidden` modules are not installed."""
    hide = "".join(f"sys.modules[{name!r}] = None\n" for name in hidden)
    kept = {name: value for name, value in os.environ.items() if name not in {"VSEARCH_KERNELS", "VSEARCH_ISA"}}
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{hide}{program}"],
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def error(result: subprocess.CompletedProcess[str]) -> str:
    """The last line of a traceback."""
    assert result.returncode == 1, result
    return result.stderr.strip().splitlines()[-1]


USE = """
import numpy as np, vsearch as vs
from vsearch import kernels
index = vs.Flat().fit(np.eye(3, dtype=np.float32))
print(kernels.backend, index.search(np.eye(3, dtype=np.float32)[1], k=1)[0].tolist(), kernels.info()["backend"])
"""


@pytest.mark.parametrize("wanted", [COMPILED, NUMBA])
def test_the_variable_chooses_and_says_nothing(wanted: str) -> None:
    result = python(USE, VSEARCH_KERNELS=wanted)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == [wanted, "[1]", wanted]


@pytest.mark.skipif(not importlib.util.find_spec("vsearch._core"), reason="needs the compiled core")
def test_without_the_variable_the_compiled_core_is_taken_and_numba_not_imported() -> None:
    result = python("import vsearch.kernels as k; print(k.backend, 'numba' in sys.modules)")
    assert (result.stdout.split(), result.stderr) == (["compiled", "False"], "")
    assert python("import vsearch.kernels as k; print(k.backend)", "numba").stdout.split() == ["compiled"]


def test_an_unknown_value_is_refused_with_the_choices() -> None:
    told = error(python("import vsearch", VSEARCH_KERNELS="cuda"))
    assert told.endswith("ParameterError: `VSEARCH_KERNELS` must be 'compiled' or 'numba'; got 'cuda'.")


@pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="needs Numba")
def test_a_missing_core_is_told_once_and_numba_stands_in() -> None:
    program = """
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    import vsearch
    import vsearch.index.ivf, vsearch.kernels
print(vsearch.kernels.backend, [w.category.__name__ for w in told], told[0].message)
"""
    result = python(program, "vsearch._core")
    assert result.stdout.startswith("numba ['RuntimeWarning'] "), result
    assert "compiled core" in result.stdout
    assert "Numba" in result.stdout


def test_a_missing_core_that_was_asked_for_is_an_error() -> None:
    told = error(python("import vsearch", "vsearch._core", VSEARCH_KERNELS="compiled"))
    assert "MissingExtraError: VSEARCH_KERNELS=compiled, but " in told
    assert "compiled core" in told


@pytest.mark.parametrize("wanted", ["", "numba"])
def test_without_core_and_without_numba_the_error_says_what_to_install(wanted: str) -> None:
    told = error(python("import vsearch", "vsearch._core", "numba", VSEARCH_KERNELS=wanted))
    assert "MissingExtraError" in told
    assert "pip install 'vsearch-ann[numba]'" in told


@pytest.mark.skipif(not importlib.util.find_spec("vsearch._core"), reason="needs the compiled core")
def test_asking_for_numba_where_it_is_missing_does_not_blame_the_core() -> None:
    told = error(python("import vsearch", "numba", VSEARCH_KERNELS="numba"))
    assert (
        "MissingExtraError: VSEARCH_KERNELS=numba, but Numba is missing. Run: pip install 'vsearch-ann[numba]'" in told
    )


@pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="needs Numba")
def test_importing_the_twin_compiles_nothing() -> None:
    program = """
import numba
from vsearch.kernels import fallback
modules = [m for name, m in sys.modules.items() if name.startswith("vsearch.kernels.numba_")]
jitted = {f for m in modules for f in vars(m).values() if isinstance(f, numba.core.registry.CPUDispatcher)}
print(len(jitted) > 30, any(f.signatures for f in jitted), all(f.targetoptions["nogil"] for f in jitted))
"""
    assert python(program, VSEARCH_KERNELS="numba").stdout.split() == ["True", "False", "True"]


@pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="needs Numba")
def test_without_a_place_for_its_cache_the_twin_still_works() -> None:
    program = """
import numba.core.caching as caching
caching.CompileResultCacheImpl._locator_classes = []
from vsearch.kernels.numba_base import jit
@jit
def twice(x):
    return 2 * x
print(twice(21))
"""
    result = python(program, VSEARCH_KERNELS="numba")
    assert result.stdout.split() == ["42"], result
