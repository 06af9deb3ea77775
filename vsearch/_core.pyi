"""
vsearch's compiled kernels and index walks
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__: list[str] = [
    "Exclusive",
    "FlatScan",
    "IvfScan",
    "Rotation",
    "assign",
    "available_isas",
    "block_bytes",
    "cpu_features",
    "distances",
    "dot_i8",
    "dot_planes",
    "dot_u7",
    "fastscan",
    "fht",
    "grid_score",
    "hamming",
    "isa",
    "kernel_origins",
    "lookup_tables",
    "pack_planes",
    "popcount_planes",
    "rabitq_encode",
    "rabitq_levels",
    "read_all",
    "read_blocks",
    "select_below",
    "table_beam",
    "table_decode",
    "table_nearest",
    "table_refine",
    "table_sums",
    "tile",
    "unit_rows",
    "unpack_planes",
    "use_isa",
    "widen",
    "write_blocks",
]

class Rotation:
    @staticmethod
    def sign_bytes(dim: int) -> int: ...
    def __init__(self, dim: int, signs: npt.NDArray[np.uint8]) -> None: ...
    def apply(self, x: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float32]: ...
    def apply_inverse(self, y: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float32]: ...
    @property
    def dim(self) -> int: ...
    @property
    def padded(self) -> int: ...

class Exclusive:
    def __enter__(self) -> None: ...
    def __exit__(self, *args: object) -> None: ...

class FlatScan:
    def __init__(self, metric: str, dtype: str, dim: int) -> None: ...
    def bind(self, rows: np.ndarray, factors: Any, ids: npt.NDArray[np.int64], n: int) -> None: ...
    def exclusive(self) -> Exclusive: ...
    def search(
        self, queries: npt.NDArray[np.float32], k: int, threads: int = 1, filter: Any = None
    ) -> tuple[Any, ...]: ...
    def try_search(self, query: Any, k: Any) -> Any: ...

class IvfScan:
    def __init__(self, metric: str, dim: int, bits: int, signs: npt.NDArray[np.uint8]) -> None: ...
    def bind(
        self,
        ids: npt.NDArray[np.int64],
        list_block: npt.NDArray[np.uint32],
        list_size: npt.NDArray[np.uint32],
        blocks: npt.NDArray[np.uint8],
        block_list: npt.NDArray[np.uint32],
        position: npt.NDArray[np.uint32],
        extra: Any,
        sign_spread: float,
        full_spread: float,
        row_dtype: str,
        rows: Any,
        factors: Any,
        n: int,
    ) -> None: ...
    def bind_centroids(self, centroids: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]) -> None: ...
    def consistent(self) -> bool: ...
    def counters(self) -> dict[str, Any]: ...
    def estimate(self, query: npt.NDArray[np.float32], epsilon: float) -> tuple[Any, ...]: ...
    def exclusive(self) -> Exclusive: ...
    def search(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        probes: int,
        epsilon: float,
        threads: int,
        filter: Any,
        matches: int,
    ) -> tuple[Any, ...]: ...

def assign(
    vectors: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], threads: int = 1
) -> tuple[Any, ...]: ...
def available_isas() -> list[str]:
    """
    Levels that this CPU offers, lowest first.
    """

def block_bytes(padded: int) -> int: ...
def cpu_features() -> dict[str, Any]:
    """
    What the CPU and its operating system offer.
    """

def distances(
    metric: str, dtype: str, queries: npt.NDArray[np.float32], rows: np.ndarray, factors: Any = None, slots: Any = None
) -> npt.NDArray[np.float32]: ...
def dot_i8(query: npt.NDArray[np.int16], rows: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]: ...
def dot_planes(bits: int, codes: npt.NDArray[np.uint8], query: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]: ...
def dot_u7(query: npt.NDArray[np.int8], rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]: ...
def fastscan(codes: npt.NDArray[np.uint8], lut: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]: ...
def fht(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]: ...
def grid_score(magnitude: npt.NDArray[np.float32], inverse_step: float, top: float) -> tuple[Any, ...]: ...
def hamming(query: npt.NDArray[np.uint64], codes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]: ...
def isa() -> str:
    """
    Level of the kernel table in use.
    """

def kernel_origins() -> list[tuple[str, str]]:
    """
    (kernel, unit that installed it) of the table in use.
    """

def lookup_tables(query: npt.NDArray[np.float32]) -> tuple[Any, ...]: ...
def pack_planes(bits: int, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...
def popcount_planes(codes: npt.NDArray[np.uint64], planes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]: ...
def rabitq_encode(
    rotated: npt.NDArray[np.float32],
    assign: npt.NDArray[np.uint32],
    centroids: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float32],
    bits: int,
    metric: str,
    threads: int = 1,
) -> dict[str, Any]: ...
def rabitq_levels(signs: npt.NDArray[np.uint8], extra: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]: ...
def read_all(array: np.ndarray) -> int: ...
def read_blocks(blocks: npt.NDArray[np.uint8], padded: int, positions: npt.NDArray[np.int64]) -> tuple[Any, ...]: ...
def select_below(values: npt.NDArray[np.float32], bound: float) -> npt.NDArray[np.uint32]: ...
def table_beam(
    x: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    beam: int,
    sweeps: int,
    threads: int = 1,
) -> npt.NDArray[np.uint8]: ...
def table_decode(
    codes: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    threads: int = 1,
) -> npt.NDArray[np.float32]: ...
def table_nearest(
    x: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    threads: int = 1,
) -> npt.NDArray[np.uint8]: ...
def table_refine(
    x: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
    passes: int,
    threads: int = 1,
) -> npt.NDArray[np.float32]: ...
def table_sums(
    x: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    codes: npt.NDArray[np.uint8],
    count: int,
    width: int,
    threads: int = 1,
) -> tuple[Any, ...]: ...
def tile(
    panel: npt.NDArray[np.float32],
    rows: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    bounds: npt.NDArray[np.float32],
) -> npt.NDArray[np.uint32]: ...
def unit_rows(vectors: npt.NDArray[np.float32]) -> tuple[Any, ...]:
    """
    (rows scaled to length 1, index of the first zero row or n)
    """

def unpack_planes(bits: int, codes: npt.NDArray[np.uint8], dim: int) -> npt.NDArray[np.uint8]: ...
def use_isa(level: str) -> None:
    """
    Caps the kernel table at a level, or 'best'; for tests.
    """

def widen(dtype: str, values: np.ndarray, scale: float = 1.0) -> npt.NDArray[np.float32]: ...
def write_blocks(
    blocks: npt.NDArray[np.uint8],
    padded: int,
    positions: npt.NDArray[np.int64],
    slots: npt.NDArray[np.uint32],
    signs: npt.NDArray[np.uint8],
    add: npt.NDArray[np.float32],
    rescale: npt.NDArray[np.float32],
) -> None: ...
