"""The random rotation: orthogonal, invertible, mixing, and the same bits on every engine."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from vsearch.quantize import base
from vsearch.quantize.base import random_signs

DIMS = [1, 3, 15, 16, 17, 64, 96, 100, 128, 200, 384, 768, 900, 1536]


def rotation(dim: int, seed: int = 0):  # type: ignore[no-untyped-def]
    return base.core.Rotation(dim, random_signs(dim, seed))


@pytest.mark.parametrize("dim", DIMS)
def test_rotation_is_the_matrix_that_its_header_describes(engine: str, dim: int) -> None:
    made = rotation(dim)
    matrix = oracle.rotation(dim, random_signs(dim, 0))
    assert (made.dim, made.padded) == (dim, len(matrix))
    found = made.apply(np.eye(dim, dtype=np.float32)).T
    assert found.shape == matrix.shape
    assert np.abs(found - matrix).max() < 3e-6
    assert np.abs(matrix.T @ matrix - np.eye(dim)).max() < 1e-12  # orthogonal by construction, so `found` nearly is


@pytest.mark.parametrize("dim", DIMS)
def test_inverse_undoes_rotation(engine: str, dim: int) -> None:
    made = rotation(dim)
    rng = np.random.default_rng(dim)
    X = (rng.standard_normal((5, dim)) * [[1e-20], [1e-3], [1], [1e3], [1e18]]).astype(np.float32)
    rotated = made.apply(X)
    size = np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
    assert (np.abs(made.apply_inverse(rotated) - X) <= 3e-6 * size).all()
    assert np.allclose(np.linalg.norm(rotated.astype(np.float64), axis=1), size[:, 0], rtol=3e-6)
    Y = rng.standard_normal((5, made.padded)).astype(np.float32)  # of what padding cannot make, the part in reach
    matrix = oracle.rotation(dim, random_signs(dim, 0))
    assert np.abs(made.apply_inverse(Y) - Y @ matrix).max() < 3e-5


@pytest.mark.parametrize("dim", DIMS)
def test_every_engine_gives_the_same_bits(engine: str, dim: int) -> None:
    X = np.random.default_rng(1).standard_normal((9, dim)).astype(np.float32)
    signs = random_signs(dim, 3)
    from vsearch.kernels import core

    level = core.isa()
    try:
        core.use_isa(core.available_isas()[0])
        reference = core.Rotation(dim, signs)
        forth, back = reference.apply(X), reference.apply_inverse(reference.apply(X))
    finally:
        core.use_isa(level)
    made = base.core.Rotation(dim, signs)
    assert made.apply(X).tobytes() == forth.tobytes()
    assert made.apply_inverse(forth).tobytes() == back.tobytes()
    assert made.apply(X, 3).tobytes() == forth.tobytes()


def test_seed_chooses_the_rotation() -> None:
    X = np.ones((1, 64), np.float32)
    assert np.array_equal(rotation(64, 5).apply(X), rotation(64, 5).apply(X))
    assert not np.array_equal(rotation(64, 5).apply(X), rotation(64, 6).apply(X))


@pytest.mark.parametrize("dim", [32, 48, 100])
def test_no_coordinate_is_preferred_over_seeds(dim: int) -> None:
    """Images of an axis have mean zero, and where D is a power of two each coordinate an equal share of its length.

    Elsewhere an axis may pass outside every transform and meet only the Kac steps: a coordinate then keeps up to 1/16
    of it. Sign flips keep estimates unbiased all the same (test_rabitq_laws.py, law 2), and vectors have many axes.
    """
    seeds = 2000
    for axis in (0, dim // 2, dim - 1):
        x = np.eye(dim, dtype=np.float32)[axis : axis + 1]
        images = np.concatenate([rotation(dim, seed).apply(x) for seed in range(seeds)])
        padded = images.shape[1]
        shares = (images**2).mean(axis=0) * padded
        low, high = (0.8, 1.2) if padded == dim & -dim else (0.5, 1.2 * padded / 16 + 1)
        assert low < shares.min() <= shares.max() < high
        assert (np.abs(images.mean(axis=0)) < 5.5 * np.sqrt(shares / (seeds * padded))).all()


@pytest.mark.parametrize("dim", [96, 128, 384, 900])
def test_a_spike_becomes_like_noise(dim: int) -> None:
    """Coordinates of a rotated axis are about normal: no coordinate is left with much of it, few are near zero."""
    images = np.concatenate([rotation(dim, seed).apply(np.eye(dim, dtype=np.float32)[:8]) for seed in range(20)])
    scaled = images * np.sqrt(images.shape[1])
    assert np.abs(scaled).max() < 6.5
    assert 2 < (scaled**4).mean() < 4.5


def test_wrong_shapes_are_refused(engine: str) -> None:
    made = rotation(20)
    for call, array in (
        (made.apply, np.zeros((2, 21), np.float32)),
        (made.apply, np.zeros(20, np.float32)),
        (made.apply_inverse, np.zeros((2, 20), np.float32)),
        (made.apply, np.zeros((2, 20))),
    ):
        with pytest.raises((ValueError, TypeError)):
            call(array)
    with pytest.raises(ValueError, match="signs"):
        base.core.Rotation(20, random_signs(36, 0))
