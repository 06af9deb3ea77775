"""The candidates of a graph walk (csrc/index/candidate_pool.hpp), as arrays of keys and slots in no order.

Keys are distances as integers of the same order: minima of integers are found 8 at a time, of floats not.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import Float, Int, jit, jit_part

TIDY = 128  # candidates from which forgetting the far ones pays
MAGNITUDE = np.int32(0x7FFFFFFF)
NOWHERE = np.int32(0x7F800000)  # the key of an infinite distance
NONE = -1


@jit_part
def key_of(distance: Float) -> Int:
    """The bits of a float as an integer of the same order: minima of integers are found 8 at a time, of floats not."""
    bits = np.float32(distance).view(np.int32)
    return np.int32(bits ^ (np.int32(bits >> np.int32(31)) & MAGNITUDE))


@jit_part
def distance_of(key: Int) -> Float:
    return np.int32(key ^ (np.int32(key >> np.int32(31)) & MAGNITUDE)).view(np.float32)


@jit
def first_least(keys: np.ndarray, size: Int) -> Int:
    """Where the first of the least of some keys is."""
    least = keys[0]
    for i in range(1, size):
        least = min(least, keys[i])
    at = 0
    while keys[at] != least:
        at += 1
    return at


@jit
def nearest(keys: np.ndarray, slots: np.ndarray, size: Int, taken: Int) -> Int:
    """Where the nearest candidate is that is not of slot `taken`, NONE where there is no other. The entries of that
    slot are out of reach from now on, wherever they are.
    """
    if size == 0:
        return NONE
    for i in range(size):
        keys[i] = NOWHERE if slots[i] == taken else keys[i]
    at = first_least(keys, size)
    return at if keys[at] < NOWHERE else NONE


@jit_part
def grown(values: np.ndarray, size: Int) -> np.ndarray:
    """The same values with twice the room."""
    out = np.empty(2 * len(values), dtype=values.dtype)
    for i in range(size):
        out[i] = values[i]
    return out


@jit_part
def _nth(keys: np.ndarray, size: Int, n: Int) -> Int:
    """The n-th least of some keys, from 0, by halving the range of integers."""
    low, high = -(1 << 31), (1 << 31) - 1
    while low < high:
        middle, count = (low + high) >> 1, 0
        for i in range(size):
            count += 1 if keys[i] <= middle else 0
        if count > n:
            high = middle
        else:
            low = middle + 1
    return np.int32(low)


@jit_part
def _keep_nearest(keys: np.ndarray, slots: np.ndarray, size: Int, count: Int) -> Int:
    """Forgets all candidates but the nearest; of equal ones the first. How many are left."""
    cut, ties, kept = _nth(keys, size, count), count, 0
    for i in range(size):
        ties -= 1 if keys[i] < cut else 0
    for i in range(size):
        if keys[i] > cut or (keys[i] == cut and ties == 0):
            continue
        ties -= 1 if keys[i] == cut else 0
        keys[kept], slots[kept] = keys[i], slots[i]
        kept += 1
    return kept


@jit_part
def tidy(keys: np.ndarray, slots: np.ndarray, size: Int, limit: Float, turns: Int, at: Int) -> tuple[Int, Int]:
    """Forgets candidates that are not below `limit`, and those that cannot have their turn within `turns` more, once
    there are `at` of them; (how many are left, how many there must be the next time).
    """
    if size < at:
        return size, at
    kept = 0
    for i in range(size):
        keys[kept], slots[kept] = keys[i], slots[i]
        kept += 1 if distance_of(keys[i]) < limit else 0
    if kept > 4 * turns + TIDY:  # a vertex may be there several times
        kept = _keep_nearest(keys, slots, kept, 2 * turns + TIDY // 2)
    return kept, max(TIDY, 2 * kept)
