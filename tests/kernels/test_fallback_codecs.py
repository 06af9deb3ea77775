"""Codecs of the Numba twin against those of the compiled core: codes to the last bit, factors to rounding.

Levels are chosen by exact integers and by sums whose order every instruction set keeps; factors are made of sums whose
order is each set's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from fallback_lists import CODECS, RULES, levels_codec, rotation, vectors, whole

core = pytest.importorskip("vsearch._core")
pytest.importorskip("numba")
from vsearch.kernels import fallback as twin  # noqa: E402

COUNTS = [0, 1, 31, 33, 300]


def call_of(dim: int, n: int, metric: str) -> tuple[Any, ...]:
    """Arguments of `encode`; the first rows lie on their centroids, and two are constant but for that."""
    centroids, mean = 0.3 * vectors(1, 5, dim), 0.1 * vectors(2, dim)
    X, assign = vectors(n, n, dim), (np.arange(n) % 5).astype(np.uint32)
    if n > 5:
        X[:3] = centroids[assign[:3]]
        X[3:5] = centroids[assign[3:5]] + np.float32([[0.25], [-2]])
    return X, assign, centroids, mean, metric


def same_factors(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name in ("first", "full", "spreads"):
        assert (found[name].dtype, found[name].shape) == (expected[name].dtype, expected[name].shape)
    for name in ("first", "full"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-4)
    # A spread is |y| sin, and sin^2 a small difference of numbers near 1: |y| is up to 128 sqrt(dim) at 8 bits.
    a, b = (np.square(factors["spreads"].astype(np.float64)) for factors in (found, expected))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6 * 128**2)


def shape_of(codec: Any) -> tuple[Any, ...]:
    return codec.dim, codec.symbols, codec.extra_bytes, codec.lead, codec.shifted


def compare(ours: Any, theirs: Any, call: tuple[Any, ...]) -> None:
    """All calls of two codecs."""
    assert shape_of(ours) == shape_of(theirs)
    found, expected = ours.encode(*call, threads=2), theirs.encode(*call)
    for part in ("symbols", "extra"):
        assert (found[part].dtype, found[part].shape) == (expected[part].dtype, expected[part].shape)
        np.testing.assert_array_equal(found[part], expected[part])
    same_factors(found, expected)
    codes = expected["symbols"], expected["extra"]
    for levels in (ours.unpack(*codes), ours.decode(*codes)):
        reference = theirs.unpack(*codes) if levels.dtype == np.uint8 else theirs.decode(*codes)
        assert (levels.dtype, levels.shape) == (reference.dtype, reference.shape)
        np.testing.assert_array_equal(levels, reference)


@pytest.mark.parametrize("name", CODECS)
def test_codecs_are_equal(name: str) -> None:
    dim, make = CODECS[name]
    for i, n in enumerate(COUNTS):
        compare(make(twin), make(core), call_of(dim, n, oracle.METRICS[i % 3]))


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_of_rabitq_are_equal(bits: int) -> None:
    for i, (dim, n) in enumerate([(16, 300), (112, 300), (768, 33)]):
        compare(twin.RabitqCodec(dim, bits), core.RabitqCodec(dim, bits), call_of(dim, n, oracle.METRICS[i]))


@pytest.mark.parametrize("isa", core.available_isas())
def test_codes_are_those_of_every_instruction_set(isa: str) -> None:
    before = core.isa()
    core.use_isa(isa)
    try:
        for name in ("rabitq-4", "rabitq-8", "saq", "clipped-4"):
            dim, make = CODECS[name]
            compare(make(twin), make(core), call_of(dim, 300, "ip"))
    finally:
        core.use_isa(before)


@pytest.mark.parametrize("dim", [40, 384])
def test_compressing_is_transforming_and_encoding(dim: int) -> None:
    X = vectors(dim, 300, dim)
    for face in (core, twin):
        transform = rotation(face, dim)
        codec, mean = face.RabitqCodec(transform.padded, 4), transform.apply(X[:1])[0]
        found = codec.compress(transform, X, mean, threads=2)
        lists, origin = np.zeros(len(X), np.uint32), np.zeros((1, transform.padded), np.float32)
        expected = codec.encode(transform.apply(X) - mean, lists, origin, mean, "l2")
        for part, values in expected.items():
            np.testing.assert_array_equal(found[part], values)
        with pytest.raises(ValueError, match="compress: wrong shape"):
            codec.compress(transform, X, mean[1:])


def test_rules_of_levels_differ() -> None:
    """A rule that did another's work would pass the comparison above if both faces made the mistake."""
    X, *rest = call_of(64, 200, "l2")
    made = [levels_codec(twin, 64, whole(64, 4, 1), rule).encode(X, *rest) for rule in RULES]
    assert len({codes["symbols"].tobytes() + codes["extra"].tobytes() for codes in made}) == len(RULES)


def test_a_residual_of_length_zero_is_its_centroid() -> None:
    for name, (dim, make) in CODECS.items():
        if name.startswith(("pq", "residual")):
            continue  # no sum of centroids need be zero
        for metric in oracle.METRICS:
            X, assign, centroids, mean, _ = call_of(dim, 6, metric)
            found = make(twin).encode(X, assign, centroids, mean, metric)
            np.testing.assert_allclose(found["full"][:3], 0, atol=1e-6, err_msg=name)
            assert (found["spreads"][:3] == 0).all(), name
