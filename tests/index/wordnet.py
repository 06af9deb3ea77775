"""The data set in the repository, for tests that need real embeddings."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "datasets" / "wordnet-10k-384-angular.hdf5"


class Wordnet(NamedTuple):
    X: np.ndarray
    Q: np.ndarray
    neighbours: np.ndarray  # the ten true ones of each query


@lru_cache(maxsize=1)
def load() -> Wordnet:
    """10,000 glosses and 500 usage examples, embedded in 384 dimensions; compared by their cosines."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(FILE) as file:
        return Wordnet(file["train"][:], file["test"][:], file["neighbors"][:, :10].astype(np.int64))


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """Share of the true neighbours found."""
    return float((found[:, :, None] == true[:, None, :]).any(axis=1).mean())
