"""The Numba twin of the compiled core: the names of csrc/bindings, for installations without a C++ compiler.

    numba_base       the decorator, checks at the door, threads, the gate        base/, bindings/
    numba_topk       the k best                                                  base/topk.hpp
    numba_distance   stored rows and their distances                             index/rows.hpp, kernels/*/distance.hpp
    numba_transform  linear maps before a codec                                  quantize/transform.hpp
    numba_rotation   the random rotation                                         quantize/rotation.hpp
    numba_codes      blocks, planes, FastScan                                    quantize/block.hpp, planes.hpp
    numba_codec      the face of codecs, factors, a prepared query's arrays      quantize/codec.hpp, factors.hpp
    numba_rabitq     encoder and prepared query                                  quantize/rabitq.hpp
    numba_levels     codes by level tables                                       quantize/levels.hpp
    numba_interval   a vector's own interval                                     quantize/interval.hpp
    numba_query      a query's preparation, for every kind of codec              quantize/levels_query.cpp
    numba_coarse     which lists are nearest                                     index/coarse.hpp
    numba_state      what the IVF walk reads and writes                          index/ivf.hpp
    numba_walk       the IVF walk                                                index/ivf.cpp
    numba_ivf        its binding                                                 bindings/ivf.cpp
    numba_bound      what the bindings of both graphs share                      bindings/graph_parts.hpp
    numba_graph      the graph's binding                                         bindings/graph.cpp
    numba_graph_walk  its walk                                                   index/graph.hpp, candidate_pool.hpp
    numba_graph_build  its builder                                               index/graph_build.hpp, graph_prune.hpp
    numba_graph_compact  the compact graph: its binding and what mends it        bindings/graph_compact.cpp
    numba_graph_compact_walk  its walk                                           index/graph_compact.hpp
    numba_graph_near  rough neighbours                                           index/graph_near.hpp
    numba_near_order  the order of rows                                          index/near_order.hpp
    numba_table      codebooks: encoders, training steps                         quantize/table.hpp
    numba_table_codec  their codec                                               quantize/table_codec.hpp
    numba_kernels    the kernels one by one                                      bindings/kernels.cpp, codes.cpp
    numba_encode     the encoder's kernels one by one                            bindings/encode.cpp
    numba_flat       exact search and assignment                                 index/flat.hpp, stream.hpp, tiles.hpp

Importing this compiles nothing; a function compiles at its first call, once for all processes.
"""

from __future__ import annotations

from vsearch.kernels.numba_base import Exclusive
from vsearch.kernels.numba_codec import Codec
from vsearch.kernels.numba_codes import block_bytes, read_blocks, write_blocks
from vsearch.kernels.numba_distance import distances, ready_queries, unit_rows, widen
from vsearch.kernels.numba_encode import (
    bin_scores,
    grid_codes,
    grid_scores,
    level_codes,
    level_dot,
    level_scores,
    quantize_i16,
    rotate_round,
    sign_moments,
    unpack_levels,
)
from vsearch.kernels.numba_flat import FlatScan, assign
from vsearch.kernels.numba_graph import GraphScan
from vsearch.kernels.numba_graph_build import GraphBuilder
from vsearch.kernels.numba_graph_compact import GraphCompactBuilder, GraphCompactScan
from vsearch.kernels.numba_ivf import IvfScan
from vsearch.kernels.numba_kernels import (
    dot_bits,
    dot_i8,
    dot_planes,
    dot_u4,
    dot_u7,
    fastscan,
    fht,
    hamming,
    lane_symbols,
    lookup_tables,
    pack_planes,
    popcount_planes,
    read_all,
    select_below,
    tile,
    unpack_planes,
)
from vsearch.kernels.numba_levels import LevelsCodec
from vsearch.kernels.numba_near_order import near_order
from vsearch.kernels.numba_rabitq import RabitqCodec
from vsearch.kernels.numba_rotation import Rotation
from vsearch.kernels.numba_table import (
    table_anisotropic,
    table_beam,
    table_decode,
    table_nearest,
    table_refine,
    table_sums,
)
from vsearch.kernels.numba_table_codec import TableCodec
from vsearch.kernels.numba_transform import Matrix, Padding, Transform

__all__ = [
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
    "Padding",
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
    "ready_queries",
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


KERNELS = (
    "l2_f32",
    "dot_f32",
    "l2_f16",
    "dot_f16",
    "l2_bf16",
    "dot_bf16",
    "dot_i8",
    "dot_u7",
    "dot_u4",
    "select_below",
    "widen_f16",
    "widen_bf16",
    "widen_i8",
    "tile_f32",
    "fastscan",
    "fastscan_bound",
    "fastscan_halves",
    "fastscan_at_least",
    "dot_planes",
    "pack_planes",
    "popcount_planes",
    "hamming",
    "lane_symbols",
    "dot_bits",
    "fht_f32",
    "sign_moments",
    "quantize_i16",
    "grid_scores",
    "grid_codes",
    "rotate_round",
    "level_scores",
    "bin_scores",
    "level_codes",
    "unpack_levels",
    "level_dot",
    "subset_sums",
    "quantize_u8",
    "scores_f32",
    "argmin_f32",
    "nearest_f32",
    "sum_rows_f32",
)


def isa() -> str:
    """The only level that there is here."""
    return "numba"


def available_isas() -> list[str]:
    """Levels that `use_isa` takes, besides "best"."""
    return ["numba"]


def use_isa(level: str) -> None:
    """Refuses every level but "numba" and "best"; for tests that run over levels."""
    if level not in ("best", "numba"):
        raise ValueError(f"VSEARCH_ISA must be one of best, numba on the Numba kernels; got '{level}'.")


def kernel_origins() -> list[tuple[str, str]]:
    """(kernel, unit that it comes from)."""
    return [(name, "numba") for name in KERNELS]


def cpu_features() -> dict[str, bool]:
    """What the CPU and its operating system offer, as Numba's compiler sees it."""
    from llvmlite import binding  # type: ignore[import-untyped]  # comes with Numba; only to describe the machine

    found = {name for name, there in binding.get_host_cpu_features().items() if there}
    needed = {
        "avx2": {"avx2", "fma", "f16c", "bmi", "bmi2", "popcnt"},
        "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
        "avx512_vnni": {"avx512vnni"},
        "avx512_vpopcntdq": {"avx512vpopcntdq"},
        "avx512_vbmi": {"avx512vbmi"},
        "avx512_bf16": {"avx512bf16"},
        "neon": {"neon"},
        "neon_dotprod": {"dotprod"},
    }
    return {name: bits <= found for name, bits in needed.items()}
