"""Level codes by segment: the arrays that describe them, and the codec that is made of these.

A segment is a run of coordinates with one number of bits, one codebook and one scale (csrc/quantize/levels.hpp).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsearch.kernels import core
from vsearch.quantize.base import take
from vsearch.quantize.codebooks import MAX_BITS, Codebook

MAX_SEGMENTS = 4096
UNIT = 16


@dataclass(frozen=True)
class Segment:
    """Coordinates begin .. begin + length - 1 at `bits` each.

    Attributes
    ----------
    begin, length : multiples of 16
    bits, prefix : bits of a coordinate, and how many of them are in the block
    sigma : what coordinates are divided by before they are rounded to the levels
    weight : what a level stands for
    codebook : its levels
    """

    begin: int
    length: int
    bits: int
    prefix: int
    sigma: float
    weight: float
    codebook: Codebook


def describe(segments: Sequence[Segment]) -> dict[str, np.ndarray]:
    """Segments as arrays."""
    prefixes = [s.codebook.prefix(s.prefix) for s in segments]
    scales = [(s.sigma, s.weight, energy) for s, (_, energy) in zip(segments, prefixes, strict=True)]
    return {
        "segments": np.array([(s.begin, s.length, s.bits, s.prefix) for s in segments], dtype=np.int64),
        "scales": np.array(scales, dtype=np.float32),
        "levels": np.concatenate([s.codebook.levels for s in segments]).astype(np.float32),
        "prefix_levels": np.concatenate([levels for levels, _ in prefixes]).astype(np.float32),
    }


def codec_of(dim: int, arrays: Mapping[str, np.ndarray], rule: str, unbiased: bool, lead: int = 0) -> Any:
    """The codec of described segments; ValueError where they are none."""
    segments = take(arrays, "segments", np.int64, (None, 4))
    if not 0 < len(segments) <= MAX_SEGMENTS or (segments < 0).any() or (segments[:, 2:] > MAX_BITS).any():
        raise ValueError("the segments are out of range")
    scales = take(arrays, "scales", np.float32, (len(segments), 3))
    levels = take(arrays, "levels", np.float32, (int((2 ** segments[:, 2]).sum()),))
    prefix_levels = take(arrays, "prefix_levels", np.float32, (int((2 ** segments[:, 3]).sum()),))
    profile = take(arrays, "profile", np.float32, (2, dim)) if "profile" in arrays else None
    return core.LevelsCodec(dim, segments, scales, levels, prefix_levels, profile, rule, unbiased, lead)


def prefix_bits(bits: int) -> int:
    """How many of a coordinate's bits a block holds where scanning more bytes pays: 4 of 4 and more, else 2, else 1."""
    return 4 if bits >= 4 else 2 if bits >= 2 else 1


def code_bytes(dims: int, bits: int) -> int:
    """Bytes of `bits` a coordinate."""
    return dims * bits // 8
