"""IdMap against a list: whatever is added and removed in whatever steps, both name the same vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vsearch.errors import DuplicateIdError, UnknownIdError
from vsearch.index import idmap
from vsearch.index.idmap import IdMap

TOP = 2**63 - 1

#: Few small ids, so that they meet again, and the extremes.
ONE_ID = st.one_of(st.integers(0, 60), st.integers(0, TOP), st.sampled_from([TOP, TOP - 1, 2**31, 2**32, 2**53]))


def array(ids: object) -> np.ndarray:
    return np.array(ids, np.int64).reshape(-1)


def agrees(ids: IdMap, model: list[int]) -> None:
    """Every answer of ``ids`` is that of the list of ids by slot."""
    n = len(model)
    assert len(ids) == n
    assert ids.largest == max(model, default=-1)
    assert ids.ids_by_slot.tolist() == model and ids.ids_by_slot.dtype == np.int64
    assert ids.sorted_ids.tolist() == sorted(model)
    order = ids.slot_of_sorted
    assert (list(range(n)) if order is None else order.tolist()) == sorted(range(n), key=model.__getitem__)
    assert (order is None) == (model == sorted(model))
    assert ids.slots(array(model)).tolist() == list(range(n))
    assert ids.slots(array(model[::-1])).tolist() == list(range(n))[::-1]


class Walk(RuleBasedStateMachine):
    """Random histories."""

    @initialize(
        first=st.one_of(st.lists(ONE_ID, unique=True), st.integers(0, 40).map(range).map(list)), copy=st.booleans()
    )
    def start(self, first: list[int], copy: bool) -> None:
        self.given = array(first)
        self.given.flags.writeable = False  # as in a mapped file
        self.ids = IdMap(self.given, copy=copy)
        self.model = list(first)
        self.first = list(first)

    @rule(new=st.lists(ONE_ID, unique=True, max_size=20))
    def append(self, new: list[int]) -> None:
        fresh = [i for i in new if i not in self.model]
        slots = self.ids.append(array(fresh))
        assert slots.tolist() == list(range(len(self.model), len(self.model) + len(fresh)))
        self.model += fresh

    @rule(m=st.integers(0, 10))
    def append_next(self, m: int) -> None:
        start = self.ids.largest + 1
        if start + m <= TOP:
            self.ids.append(np.arange(start, start + m, dtype=np.int64))
            self.model += range(start, start + m)

    @rule(new=st.lists(ONE_ID, min_size=1, max_size=5))
    def append_what_is_there(self, new: list[int]) -> None:
        if len(set(new)) == len(new) and not set(new) & set(self.model):
            return
        with pytest.raises(DuplicateIdError):
            self.ids.append(array(new))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        n = len(self.model)
        slots = data.draw(st.lists(st.integers(0, n - 1), unique=True)) if n else []
        moved_from, moved_to = self.ids.remove(array(slots))
        left = n - len(slots)
        assert len(moved_from) == len(moved_to)
        assert moved_from.tolist() == sorted(set(range(left, n)) - set(slots))
        assert moved_to.tolist() == sorted(s for s in slots if s < left)
        for source, hole in zip(moved_from, moved_to):
            self.model[hole] = self.model[source]
        del self.model[left:]

    @rule(asked=st.lists(ONE_ID, max_size=10))
    def ask(self, asked: list[int]) -> None:
        here = [i for i in asked if i in self.model]
        absent = [i for i in asked if i not in self.model]
        assert self.ids.contains_any(array(asked)) == (here[0] if here else None)
        assert self.ids.slots(array(here)).tolist() == [self.model.index(i) for i in here]
        if absent:
            with pytest.raises(UnknownIdError) as caught:
                self.ids.slots(array(asked))
            assert str(caught.value) == f"id {absent[0]} is not in the index."

    @rule()
    def check_all(self) -> None:  # a rule and no invariant: asking builds caches, and not asking is a state too
        agrees(self.ids, self.model)

    @invariant()
    def is_as_long_as_the_model(self) -> None:
        if hasattr(self, "ids"):
            assert len(self.ids) == len(self.model)
            assert self.given.tolist() == self.first

    def teardown(self) -> None:
        if hasattr(self, "ids"):
            agrees(self.ids, self.model)


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


@given(st.lists(ONE_ID))
def test_repeated_ids_are_refused(ids: list[int]) -> None:
    if len(set(ids)) == len(ids):
        agrees(IdMap(array(ids)), ids)
    else:
        with pytest.raises(DuplicateIdError, match=r"^id \d+ occurs twice\.$"):
            IdMap(array(ids))


def test_contiguous_ids_need_no_table() -> None:
    ids = IdMap(np.arange(1000))
    ids.append(np.arange(1000, 1500))
    ids.slots(array([0, 1499]))
    ids.remove(ids.slots(array([1499, 1498])))
    assert ids.contains_any(array([1498, 1499, 1500])) is None
    assert ids.nbytes == 8 * 1498 and ids.slot_of_sorted is None
    with pytest.raises(UnknownIdError, match=r"^id 1498 is not in the index\.$"):
        ids.slots(array([3, 1498]))


def test_memory_stays_compact() -> None:
    ids = IdMap(np.random.default_rng(0).permutation(100_000) * 1000)
    ids.slots(array([0]))
    assert ids.nbytes <= 28 * len(ids)


def test_given_array_is_copied_or_left_alone() -> None:
    mine = array([5, 3, 9])
    ids = IdMap(mine)
    mine[:] = 0
    agrees(ids, [5, 3, 9])
    mapped = array([5, 3, 9])
    mapped.flags.writeable = False
    ids = IdMap(mapped, copy=False)
    assert np.shares_memory(ids.ids_by_slot, mapped)
    ids.remove(array([2]))
    ids.append(array([1]))
    ids.remove(array([0]))
    agrees(ids, [1, 3])
    assert mapped.tolist() == [5, 3, 9]


def test_growing_by_ones_moves_little() -> None:
    """Amortised: the table is made anew, and the ids are copied, only every so often."""
    ids = IdMap(array([7, 3]))
    buffers, tables = set(), set()
    for i in range(3000):
        ids.append(array([10**6 - i]))
        ids.slots(array([7]))
        buffers.add(ids._ids.__array_interface__["data"][0])
        tables.add(id(ids._table))
    assert len(buffers) < 30 and len(tables) < 15
    agrees(ids, [7, 3, *range(10**6, 10**6 - 3000, -1)])


def test_replacing_one_by_one_does_not_fill_the_table_with_tombstones() -> None:
    model = list(range(1, 200))
    ids = IdMap(array(model))
    for i in range(3000):
        ids.remove(ids.slots(array([model[0]])))
        model[0] = model[-1]
        model.pop()
        ids.append(array([1000 + i]))
        model.append(1000 + i)
    agrees(ids, model)
    assert len(ids._table) <= 1024


def test_any_key_gives_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    start = rng.permutation(500)[:300]
    for key in (0, 1, 2**64 - 1, 12345):
        monkeypatch.setattr(idmap, "_KEY", np.uint64(key))
        ids = IdMap(start)
        ids.remove(np.arange(0, 300, 3))
        agrees(ids, ids.ids_by_slot.tolist())


def test_colliding_ids_only_cost_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All ids in one chain: the worst case is slow, and right."""
    monkeypatch.setattr(idmap, "_hash", lambda ids, table: np.full(len(ids), len(table) - 2))
    ids = IdMap(array([9, 4, 77, 3]))
    agrees(ids, [9, 4, 77, 3])
    ids.remove(array([1, 2]))
    ids.append(array([4, 5]))
    agrees(ids, [9, 3, 4, 5])
