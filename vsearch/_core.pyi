"""
vsearch's compiled kernels and index walks
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__: list[str] = [
    "Codec",
    "Exclusive",
    "FlatScan",
    "GraphBuilder",
    "GraphCompactBuilder",
    "GraphCompactScan",
    "GraphScan",
    "IvfScan",
    "LevelsCodec",
    "Matrix",
    "RabitqCodec",
    "Rotation",
    "TableCodec",
    "Transform",
    "assign",
    "available_isas",
    "bin_scores",
    "block_bytes",
    "cpu_features",
    "distances",
    "dot_bits",
    "dot_i8",
    "dot_planes",
    "dot_u4",
    "dot_u7",
    "fastscan",
    "fht",
    "grid_codes",
    "grid_scores",
    "hamming",
    "isa",
    "kernel_origins",
    "lane_symbols",
    "level_codes",
    "level_dot",
    "level_scores",
    "lookup_tables",
    "near_order",
    "pack_planes",
    "popcount_planes",
    "quantize_i16",
    "read_all",
    "read_blocks",
    "rotate_round",
    "select_below",
    "sign_moments",
    "table_anisotropic",
    "table_beam",
    "table_decode",
    "table_nearest",
    "table_refine",
    "table_sums",
    "tile",
    "unit_rows",
    "unpack_levels",
    "unpack_planes",
    "use_isa",
    "widen",
    "write_blocks",
]

class Transform:
    def apply(self, x: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float32]: ...
    def apply_query(self, x: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float32]: ...
    def apply_inverse(self, y: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float32]: ...
    @property
    def dim(self) -> int: ...
    @property
    def padded(self) -> int: ...

class Rotation(Transform):
    @staticmethod
    def sign_bytes(dim: int) -> int: ...
    def __init__(self, dim: int, signs: npt.NDArray[np.uint8]) -> None: ...

class Matrix(Transform):
    def __init__(
        self,
        base: npt.NDArray[np.float32],
        query: npt.NDArray[np.float32] | None = None,
        inverse: npt.NDArray[np.float32] | None = None,
    ) -> None: ...

class Padding(Transform):
    def __init__(self, dim: int) -> None: ...

class Codec:
    def encode(
        self,
        transformed: npt.NDArray[np.float32],
        assign: npt.NDArray[np.uint32],
        centroids: npt.NDArray[np.float32],
        mean: npt.NDArray[np.float32],
        metric: str,
        threads: int = 1,
    ) -> dict[str, Any]: ...
    def compress(
        self,
        transform: Transform,
        x: npt.NDArray[np.float32],
        mean: npt.NDArray[np.float32],
        threads: int = 1,
    ) -> dict[str, Any]: ...
    def unpack(self, symbols: npt.NDArray[np.uint8], extra: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...
    def decode(self, symbols: npt.NDArray[np.uint8], extra: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]: ...
    @property
    def dim(self) -> int: ...
    @property
    def symbols(self) -> int: ...
    @property
    def extra_bytes(self) -> int: ...
    @property
    def lead(self) -> int: ...
    @property
    def shifted(self) -> bool: ...

class RabitqCodec(Codec):
    def __init__(self, dim: int, bits: int) -> None: ...

class LevelsCodec(Codec):
    def __init__(
        self,
        dim: int,
        segments: npt.NDArray[np.int64],
        scales: npt.NDArray[np.float32],
        levels: npt.NDArray[np.float32],
        prefix_levels: npt.NDArray[np.float32],
        profile: Any,
        rule: str,
        unbiased: bool,
        lead: int,
    ) -> None: ...

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

class GraphBuilder:
    def __init__(
        self,
        graph: GraphScan,
        rows: npt.NDArray[np.uint8],
        lifts: Any,
        transformed: Any,
        alpha: float,
        threads: int,
    ) -> None: ...
    def entries(self, slots: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]: ...
    def forget(self, dead: npt.NDArray[np.uint8]) -> None: ...
    def improve_near(self, width: int, seed: int) -> None: ...
    def insert(self, first: int, count: int, k: int, effort: float, most: int) -> None: ...
    def link_by_walks(self, first: int, last: int, k: int, effort: float, most: int) -> None: ...
    def link_near(self, first: int, last: int) -> None: ...
    def rename(self, renamed: npt.NDArray[np.uint32], count: int) -> None: ...
    def reverse(self) -> None: ...
    def unreached(self) -> npt.NDArray[np.uint32]: ...
    def write(self, first: int, last: int) -> None: ...

class GraphCompactBuilder:
    def __init__(self, graph: GraphCompactScan, rows: npt.NDArray[np.uint8], alpha: float, threads: int) -> None: ...
    def forget(self, dead: npt.NDArray[np.uint8]) -> None: ...
    def insert(self, first: int, vectors: npt.NDArray[np.float32], k: int, effort: float, most: int) -> None: ...
    def rename(self, renamed: npt.NDArray[np.uint32], count: int) -> None: ...
    def unreached(self) -> npt.NDArray[np.uint32]: ...

class GraphCompactScan:
    def __init__(self, metric: str, transform: Any, wide: int, narrow: int, degree: int) -> None: ...
    def bind(
        self,
        ids: npt.NDArray[np.int64],
        rows: npt.NDArray[np.uint8],
        entries: npt.NDArray[np.uint32],
        lifts: Any,
        reach2: float,
        store_dtype: str,
        store: Any,
        factors: Any,
        n: int,
        hidden: int = 0,
    ) -> None: ...
    def bind_coding(
        self,
        source: npt.NDArray[np.uint32],
        step: npt.NDArray[np.float32],
        offset: npt.NDArray[np.float32],
        mean: npt.NDArray[np.float32],
    ) -> None: ...
    def consistent(self) -> bool: ...
    def counters(self) -> dict[str, Any]: ...
    def exclusive(self) -> Exclusive: ...
    def search(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        effort: float,
        most: int,
        window: int,
        usual: float,
        steepness: float,
        slack: float,
        threads: int,
        filter: Any,
        matches: int,
    ) -> tuple[Any, ...]: ...
    def try_search(
        self, query: Any, k: Any, effort: float, most: int, window: int, usual: float, steepness: float, slack: float
    ) -> Any: ...
    @property
    def lengthened(self) -> float: ...
    @property
    def row_bytes(self) -> int: ...

class GraphScan:
    def __init__(self, metric: str, transform: Any, codec: Any, row_dtype: str, degree: int) -> None: ...
    def bind(
        self,
        ids: npt.NDArray[np.int64],
        rows: npt.NDArray[np.uint8],
        factors: Any,
        entries: npt.NDArray[np.uint8],
        entry_count: int,
        lifts: Any,
        add_scale: float,
        rescale_scale: float,
        reach2: float,
        n: int,
        hidden: int = 0,
    ) -> None: ...
    def bind_mean(self, mean: npt.NDArray[np.float32]) -> None: ...
    def consistent(self) -> bool: ...
    def counters(self) -> dict[str, Any]: ...
    def exclusive(self) -> Exclusive: ...
    def search(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        effort: float,
        most: int,
        usual: float,
        steepness: float,
        slack: float,
        threads: int,
        filter: Any,
        matches: int,
    ) -> tuple[Any, ...]: ...
    def try_search(
        self, query: Any, k: Any, effort: float, most: int, usual: float, steepness: float, slack: float
    ) -> Any: ...
    @property
    def block_bytes(self) -> int: ...
    @property
    def lengthened(self) -> float: ...
    @property
    def row_bytes(self) -> int: ...

class IvfScan:
    def __init__(self, metric: str, transform: Any, codec: Any, compact: bool = False, columns: int = 0) -> None: ...
    def bind(
        self,
        ids: npt.NDArray[np.int64],
        list_block: npt.NDArray[np.uint32],
        list_size: npt.NDArray[np.uint32],
        blocks: npt.NDArray[np.uint8],
        block_list: npt.NDArray[np.uint32],
        position: npt.NDArray[np.uint32],
        extra: Any,
        first_spread: float,
        full_spread: float,
        compact: Any,
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
    def try_search(self, query: Any, k: Any, probes: int, epsilon: float) -> Any: ...

class TableCodec(Codec):
    def __init__(
        self,
        dim: int,
        starts: npt.NDArray[np.int64],
        first: npt.NDArray[np.int64],
        centroids: npt.NDArray[np.float32],
        model: npt.NDArray[np.float32],
        norms: bool,
        beam: int,
        sweeps: int,
        eta: float,
    ) -> None: ...
    def decode_symbols(self, symbols: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]: ...

def assign(
    vectors: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], threads: int = 1
) -> tuple[Any, ...]: ...
def available_isas() -> list[str]:
    """
    Levels that this CPU offers, lowest first.
    """

def bin_scores(
    x: npt.NDArray[np.float32], w: npt.NDArray[np.float32], scale: float, offset: float, table: npt.NDArray[np.float32]
) -> tuple[Any, ...]: ...
def block_bytes(symbols: int, columns: int, factor_size: int) -> int: ...
def cpu_features() -> dict[str, Any]:
    """
    What the CPU and its operating system offer.
    """

def distances(
    metric: str, dtype: str, queries: npt.NDArray[np.float32], rows: np.ndarray, factors: Any = None, slots: Any = None
) -> npt.NDArray[np.float32]: ...
def dot_bits(bits: npt.NDArray[np.uint8], query: npt.NDArray[np.int16]) -> int: ...
def dot_i8(query: npt.NDArray[np.int16], rows: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]: ...
def dot_planes(bits: int, codes: npt.NDArray[np.uint8], query: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]: ...
def dot_u4(query: npt.NDArray[np.int8], rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]: ...
def dot_u7(query: npt.NDArray[np.int8], rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]: ...
def fastscan(codes: npt.NDArray[np.uint8], lut: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]: ...
def fht(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]: ...
def grid_codes(
    x: npt.NDArray[np.float32],
    center: npt.NDArray[np.float32],
    a: npt.NDArray[np.int16],
    scale: int,
    shift: int,
    top: int,
) -> tuple[Any, ...]: ...
def grid_scores(a: npt.NDArray[np.int16], scales: npt.NDArray[np.uint16], shift: int, top: int) -> tuple[Any, ...]: ...
def hamming(query: npt.NDArray[np.uint64], codes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]: ...
def isa() -> str:
    """
    Level of the kernel table in use.
    """

def kernel_origins() -> list[tuple[str, str]]:
    """
    (kernel, unit that installed it) of the table in use.
    """

def lane_symbols(codes: npt.NDArray[np.uint8], lane: int) -> npt.NDArray[np.uint8]: ...
def level_codes(
    x: npt.NDArray[np.float32], factor: float, thresholds: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]: ...
def level_dot(codes: npt.NDArray[np.uint8], levels: npt.NDArray[np.int16], query: npt.NDArray[np.int16]) -> int: ...
def level_scores(
    values: npt.NDArray[np.int16], thresholds: npt.NDArray[np.int16], levels: npt.NDArray[np.int16]
) -> tuple[Any, ...]: ...
def lookup_tables(query: npt.NDArray[np.float32]) -> tuple[Any, ...]: ...
def near_order(vectors: npt.NDArray[np.float32], seed: int, threads: int) -> npt.NDArray[np.uint32]: ...
def pack_planes(bits: int, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...
def popcount_planes(codes: npt.NDArray[np.uint64], planes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]: ...
def quantize_i16(x: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.int16]: ...
def read_all(array: np.ndarray) -> int: ...
def read_blocks(
    blocks: npt.NDArray[np.uint8], symbols: int, columns: int, factor_size: int, positions: npt.NDArray[np.int64]
) -> tuple[Any, ...]: ...
def rotate_round(
    x: npt.NDArray[np.float32], offset: int, span: int, flips: npt.NDArray[np.uint32], scale: float
) -> npt.NDArray[np.float32]: ...
def select_below(values: npt.NDArray[np.float32], bound: float) -> npt.NDArray[np.uint32]: ...
def sign_moments(
    x: npt.NDArray[np.float32], center: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]
) -> tuple[Any, ...]: ...
def table_anisotropic(
    x: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    eta: float,
    sweeps: int,
    threads: int = 1,
) -> npt.NDArray[np.uint8]: ...
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

def unpack_levels(
    symbols: npt.NDArray[np.uint8], extra: npt.NDArray[np.uint8], prefix: int, rest: int
) -> npt.NDArray[np.uint8]: ...
def unpack_planes(bits: int, codes: npt.NDArray[np.uint8], dim: int) -> npt.NDArray[np.uint8]: ...
def use_isa(level: str) -> None:
    """
    Caps the kernel table at a level, or 'best'; for tests.
    """

def widen(dtype: str, values: np.ndarray, scale: float = 1.0) -> npt.NDArray[np.float32]: ...
def write_blocks(
    blocks: npt.NDArray[np.uint8],
    positions: npt.NDArray[np.int64],
    slots: npt.NDArray[np.uint32],
    symbols: npt.NDArray[np.uint8],
    factors: npt.NDArray[np.uint8],
    factor_size: int,
) -> None: ...
