"""The single file in which everything is kept: named arrays and the parameters that belong to them.

`write` replaces a file as a whole (atomic.py), `read` believes nothing in it (header.py draws the layout):

1. Loading any bytes whatever gives arrays or `FormatError`: it runs no code, reads nothing outside the file, and
   allocates no more than the file is long.
2. Damage gives the original's arrays or `CorruptFileError`, never other arrays: every byte is under a checksum, or is
   padding that must be zero. Under ``mmap=True, check=False`` this holds for the header only.
3. The arrays are aligned to 64 bytes, in the file and in memory.

Whoever recomputes the checksums can still make any arrays he likes, so what an index dereferences (slots, offsets) is
checked once more where it is understood: `Container.array` and `Container.value` begin that.
"""

from __future__ import annotations

import mmap as mapping
import os
import stat
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from typing import Any, NamedTuple, TypeVar

import numpy as np

from vsearch.errors import ForeignFileError
from vsearch.storage import header as layout
from vsearch.storage import strict_json
from vsearch.storage.atomic import replacing, write_all
from vsearch.storage.checksum import CHUNK, Crc32, hashing_pool
from vsearch.storage.failpoints import failpoint
from vsearch.storage.header import Entry, Header, corrupt

T = TypeVar("T")


@dataclass(frozen=True)
class Container:
    """What `read` found.

    Attributes
    ----------
    kind : str
        What the arrays are together, such as "flat".
    meta : dict
        The parameters that were saved with them.
    arrays : dict of str to ndarray
        Read-only views of the file with ``mmap=True``, otherwise writable copies.
    bf16 : frozenset of str
        Which of the uint16 arrays hold bfloat16.
    path : str
        Where it came from, for messages.
    """

    kind: str
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    bf16: frozenset[str]
    path: str

    def array(self, name: str, dtype: Any, shape: tuple[int | None, ...]) -> np.ndarray:
        """The array ``name`` if it is as expected, None standing for any length; else `CorruptFileError`.

        >>> codes = container.array("codes", np.uint8, (n, None))  # doctest: +SKIP
        """
        array = self.arrays.get(name)
        if array is None:
            corrupt(self.path, f"it has no array `{name}`")
        fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape))
        if array.dtype != np.dtype(dtype) or not fits:
            wanted = f"{np.dtype(dtype)} ({', '.join('any' if n is None else str(n) for n in shape)})"
            corrupt(self.path, f"its array `{name}` should be {wanted} and is {array.dtype} {array.shape}")
        return array

    def value(self, name: str, kind: type[T], low: float | None = None, high: float | None = None) -> T:
        """The parameter ``name`` if it has that type and lies in [low, high]; else `CorruptFileError`.

        >>> bits = container.value("bits", int, 1, 8)  # doctest: +SKIP
        """
        value = self.meta.get(name)
        if type(value) is not kind:
            corrupt(self.path, f"its parameter `{name}` should be of type {kind.__name__} and is {value!r:.40}")
        number: Any = value
        if (low is not None and number < low) or (high is not None and number > high):
            corrupt(self.path, f"its parameter `{name}` should be in [{low}, {high}] and is {value!r:.40}")
        return value


class _Opened(NamedTuple):
    """An open file whose header has been read and checked against its size."""

    file: FileIO
    header: Header
    data_at: int
    path: str


def write(
    path: str | os.PathLike[str],
    kind: str,
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    bf16: Collection[str] = (),
) -> None:
    """Save arrays and parameters as one file, which takes the place of ``path`` at once or not at all.

    Parameters
    ----------
    path : str or path
        Where to; the folder must exist.
    kind : str
        What the arrays are together; `read` gives it back.
    meta : mapping of str to JSON
        Parameters: str, bool, None, int, finite float, lists and dicts of these.
    arrays : mapping of str to ndarray
        Ints and floats of up to 64 bits, of any byte order and any strides; none is copied as a whole, so none may
        change meanwhile.
    bf16 : collection of str
        Which of the uint16 arrays hold bfloat16; other readers of the file will know them as that.

    Raises
    ------
    OSError
        The disk is full, the folder read-only, and so on; what was at ``path`` before is untouched.

    >>> write("wiki.vsx", "flat", {"metric": "l2"}, {"vectors": X})  # doctest: +SKIP
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    entries = layout.plan(arrays, frozenset(bf16))
    frozen = strict_json.parse(strict_json.dump("meta", dict(meta)))  # it is encoded twice and must not change between
    header = Header(kind, frozen, entries, dict.fromkeys(arrays, "00000000"), _version())
    blank = layout.encode(header)
    with replacing(path) as file, hashing_pool(header.data_nbytes) as pool:
        write_all(file, memoryview(blank))
        sums = {name: Crc32(pool) for name in arrays}
        for entry in entries:
            if entry.is_padding:
                write_all(file, memoryview(bytes(entry.nbytes)))
                continue
            for chunk in _chunks(arrays[entry.name], entry):
                failpoint("container.write")
                sums[entry.name].update(chunk)
                write_all(file, chunk)
        failpoint("container.header")
        header.checksums = {name: crc.digest() for name, crc in sums.items()}
        file.seek(0)
        write_all(file, memoryview(layout.encode(header)))


def read(path: str | os.PathLike[str], *, mmap: bool = False, check: bool = True) -> Container:
    """Load a file that `write` made.

    Parameters
    ----------
    path : str or path
        Where from.
    mmap : bool
        Leave the arrays in the file and map them, read-only. The file may be replaced meanwhile, but must not be cut.
    check : bool
        Whether to verify the checksums under ``mmap``, which reads every byte once. Copies are always verified.

    Returns
    -------
    Container

    Raises
    ------
    ForeignFileError, NewerFormatError, CorruptFileError
        The file is not vsearch's, comes from a later version, or is damaged. All are `FormatError`.

    >>> read("wiki.vsx", mmap=True).meta["metric"]  # doctest: +SKIP
    'l2'
    """
    opened = _open(os.fspath(path))
    with opened.file:
        arrays = _map(opened, check) if mmap else _copy(opened)
    header = opened.header
    bf16 = frozenset(entry.name for entry in header.entries if entry.tag == "BF16")
    return Container(header.kind, header.meta, arrays, bf16, opened.path)


def _open(path: str) -> _Opened:
    """Open a file and read its header; what is no regular file is not even opened, for a pipe would block."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ForeignFileError(f"`{path}` is not a regular file.")
    file = FileIO(path)
    try:
        size = os.fstat(file.fileno()).st_size
        start = _read_some(file, min(size, 4096))
        _check_magic(start, path)
        nbytes = 8 + struct.unpack_from("<Q", start)[0]
        if nbytes % layout.ALIGNMENT or nbytes > layout.MAX_HEADER + 8:
            corrupt(path, "the length of its header is impossible")
        if nbytes > size:
            corrupt(path, "it is cut short within its header")
        raw = start[:nbytes] + _read_some(file, nbytes - len(start[:nbytes]))
        return _Opened(file, layout.decode(raw, size - nbytes, path), nbytes, path)
    except BaseException:
        file.close()
        raise


def _check_magic(start: bytes, path: str) -> None:
    """Tell a file of ours from another's by its first bytes."""
    found = start[8 : 8 + len(layout.MAGIC)]
    if found == layout.MAGIC:
        return
    if not start:
        corrupt(path, "it is empty")
    if layout.MAGIC.startswith(found) and len(start) < 8 + len(layout.MAGIC):
        corrupt(path, f"it is cut short after {len(start)} bytes")
    if b"vsearch_" in start:
        corrupt(path, "the start of its header is unreadable")
    guess = next((what for mark, what in _FOREIGN.items() if start.startswith(mark)), "")
    if not guess and start[8:9] == b"{":
        guess = "a safetensors file"
    raise ForeignFileError(f"`{path}` is not a vsearch file{guess and f'; it looks like {guess}'}.")


_FOREIGN = {
    b"\x93NUMPY": "a NumPy array: load it with numpy.load and fit an index",
    b"PK\x03\x04": "a zip archive, as numpy.savez makes",
    b"\x80\x02": "a pickle, which vsearch never opens",
    b"\x80\x03": "a pickle, which vsearch never opens",
    b"\x80\x04": "a pickle, which vsearch never opens",
    b"\x80\x05": "a pickle, which vsearch never opens",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x1f\x8b": "a gzip file: decompress it first",
    b"Ix": "a faiss index",
    b"Iw": "a faiss index",
}


def _copy(opened: _Opened) -> dict[str, np.ndarray]:
    """Read every array into aligned memory of its own, verifying while reading."""
    arrays: dict[str, np.ndarray] = {}
    sums: dict[str, Crc32] = {}
    opened.file.seek(opened.data_at)
    with hashing_pool(opened.header.data_nbytes) as pool:
        for entry in opened.header.entries:
            if entry.is_padding:
                _check_padding(_read_some(opened.file, entry.nbytes), entry, opened.path)
                continue
            array, crc = _aligned_empty(entry), Crc32(pool)
            for chunk in _chunks(array, entry):
                if _read_into(opened.file, chunk) < len(chunk):
                    corrupt(opened.path, f"it ends within array `{entry.name}`")
                crc.update(chunk)
            arrays[entry.name], sums[entry.name] = array, crc
        _check_sums(sums, opened)
    return arrays


def _map(opened: _Opened, check: bool) -> dict[str, np.ndarray]:
    """View every array in the mapped file; the mapping lives as long as one of them."""
    header = opened.header
    if not header.data_nbytes:
        return _copy(opened)
    data = mapping.mmap(opened.file.fileno(), opened.data_at + header.data_nbytes, access=mapping.ACCESS_READ)
    arrays: dict[str, np.ndarray] = {}
    sums: dict[str, Crc32] = {}
    with hashing_pool(header.data_nbytes) as pool:
        for entry in header.entries:
            at = opened.data_at + entry.begin
            if entry.is_padding:
                if check:
                    _check_padding(data[at : at + entry.nbytes], entry, opened.path)
                continue
            flat = np.frombuffer(data, np.uint8, entry.nbytes, at) if entry.nbytes else np.zeros(0, np.uint8)
            array = flat.view(entry.dtype).reshape(entry.shape)
            array.flags.writeable = False
            arrays[entry.name] = array
            if check:
                sums[entry.name] = Crc32(pool)
                for chunk in _chunks(array, entry):
                    sums[entry.name].update(chunk)
        _check_sums(sums, opened)
    return arrays


def _check_sums(sums: dict[str, Crc32], opened: _Opened) -> None:
    for name, crc in sums.items():
        if crc.digest() != opened.header.checksums[name]:
            corrupt(opened.path, f"array `{name}` does not match its checksum")


def _check_padding(data: bytes, entry: Entry, path: str) -> None:
    if data != bytes(entry.nbytes):
        corrupt(path, f"the padding at byte {entry.begin} of its data is not zero")


def _chunks(array: np.ndarray, entry: Entry) -> Iterator[memoryview]:
    """The bytes of an array as they are in the file, a few megabytes at a time; views wherever they can be."""
    if not entry.nbytes:
        return
    if array.flags.c_contiguous and array.dtype == entry.dtype:
        data = array.reshape(-1).view(np.uint8).data
        for at in range(0, len(data), CHUNK):
            yield data[at : at + CHUNK]
        return
    rows = max(1, CHUNK * array.shape[0] // entry.nbytes) if array.ndim else 1
    for block in (array[i : i + rows] for i in range(0, len(array), rows)) if array.ndim else (array,):
        yield np.ascontiguousarray(block, entry.dtype).reshape(-1).view(np.uint8).data


def _aligned_empty(entry: Entry) -> np.ndarray:
    """Uninitialised memory at a multiple of 64, which NumPy by itself does not promise."""
    block = np.empty(entry.nbytes + layout.ALIGNMENT, np.uint8)
    at = -block.ctypes.data % layout.ALIGNMENT
    return block[at : at + entry.nbytes].view(entry.dtype).reshape(entry.shape)


def _read_some(file: FileIO, nbytes: int) -> bytes:
    """The next ``nbytes`` bytes, fewer only where the file ends."""
    buffer = bytearray(nbytes)
    return bytes(memoryview(buffer)[: _read_into(file, memoryview(buffer))])


def _read_into(file: FileIO, view: memoryview) -> int:
    """Fill ``view`` and return how much of it was filled; a raw file may give less at a time."""
    done = 0
    while done < len(view):
        got = file.readinto(view[done:])
        if not got:
            break
        done += got
    return done


@lru_cache(maxsize=1)
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vsearch-ann")
    except PackageNotFoundError:
        return "unknown"
