"""Chooses who computes: the compiled engine (`vsearch._core`), or its Numba twin where there was no compiler.

Both answer the same calls with the same results. VSEARCH_KERNELS=numba forces the twin; VSEARCH_ISA=scalar, avx2,
avx512 or neon caps the instruction set of the compiled one.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any

from vsearch.errors import MissingExtraError, ParameterError

__all__ = ["backend", "core", "info"]


def _choose() -> tuple[str, Any]:
    wanted = os.environ.get("VSEARCH_KERNELS", "")
    if wanted not in ("", "numba", "compiled"):
        raise ParameterError(f"`VSEARCH_KERNELS` must be 'compiled' or 'numba'; got {wanted!r}.")
    compiled = importlib.util.find_spec("vsearch._core") is not None
    if compiled and wanted != "numba":
        from vsearch import _core

        _core.isa()  # reads VSEARCH_ISA now, so that a wrong value is told at import
        return "compiled", _core
    if wanted == "compiled":
        raise MissingExtraError(f"VSEARCH_KERNELS=compiled, but {_why_not()}.")
    if importlib.util.find_spec("numba") is None:
        why = (
            "VSEARCH_KERNELS=numba, but Numba"
            if compiled
            else f"{_why_not()}, and Numba, which stands in for the core,"
        )
        raise MissingExtraError(f"{why} is missing. Run: pip install 'vsearch-ann[numba]'")
    from vsearch.kernels import fallback

    if wanted != "numba":
        warnings.warn(
            f"{_why_not()}; vsearch runs on its Numba fallback: same results, slower.",
            RuntimeWarning,
            stacklevel=3,
        )
    return "numba", fallback


def _why_not() -> str:
    """Why there is no compiled core: Python found a source checkout, or the install found no compiler."""
    root = Path(__file__).parents[2]
    if (root / "pyproject.toml").exists():
        return f"{root} is a source checkout without the compiled core (leave the folder, or run pip install .)"
    return "this installation has no compiled core (no C++ compiler was found when it was made)"


backend, core = _choose()


def info() -> dict[str, Any]:
    """Which backend and instruction set are in use, and which unit each kernel came from.

    Examples
    --------
    >>> from vsearch import kernels
    >>> sorted(kernels.info())
    ['backend', 'isa', 'isas', 'kernels']
    """
    origins = dict(core.kernel_origins())
    return {"backend": backend, "isa": core.isa(), "isas": list(core.available_isas()), "kernels": origins}
