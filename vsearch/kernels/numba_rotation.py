"""The random rotation (csrc/quantize/rotation.hpp): sign flips, Walsh-Hadamard transforms and Kac steps, bit for bit.

Every step adds or subtracts two floats, so the order inside a step is free and the result is not.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import Int, array, jit, jit_part
from vsearch.kernels.numba_transform import NO_TABLE, ROTATION, QueryMap, Transform, padded_dim

ONE, QUARTER = np.float32(1), np.float32(0.25)


@jit
def fht(x: np.ndarray, first: Int, n: Int) -> None:
    """Walsh-Hadamard transform of x[first : first + n] in place, not normalised; n a power of two."""
    half = 1
    while half < n:
        for start in range(first, first + n, 2 * half):
            for j in range(start, start + half):
                a, b = x[j], x[j + half]
                x[j] = a + b
                x[j + half] = a - b
        half *= 2


@jit_part
def _transform(x: np.ndarray, span: Int, turn: Int) -> None:
    first = 0 if turn % 2 == 0 else len(x) - span
    fht(x, first, span)
    factor = ONE / np.sqrt(np.float32(span))
    for j in range(first, first + span):
        x[j] *= factor


@jit_part
def _kac_step(x: np.ndarray) -> None:
    half = len(x) // 2
    for j in range(half):
        a, b = x[j], x[j + half]
        x[j] = a + b
        x[j + half] = a - b


@jit_part
def rotate(x: np.ndarray, flips: np.ndarray, span: Int, out: np.ndarray) -> None:
    """One vector, x (dim,) to out (padded,). `flips` holds a row of 1 and -1 for each round."""
    padded = len(out)
    unit = ONE if span == padded else QUARTER  # four Kac steps make it four times as long
    for j in range(len(x)):
        out[j] = unit * x[j]
    for j in range(len(x), padded):
        out[j] = 0
    for turn in range(len(flips)):
        for j in range(padded):
            out[j] *= flips[turn, j]
        _transform(out, span, turn)
        if span != padded:
            _kac_step(out)


@jit
def _rotate_rows(x: np.ndarray, flips: np.ndarray, span: Int, out: np.ndarray, first: Int, last: Int) -> None:
    for i in range(first, last):
        rotate(x[i], flips, span, out[i])


@jit
def _rotate_rows_back(y: np.ndarray, flips: np.ndarray, span: Int, out: np.ndarray, first: Int, last: Int) -> None:
    padded = y.shape[1]
    work = np.empty(padded, dtype=np.float32)
    for i in range(first, last):
        for j in range(padded):
            work[j] = y[i, j]
        for turn in range(len(flips) - 1, -1, -1):
            if span != padded:
                _kac_step(work)  # its own inverse up to the factor 2
            _transform(work, span, turn)
            for j in range(padded):
                work[j] *= flips[turn, j]
        for j in range(out.shape[1]):
            out[i, j] = work[j] * QUARTER if span != padded else work[j]


class Rotation(Transform):
    """A rotation of `dim` dimensions; a set bit of `signs` flips a coordinate."""

    def __init__(self, dim: int, signs: np.ndarray) -> None:
        self.dim = dim
        self.padded = padded_dim(dim)
        self.span = 1 << (self.padded.bit_length() - 1)
        signs = array(signs, np.uint8)
        if signs.size != self.sign_bytes(dim):
            raise ValueError("rotation signs have the wrong length")
        bits = np.unpackbits(signs.reshape(-1), bitorder="little").reshape(-1, self.padded)
        self.flips = array(1 - 2 * bits.astype(np.float32), np.float32)
        self.query_map = QueryMap(ROTATION, self.flips, self.span, NO_TABLE)

    @staticmethod
    def sign_bytes(dim: int) -> int:
        """Bytes of the sign masks: three rounds where the padded dimension is a power of two, else four."""
        padded = padded_dim(dim)
        rounds = 3 if padded & (padded - 1) == 0 else 4
        return rounds * padded // 8

    def _forward(self, x: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        _rotate_rows(x, self.flips, self.span, out, first, last)

    def _back(self, y: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        _rotate_rows_back(y, self.flips, self.span, out, first, last)
