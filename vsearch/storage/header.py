"""The header of a vsearch file: what is in the file, where, and how to know that it is whole.

    byte 0        8             8 + h (a multiple of 64)                                    end of file
         +--------+-------------+-----------+--------------+-----------+--------------+-- -  - --+
         | h, u64 | JSON header | array "a" | __pad_0__ U8 | array "b" | __pad_1__ U8 |          |
         +--------+-------------+-----------+--------------+-----------+--------------+-- -  - --+
                  {"__metadata__": {string: string}, "a": {"dtype", "shape", "data_offsets"}, ...} and spaces

Everything is little-endian and the layout is that of safetensors, so that other tools read the arrays. Its reader
refuses gaps and metadata that are not strings, hence the explicit padding and the JSON within strings. The metadata:

    vsearch_header_crc32   CRC-32 of the first 8 + h bytes with these eight digits as zeros; always first
    vsearch_format         the number of the format, `FORMAT`
    vsearch_version        the version of vsearch that wrote the file, for messages only
    kind                   what the arrays are together, such as "flat" or "ivf"
    requires               JSON object: features without which the file would be misread; unknown ones are refused
    checksum               "crc32"
    checksums              JSON object: array name -> eight hexadecimal digits
    meta                   JSON object: the parameters of whoever saved it
    (others)               ignored, so that later versions may add what earlier ones can do without

Invariants, checked here in Python's unbounded integers before anything is allocated:

1. The header is at most 16 MB of strict JSON (strict_json.py) and matches its checksum.
2. Entries lie in the order of the header, each begins where the one before ends, and the last ends with the file.
3. Each entry has exactly the bytes that its dtype and shape need, and each array begins at a multiple of 64.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from vsearch.errors import CorruptFileError, DTypeError, NewerFormatError, ParameterError
from vsearch.storage import strict_json

#: The format written, and the oldest one read. A reader for each number in between stays forever.
FORMAT = 1
OLDEST_FORMAT = 1
FEATURES: frozenset[str] = frozenset()

ALIGNMENT = 64
MAX_HEADER = 16 << 20
MAX_ARRAYS = 16384
MAX_DIMENSIONS = 8

#: safetensors' names of what we store, and what NumPy reads them as; it has no bfloat16, so that comes as uint16.
DTYPES = {
    "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8", "I64": "<i8",
    "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_TAGS = {np.dtype(code).str: tag for tag, code in DTYPES.items() if tag != "BF16"}

#: The first bytes after the length, up to the checksum of the header: by them a vsearch file is recognised.
MAGIC = b'{"__metadata__":{"vsearch_header_crc32":"'
_CRC_AT = 8 + len(MAGIC)
_ZEROS = b"00000000"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
_KIND = re.compile(r"[a-z][a-z0-9_.\-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{8}")
_VERSION = re.compile(r"[0-9A-Za-z.+\-]{1,32}")


@dataclass(frozen=True)
class Entry:
    """One array, or the padding before one; ``begin`` counts bytes from the end of the header."""

    name: str
    tag: str
    shape: tuple[int, ...]
    begin: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """What NumPy reads it as."""
        return np.dtype(DTYPES[self.tag])

    @cached_property
    def nbytes(self) -> int:
        """Its size in the file."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.begin + self.nbytes

    @property
    def is_padding(self) -> bool:
        """Whether it only fills the gap before an array."""
        return self.name.startswith("__pad_")


@dataclass
class Header:
    """What a file holds; `encode` and `decode` lead from here to bytes and back."""

    kind: str
    meta: dict[str, Any]
    entries: list[Entry]
    checksums: dict[str, str] = field(default_factory=dict)
    version: str = "unknown"

    @property
    def data_nbytes(self) -> int:
        """The bytes that follow the header."""
        return self.entries[-1].end if self.entries else 0


def plan(arrays: Mapping[str, np.ndarray], bf16: frozenset[str] = frozenset()) -> list[Entry]:
    """Lay arrays out one after the other, with padding where the next would not be aligned."""
    if len(arrays) > MAX_ARRAYS or not bf16 <= arrays.keys():
        stray = sorted(bf16 - arrays.keys())
        what = f"have `{stray[0]}`, which `bf16` names" if stray else f"be at most {MAX_ARRAYS}; got {len(arrays)}"
        raise ParameterError(f"`arrays` must {what}.")
    entries: list[Entry] = []
    at = padding = 0
    for name, array in arrays.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ParameterError(f"an array's name must be a letter, then up to 63 of [A-Za-z0-9_.-]; got {name!r}.")
        tag = _TAGS.get(array.dtype.newbyteorder("<").str)
        if tag is None or (name in bf16 and tag != "U16") or array.ndim > MAX_DIMENSIONS:
            wanted = "uint16, holding bfloat16" if name in bf16 else "an int or a float of up to 64 bits"
            raise DTypeError(
                f"array `{name}` must be {wanted}, with at most {MAX_DIMENSIONS} dimensions; "
                f"got dtype {array.dtype} and shape {array.shape}."
            )
        if at % ALIGNMENT:
            entries.append(Entry(f"__pad_{padding}__", "U8", (-at % ALIGNMENT,), at))
            padding += 1
            at = entries[-1].end
        entries.append(Entry(name, "BF16" if name in bf16 else tag, tuple(map(int, array.shape)), at))
        at = entries[-1].end
    return entries


def encode(header: Header) -> bytes:
    """The length, the JSON and its checksum. The size does not depend on the digits of the checksums."""
    if not isinstance(header.kind, str) or not _KIND.fullmatch(header.kind):
        raise ParameterError(f"`kind` must be a lower-case letter, then up to 63 of [a-z0-9_.-]; got {header.kind!r}.")
    metadata = {
        "vsearch_header_crc32": _ZEROS.decode(),
        "vsearch_format": str(FORMAT),
        "vsearch_version": header.version,
        "kind": header.kind,
        "requires": "{}",
        "checksum": "crc32",
        "checksums": strict_json.dump("checksums", header.checksums),
        "meta": strict_json.dump("meta", header.meta),
    }
    tree: dict[str, Any] = {"__metadata__": metadata}
    for entry in header.entries:
        tree[entry.name] = {"dtype": entry.tag, "shape": entry.shape, "data_offsets": (entry.begin, entry.end)}
    text = json.dumps(tree, separators=(",", ":")).encode("ascii")
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise ParameterError(f"`meta` must fit a header of {MAX_HEADER} bytes; got {len(text)}. Store arrays instead.")
    raw = struct.pack("<Q", len(text)) + text
    return raw[:_CRC_AT] + _digest(raw) + raw[_CRC_AT + 8 :]


def decode(raw: bytes, data_nbytes: int, path: str) -> Header:
    """Read the first 8 + h bytes of a file in which ``data_nbytes`` follow; the caller has seen `MAGIC`."""
    if raw[_CRC_AT : _CRC_AT + 8] != _digest(raw[:_CRC_AT] + _ZEROS + raw[_CRC_AT + 8 :]):
        corrupt(path, "its header does not match its checksum")
    tree = _parse(raw[8:], path, "its header")
    metadata = tree.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        corrupt(path, "its metadata are not strings")
    version = metadata.get("vsearch_version", "")
    version = version if _VERSION.fullmatch(version) else "unknown"
    _check_format(metadata, version, path)
    if not _KIND.fullmatch(metadata.get("kind", "")) or metadata.get("checksum") != "crc32":
        corrupt(path, "its header does not say what kind of file it is, or how to check it")
    meta = _parse(metadata.get("meta", ""), path, "its list of parameters")
    checksums = _parse(metadata.get("checksums", ""), path, "its list of checksums")
    header = Header(metadata["kind"], meta, _entries(tree, path), checksums, version)
    names = {entry.name for entry in header.entries if not entry.is_padding}
    if checksums.keys() != names or not all(isinstance(x, str) and _DIGEST.fullmatch(x) for x in checksums.values()):
        corrupt(path, "its arrays and its checksums do not belong together")
    if header.data_nbytes > data_nbytes:
        corrupt(path, f"it is cut short by {header.data_nbytes - data_nbytes} bytes")
    if header.data_nbytes < data_nbytes:
        corrupt(path, f"{data_nbytes - header.data_nbytes} bytes follow its last array")
    return header


def corrupt(path: str, why: str) -> NoReturn:
    """Refuse a damaged file, in the one form that all such refusals have."""
    raise CorruptFileError(f"`{path}` is damaged: {why}. Restore it from a copy, or build it again.")


def _check_format(metadata: dict[str, str], version: str, path: str) -> None:
    """Refuse what was written by a version that knew more."""
    number = metadata.get("vsearch_format", "")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        corrupt(path, "it has no format number")
    wayout = f"It was written by vsearch {version}: install that version or a later one."
    if int(number) > FORMAT:
        readable = f"formats {OLDEST_FORMAT} to {FORMAT}" if OLDEST_FORMAT < FORMAT else f"format {FORMAT}"
        raise NewerFormatError(f"`{path}` has format {number}, and this vsearch reads {readable}. {wayout}")
    for feature in _parse(metadata.get("requires", "{}"), path, "its list of features"):
        if feature not in FEATURES:
            raise NewerFormatError(f"`{path}` needs {feature[:64]!r}, which this vsearch does not know. {wayout}")


def _entries(tree: dict[str, Any], path: str) -> list[Entry]:
    """The entries of the header, each checked by itself and against its neighbours."""
    entries: list[Entry] = []
    at = padding = 0
    for name, spec in tree.items():
        entry = _entry(name, spec, path)
        if spec["data_offsets"] != [at, at + entry.nbytes]:
            corrupt(path, f"its entry {name[:64]!r} is not where, or not as long as, it should be")
        if at % ALIGNMENT:
            if (name, entry.tag, entry.shape) != (f"__pad_{padding}__", "U8", (-at % ALIGNMENT,)):
                corrupt(path, f"its entry {name[:64]!r} should be padding")
            padding += 1
        elif not _NAME.fullmatch(name):
            corrupt(path, f"its entry {name[:64]!r} has no proper name")
        entries.append(entry)
        at = entry.end
    if len(entries) - padding > MAX_ARRAYS or (entries and entries[-1].is_padding):
        corrupt(path, "it has too many entries, or ends in padding")
    return entries


def _entry(name: str, spec: Any, path: str) -> Entry:
    """One entry, with numbers that are safe to calculate with."""
    if not isinstance(spec, dict) or spec.keys() != {"dtype", "shape", "data_offsets"}:
        corrupt(path, f"its entry {name[:64]!r} is incomplete")
    if not isinstance(spec["dtype"], str) or spec["dtype"] not in DTYPES:
        corrupt(path, f"its entry {name[:64]!r} has an unknown dtype")
    shape, offsets = spec["shape"], spec["data_offsets"]
    for numbers, length in ((shape, MAX_DIMENSIONS), (offsets, 2)):
        if not isinstance(numbers, list) or len(numbers) > length or any(type(x) is not int or x < 0 for x in numbers):
            corrupt(path, f"its entry {name[:64]!r} has an impossible shape or place")
    # Of an empty array NumPy still multiplies the other dimensions.
    if len(offsets) != 2 or math.prod(max(x, 1) for x in shape) > 1 << 58:
        corrupt(path, f"its entry {name[:64]!r} has an impossible shape or place")
    return Entry(name, spec["dtype"], tuple(shape), offsets[0])


def _parse(text: bytes | str, path: str, what: str) -> dict[str, Any]:
    try:
        return strict_json.parse(text.decode("ascii") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError):
        corrupt(path, f"{what} cannot be read")


def _digest(raw: bytes) -> bytes:
    return f"{zlib.crc32(raw):08x}".encode("ascii")
