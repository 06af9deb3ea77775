"""An order in which near vectors are close: a permutation, the same for any number of threads, better than chance."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.kernels import core, fallback

TWINS = pytest.mark.parametrize("twin", [core, fallback], ids=["core", "numba"])


@TWINS
@given(
    n=st.sampled_from([0, 1, 2, 15, 16, 17, 33, 100, 1000]),
    dim=st.sampled_from([1, 3, 16, 19, 33]),
    kinds=st.sampled_from(["gaussian", "alike", "two", "integers"]),
    seed=st.integers(0, 2**32),
)
def test_every_vector_has_one_place(twin: ModuleType, n: int, dim: int, kinds: str, seed: int) -> None:
    X = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    two = np.repeat(np.sign(X[:, :1]), dim, axis=1)
    X = {"gaussian": X, "alike": np.ones_like(X), "two": two, "integers": np.rint(X)}[kinds]
    order = twin.near_order(X, seed, 1)
    assert order.dtype == np.uint32 and np.sort(order).tolist() == list(range(n))


@pytest.mark.parametrize("n", [3000, 20_000])  # of one task, and of several
def test_threads_do_not_change_the_order(n: int) -> None:
    X = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    assert (core.near_order(X, 7, 1) == core.near_order(X, 7, 2)).all()
    assert (core.near_order(X, 7, 1) != core.near_order(X, 8, 1)).any()


@TWINS
def test_groups_stay_together(twin: ModuleType) -> None:
    rng = np.random.default_rng(1)
    group = rng.permutation(np.repeat(np.arange(128), 64))
    X = (rng.normal(size=(128, 20)) * 10)[group] + rng.normal(size=(len(group), 20))
    order = twin.near_order(X.astype(np.float32), 0, 1)
    beside = group[order[:-1]] == group[order[1:]]
    assert beside.mean() > 0.9  # of 63 / 64 that there could be; 1 / 128 by chance
