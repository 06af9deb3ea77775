"""Codes of vectors, and the factors beside them in the two forms in which they are stored.

An index of many lists keeps float32 factors of the symbols in its blocks and those of the whole code beside the extra
bits. Where there is one list, whose centroid is the mean, the two differ by a constant, and `CompactFactors` keeps one
set in 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from vsearch._text import counted

ADD, RESCALE, SHIFT = 1, 2, 4
"""Bits of a set of columns; columns are stored in this order."""
STEPS = 65535
SLACK = 0.25
"""Of the range of factors seen first, left free on either side for those that come later."""
QUARTILES_OF = 4096
"""Most factors that their quartiles are taken of."""
EVEN = 24.0
"""Most that the range may be of the middle half's for equal steps over it."""
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
    """Factors of whole codes in 16 bits.

    Factors of one set of vectors are alike, so 65,535 equal steps over their range tell them apart some 30 times finer
    than f16: column i holds u for the factor low[i] + step[i] u. Where a few lie far out, now or later, equal steps
    would leave too few to the many: then step[i] is negative, and f16 holds the deviation from low[i], the median, in
    units of -step[i].

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
        if array[10] < 0:
            raise ValueError("the wobble of compact factors is negative")
        self.low, self.step, self.spreads, self.count = array[:3].copy(), array[3:6].copy(), spreads, count
        self.ratio, self.root, self.norm2, self.norm2_add, self.wobble = (float(x) for x in array[6:])

    def widened(self, encoded: Encoded) -> CompactFactors | None:
        """These with room for more codes, None where there is room already."""
        if not len(encoded):
            return None
        wide = replace(self, low=self.low.copy(), step=self.step.copy())
        for i in self.picked:
            wide._widen_column(i, encoded.full[:, i].astype(np.float64))
        changed = (wide.low != self.low).any() or (wide.step != self.step).any()
        return wide if changed else None

    def _widen_column(self, i: int, values: np.ndarray) -> None:
        low, step = float(self.low[i]), float(self.step[i])
        least, most = float(values.min()), float(values.max())
        if self.count == 0:
            quarter, middle, three = np.quantile(values[:: -(-len(values) // QUARTILES_OF)], [0.25, 0.5, 0.75])
            if most - least <= EVEN * (three - quarter) or most == least:
                self._even_steps(i, least, most)
            else:
                self._deviations(i, float(middle), float(three - quarter), values)
        elif step < 0:
            self._deviations(i, low, -step, values)
        elif least < low or most > low + STEPS * step:
            high = low + STEPS * step
            if max(most, high) - min(least, low) <= EVEN * (high - low):
                self._even_steps(i, min(least, low), max(most, high))
            else:
                self._deviations(i, (low + high) / 2, (high - low) / EVEN, values)

    def _even_steps(self, i: int, least: float, most: float) -> None:
        slack = SLACK * (most - least) + 1e-6 * abs(most) + 1e-30
        self.low[i], self.step[i] = least - slack, (most - least + 2 * slack) / (STEPS - 1)

    def _deviations(self, i: int, middle: float, typical: float, values: np.ndarray) -> None:
        """A power of two as the unit, so that a later change of it rounds nothing."""
        needed = float(np.abs(values - middle).max()) / LARGEST
        self.low[i], self.step[i] = middle, -(2.0 ** np.ceil(np.log2(max(typical, needed, 1e-30))))

    def learn(self, encoded: Encoded, norms: np.ndarray) -> None:
        """Takes the ratio and the spreads of these codes into the means; `norms` are the lengths of their residuals."""
        if not len(encoded):
            return
        first, full = encoded.first[:, 1].astype(np.float64), encoded.full[:, 1].astype(np.float64)
        usable = (full != 0) & (first != 0) & (norms > 0)
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
            # As files keep them, so that an index goes on alike after it was saved and loaded.
            self.ratio, self.root, self.wobble = (float(np.float32(x)) for x in (self.ratio, self.root, self.wobble))
        self.spreads = (1 - weight) * self.spreads + weight * encoded.spreads.mean(axis=0, dtype=np.float64)
        self.count += len(encoded)

    def store(self, full: np.ndarray) -> np.ndarray:
        """Stored form of factors (n, 3): uint8 (n, 2 * columns)."""
        out = np.zeros((len(full), len(self.picked)), dtype=np.uint16)
        for column, i in enumerate(self.picked):
            apart = (full[:, i].astype(np.float64) - self.low[i]) / np.abs(self.step[i].astype(np.float64) or 1.0)
            if self.step[i] < 0:
                out[:, column] = apart.astype(np.float16).view(np.uint16)
            else:
                out[:, column] = np.clip(np.rint(apart), 0, STEPS)
        return out.view(np.uint8).reshape(len(full), 2 * len(self.picked))

    def read(self, stored: np.ndarray) -> np.ndarray:
        """The factors of stored rows, float32 (n, 3)."""
        out = np.tile(self.low, (len(stored), 1))
        held = np.ascontiguousarray(stored).view(np.uint16).reshape(len(stored), len(self.picked))
        for column, i in enumerate(self.picked):
            is_half = self.step[i] < 0
            apart = np.ascontiguousarray(held[:, column])
            out[:, i] += np.abs(self.step[i]) * (apart.view(np.float16) if is_half else apart).astype(np.float32)
        return out


@dataclass(repr=False)
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

    def __repr__(self) -> str:
        each = sum(part.shape[1] for part in (self.symbols, self.extra, self.factors))
        return f"Codes({counted(len(self), 'vector')}, {counted(each, 'byte')} each)"

    @property
    def nbytes(self) -> int:
        """Bytes of codes and factors together."""
        return self.symbols.nbytes + self.extra.nbytes + self.factors.nbytes


def _variation(values: np.ndarray) -> float:
    """Standard deviation over mean."""
    return float(values.std() / max(abs(values.mean()), 1e-300))
