"""The files that the house rules look at: what is in the checkout, without build outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_OUTPUTS = {"build", "dist", "results", "__pycache__", "node_modules", "vsearch-demo"}
_CPP = {".cpp", ".hpp", ".h"}


def files(*folders: str, suffixes: set[str] | None = None) -> Iterator[Path]:
    """All files below these folders of the checkout, in a fixed order.

    Hidden folders (virtual environments, caches) and build outputs are left out.
    """
    for folder in folders:
        for here, below, names in os.walk(ROOT / folder):
            below[:] = sorted(name for name in below if name not in _OUTPUTS and not name.startswith("."))
            for name in sorted(names):
                path = Path(here, name)
                if suffixes is None or path.suffix in suffixes:
                    yield path


def python_files(*folders: str) -> list[Path]:
    return list(files(*folders, suffixes={".py"}))


def cpp_files(*folders: str) -> list[Path]:
    return list(files(*folders, suffixes=_CPP))


def shown(path: Path) -> str:
    """The path as a reader of the checkout would write it."""
    return path.relative_to(ROOT).as_posix()
