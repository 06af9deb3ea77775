"""Codes of vectors, and the factors beside them in the two forms in which they are stored.

An index of many lists keeps float32 factors of the symbols in its blocks and those of the whole code beside the extra
bits. Where there is one list, whose centroid is the mean, the two differ by a constant, and `CompactFactors` keeps one
set in 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

ADD, RESCALE, SHIFT = 1, 2, 4
"""Bits of a set of columns; columns are stored in this order."""
LARGEST = 60000.0
"""Most that a stored deviation may be, of the 65,504 of f16."""


@dataclass
class Encoded:
    """What a codec's `encode` returns for n residuals.

    Attributes
    ----------
    symbols : uint8 (n, symbols / 2), two 4-bit symbols a byte, the lower nibble first
    extra : uint8 (n, extra_bytes), the bits that are no symbols
    first, full : float32 (n, 3), factors (add, rescale, shift) of the symbols and of the whole code
    spreads : float32 (n, 2), error spread of the symbols' and of the whole code's estimate
    """

    symbols: np.ndarray
    extra: np.ndarray
    first: np.ndarray
    full: np.ndarray
    spreads: np.ndarray

    def __len__(self) -> int:
        return len(self.symbols)

    def rows(self, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(symbols, factors, extra rows) as an index of many lists stores them, all uint8."""
        picked = [i for i in range(3) if columns >> i & 1]
        factors = np.ascontiguousarray(self.first[:, picked]).view(np.uint8)
        if self.extra.shape[1] == 0:
            return self.symbols, factors, self.extra
        header = np.ascontiguousarray(self.full[:, picked]).view(np.uint8)
        return self.symbols, factors, np.concatenate([header, self.extra], axis=1)


@dataclass
class CompactFactors:
    """Factors of whole codes in 16 bits: column i holds h in f16 for the factor low[i] + step[i] h.

    low is the median: factors of one set of vectors are alike, and f16 is some ten times finer for what they differ by
    than for themselves, and still holds one that is thousands of times larger.

    Attributes
    ----------
    columns : which are stored (ADD, RESCALE, SHIFT); of the others `low` is the factor
    low, step : float32 (3,)
    norm2, norm2_add : |o|^2 = norm2 + norm2_add * add, where it can be had so; norm2_add = 0 where not
    ratio : rescale of the symbols' estimate over rescale of the whole code's, on average
    root : rescale of the symbols' estimate over |o|, on average; 0 where `ratio` is nearer
    wobble : standard deviation of the relative error of rescale by ratio or root
    spreads : the mean error spreads
    """

    columns: int
    low: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=np.float32))
    step: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=np.float32))
    norm2: float = 0.0
    norm2_add: float = 0.0
    ratio: float = 1.0
    root: float = 0.0
    wobble: float = 0.0
    spreads: np.ndarray = field(default_factory=lambda: np.zeros(2))
    count: int = 0

    @property
    def picked(self) -> list[int]:
        """Indexes of the stored columns."""
        return [i for i in range(3) if self.columns >> i & 1]

    def as_array(self) -> np.ndarray:
        """What the scan takes: float32 (11,)."""
        rest = [self.ratio, self.root, self.norm2, self.norm2_add, self.wobble]
        return np.concatenate([self.low, self.step, rest]).astype(np.float32)

    def restore(self, array: np.ndarray, spreads: np.ndarray, count: int) -> None:
        """Takes what `as_array` gave, with the spreads and number of vectors that belong to it."""
        if not (array[3:6] >= 0).all() or array[10] < 0:
            raise ValueError("the steps of compact factors are negative")
        self.low, self.step, self.spreads, self.count = array[:3].copy(), array[3:6].copy(), spreads, count
        self.ratio, self.root, self.norm2, self.norm2_add, self.wobble = (float(x) for x in array[6:])

    def widened(self, encoded: Encoded) -> CompactFactors | None:
        """These with room for more codes, None where there is room already."""
        if not len(encoded) or not self.picked:
            return None
        full = encoded.full.astype(np.float64)
        low = np.where(self.count > 0, self.low, np.median(full, axis=0))
        apart = np.abs(full - low)
        step = self.step.astype(np.float64)
        if self.count == 0:
            step = np.exp2(np.ceil(np.log2(np.maximum(np.median(apart, axis=0), 1e-30))))
        needed = np.exp2(np.ceil(np.log2(np.maximum(apart.max(axis=0), 1e-30) / LARGEST)))
        wanted = np.maximum(step, needed)
        if self.count and (wanted == step)[self.picked].all():
            return None
        wide = replace(self, low=self.low.copy(), step=self.step.copy())
        for i in self.picked:
            wide.low[i], wide.step[i] = low[i], wanted[i]
        return wide

    def learn(self, encoded: Encoded, norms: np.ndarray) -> None:
        """Takes the ratio and the spreads of these codes into the means; `norms` are the lengths of their residuals."""
        if not len(encoded):
            return
        first, full = encoded.first[:, 1].astype(np.float64), encoded.full[:, 1].astype(np.float64)
        usable = (full != 0) & (first != 0)
        weight = len(encoded) / (self.count + len(encoded))
        if usable.any():
            to_code, to_norm = first[usable] / full[usable], first[usable] / norms[usable]
            by_norm = self.root != 0
            if self.count == 0:
                by_norm = self.norm2_add != 0 and _variation(to_norm) < _variation(to_code)
            self.ratio = (1 - weight) * self.ratio + weight * float(to_code.mean())
            self.root = (1 - weight) * self.root + weight * float(to_norm.mean()) if by_norm else 0.0
            error = to_norm / self.root - 1 if by_norm else to_code / self.ratio - 1
            self.wobble = (1 - weight) * self.wobble + weight * float(np.sqrt((error**2).mean()))
        self.spreads = (1 - weight) * self.spreads + weight * encoded.spreads.mean(axis=0, dtype=np.float64)
        self.count += len(encoded)

    def store(self, full: np.ndarray) -> np.ndarray:
        """Stored form of factors (n, 3): uint8 (n, 2 * columns)."""
        step = np.where(self.step > 0, self.step, 1).astype(np.float64)
        apart = ((full.astype(np.float64) - self.low) / step)[:, self.picked]
        return np.ascontiguousarray(apart.astype(np.float16)).view(np.uint8).reshape(len(full), 2 * len(self.picked))

    def read(self, stored: np.ndarray) -> np.ndarray:
        """The factors of stored rows, float32 (n, 3)."""
        out = np.tile(self.low, (len(stored), 1))
        if self.picked:
            apart = np.ascontiguousarray(stored).view(np.float16).reshape(len(stored), len(self.picked))
            out[:, self.picked] += self.step[self.picked] * apart.astype(np.float32)
        return out


@dataclass
class Codes:
    """Codes of n vectors, standing alone: what is stored for each, and nothing else.

    Attributes
    ----------
    symbols : uint8 (n, symbols / 2)
    extra : uint8 (n, extra_bytes)
    factors : uint8 (n, 2 * columns), factors in 16 bits
    compact : how to read them, shared by all
    """

    symbols: np.ndarray
    extra: np.ndarray
    factors: np.ndarray
    compact: CompactFactors

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and factors together."""
        return self.symbols.nbytes + self.extra.nbytes + self.factors.nbytes


def _variation(values: np.ndarray) -> float:
    """Standard deviation over mean."""
    return float(values.std() / max(abs(values.mean()), 1e-300))
