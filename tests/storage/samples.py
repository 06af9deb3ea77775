"""What the tests of the container share: arrays to save, and a way to write what a later version might."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from vsearch.storage import header

MODES: list[dict[str, bool]] = [{}, {"mmap": True}, {"mmap": True, "check": False}]


def some_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "vectors": rng.standard_normal((7, 5)).astype(np.float32),
        "codes": rng.integers(0, 256, 77, np.uint8),
        "none": np.zeros((0, 5), np.float16),
        "one": np.array(-3, np.int64),
        "ids": rng.integers(0, 2**63, 9),
    }


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def split(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a file as a tree, and what follows it."""
    size = struct.unpack_from("<Q", raw)[0]
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def join(text: bytes, data: bytes) -> bytes:
    """A file whose header is ``text``, with a good checksum where the header has a place for it."""
    text += b" " * (-(8 + len(text)) % 64)
    raw = struct.pack("<Q", len(text)) + text
    at = 8 + len(header.MAGIC)
    if text.startswith(header.MAGIC):
        raw = raw[:at] + b"00000000" + raw[at + 8 :]
        raw = raw[:at] + header._digest(raw) + raw[at + 8 :]
    return raw + data


def with_metadata(path: Path, **changes: str) -> None:
    """Rewrite the metadata of a file, with a good checksum, as a later version might."""
    tree, data = split(path.read_bytes())
    tree["__metadata__"].update(changes)
    path.write_bytes(join(json.dumps(tree, separators=(",", ":")).encode(), data))
