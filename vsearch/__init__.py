"""vsearch: approximate nearest-neighbour search where you name the recall and the engine finds the speed.

>>> import numpy as np, vsearch as vs
>>> X = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)
>>> index = vs.build(X, metric="cosine", recall=0.95)
>>> ids, distances = index.search(X[7], k=3)
>>> int(ids[0])
7
"""

from typing import TYPE_CHECKING

from vsearch._config import show_config
from vsearch.collection import Collection, Record
from vsearch.errors import (
    ClosedError,
    CorruptFileError,
    DimensionError,
    DownloadError,
    DTypeError,
    DuplicateIdError,
    ForeignFileError,
    FormatError,
    LockedError,
    MissingExtraError,
    NewerFormatError,
    NotFittedError,
    ParameterError,
    ReadOnlyError,
    UnknownIdError,
    VsearchError,
)
from vsearch.index import IVF, Flat, Graph, Index, build, load
from vsearch.quantize import (
    LVQ,
    OPQ,
    OSQ,
    PQ,
    SAQ,
    Binary,
    LeanVec,
    LloydMax,
    Quantizer,
    RaBitQ,
    ResidualQuantizer,
    TurboQuant,
)

__version__ = "0.1.0"

__all__ = [
    "IVF",
    "LVQ",
    "OPQ",
    "OSQ",
    "PQ",
    "SAQ",
    "Binary",
    "ClosedError",
    "Collection",
    "CorruptFileError",
    "DTypeError",
    "DimensionError",
    "DownloadError",
    "DuplicateIdError",
    "Flat",
    "ForeignFileError",
    "FormatError",
    "Graph",
    "Index",
    "LeanVec",
    "LloydMax",
    "LockedError",
    "MissingExtraError",
    "NewerFormatError",
    "NotFittedError",
    "ParameterError",
    "Quantizer",
    "RaBitQ",
    "ReadOnlyError",
    "Record",
    "ResidualQuantizer",
    "TurboQuant",
    "UnknownIdError",
    "VsearchError",
    "__version__",
    "build",
    "load",
    "show_config",
]

#: Rooms that `import vsearch` does not load, for a search needs nothing of them.
_LAZY = ("evaluate", "integrations")

if TYPE_CHECKING:  # who checks types is told what there is, and so what there is not
    from vsearch import evaluate as evaluate
    from vsearch import integrations as integrations
else:

    def __getattr__(name: str) -> object:
        """`vsearch.evaluate` and `vsearch.integrations`, imported when they are first asked for."""
        if name in _LAZY:
            from importlib import import_module

            return import_module(f"vsearch.{name}")
        raise AttributeError(f"module 'vsearch' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LAZY})
