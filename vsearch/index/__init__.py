"""Indexes: how to walk. Each knows a quantizer only through its codes and bounds."""

from vsearch.index.auto import build
from vsearch.index.base import Index
from vsearch.index.flat import Flat
from vsearch.index.graph import Graph
from vsearch.index.io import load
from vsearch.index.ivf import IVF

__all__ = ["IVF", "Flat", "Graph", "Index", "build", "load"]
