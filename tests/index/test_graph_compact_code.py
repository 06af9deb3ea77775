"""What the codes of a compact graph stand for."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch as vs

rng = np.random.default_rng(4)
X = (rng.standard_normal((1200, 64)) * np.linspace(2, 0.2, 64) + 3).astype(np.float32)


def error(index: vs.Index) -> float:
    """Squared error of the vectors that codes stand for, over their variance."""
    wanted = X[:300] / np.linalg.norm(X[:300], axis=1, keepdims=True) if index.metric == "cosine" else X[:300]
    found = np.stack([index.vector(i) for i in range(300)])
    return float(((found - wanted) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum())


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("quantizer", [vs.SAQ(1), vs.SAQ(2), vs.LVQ(1), vs.LVQ(4), vs.LloydMax(2), vs.OSQ(2)], ids=repr)
def test_vectors_are_as_near_as_those_of_the_same_codes_in_a_flat_index(metric: str, quantizer: vs.Quantizer) -> None:
    graph = vs.Graph(metric, layout="compact", quantizer=quantizer, refine=None).fit(X)
    flat = vs.Flat(metric, quantizer=quantizer, refine=None).fit(X)
    assert error(graph) < 1.02 * error(flat) + 1e-4
