"""Codecs of the Numba twin against those of the compiled core: the same codes, and factors to rounding.

Levels of LevelsCodec are chosen by sums whose order both keep, so its codes are equal to the last bit. RabitqCodec
scales a residual by its length, which each instruction set sums in its own order: where two grids or two levels are as
good as each other, either may be chosen, and the codes are as good as each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from fallback_lists import CODECS, RULES, levels_codec, vectors, whole

core = pytest.importorskip("vsearch._core")
pytest.importorskip("numba")
from vsearch.kernels import fallback as twin  # noqa: E402

COUNTS = [0, 1, 31, 33, 300]
LEVELS = [name for name in CODECS if not name.startswith("rabitq")]


def call_of(dim: int, n: int, metric: str) -> tuple[Any, ...]:
    """Arguments of `encode`; the first rows lie on their centroids, and two are constant but for that."""
    centroids, mean = 0.3 * vectors(1, 5, dim), 0.1 * vectors(2, dim)
    X, assign = vectors(n, n, dim), (np.arange(n) % 5).astype(np.uint32)
    if n > 5:
        X[:3] = centroids[assign[:3]]
        X[3:5] = centroids[assign[3:5]] + np.float32([[0.25], [-2]])
    return X, assign, centroids, mean, metric


def same_factors(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], rows: np.ndarray) -> None:
    assert set(found) == set(expected)
    for name in ("first", "full", "spreads"):
        assert (found[name].dtype, found[name].shape) == (expected[name].dtype, expected[name].shape)
    for name in ("first", "full"):
        np.testing.assert_allclose(found[name][rows], expected[name][rows], rtol=1e-5, atol=1e-4)
    # A spread is a small difference of squares: what counts is its square beside that of the code's length.
    a, b = (np.square(spreads["spreads"][rows].astype(np.float64)) for spreads in (found, expected))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6 * max(1.0, float(b.max(initial=0)), 128.0**2))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def shape_of(codec: Any) -> tuple[Any, ...]:
    return codec.dim, codec.symbols, codec.extra_bytes, codec.lead, codec.shifted


@pytest.mark.parametrize("name", LEVELS)
def test_codes_by_levels_are_equal(name: str) -> None:
    dim, make = CODECS[name]
    ours, theirs = make(twin), make(core)
    assert shape_of(ours) == shape_of(theirs)
    for i, n in enumerate(COUNTS):
        call = call_of(dim, n, oracle.METRICS[i % 3])
        found, expected = ours.encode(*call, threads=2), theirs.encode(*call)
        for part in ("symbols", "extra"):
            assert (found[part].dtype, found[part].shape) == (expected[part].dtype, expected[part].shape)
            np.testing.assert_array_equal(found[part], expected[part])
        same_factors(found, expected, np.ones(n, bool))
        codes = expected["symbols"], expected["extra"]
        np.testing.assert_array_equal(ours.unpack(*codes), theirs.unpack(*codes))
        np.testing.assert_array_equal(ours.decode(*codes), theirs.decode(*codes))


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_of_rabitq_are_equal_but_on_edges(bits: int) -> None:
    differ = total = 0
    for i, (dim, n) in enumerate([(16, 300), (48, 0), (48, 1), (112, 300), (768, 33)]):
        ours, theirs = twin.RabitqCodec(dim, bits), core.RabitqCodec(dim, bits)
        assert shape_of(ours) == shape_of(theirs)
        call = call_of(dim, n, oracle.METRICS[i % 3])
        found, expected = ours.encode(*call, threads=2), theirs.encode(*call)
        np.testing.assert_array_equal(found["symbols"], expected["symbols"])  # signs
        assert (found["extra"].dtype, found["extra"].shape) == (expected["extra"].dtype, expected["extra"].shape)
        equal = (found["extra"] == expected["extra"]).all(axis=1)
        same_factors(found, expected, equal)
        differ, total = differ + int((~equal).sum()), total + n
        codes = expected["symbols"], expected["extra"]
        np.testing.assert_array_equal(ours.unpack(*codes), theirs.unpack(*codes))
        np.testing.assert_array_equal(ours.decode(*codes), theirs.decode(*codes))
        residuals = (call[0] - call[2][call[1]])[~equal].astype(np.float64)
        chosen = [cosines(residuals, ours.decode(code["symbols"], code["extra"])[~equal]) for code in (found, expected)]
        np.testing.assert_allclose(*chosen, rtol=1e-5)
    assert differ <= 0.03 * total


def test_rules_of_levels_differ() -> None:
    """A rule that did another's work would pass the comparison above if both faces made the mistake."""
    X, *rest = call_of(64, 200, "l2")
    made = [levels_codec(twin, 64, whole(64, 4, 1), rule).encode(X, *rest) for rule in RULES]
    assert len({codes["symbols"].tobytes() + codes["extra"].tobytes() for codes in made}) == len(RULES)


def test_a_residual_of_length_zero_is_its_centroid() -> None:
    for name, (dim, make) in CODECS.items():
        for metric in oracle.METRICS:
            X, assign, centroids, mean, _ = call_of(dim, 6, metric)
            found = make(twin).encode(X, assign, centroids, mean, metric)
            np.testing.assert_allclose(found["full"][:3], 0, atol=1e-6, err_msg=name)
            assert (found["spreads"][:3] == 0).all(), name
