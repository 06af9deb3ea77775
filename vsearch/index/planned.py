"""What indexes with an effort share: one query at a time, with what its arguments mean worked out once."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from vsearch._validate import check_k
from vsearch.index.base import Index
from vsearch.index.calibrate import Calibration

MAX_PLANS = 256


class Planned(Index):
    """An index whose scan has `try_search(Q, k, *plan)`, and whose plans follow from k, recall and effort."""

    _calibrated = True

    def __init__(self, metric: str) -> None:
        super().__init__(metric)
        self._forget_plans()

    def _forget_plans(self) -> None:
        self._plans: tuple[Calibration | None, dict[tuple[Any, ...], tuple[float, ...]]] = (None, {})

    @abstractmethod
    def _plan(self, effort: float, k: int) -> tuple[float, ...]:
        """What the scan is told to search with at an effort."""

    def _quick(self, Q: Any, k: Any, recall: Any, effort: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """As `Index._quick`. Plans are remembered, for working one out costs as much as a small search."""
        if self._scan is None:
            return None
        if self._plans[0] is not self.calibration:
            self._plans = (self.calibration, {})
        key = (k, recall, effort, type(recall), type(effort), self._recall)  # True is not the 1 that it equals
        try:
            plan = self._plans[1].get(key)
        except TypeError:  # an array, say
            return None
        if plan is None:
            if len(self._plans[1]) >= MAX_PLANS:
                self._plans[1].clear()
            checked = check_k(k)
            plan = self._plans[1][key] = self._plan(self._effort(checked, recall, effort), checked)
        answer: tuple[np.ndarray, np.ndarray] | None = self._scan.try_search(Q, k, *plan)
        return answer
