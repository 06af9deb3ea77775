"""Every quantizer in every way that it can be set up, for tests of what they promise together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import vsearch as vs

Make = Callable[[int, int], vs.Quantizer]

#: Of bits and a seed.
UNBIASED: dict[str, Make] = {
    "rabitq": lambda b, s: vs.RaBitQ(b, seed=s),
    "rabitq dense": lambda b, s: vs.RaBitQ(b, rotation="dense", seed=s),
    "rabitq pca": lambda b, s: vs.RaBitQ(b, rotation="pca", seed=s),
    "rabitq none": lambda b, s: vs.RaBitQ(b, rotation="none", seed=s),
    "lloydmax": lambda b, s: vs.LloydMax(b, seed=s),
    "lloydmax dense": lambda b, s: vs.LloydMax(b, rotation="dense", seed=s),
    "turboquant prod": lambda b, s: vs.TurboQuant(b, "prod", seed=s),
    "lvq": lambda b, s: vs.LVQ(b, seed=s),
    "lvq rotated": lambda b, s: vs.LVQ(b, rotation="hadamard", seed=s),
    "lvq two levels": lambda b, s: vs.LVQ(max(1, b // 2), b - max(1, b // 2), rotation="hadamard", seed=s),
    "osq": lambda b, s: vs.OSQ(b, seed=s),
    "osq rotated": lambda b, s: vs.OSQ(b, rotation="dense", seed=s),
    "saq": lambda b, s: vs.SAQ(b, seed=s),
    "saq gaussian": lambda b, s: vs.SAQ(b, block=32, levels="gaussian", objective="ip", seed=s),
    "saq uniform": lambda b, s: vs.SAQ(b, block=64, levels="uniform", objective="paper", seed=s),
    "binary": lambda b, s: vs.Binary("recurrent", b, seed=s),
}
BIASED: dict[str, Make] = {
    "turboquant": lambda b, s: vs.TurboQuant(b, seed=s),
    "lvq published": lambda b, s: vs.LVQ(b, unbiased=False, seed=s),
    "lvq published, two levels": lambda b, s: vs.LVQ(b // 2, b - b // 2, unbiased=False, seed=s),
}
ALL = UNBIASED | BIASED


def bits_of(name: str, wanted: tuple[int, ...]) -> list[int]:
    """Those of the wanted bits that a quantizer can have."""
    return [b for b in wanted if b > 1 or "two levels" not in name]


def gaussian(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def power_law(seed: int, n: int, dim: int, decay: float = 1.0) -> np.ndarray:
    """Vectors whose variances fall as i^-decay along random axes."""
    axes = np.linalg.qr(gaussian(seed + 1000, dim, dim))[0]
    return (gaussian(seed, n, dim) * np.arange(1, dim + 1) ** (-decay / 2) @ axes).astype(np.float32)


def clustered(seed: int, n: int, dim: int) -> np.ndarray:
    """Ten tight clusters."""
    centres = 3 * gaussian(seed + 1000, 10, dim)
    return centres[np.arange(n) % 10] + 0.5 * gaussian(seed, n, dim)


def relative_errors(estimates: np.ndarray, Q: np.ndarray, X: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Errors of <x, q> / (|x| |q|), both about the mean, from estimates of |x - q|^2."""
    Q, X = Q.astype(np.float64) - mean, X.astype(np.float64) - mean
    truth = (Q**2).sum(axis=1)[:, None] + (X**2).sum(axis=1)[None, :] - 2 * Q @ X.T
    return (truth - estimates) / 2 / (np.linalg.norm(Q, axis=1)[:, None] * np.linalg.norm(X, axis=1)[None, :])
