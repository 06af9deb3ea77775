"""CRC-32 of large arrays, with a few threads and no dependency.

The value is the plain CRC-32 of zlib, gzip and PNG, so that any tool can verify a file. zlib computes it at about
2 GB/s on one core, slower than a page cache delivers, so chunks are hashed in the background while the caller
reads or writes the next one, and their checksums are combined: with P the polynomial of the CRC,

    crc(A B) = crc(A) * x^(8 |B|) mod P  xor  crc(B)

CRC-32 finds every damage confined to 32 successive bits and misses any other with probability 2**-32. It is a guard
against accidents, not against a forger.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

#: Bytes hashed, read or written at a time: large enough that a thread switch is noise.
CHUNK = 4 << 20

_POLYNOMIAL = 0xEDB88320  # bit 31 is x^0, as everywhere in this file
_ONE = 1 << 31


class Crc32:
    """The CRC-32 of a stream of chunks; a chunk must not change before `digest` is called.

    Parameters
    ----------
    pool : ThreadPoolExecutor, optional
        Where chunks are hashed; without one, on the spot.

    >>> crc = Crc32(); crc.update(memoryview(b"123456789")); crc.digest()
    'cbf43926'
    """

    def __init__(self, pool: ThreadPoolExecutor | None = None) -> None:
        self._pool = pool
        self._value = 0
        self._parts: deque[tuple[Future[int], int]] = deque()

    def update(self, chunk: memoryview) -> None:
        """Append a chunk of bytes."""
        if self._pool is None:
            self._value = zlib.crc32(chunk, self._value)
            return
        self._parts.append((self._pool.submit(zlib.crc32, chunk), len(chunk)))
        if len(self._parts) > 8:  # bounds what waits in memory when hashing is slower than the caller
            self._fold()

    def digest(self) -> str:
        """The checksum so far, as eight hexadecimal digits."""
        while self._parts:
            self._fold()
        return f"{self._value:08x}"

    def _fold(self) -> None:
        part, size = self._parts.popleft()
        self._value = combine(self._value, part.result(), size)


@contextmanager
def hashing_pool(nbytes: int) -> Iterator[ThreadPoolExecutor | None]:
    """Threads for hashing ``nbytes``; none where they would not pay, or where no thread can start any more."""
    threads = min(8, os.cpu_count() or 1, nbytes // CHUNK)
    if threads < 2:
        yield None
        return
    pool = ThreadPoolExecutor(threads, "vsearch-crc32")
    try:
        pool.submit(int).result()
    except RuntimeError:  # the interpreter is shutting down
        yield None
        return
    with pool:
        yield pool


def combine(crc: int, following: int, size: int) -> int:
    """The CRC-32 of two byte strings joined, from both checksums and the size of the second.

    >>> combine(zlib.crc32(b"1234"), zlib.crc32(b"56789"), 5) == zlib.crc32(b"123456789")
    True
    """
    return _multiply(_power(size), crc) ^ following


def _multiply(a: int, b: int) -> int:
    """The product of two polynomials modulo P; ``a`` is not 0."""
    product, bit = 0, _ONE
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


@lru_cache(maxsize=256)
def _power(nbytes: int) -> int:
    """x^(8 nbytes) modulo P, by squaring."""
    power, square = _ONE, _ONE >> 8
    while nbytes:
        if nbytes & 1:
            power = _multiply(square, power)
        square = _multiply(square, square)
        nbytes >>= 1
    return power
