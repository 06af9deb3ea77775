"""Quantizers: how vectors become codes, and how distances are estimated from codes."""

from vsearch.quantize.grid import RaBitQ

__all__ = ["RaBitQ"]
