"""Bits for segments: the plan with the least error at a budget, by dynamic programming (SAQ, arXiv 2509.12086, section
3).

Each block of coordinates may have 0..8 bits, at an error that depends on the objective; the plan picks one width for
each block so that the sum of errors is least and the bits fit. Blocks are taken in the order of the principal axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OBJECTIVES = ("mse", "ip", "paper")
UNIT = 16


def error_table(
    energy: np.ndarray, query_energy: np.ndarray, lengths: np.ndarray, errors: np.ndarray, objective: str
) -> np.ndarray:
    """Error of every block at every width, float64 (blocks, widths).

    Parameters
    ----------
    energy, query_energy : float64 (blocks,), sums of second moments of vectors and of queries over each block
    lengths : int (blocks,)
    errors : float64 (blocks, widths), relative squared error of the block's codebook; 1 at no bits
    objective : "mse" squared error of the vector, weighted by the queries' energy in the block; "ip" variance of inner
        products, sum kappa tr(K_X) tr(K_Q) / |s|, where a block without bits costs all that it could have
        added; "paper" the error model of SAQ itself, variance times 2^-b
    """
    share = query_energy / lengths
    if objective == "mse":
        return errors * (energy * share)[:, None]
    if objective == "ip":
        kappa = np.where(errors < 1, errors / np.maximum(1 - errors, 1e-12), 1.0)
        return kappa * (energy * share)[:, None]
    widths = np.arange(errors.shape[1])
    return energy[:, None] * np.exp2(-widths)[None, :]


def allocate(costs: np.ndarray, lengths: np.ndarray, budget: float) -> np.ndarray:
    """Width of every block, int (blocks,): the least total cost whose bits are at most `budget`.

    `costs` is (blocks, widths). Exact: f[e][used] over blocks and units of 16 bits.

    Examples
    --------
    >>> allocate(np.array([[8.0, 4.0, 2.0], [1.0, 0.5, 0.2]]), np.array([16, 16]), 32).tolist()
    [2, 0]
    """
    units = int(budget // UNIT)
    best = np.zeros(units + 1)
    choices = np.zeros((len(costs), units + 1), dtype=np.int8)
    for block, (row, length) in enumerate(zip(costs, lengths, strict=True)):
        extended = np.full(units + 1, np.inf)
        for width, cost in enumerate(row):
            used = width * int(length) // UNIT
            if used > units:
                break
            candidate = np.full(units + 1, np.inf)
            candidate[used:] = best[: units + 1 - used] + cost
            better = candidate < extended
            extended[better] = candidate[better]
            choices[block, better] = width
        best = extended
    widths = np.zeros(len(costs), dtype=np.int64)
    left = units
    for block in range(len(costs) - 1, -1, -1):
        widths[block] = choices[block, left]
        left -= int(widths[block]) * int(lengths[block]) // UNIT
    return widths


def plan_text(lengths: Sequence[int], widths: Sequence[int]) -> str:
    """A plan in a line: runs of equal widths, "64 dims x 5 bits, 128 x 4, ..."."""
    runs: list[list[int]] = []
    for length, width in zip(lengths, widths, strict=True):
        if runs and runs[-1][1] == width:
            runs[-1][0] += int(length)
        else:
            runs.append([int(length), int(width)])
    return ", ".join(f"{length} dims x {width} bit{'' if width == 1 else 's'}" for length, width in runs)
