"""How the dims of a table quantizer are cut into sub-spaces, and which rotation comes before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layout:
    """Sub-spaces and their codebooks (csrc/quantize/table.hpp calls a sub-space a split).

    Attributes
    ----------
    starts : int64 (splits + 1,), sub-space s has the dims starts[s] .. starts[s + 1] - 1
    first : int64 (splits + 1,), and the codebooks first[s] .. first[s + 1] - 1, whose centroids are added up
    """

    starts: np.ndarray
    first: np.ndarray

    @property
    def dim(self) -> int:
        """Dims of all sub-spaces together."""
        return int(self.starts[-1])

    @property
    def books(self) -> int:
        """Codebooks of all sub-spaces together."""
        return int(self.first[-1])

    @property
    def splits(self) -> int:
        """Number of sub-spaces."""
        return len(self.starts) - 1

    @property
    def width(self) -> int:
        """Dims of the widest sub-space."""
        return int(np.diff(self.starts).max())

    @property
    def stages(self) -> np.ndarray:
        """Codebooks of each sub-space, int64 (splits,); no sub-space has more than one before it."""
        return np.diff(self.first)

    def stage(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """(starts, codebooks) of the sub-spaces that have a codebook number t: always the first ones."""
        having = int((self.stages > t).sum())
        return self.starts[: having + 1], self.first[:having] + t


def layout_of(dim: int, books: int, splits: int, proportional: bool = True) -> Layout:
    """`books` codebooks over `splits` sub-spaces as evenly as can be, and dims in proportion to codebooks, or evenly
    too: dims that belong together keep their places then.

    >>> layout_of(10, 4, 4).starts, layout_of(10, 5, 2).first
    (array([ 0,  3,  5,  8, 10]), array([0, 3, 5]))
    """
    fewest, more = divmod(books, splits)
    first = np.concatenate([[0], np.cumsum([fewest + 1] * more + [fewest] * (splits - more))]).astype(np.int64)
    if proportional:
        return Layout((dim * first + books // 2) // books, first)
    return Layout((dim * np.arange(splits + 1) + splits // 2) // splits, first)


def balanced_order(variances: np.ndarray, layout: Layout) -> np.ndarray:
    """Which principal axis comes where, so that sub-spaces have about equal geometric means of variance.

    That is the best start for a product quantizer of Gaussian data (Ge et al., CVPR 2013, section 4.2: "eigenvalue
    allocation"). `variances` (dim,) descend; axis `order[j]` becomes dim j.

    >>> balanced_order(np.array([8.0, 4.0, 2.0, 1.0]), layout_of(4, 2, 2))
    array([0, 3, 1, 2])
    """
    sizes = np.diff(layout.starts)
    floor = max(float(variances[0]), 1e-30) * 1e-12
    logs = np.log(np.maximum(variances, floor))
    logs -= logs.min() - 1e-3  # positive, so that an empty sub-space is the first to take
    taken: list[list[int]] = [[] for _ in sizes]
    filled = np.zeros(len(sizes))
    for axis, value in enumerate(logs):
        room = np.array([len(axes) for axes in taken]) < sizes
        split = int(np.argmin(np.where(room, filled / np.maximum(sizes, 1), np.inf)))
        taken[split].append(axis)
        filled[split] += value
    return np.array([axis for axes in taken for axis in axes], dtype=np.int64)


def nearest_rotation(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """The orthogonal R that makes X R nearest to Y (Schoenemann's Procrustes problem), float32 (d, d).

    >>> X = np.eye(2, dtype=np.float32)
    >>> nearest_rotation(X, X[:, ::-1]).round().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    left, _, right = np.linalg.svd(X.T.astype(np.float64) @ Y)
    return np.asarray(left @ right, dtype=np.float32)
