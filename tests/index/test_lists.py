"""BlockLists against a dictionary: whatever is put in, taken out, renamed and compacted, both hold the same."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vsearch.index.lists import BLOCK, BlockLists, grown
from vsearch.kernels import core

SYMBOLS = 4


def codes_of(tags: list[int], lists: BlockLists, factor: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and factors that can be told apart: everything that is stored for a vector follows from its tag."""
    tag = np.array(tags, np.int64)
    symbols = np.stack([tag & 255, tag >> 8 & 255], axis=1).astype(np.uint8)
    dtype = np.float32 if lists.factor_size == 4 else np.float16
    columns = [(tag % 2000 * (-1) ** i + i) * factor for i in range(lists.columns)]
    factors = np.stack(columns, axis=1).astype(dtype).view(np.uint8) if columns else np.zeros((len(tag), 0), np.uint8)
    return symbols, factors


class Walk(RuleBasedStateMachine):
    """Random histories of lists that hold codes, or slots alone.

    The model is a dict of slot -> (list, tag). As in an index, slots are 0 .. n-1 between operations: what is removed
    is replaced by the last slots.
    """

    @initialize(
        layout=st.sampled_from([(0, 2, 4), (SYMBOLS, 2, 4), (SYMBOLS, 3, 4), (SYMBOLS, 1, 2), (SYMBOLS, 3, 2)]),
        lists=st.integers(1, 5),
        first=st.lists(st.integers(0, 4), max_size=150),
    )
    def start(self, layout: tuple[int, int, int], lists: int, first: list[int]) -> None:
        self.layout = layout
        self.lists = BlockLists(lists, *layout)
        self.count, self.tags, self.factor = lists, 0, 1
        assign = np.array(first, np.int64) % lists
        self.lists.reserve(np.bincount(assign, minlength=lists), len(assign))
        self.model: dict[int, tuple[int, int]] = {}
        blocks = len(self.lists.blocks)
        self.put(assign)
        assert len(self.lists.blocks) == blocks and self.lists.garbage() == 0  # what was reserved was enough

    def put(self, assign: np.ndarray) -> None:
        slots = np.arange(len(self.model), len(self.model) + len(assign))
        tags = list(range(self.tags, self.tags + len(assign)))
        self.tags += len(assign)
        coded = codes_of(tags, self.lists, self.factor) if self.lists.symbols else (None, None)
        self.lists.append(slots, assign.astype(np.uint32), *coded)
        self.model |= {int(s): (int(a), t) for s, a, t in zip(slots, assign, tags)}

    @rule(assign=st.lists(st.integers(0, 4), max_size=100))
    def append(self, assign: list[int]) -> None:
        self.put(np.array(assign, np.int64) % self.count)

    @rule(list_=st.integers(0, 4), m=st.integers(1, 70))
    def append_to_one(self, list_: int, m: int) -> None:
        self.put(np.full(m, list_ % self.count))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), share=st.sampled_from([0.02, 0.3, 0.9, 1.0]))
    def remove(self, data: Any, share: float) -> None:
        n = len(self.model)
        m = max(1, int(n * share))
        gone = np.array(data.draw(st.permutations(range(n)))[:m])
        left = n - m
        self.lists.remove(gone)
        moved_from = np.setdiff1d(np.arange(left, n), gone)
        moved_to = np.sort(gone[gone < left])
        if len(moved_from):
            self.lists.rename(moved_from.astype(np.uint32), moved_to.astype(np.uint32))
        for slot in gone:
            del self.model[int(slot)]
        for old, new in zip(moved_from, moved_to):
            self.model[int(new)] = self.model.pop(int(old))

    @precondition(lambda self: self.lists.symbols and self.factor < 8)
    @rule()
    def double_the_factors(self) -> None:
        dtype = np.float32 if self.lists.factor_size == 4 else np.float16
        self.lists.change_factors(lambda stored: (stored.view(dtype) * dtype(2)).view(np.uint8))
        self.factor *= 2

    @rule()
    def compact(self) -> None:
        self.lists.compact(len(self.model))
        assert self.lists.garbage() == 0 and self.lists.used == len(self.lists.blocks)
        assert (np.diff(self.lists.list_block.astype(np.int64)) >= 0).all()

    @rule(writeable=st.booleans())
    def save_and_load(self, writeable: bool) -> None:
        n = len(self.model)
        self.lists.compact(n)
        arrays = {
            "lists.block": self.lists.list_block, "lists.size": self.lists.list_size,
            "lists.blocks": self.lists.blocks[: self.lists.used].copy(), "lists.position": self.lists.position[:n],
        }  # fmt: skip
        for array in arrays.values():
            array.flags.writeable = writeable  # a mapped file is not
        self.lists = BlockLists(self.count, *self.layout)
        self.lists.restore(arrays)

    @invariant()
    def agrees(self) -> None:
        lists, model = self.lists, self.model
        sizes = np.bincount([owner for owner, _ in model.values()], minlength=self.count)
        assert lists.list_size.tolist() == sizes.tolist()
        runs = -(-sizes // BLOCK)
        assert (runs <= lists.list_capacity).all()
        spans = sorted(zip(lists.list_block.tolist(), lists.list_capacity.tolist()))
        spans = [(first, length) for first, length in spans if length]
        assert all(a + length <= b for (a, length), (b, _) in pairwise(spans))  # runs do not overlap
        assert lists.used <= len(lists.blocks) and (not spans or sum(spans[-1]) <= lists.used)
        position = lists.position[: len(model)].astype(np.int64)
        for slot, (owner, _) in model.items():
            lane = position[slot] - int(lists.list_block[owner]) * BLOCK
            assert 0 <= lane < sizes[owner]  # the lanes in use are the first ones
            assert lists.block_list[position[slot] // BLOCK] == owner
            assert lists.slots[position[slot] // BLOCK, position[slot] % BLOCK] == slot
        assert len(set(position.tolist())) == len(model)
        if lists.symbols and model:
            given = codes_of([model[slot][1] for slot in range(len(model))], lists, self.factor)
            for found in (lists.read(position), core.read_blocks(lists.blocks, *self.layout, position)):
                assert np.array_equal(found[0], np.arange(len(model)))
                assert np.array_equal(found[1], given[0]) and np.array_equal(found[2], given[1])
        assert 0 <= lists.garbage() <= 1
        assert lists.nbytes >= lists.used * lists.block_bytes


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


def test_growing_one_list_costs_little_room_and_few_moves() -> None:
    lists = BlockLists(3, 0)
    lists.reserve(np.array([40, 40, 40]), 120)
    lists.append(np.arange(120), np.repeat(np.arange(3, dtype=np.uint32), 40))
    moves, before = 0, lists.list_block[1]
    for slot in range(120, 5120):
        lists.append(np.array([slot]), np.array([1], np.uint32))
        moves += int(lists.list_block[1] != before)
        before = lists.list_block[1]
    assert moves < 20 and lists.used < 4 * 5120 / BLOCK
    lists.compact(5120)
    assert lists.used == -(-5040 // BLOCK) + 2 * 2


def test_nothing_is_put_into_or_taken_out_of_nothing() -> None:
    lists = BlockLists(2, SYMBOLS)
    lists.reserve(np.zeros(2, np.int64), 0)
    none = np.zeros(0, np.int64)
    lists.append(none, none.astype(np.uint32), *codes_of([], lists))
    lists.change_factors(lambda stored: stored)
    lists.compact(0)
    assert lists.used == 0 and lists.garbage() == 0 and lists.nbytes == lists.list_block.nbytes * 3


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("lists.blocks", np.zeros((1, 127), np.uint8)),
        ("lists.blocks", np.zeros((1, 128), np.int8)),
        ("lists.blocks", np.zeros((2, 128), np.uint8)),
        ("lists.size", np.array([1, 64], np.uint32)),
        ("lists.block", np.array([0, 0], np.uint32)),
    ],
)
def test_lists_that_do_not_cover_their_blocks_are_refused(name: str, bad: np.ndarray) -> None:
    arrays = {
        "lists.block": np.array([0, 1], np.uint32), "lists.size": np.array([1, 0], np.uint32),
        "lists.blocks": np.zeros((1, 128), np.uint8), "lists.position": np.zeros(1, np.uint32),
    }  # fmt: skip
    lists = BlockLists(2, 0)
    lists.restore(arrays)
    assert lists.used == 1
    with pytest.raises(ValueError, match="lists"):
        BlockLists(2, 0).restore(arrays | {name: bad})


def test_grown_keeps_what_is_there() -> None:
    array = np.arange(6).reshape(3, 2)
    assert grown(array, 3) is array
    larger = grown(array, 4)
    assert len(larger) >= 4 and np.array_equal(larger[:3], array) and not larger[3:].any()
