"""Arrows run down: a file imports from floors below its own, never from above and never from next door.

Python   cli, integrations -> collection, evaluate -> index -> quantize, storage -> kernels -> errors and _*.py
C++      bindings -> index -> quantize -> kernels -> base
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from repository import ROOT, cpp_files, python_files

PYTHON_FLOORS = [
    ["errors"],
    ["_typing", "_text", "_extras"],
    ["_validate"],
    ["_threads", "_interrupt", "_progress"],
    ["kernels"],
    ["quantize", "storage"],
    ["index"],
    ["collection", "evaluate"],
    ["integrations", "cli"],
    ["__main__"],
]
PYTHON_FLOOR = {room: floor for floor, rooms in enumerate(PYTHON_FLOORS) for room in rooms}
GROUND = {"errors", *(room for room in PYTHON_FLOOR if room.startswith("_"))} - {"__main__"}
FACE = {"__init__", "_config"}  # may show whatever lies below the adapters
# Only these may call the compiled extension; everybody else asks them.
CORE_CALLERS = {"kernels", "quantize", "index"}

CPP_FLOORS = ["base", "kernels", "quantize", "index", "bindings"]
SHARED_KERNEL_HEADERS = ("kernels/table.hpp", "kernels/ops/", "kernels/simd/")


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a Python module imports, also inside functions."""
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join(above + ([node.module] if node.module else []))
            if target == "vsearch":  # `from vsearch import x`: x may be a module
                yield from ((node.lineno, f"vsearch.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, target


def room(dotted: str) -> str:
    """vsearch.index.flat -> index."""
    return [*dotted.split("."), "__init__"][1]


def python_faults(module: str, source: str) -> Iterator[str]:
    here = room(module)
    if here in FACE:
        return
    if here not in PYTHON_FLOOR:
        yield f"{module}: `{here}` has no floor yet; give it one in tests/house/test_arrows.py"
        return
    for line, target in imports(module, source):
        there = room(target)
        if target.split(".")[0] != "vsearch" or there == here:
            continue
        if there == "_core":
            if here not in CORE_CALLERS:
                yield f"{module}:{line}: {here} may not import the compiled core"
        elif there not in PYTHON_FLOOR:  # a name of the face: for the adapters, which are users like any other
            if PYTHON_FLOOR[here] < PYTHON_FLOOR["cli"]:
                yield f"{module}:{line}: import {target} from the module that defines it"
        elif PYTHON_FLOOR[there] >= PYTHON_FLOOR[here]:
            yield f"{module}:{line}: {here} may not import {there}"
        elif here == "storage" and there not in GROUND:
            yield f"{module}:{line}: storage is a leaf and may not import {there}"


def foreign(isa: str, target: str) -> bool:
    """Whether an ISA's kernel header includes more than the table and its own machine's."""
    return isa != "isa" and not target.startswith((*SHARED_KERNEL_HEADERS, f"kernels/{isa}/"))


def cpp_faults(file: str, source: str) -> Iterator[str]:
    folder, *below = file.split("/")
    for number, line in enumerate(source.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if match is None:
            continue
        target = match[1]
        there = target.split("/")[0]
        if there not in CPP_FLOORS:
            yield f"{file}:{number}: include {target} by its path below csrc/"
        elif CPP_FLOORS.index(there) > CPP_FLOORS.index(folder):
            yield f"{file}:{number}: {folder} may not include {target}"
        elif folder == "kernels" and len(below) == 2 and foreign(below[0], target):
            yield f"{file}:{number}: the {below[0]} kernels may not include {target}"


def test_python_arrows_run_down() -> None:
    faults = [
        fault
        for path in python_files("vsearch")
        for fault in python_faults(".".join(path.relative_to(ROOT).with_suffix("").parts), path.read_text("utf-8"))
    ]
    assert not faults, "\n".join(faults)


def test_cpp_arrows_run_down() -> None:
    faults = [
        fault
        for path in cpp_files("csrc")
        for fault in cpp_faults(path.relative_to(ROOT / "csrc").as_posix(), path.read_text("utf-8"))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("vsearch.index.flat", "from vsearch.evaluate import recall_at_k"),
        ("vsearch.index.flat", "from ..evaluate.recall import recall_at_k"),
        ("vsearch.index.flat", "def f():\n    import vsearch.cli"),
        ("vsearch.index.flat", "from vsearch import IVF"),
        ("vsearch.quantize.codes", "from vsearch.storage import container"),
        ("vsearch.storage.container", "from vsearch.kernels import info"),
        ("vsearch.evaluate.truth", "from vsearch import _core"),
        ("vsearch.errors", "from vsearch._validate import check_k"),
        ("vsearch.gadgets", "import numpy"),
    ],
)
def test_a_wrong_python_arrow_is_seen(module: str, line: str) -> None:
    assert len(list(python_faults(module, line))) == 1


@pytest.mark.parametrize(
    ("file", "target"),
    [
        ("base/pool.cpp", "kernels/table.hpp"),
        ("kernels/dispatch.cpp", "index/flat.hpp"),
        ("kernels/avx512/codes.hpp", "kernels/avx2/codes.hpp"),
        ("kernels/avx2/codes.hpp", "base/aligned.hpp"),
        ("index/flat.cpp", "flat.hpp"),
    ],
)
def test_a_wrong_cpp_arrow_is_seen(file: str, target: str) -> None:
    assert len(list(cpp_faults(file, f'#include "{target}"'))) == 1
