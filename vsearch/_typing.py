"""Types that signatures share."""

from __future__ import annotations

from os import PathLike
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.ArrayLike
"""Anything array-like that holds vectors: arrays, lists of rows, tensors."""

Answer: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Ids (int64) and distances (float32) of a search."""

Path: TypeAlias = "str | PathLike[str]"

Filter: TypeAlias = Any
"""A bool mask, an array of ids or a packed bitmap (`check_filter`)."""
