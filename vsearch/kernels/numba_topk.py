"""The k best of a search (csrc/base/topk.hpp): a heap with the worst on top, in the two rows that become the answer.

Entries are ordered by distance, then by the smaller id, so the answer does not depend on the order of the scan.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import Bool, Float, Int, jit, jit_part

INFINITY = np.float32(np.inf)


@jit_part
def threshold(distances: np.ndarray, size: Int) -> Float:
    """The k-th best distance, infinite until there are k: a candidate farther than this cannot enter."""
    return distances[0] if size == len(distances) else INFINITY


@jit_part
def worse(a: Float, a_id: Int, b: Float, b_id: Int) -> Bool:
    """Whether a comes after b."""
    return a > b or (a == b and a_id > b_id)


@jit_part
def sink(distances: np.ndarray, ids: np.ndarray, size: Int, distance: Float, id_: Int) -> None:
    """Puts an entry in place of the worst of the first `size` and restores the heap."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and worse(distances[child + 1], ids[child + 1], distances[child], ids[child]):
            child += 1
        if not worse(distances[child], ids[child], distance, id_):
            break
        distances[at], ids[at] = distances[child], ids[child]
        at = child
    distances[at], ids[at] = distance, id_


@jit_part
def push(distances: np.ndarray, ids: np.ndarray, size: Int, distance: Float, id_: Int) -> Int:
    """Offers an entry to a heap that holds `size`, and returns how many it holds then."""
    if not distance <= threshold(distances, size):  # also refuses NaN
        return size
    if size == len(distances):
        if worse(distances[0], ids[0], distance, id_):
            sink(distances, ids, size, distance, id_)
        return size
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if not worse(distance, id_, distances[above], ids[above]):
            break
        distances[at], ids[at] = distances[above], ids[above]
        at = above
    distances[at], ids[at] = distance, id_
    return size + 1


@jit
def close(distances: np.ndarray, ids: np.ndarray, size: Int) -> None:
    """Turns a heap into the answer: ascending, padded with id -1 and distance infinity."""
    for last in range(size - 1, 0, -1):
        distance, id_ = distances[last], ids[last]
        distances[last], ids[last] = distances[0], ids[0]
        sink(distances, ids, last, distance, id_)
    for i in range(size, len(distances)):
        distances[i], ids[i] = INFINITY, -1
