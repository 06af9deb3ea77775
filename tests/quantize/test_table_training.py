"""Training of codebooks: k-means over sub-spaces, residual codebooks, groups, and the cutting of dims."""

from __future__ import annotations

import numpy as np
import pytest

from vsearch.quantize import table_training
from vsearch.quantize.subspaces import balanced_order, layout_of, nearest_rotation
from vsearch.quantize.table_training import grouped, lloyd, random_centroids, residual_codebooks


@pytest.mark.parametrize(("dim", "books", "splits"), [(8, 4, 4), (10, 4, 4), (384, 95, 19), (384, 95, 12), (5, 5, 1)])
def test_layouts_share_out_evenly(dim: int, books: int, splits: int) -> None:
    layout = layout_of(dim, books, splits)
    assert (layout.dim, layout.books, layout.splits) == (dim, books, splits)
    stages, lengths = layout.stages, np.diff(layout.starts)
    assert np.ptp(stages) <= 1
    assert (np.diff(stages) <= 0).all()
    assert np.abs(lengths - dim * stages / books).max() <= 1
    assert [len(layout.stage(t)[1]) for t in range(stages.max())] == [(stages > t).sum() for t in range(stages.max())]


def test_balanced_sub_spaces_have_equal_products() -> None:
    variances = 1.0 / np.arange(1, 129) ** 1.2
    layout = layout_of(128, 16, 16)
    order = balanced_order(variances, layout)
    assert (np.sort(order) == np.arange(128)).all()
    logs = np.add.reduceat(np.log(variances[order]), layout.starts[:-1])
    plain = np.add.reduceat(np.log(variances), layout.starts[:-1])
    assert np.ptp(logs) < 0.02 * np.ptp(plain)


def test_balancing_takes_variances_of_zero() -> None:
    order = balanced_order(np.array([2.0, 1.0, 0.0, 0.0]), layout_of(4, 2, 2))
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    assert sorted(balanced_order(np.zeros(4), layout_of(4, 2, 2)).tolist()) == [0, 1, 2, 3]


def test_procrustes_finds_the_rotation() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 9)).astype(np.float32)
    R = np.linalg.qr(rng.standard_normal((9, 9)))[0].astype(np.float32)
    assert np.allclose(nearest_rotation(X, X @ R), R, atol=1e-5)


def test_lloyd_lowers_the_error_and_fills_every_cluster(engine: str) -> None:
    rng = np.random.default_rng(1)
    Y = rng.standard_normal((2000, 10)).astype(np.float32)
    layout = layout_of(10, 3, 3)
    start = random_centroids(Y, layout.starts, 16, rng)
    start[:, 8:] = 50  # half of them far away from everything
    core = table_training.core

    def error(C: np.ndarray) -> float:
        codes = core.table_nearest(Y, layout.starts, C)
        return float(((Y - core.table_decode(codes, layout.starts, layout.first, C)) ** 2).sum())

    made = lloyd(Y, layout.starts, start, 12, np.random.default_rng(0), 1)
    assert error(made) < 0.8 * error(start)
    codes = core.table_nearest(Y, layout.starts, made)
    assert all(len(np.unique(codes[:, s])) == 16 for s in range(3))


def test_fewer_vectors_than_centroids_are_their_own(engine: str) -> None:
    Y = np.random.default_rng(2).standard_normal((5, 6)).astype(np.float32)
    layout = layout_of(6, 2, 2)
    rng = np.random.default_rng(0)
    made = lloyd(Y, layout.starts, random_centroids(Y, layout.starts, 256, rng), 3, rng, 1)
    core = table_training.core
    decoded = core.table_decode(core.table_nearest(Y, layout.starts, made), layout.starts, layout.first, made)
    assert np.allclose(decoded, Y, atol=0.2)


def test_each_residual_codebook_lowers_the_error(engine: str) -> None:
    Y = np.random.default_rng(3).standard_normal((3000, 8)).astype(np.float32)
    core = table_training.core
    errors = []
    for books in (2, 5, 8):
        layout = layout_of(8, books, 2)
        made = residual_codebooks(Y, layout, 16, 4, np.random.default_rng(0), 1)
        codes = core.table_beam(Y, layout.starts, layout.first, made, 1, 0)
        errors.append(((Y - core.table_decode(codes, layout.starts, layout.first, made)) ** 2).sum() / (Y**2).sum())
    assert errors[0] > 1.5 * errors[1] > 2.2 * errors[2]


def test_the_same_seed_trains_the_same_codebooks(engine: str) -> None:
    Y = np.random.default_rng(4).standard_normal((500, 8)).astype(np.float32)
    layout = layout_of(8, 5, 2)
    made = [residual_codebooks(Y, layout, 16, 3, np.random.default_rng(s), 1 + s % 2) for s in (7, 7, 8)]
    assert made[0].tobytes() == made[1].tobytes()
    assert made[0].tobytes() != made[2].tobytes()


def test_groups_hold_neighbours_and_all_centroids() -> None:
    C = np.random.default_rng(5).standard_normal((3, 256, 4)).astype(np.float32)
    made = grouped(C)
    for before, after in zip(C, made, strict=True):
        assert (np.sort(before.view("f4,f4,f4,f4"), axis=0) == np.sort(after.view("f4,f4,f4,f4"), axis=0)).all()
    members = made.reshape(3, 16, 16, 4)
    inside = ((members - members.mean(axis=2, keepdims=True)) ** 2).sum(axis=3).mean()
    assert inside < 0.45 * ((C - C.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean()
