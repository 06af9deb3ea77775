"""The lists of an IVF: runs of 32-vector blocks in one arena.

A *slot* is the row of a vector in the per-slot arrays; a *position* is its place in the arena, ``32 * block + lane``.

    list l        blocks list_block[l] .. list_block[l] + list_capacity[l] - 1, the first list_size[l] lanes in use
    block         the codes and factors of csrc/quantize/block.hpp, and last the slots of its 32 lanes (uint32)
    position[s]   where slot s is

Invariants: (1) runs do not overlap; (2) the lanes in use of a list are its first ones; (3) position[slot of lane p] ==
p for every lane in use; (4) a list that outgrows its run moves to the end of the arena with room for half as much
again, and the run it leaves is garbage until `compact`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from vsearch.kernels import core

BLOCK = 32
SLOT_BYTES = 4 * BLOCK
PLACE_BYTES = 8
"""Of a vector: its slot in the block, and the position that the slot has."""
COMPACT_AT = 0.5
"""Share of garbage in the arena at which `tidy` compacts it."""


def grown(array: np.ndarray, size: int) -> np.ndarray:
    """The array with at least `size` rows, doubled when it must be copied."""
    if len(array) >= size:
        return array
    fresh = np.zeros((max(size, len(array) * 3 // 2 + 8), *array.shape[1:]), dtype=array.dtype)
    fresh[: len(array)] = array
    return fresh


def aligned_rows(n: int, width: int) -> np.ndarray:
    """Zeros, uint8 (n, width), the first of them at a multiple of 64 bytes."""
    raw = np.zeros(n * width + 64, dtype=np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + n * width].reshape(n, width)


class BlockLists:
    """Runs of blocks, one for each list.

    `symbols` are the 4-bit symbols of a code, 0 where blocks hold slots alone; `columns` its factors, of `factor_size`
    bytes each.
    """

    def __init__(self, lists: int, symbols: int, columns: int = 2, factor_size: int = 4) -> None:
        self.symbols = symbols
        self.columns = columns if symbols else 0
        self.factor_size = factor_size
        self.block_bytes = core.block_bytes(symbols, self.columns, factor_size)
        self.blocks = np.zeros((0, self.block_bytes), dtype=np.uint8)
        self.list_block = np.zeros(lists, dtype=np.uint32)
        self.list_size = np.zeros(lists, dtype=np.uint32)
        self.list_capacity = np.zeros(lists, dtype=np.uint32)
        self.block_list = np.zeros(0, dtype=np.uint32)
        self.position = np.zeros(0, dtype=np.uint32)
        self.used = 0

    @property
    def slots(self) -> np.ndarray:
        """uint32 view (blocks, 32) of the slots at the end of every block."""
        return self.blocks[:, -SLOT_BYTES:].view(np.uint32)

    @property
    def nbytes(self) -> int:
        """Bytes of the arena in use, garbage included, and of the directory."""
        directory = self.list_block.nbytes * 3 + 4 * self.used
        return self.used * self.block_bytes + directory

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes the lists of a file; ValueError where they do not fit each other. The scan's `consistent` checks the
        rest."""
        blocks = arrays["lists.blocks"]
        if blocks.dtype != np.uint8 or blocks.ndim != 2 or blocks.shape[1] != self.block_bytes:
            raise ValueError(f"lists.blocks has dtype {blocks.dtype} and shape {blocks.shape}")
        self.blocks, self.used = blocks, len(blocks)
        self.list_block, self.list_size = arrays["lists.block"].copy(), arrays["lists.size"].copy()
        self.position = arrays["lists.position"].copy()
        runs = (self.list_size.astype(np.int64) + BLOCK - 1) // BLOCK
        ends = np.cumsum(runs)
        if int(runs.sum()) != len(blocks) or not (self.list_block == ends - runs).all():
            raise ValueError("the runs of the lists do not cover the blocks")
        self.list_capacity = runs.astype(np.uint32)
        self.block_list = np.repeat(np.arange(len(runs), dtype=np.uint32), runs)

    def own(self) -> None:
        """Copies blocks that belong to a read-only file, before they are changed."""
        if not self.blocks.flags.writeable:
            self.blocks = np.array(self.blocks)

    def reserve(self, list_sizes: np.ndarray, n: int) -> None:
        """Lays out empty lists with room for exactly `list_sizes` vectors: the start of a fit."""
        runs = (list_sizes.astype(np.int64) + BLOCK - 1) // BLOCK
        ends = np.cumsum(runs)
        self.used = int(ends[-1]) if len(ends) else 0
        self.blocks = np.zeros((self.used, self.block_bytes), dtype=np.uint8)
        self.list_block = (ends - runs).astype(np.uint32)
        self.list_capacity = runs.astype(np.uint32)
        self.list_size = np.zeros(len(runs), dtype=np.uint32)
        self.block_list = np.repeat(np.arange(len(runs), dtype=np.uint32), runs)
        self.position = np.zeros(n, dtype=np.uint32)

    def append(
        self,
        slots: np.ndarray,
        assign: np.ndarray,
        symbols: np.ndarray | None = None,
        factors: np.ndarray | None = None,
    ) -> None:
        """Puts new slots at the ends of their lists, with their symbols (n, symbols / 2) and factors (n, bytes), None
        where blocks hold slots alone."""
        if len(slots) == 0:
            return
        self.own()
        counts = np.bincount(assign, minlength=len(self.list_size))
        self._make_room(counts)
        order = np.argsort(assign, kind="stable")
        rank = np.empty(len(slots), dtype=np.int64)  # of each vector among the new ones of its list
        starts = np.cumsum(counts) - counts
        rank[order] = np.arange(len(slots)) - starts[assign[order]]
        positions = self.list_block[assign].astype(np.int64) * BLOCK + self.list_size[assign] + rank
        self.position = grown(self.position, int(slots.max()) + 1)
        self.position[slots] = positions
        if symbols is None or factors is None:
            self.slots[positions // BLOCK, positions % BLOCK] = slots
        else:
            self._write(positions, np.ascontiguousarray(slots, dtype=np.uint32), symbols, factors)
        self.list_size += counts.astype(np.uint32)

    def _write(self, positions: np.ndarray, slots: np.ndarray, symbols: np.ndarray, factors: np.ndarray) -> None:
        core.write_blocks(self.blocks, positions, slots, symbols, factors, self.factor_size)

    def read(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(slots, symbols, factors) at some positions, copied."""
        return core.read_blocks(self.blocks, self.symbols, self.columns, self.factor_size, positions)

    def change_factors(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Puts `change(factors)` in place of the factors of every vector, uint8 (n, columns * factor_size)."""
        self.own()
        owned = np.repeat(self.list_block.astype(np.int64) * BLOCK, self.list_size) + _ranges(self.list_size)
        slots, symbols, factors = self.read(owned)
        self._write(owned, slots, symbols, np.ascontiguousarray(change(factors)))

    def _make_room(self, counts: np.ndarray) -> None:
        needed = (self.list_size + counts + BLOCK - 1) // BLOCK
        for index in np.flatnonzero(needed > self.list_capacity):
            self._move_to_end(int(index), int(needed[index]) * 3 // 2)

    def _move_to_end(self, index: int, capacity: int) -> None:
        first, size = int(self.list_block[index]), int(self.list_size[index])
        run = -(-size // BLOCK)
        blocks = grown(self.blocks, self.used + capacity)
        self.blocks, self.block_list = blocks, grown(self.block_list, len(blocks))
        fresh = self.used
        self.blocks[fresh : fresh + run] = self.blocks[first : first + run]
        self.block_list[fresh : fresh + capacity] = index
        moved = self.slots[fresh : fresh + run].reshape(-1)[:size]
        self.position[moved] += np.uint32((fresh - first) * BLOCK)  # the last that may fail
        self.list_block[index], self.list_capacity[index] = fresh, capacity
        self.used += capacity

    def truncate(self, n: int) -> None:
        """Forgets slots from n on, the last of their lists, where an `append` failed at any point."""
        self.position = self.position[:n]
        owner = self.block_list[self.position // BLOCK]
        self.list_size[:] = np.bincount(owner, minlength=len(self.list_size))

    def remove(self, slots: np.ndarray) -> None:
        """Takes slots out of their lists; the last lanes of each list fill the holes."""
        self.own()
        gone = self.position[slots].astype(np.int64)
        owner = self.block_list[gone // BLOCK]
        order = np.lexsort((gone, owner))  # list by list, whatever the order of their runs in the arena
        gone, owner = gone[order], owner[order]
        lists, counts = np.unique(owner, return_counts=True)
        end = (
            self.list_block[lists].astype(np.int64) * BLOCK + self.list_size[lists] - counts
        )  # lanes below stay in use
        tails = np.repeat(end, counts) + _ranges(counts)
        # In each list as many holes lie below the end as lanes above it are still wanted.
        self._move_lanes(tails[~np.isin(tails, gone)], gone[gone < np.repeat(end, counts)])
        self.list_size[lists] -= counts.astype(np.uint32)

    def _move_lanes(self, source: np.ndarray, target: np.ndarray) -> None:
        if self.symbols:
            moved, symbols, factors = self.read(source)
            self._write(target, moved, symbols, factors)
        else:
            moved = self.slots[source // BLOCK, source % BLOCK]
            self.slots[target // BLOCK, target % BLOCK] = moved
        self.position[moved] = target

    def rename(self, old: np.ndarray, new: np.ndarray) -> None:
        """Slots `old` are called `new` from now on (their rows have moved); `new` must not be in any list."""
        at = self.position[old].astype(np.int64)
        self.slots[at // BLOCK, at % BLOCK] = new
        self.position[new] = at

    def garbage(self) -> float:
        """Share of the arena's blocks that no vector needs."""
        needed = int(((self.list_size.astype(np.int64) + BLOCK - 1) // BLOCK).sum())
        return 1 - needed / self.used if self.used else 0.0

    def tidy(self, n: int) -> None:
        """Compacts once half of the arena is garbage and there is memory to."""
        if self.garbage() > COMPACT_AT:
            with contextlib.suppress(MemoryError):
                self.compact(n)

    def compact(self, n: int) -> None:
        """Writes the runs one after another without slack, in list order."""
        runs = (self.list_size.astype(np.int64) + BLOCK - 1) // BLOCK
        first = np.cumsum(runs) - runs
        total = int(runs.sum())
        source = np.repeat(self.list_block.astype(np.int64) - first, runs) + np.arange(total)
        shift = np.repeat((first - self.list_block.astype(np.int64)) * BLOCK, self.list_size)
        lanes = np.repeat(self.list_block.astype(np.int64) * BLOCK, self.list_size) + _ranges(self.list_size)
        position = self.position[:n].copy()
        position[self.slots[lanes // BLOCK, lanes % BLOCK]] = lanes + shift
        blocks, block_list = self.blocks[source], np.repeat(np.arange(len(runs), dtype=np.uint32), runs)
        self.list_block, self.list_capacity = first.astype(np.uint32), runs.astype(np.uint32)
        self.position, self.blocks, self.block_list, self.used = position, blocks, block_list, total


def _ranges(sizes: np.ndarray) -> np.ndarray:
    """0..sizes[0]-1, 0..sizes[1]-1, ... one after another."""
    sizes = sizes.astype(np.int64)
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
