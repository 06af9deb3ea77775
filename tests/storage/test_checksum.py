"""CRC-32 in pieces and by threads is zlib's of the whole; strict JSON reads what it wrote and little else."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.storage import checksum, strict_json
from vsearch.storage.checksum import CHUNK, Crc32, combine, hashing_pool


@given(st.binary(), st.binary())
def test_combined_checksum_is_that_of_the_whole(a: bytes, b: bytes) -> None:
    assert combine(zlib.crc32(a), zlib.crc32(b), len(b)) == zlib.crc32(a + b)


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1])
def test_combined_checksum_of_long_pieces(size: int) -> None:
    a, b = random.Random(size).randbytes(1000), bytes(size)
    assert combine(zlib.crc32(a), zlib.crc32(b), size) == zlib.crc32(a + b)


@settings(deadline=None)
@given(st.lists(st.binary(), max_size=40))
def test_stream_by_threads_and_without(chunks: list[bytes]) -> None:
    want = f"{zlib.crc32(b''.join(chunks)):08x}"
    with hashing_pool(10 * CHUNK) as pool:
        for crc in (Crc32(), Crc32(pool)):
            for chunk in chunks:
                crc.update(memoryview(chunk))
            assert crc.digest() == want == crc.digest()


def test_threads_only_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksum.os, "cpu_count", lambda: 4)
    with hashing_pool(CHUNK) as pool:
        assert pool is None
    with hashing_pool(3 * CHUNK) as pool:
        assert pool is not None and pool._max_workers == 3

    def no_more(*args: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(checksum.ThreadPoolExecutor, "submit", no_more)
    with hashing_pool(3 * CHUNK) as pool:
        assert pool is None


TREES = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**64) + 1, 2**64 - 1) | st.floats(-1e300, 1e300) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(TREES)
def test_json_comes_back(tree: dict[str, Any]) -> None:
    text = strict_json.dump("meta", tree)
    assert strict_json.parse(text) == tree and text.isascii()
    assert strict_json.dump("meta", dict(reversed(tree.items()))) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "1", "null", '"a"', '{"a":1}x', '{"a":1,"a":1}', '{"a":{"b":1,"b":2}}', '{"a":NaN}',
        '{"a":-Infinity}',
        '{"a":' + "9" * 22 + "}", "{'a':1}", '{"a":01}', '{"a":"\n"}', "[" * 10**6, '{"a":' * 10**5,
        '{"a":' + "[" * 32 + "]" * 32 + "}", '{"a":[' + "[]," * 2**17 + "[]]}", "\ufeff{}",
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_json_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_json.parse(text)


def test_json_depth_counts_brackets_outside_strings() -> None:
    tree = {"a": "[" * 100, '"{\\': ['"[[[', "\\", '\\"[' * 50, "]"]}
    assert strict_json.parse(json.dumps(tree)) == tree
    assert strict_json.parse('{"a":' + "[" * 31 + "]" * 31 + "}") is not None
