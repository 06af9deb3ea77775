"""What the IVF walk reads and writes: the arrays of an index, the options of a search, and the scratch of a thread."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import Float
from vsearch.kernels.numba_coarse import Coarse, Probed, new_probed
from vsearch.kernels.numba_codes import BLOCK, TILE
from vsearch.kernels.numba_distance import Rows
from vsearch.kernels.numba_rabitq import Query, new_query

FLUSH_SIZE = 256  # survivors held back before they are looked at

# What `counts` holds: entries of the heap and of the queue, rows that wait, and what the search did.
HEAP, QUEUE, WAITING, SCANNED, SURVIVORS, REFINED = range(6)


class Codes(NamedTuple):
    """Blocks and extra bits; `words`, `floats` and `factors` are the same bytes as uint32 and float32."""

    bits: int
    blocks: np.ndarray
    words: np.ndarray
    floats: np.ndarray
    extra: np.ndarray
    factors: np.ndarray
    sign_spread: Float
    full_spread: Float


class Stored(NamedTuple):
    """Ids and stored rows by slot."""

    metric: int
    ids: np.ndarray
    there: bool
    rows: Rows


class Lists(NamedTuple):
    """Where the vectors of a list are, and the list of every vector (csrc/index/ivf.hpp)."""

    block: np.ndarray
    size: np.ndarray
    block_list: np.ndarray
    position: np.ndarray


class IvfArrays(NamedTuple):
    """Everything of an index that a search reads; n slots are in use."""

    n: int
    codes: Codes
    stored: Stored
    lists: Lists
    coarse: Coarse
    flips: np.ndarray
    span: int


class Options(NamedTuple):
    """Of one search; `filter` is empty where there is none."""

    epsilon: Float
    filtered: bool
    filter: np.ndarray
    few: bool  # matches: score them one by one


class Queue(NamedTuple):
    """Survivors of the 1-bit bound and room to sort them; slots that wait to be scored, their distances; the counts."""

    bounds: np.ndarray
    slots: np.ndarray
    positions: np.ndarray
    sorted_bounds: np.ndarray
    order: np.ndarray
    waiting: np.ndarray
    distances: np.ndarray
    counts: np.ndarray


class Work(NamedTuple):
    """Scratch of one thread."""

    rotated: np.ndarray
    norms: np.ndarray  # |q'|^2 and <q, P mean>
    query: Query
    pairs: np.ndarray
    sums: np.ndarray
    probed: Probed
    codes: np.ndarray
    row: np.ndarray
    queue: Queue


class Best(NamedTuple):
    """The heap of one query, in its rows of the answer."""

    distances: np.ndarray
    ids: np.ndarray


def new_work(x: IvfArrays, probes: int) -> Work:
    """Scratch for searches of at most `probes` lists."""
    lists, padded = x.coarse.centroids.shape
    room, dim = FLUSH_SIZE + BLOCK, x.stored.rows.dim
    bounds, sorted_bounds, distances = np.empty((3, room), dtype=np.float32)
    slots, positions, order, waiting = np.empty((4, room), dtype=np.int64)
    return Work(
        rotated=np.empty(padded, dtype=np.float32),
        norms=np.empty(2, dtype=np.float32),
        query=new_query(padded),
        pairs=np.empty((padded // 4, 256), dtype=np.uint32),
        sums=np.empty((TILE, 16), dtype=np.uint32),
        probed=new_probed(lists, padded, min(probes, lists)),
        codes=np.empty(dim, dtype=np.int16),
        row=np.empty(dim, dtype=np.float32),
        queue=Queue(bounds, slots, positions, sorted_bounds, order, waiting, distances, np.zeros(6, dtype=np.int64)),
    )
