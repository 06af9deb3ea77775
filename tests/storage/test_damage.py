"""Files as an accident or a forger leaves them: `FormatError`, or arrays that are right; never anything else.

Three kinds of damage. Accidents (every byte, every length) must be found without exception. Mutations of the header
with a good checksum, as only a forger makes them, may give other arrays, but only from the bytes of the file and only
of the size of the file. Random bytes must be refused.
"""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import MODES, join, same, some_arrays, split

from vsearch.errors import CorruptFileError, FormatError
from vsearch.storage import header
from vsearch.storage.container import Container, read, write

CHECKED = MODES[:2]


class Victim:
    """A good file, and a place where damaged ones are put; always the same one, for making files is slow."""

    def __init__(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        write(path, "flat", {"metric": "l2", "bits": 4, "lists": [1, 2, 3]}, arrays)
        self.path, self.good, self.file = path, path.read_bytes(), path.open("r+b", buffering=0)

    def put(self, raw: bytes) -> None:
        self.file.seek(0)
        self.file.write(raw)
        self.file.truncate()

    def read(self, raw: bytes, **mode: bool) -> Container | None:
        """What reading gives, None for a `FormatError`; anything else that it raises fails the test."""
        self.put(raw)
        message = ""
        try:
            return read(self.path, **mode)
        except FormatError as error:
            message = str(error)
        assert str(self.path) in message and len(message) < 400 + len(str(self.path))
        return None

    def __enter__(self) -> Victim:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    with Victim(tmp_path / "x.vsx", some_arrays()) as victim:
        yield victim


# --------------------------------------------------------------------------------------------------------- accidents


@pytest.mark.parametrize("mode", CHECKED)
def test_every_flipped_byte_is_found(victim: Victim, mode: dict[str, bool]) -> None:
    good = victim.good
    unseen = []
    for at in range(len(good)):
        for flip in (0xFF, 1 << at % 8):
            bad = bytearray(good)
            bad[at] ^= flip
            if victim.read(bytes(bad), **mode) is not None:
                unseen.append((at, flip))
    assert unseen == []


def test_every_flipped_bit_of_the_header_is_found_without_check(victim: Victim) -> None:
    good = victim.good
    end = 8 + struct.unpack_from("<Q", good)[0]
    for at in range(end):
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        assert victim.read(bytes(bad), mmap=True, check=False) is None, at
    for at in range(end, len(good)):  # the rest is not looked at
        bad = bytearray(good)
        bad[at] ^= 0xFF
        assert victim.read(bytes(bad), mmap=True, check=False) is not None, at


@pytest.mark.parametrize("mode", MODES)
def test_every_length_is_refused(victim: Victim, mode: dict[str, bool]) -> None:
    good = victim.good
    for length in range(len(good)):
        assert victim.read(good[:length], **mode) is None, length
    for extra in (1, 63, 64, 4096):
        assert victim.read(good + bytes(extra), **mode) is None, extra
        assert victim.read(good[:-8] + bytes(extra) + good[-8:], **mode) is None, extra


def test_damage_is_told_from_foreignness(victim: Victim) -> None:
    good = victim.good
    tail = " Restore it from a copy, or build it again."
    size = struct.unpack_from("<Q", good)[0]

    def flipped(at: int) -> bytes:
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]

    for raw, why in (
        (b"", "it is empty"),
        (good[:20], "it is cut short after 20 bytes"),
        (good[:200], "it is cut short within its header"),
        (good[:-1], "it is cut short by 1 bytes"),
        (good + b"x", "1 bytes follow its last array"),
        (flipped(0), "the length of its header is impossible"),
        (flipped(10), "the start of its header is unreadable"),
        (flipped(100), "its header does not match its checksum"),
        (flipped(8 + size), "array `vectors` does not match its checksum"),
        (flipped(8 + size + 7 * 5 * 4), "the padding at byte 140 of its data is not zero"),
        (flipped(len(good) - 1), "array `ids` does not match its checksum"),
    ):
        victim.put(raw)
        for mode in CHECKED:
            with pytest.raises(CorruptFileError) as caught:
                read(victim.path, **mode)
            assert str(caught.value) == f"`{victim.path}` is damaged: {why}.{tail}"


def test_swapped_arrays_are_found(tmp_path: Path) -> None:
    a, b = np.full(64, 1, np.uint8), np.full(64, 2, np.uint8)
    with Victim(tmp_path / "x.vsx", {"a": a, "b": b}) as victim:
        good = victim.good
        assert victim.read(good[:-128] + good[-64:] + good[-128:-64]) is None


def damaged(rng: random.Random, good: bytes) -> bytes:
    """One accident of a disk or a copy."""
    bad = bytearray(good)
    at = rng.randrange(len(bad))
    match rng.randrange(4):
        case 0:  # a byte
            bad[at] = (bad[at] + rng.randrange(1, 256)) % 256
        case 1:  # a sector of something else
            bad[at : at + 512] = rng.randbytes(len(bad[at : at + 512]))
        case 2:  # a page that was never written
            bad[at : at + 4096] = bytes(len(bad[at : at + 4096]))
        case 3:  # a piece left out
            del bad[at : at + rng.randrange(1, 5000)]
    return bytes(bad)


@pytest.mark.fuzz
def test_random_damage_of_a_larger_file_is_found(tmp_path: Path) -> None:
    rng = random.Random(0)
    arrays = {"a": np.random.default_rng(0).integers(0, 256, 300_000, np.uint8), "b": np.arange(999)}
    with Victim(tmp_path / "x.vsx", arrays) as victim:
        for _ in range(600):
            bad = damaged(rng, victim.good)
            assert bad == victim.good or victim.read(bad, mmap=rng.random() < 0.5) is None


@pytest.mark.fuzz
def test_random_bytes_are_refused(victim: Victim) -> None:
    rng = random.Random(1)
    for _ in range(1500):
        body = rng.randbytes(rng.randrange(600))
        start = (b"", struct.pack("<Q", rng.choice([0, 56, 120, 2**63, 2**64 - 1, len(body)])))[rng.randrange(2)]
        assert victim.read(start + header.MAGIC * rng.randrange(2) + body, mmap=rng.random() < 0.5) is None


# --------------------------------------------------------------------------------------------------------- forgeries

NUMBERS: list[Any] = [
    0, 1, -1, 2, 7, 63, 64, 65, 127, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**58, 2**60,
    2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**20, 1.0, 1.5, -0.0, 1e308, True, False, None, "1", "", [], {}, [1],
]  # fmt: skip
STRINGS = [
    "",
    "1",
    "0",
    "2",
    "-1",
    "{}",
    "[]",
    "{",
    "null",
    "NaN",
    '{"a":NaN}',
    "\u0000",
    "\ud800",
    "crc32",
    "x" * 5000,
]
NAMES = ["", "a", "ids", "__pad_0__", "__pad_1__", "__metadata__", "../x", "x" * 100, "\u00e9", "\u0000"]
TAGS = [*header.DTYPES, "BOOL", "U4", "", "f32", "O", "|O", "<f4", "F32 "]


def number(rng: random.Random, near: Any) -> Any:
    if type(near) is int and rng.random() < 0.5:
        return near + rng.choice([-64, -8, -1, 1, 8, 64, near])
    return rng.choice(NUMBERS)


def mutate_entry(rng: random.Random, tree: dict[str, Any]) -> None:
    """Change one thing of one array, or the set or order of arrays."""
    names = [name for name in tree if name != "__metadata__"]
    if not names:
        return
    name = rng.choice(names)
    entry = tree[name]
    act = rng.randrange(11)
    if not isinstance(entry, dict) or act == 0:
        tree[name] = rng.choice([*NUMBERS, {}, {"dtype": "U8"}])
    elif act == 1:
        entry["dtype"] = rng.choice([*TAGS, *NUMBERS])
    elif act in (2, 3) and isinstance(entry.get("shape"), list):
        shape = entry["shape"]
        if shape and rng.random() < 0.8:
            at = rng.randrange(len(shape))
            shape[at] = number(rng, shape[at])
        else:
            shape.insert(rng.randrange(len(shape) + 1), rng.choice(NUMBERS))
    elif act in (4, 5) and isinstance(entry.get("data_offsets"), list) and entry["data_offsets"]:
        at = rng.randrange(len(entry["data_offsets"]))
        entry["data_offsets"][at] = number(rng, entry["data_offsets"][at])
    elif act == 6:
        entry[rng.choice(["shape", "data_offsets"])] = rng.choice([*NUMBERS, [0] * rng.randrange(40), [[0], [0]]])
    elif act == 7:
        entry.pop(rng.choice(list(entry)), None) if entry else None
    elif act == 8:
        del tree[name]
    elif act == 9:
        tree[rng.choice(NAMES)] = tree.pop(name)
    else:
        other = rng.choice(names)
        tree[name], tree[other] = tree[other], tree[name]


def mutate_metadata(rng: random.Random, tree: dict[str, Any]) -> None:
    """Change one string of the metadata, or what is in it."""
    metadata = tree.get("__metadata__")
    if not isinstance(metadata, dict) or not metadata or rng.random() < 0.05:
        tree["__metadata__"] = rng.choice([*NUMBERS, {}])
        return
    key = rng.choice([key for key in metadata if key != "vsearch_header_crc32"] or ["kind"])
    act = rng.randrange(5)
    if act == 0:
        metadata[key] = rng.choice([*STRINGS, *NUMBERS])
    elif act == 1:
        metadata.pop(key, None)
    elif act == 2:
        metadata["meta"] = "[" * rng.choice([1, 40, 2000, 100_000]) + rng.choice(["", "]" * 40])
    elif act == 3 and isinstance(metadata.get(key), str) and metadata[key]:
        at = rng.randrange(len(metadata[key]))
        metadata[key] = metadata[key][:at] + rng.choice('0a"{}[]:,\\\u00ff') + metadata[key][at + 1 :]
    else:
        metadata[rng.choice(["requires", "meta", "checksums"])] = json.dumps({rng.choice(NAMES): rng.choice(NUMBERS)})


def mutate_text(rng: random.Random, text: bytes) -> bytes:
    """Change the JSON itself behind its start."""
    at = rng.randrange(len(header.MAGIC) + 9, len(text))
    act = rng.randrange(6)
    if act == 0:
        return text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
    if act == 1:
        return (
            text[:at]
            + rng.choice([b"[", b"{", b'{"a":', b'"', b"\\", b"[" * 5000, b"9" * 6000, b" ", b"\n"])
            + text[at:]
        )
    if act == 2:
        return text[:at]
    if act == 3:
        return text[:at] + text[at + rng.randrange(1, 60) :]
    if act == 4:
        end = at + rng.randrange(1, 200)
        return text[:end] + text[at:end] + text[end:]
    return text + rng.choice([b"{}", b" " * 64, b"\0" * 64, b"x"])


def forged(rng: random.Random, text: str, data: bytes) -> bytes:
    """A file with a few changes to its header, and a checksum that covers them up."""
    tree = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        rng.choice([mutate_entry, mutate_entry, mutate_metadata])(rng, tree)
    raw = json.dumps(tree, separators=(",", ":")).encode("ascii")
    if rng.random() < 0.25:
        raw = mutate_text(rng, raw)
    if rng.random() < 0.1:
        data = data[: rng.randrange(len(data))] if rng.random() < 0.5 else data + bytes(rng.randrange(200))
    return join(raw, data)


def is_sound(found: Container, raw: bytes, mapped: bool) -> bool:
    """Every array that a forgery gives is made of bytes of the file, and together they are no larger."""
    arrays = [array for array in found.arrays.values() if array.size]
    if sum(array.nbytes for array in arrays) > len(raw):
        return False
    return all(array.tobytes() in raw and array.flags.writeable != mapped for array in arrays)


def forge(victim: Victim, count: int, seed: int) -> tuple[int, int]:
    """How many of ``count`` forgeries were refused and how many read."""
    rng = random.Random(seed)
    tree, data = split(victim.good)
    text, refused = json.dumps(tree), 0
    for _ in range(count):
        raw = forged(rng, text, data)
        mode = rng.choice(MODES)
        found = victim.read(raw, **mode)
        refused += found is None
        assert found is None or is_sound(found, raw, "mmap" in mode)
    return refused, count - refused


@pytest.mark.fuzz
def test_forged_headers(victim: Victim) -> None:
    refused, read_ = forge(victim, 20_000, 0)
    assert refused > 10 * read_ > 0  # most mutations matter, and some do not: the generator reaches behind the checksum


@pytest.mark.fuzz
@pytest.mark.exhaustive
def test_many_forged_headers(victim: Victim) -> None:
    refused, read_ = forge(victim, 80_000, 1)
    assert refused > 10 * read_ > 0


def bomb(what: str, tree: dict[str, Any]) -> bytes:
    tree["__metadata__"]["meta"] = "{}"
    big = 2**62
    if what == "claims":
        tree["ids"] |= {"shape": [big], "data_offsets": [tree["ids"]["data_offsets"][0], big * 8]}
    elif what == "empty but wide":
        tree["none"] |= {"shape": [0, big, big]}
    elif what == "many lists":
        tree["__metadata__"]["meta"] = '{"a":[' + "[]," * 2_000_000 + "[]]}"
    elif what == "deep lists":
        tree["__metadata__"]["meta"] = '{"a":' + "[" * 3_000_000
    elif what == "deep strings":  # brackets within strings are no depth
        tree["__metadata__"]["meta"] = json.dumps({"a": '["\\' + "[{" * 1_000_000})
    elif what == "long number":
        return json.dumps(tree).replace('"none": {', '"none": {"x": ' + "9" * 3_000_000 + ",").encode()
    elif what == "many arrays":
        tree |= {f"a{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(70_000)}
    return json.dumps(tree, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "what", ["claims", "empty but wide", "many lists", "deep lists", "deep strings", "long number", "many arrays"]
)
def test_bombs_do_not_go_off(victim: Victim, what: str) -> None:
    tree, data = split(victim.good)
    raw = join(bomb(what, tree), data)
    tracemalloc.start()
    try:
        found = victim.read(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found is not None) == (what == "deep strings")
    assert peak < 20 * len(raw) + (1 << 20)


def test_header_may_not_be_longer_than_16_mb(victim: Victim) -> None:
    tree, data = split(victim.good)
    tree["__metadata__"]["remark"] = "x" * (16 << 20)
    assert victim.read(join(json.dumps(tree, separators=(",", ":")).encode(), data)) is None


def test_repeated_names_are_refused(victim: Victim) -> None:
    tree, data = split(victim.good)
    text = json.dumps(tree, separators=(",", ":")).encode()
    again = json.dumps({"one": tree["one"]}, separators=(",", ":")).encode()[1:]
    assert victim.read(join(text, data)) is not None
    assert victim.read(join(text[:-1] + b"," + again, data)) is None


@pytest.mark.parametrize("change", ["checksum", "gap", "misaligned"])
def test_each_relation_is_checked(victim: Victim, change: str) -> None:
    """Headers that hold together by themselves and not with the rest."""
    tree, data = split(victim.good)
    edits: dict[str, Callable[[], Any]] = {
        "checksum": lambda: tree["__metadata__"].update(checksum="md5"),
        "gap": lambda: tree.pop("__pad_0__"),
        "misaligned": lambda: tree["__pad_0__"].update(dtype="I8"),
    }
    edits[change]()
    assert victim.read(join(json.dumps(tree, separators=(",", ":")).encode(), data)) is None


def test_good_file_stays_good(victim: Victim) -> None:
    """The harness itself: an unchanged header that is taken apart and joined again is read."""
    tree, data = split(victim.good)
    found = victim.read(join(json.dumps(tree, separators=(",", ":")).encode(), data))
    assert found is not None and all(same(found.arrays[name], array) for name, array in some_arrays().items())
