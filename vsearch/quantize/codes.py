"""Codes of vectors, and the factors beside them in the two forms in which they are stored.

An index of many lists keeps float32 factors of the symbols in its blocks and those of the whole code beside the extra
bits. Where there is one list, whose centroid is the mean, the two differ by a constant, and `CompactFactors` keeps one
set in 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

ADD, RESCALE, SHIFT = 1, 2, 4
"""Bits of a set of columns; columns are stored in this order."""
HEADROOM = 8  # powers of two between the largest factor seen and the largest that f16 holds


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
    """Factors of whole codes in f16: column i holds the factor divided by `scale[i]`, a power of two.

    Attributes
    ----------
    columns : which are stored (ADD, RESCALE, SHIFT); the others are `constant`
    scale, constant : float32 (3,)
    norm2, norm2_add : |o|^2 = norm2 + norm2_add * add, where it can be had so; norm2_add = 0 where not
    ratio : rescale of the symbols' estimate over rescale of the whole code's, on average
    root : rescale of the symbols' estimate over |o|, on average; 0 where `ratio` is nearer
    spreads : the mean error spreads, the first one with what using a mean ratio adds
    """

    columns: int
    scale: np.ndarray = field(default_factory=lambda: np.ones(3, dtype=np.float32))
    constant: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=np.float32))
    norm2: float = 0.0
    norm2_add: float = 0.0
    ratio: float = 1.0
    root: float = 0.0
    spreads: np.ndarray = field(default_factory=lambda: np.zeros(2))
    count: int = 0

    @property
    def picked(self) -> list[int]:
        """Indexes of the stored columns."""
        return [i for i in range(3) if self.columns >> i & 1]

    def as_array(self) -> np.ndarray:
        """What the scan takes: float32 (10,)."""
        rest = [self.ratio, self.root, self.norm2, self.norm2_add]
        return np.concatenate([self.scale, self.constant, rest]).astype(np.float32)

    def growth(self, encoded: Encoded) -> np.ndarray:
        """Powers of two, int (3,), by which the scales must grow before these codes fit."""
        largest = np.abs(encoded.full).max(axis=0, initial=0.0).astype(np.float64)
        if self.count == 0:
            wanted = np.where(largest > 0, np.ceil(np.log2(np.where(largest > 0, largest, 1.0))) - 15 + HEADROOM, 0.0)
            return wanted.astype(int)
        over = largest / (65504.0 * self.scale.astype(np.float64))
        return np.where(over > 1, np.ceil(np.log2(np.maximum(over, 1.0))) + HEADROOM / 2, 0.0).astype(int)

    def learn(self, encoded: Encoded, norms: np.ndarray) -> None:
        """Takes the ratio and the spreads of these codes into the means; `norms` are the lengths of their residuals."""
        if not len(encoded):
            return
        first, full = encoded.first[:, 1].astype(np.float64), encoded.full[:, 1].astype(np.float64)
        usable = (full != 0) & (first != 0)
        weight = len(encoded) / (self.count + len(encoded))
        wrong = np.zeros(len(encoded))
        if usable.any():
            to_code, to_norm = first[usable] / full[usable], first[usable] / norms[usable]
            by_norm = self.root != 0
            if self.count == 0:
                by_norm = self.norm2_add != 0 and _variation(to_norm) < _variation(to_code)
            self.ratio = (1 - weight) * self.ratio + weight * float(to_code.mean())
            self.root = (1 - weight) * self.root + weight * float(to_norm.mean()) if by_norm else 0.0
            # What a wrong rescale does to an estimate is its relative error times <o, q>, in units of rescale at most
            # |o| / |rescale| for each unit of |q|.
            error = to_norm / self.root - 1 if by_norm else to_code / self.ratio - 1
            wrong[usable] = error * 2 * norms[usable] / np.abs(first[usable])
        seen = np.column_stack([np.hypot(encoded.spreads[:, 0], wrong), encoded.spreads[:, 1]])
        self.spreads = (1 - weight) * self.spreads + weight * np.sqrt((seen**2).mean(axis=0, dtype=np.float64))
        self.count += len(encoded)

    def restore(self, array: np.ndarray, spreads: np.ndarray, count: int) -> None:
        """Takes what `as_array` gave, with the spreads and number of vectors that belong to it."""
        if not (array[:3] > 0).all() or not (np.log2(array[:3]) == np.rint(np.log2(array[:3]))).all():
            raise ValueError("the scales of compact factors are no powers of two")
        self.scale, self.spreads, self.count = array[:3].copy(), spreads, count
        self.ratio, self.root, self.norm2, self.norm2_add = (float(x) for x in array[6:])

    def grow(self, powers: np.ndarray) -> None:
        """Multiplies the scales by powers of two."""
        self.scale = (self.scale * np.exp2(powers)).astype(np.float32)

    def store(self, encoded: Encoded) -> np.ndarray:
        """Stored factors, uint8 (n, 2 * columns)."""
        scaled = (encoded.full / self.scale)[:, self.picked]
        return np.ascontiguousarray(scaled.astype(np.float16)).view(np.uint8).reshape(len(encoded), -1)

    def read(self, stored: np.ndarray) -> np.ndarray:
        """The factors of stored rows, float32 (n, 3)."""
        out = np.tile(self.constant, (len(stored), 1))
        values = np.ascontiguousarray(stored).view(np.float16).reshape(len(stored), -1)
        out[:, self.picked] = values.astype(np.float32) * self.scale[self.picked]
        return out


@dataclass
class Codes:
    """Codes of n vectors, standing alone: what is stored for each, and nothing else.

    Attributes
    ----------
    symbols : uint8 (n, symbols / 2)
    extra : uint8 (n, extra_bytes)
    factors : uint8 (n, 2 * columns), factors in f16
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
