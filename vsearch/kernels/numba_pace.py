"""How much more effort a query gets that is far from its neighbours (csrc/index/pace.hpp)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import Float, Int, jit_part

MOST_PACE = 8.0  # times the visits of other queries
NEAREST = 1e-37  # equals are not nearer than nothing
ZERO = np.float32(0)


class Pace(NamedTuple):
    """Distance from which on a query gets more, how fast that grows, and what it adds to the effort."""

    usual: Float
    steepness: Float
    slack: Float


NO_PACE = Pace(np.float32(1), ZERO, ZERO)


@jit_part
def allowed(pace: Pace, effort: Float, most: Int, distance: Float) -> tuple[Float, Int]:
    """Effort and visits of a query whose k-th best is at this distance."""
    if not pace.steepness > ZERO:
        return effort, most
    far = np.float64(pace.steepness) * np.log(max(np.float64(distance), NEAREST) / np.float64(pace.usual))
    more = min(max(far, 0.0), np.log(MOST_PACE))
    return effort + pace.slack * np.float32(more), int(most * np.exp(more))
