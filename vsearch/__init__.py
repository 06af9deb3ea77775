"""vsearch: approximate nearest-neighbour search where you name the recall and the engine finds the speed.

>>> import numpy as np, vsearch as vs
>>> X = np.random.default_rng(0).standard_normal((1000, 64)).astype(np.float32)
>>> index = vs.IVF(metric="cosine", quantizer=vs.RaBitQ(bits=1), refine="bf16").fit(X)
>>> ids, distances = index.search(X[7], k=3, recall=0.95)
>>> int(ids[0])
7
"""

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
from vsearch.index import IVF, Flat, Graph, Index, load
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
    "load",
    "show_config",
]
