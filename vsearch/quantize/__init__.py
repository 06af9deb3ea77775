"""Quantizers: how vectors become codes, and how distances are estimated from codes."""

from vsearch.quantize.base import Quantizer
from vsearch.quantize.binary import Binary
from vsearch.quantize.interval import LVQ, OSQ
from vsearch.quantize.leanvec import LeanVec
from vsearch.quantize.lloydmax import LloydMax, TurboQuant
from vsearch.quantize.opq import OPQ
from vsearch.quantize.pq import PQ
from vsearch.quantize.rabitq import RaBitQ
from vsearch.quantize.residual import ResidualQuantizer
from vsearch.quantize.saq import SAQ

__all__ = [
    "LVQ",
    "OPQ",
    "OSQ",
    "PQ",
    "SAQ",
    "Binary",
    "LeanVec",
    "LloydMax",
    "Quantizer",
    "RaBitQ",
    "ResidualQuantizer",
    "TurboQuant",
]
