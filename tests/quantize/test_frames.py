"""Frames: what a codec's coordinates are axes of, and the arrays that are kept of that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from codecs_of import gaussian

import vsearch as vs
from vsearch.quantize import base, frames

DIMS = [1, 15, 16, 33, 384]


@pytest.mark.parametrize("dim", DIMS)
def test_padding_is_the_unit_matrix(engine: str, dim: int) -> None:
    made, wide = base.core.Padding(dim), base.padded(dim)
    matrix = base.core.Matrix(np.eye(wide, dtype=np.float32)[:, :dim])
    X, Y = gaussian(1, 5, dim), gaussian(2, 5, wide)
    assert (made.dim, made.padded) == (matrix.dim, matrix.padded) == (dim, wide)
    for transform in (made, matrix):
        np.testing.assert_array_equal(transform.apply(X, 2), np.pad(X, ((0, 0), (0, wide - dim))))
        np.testing.assert_array_equal(transform.apply_query(X), np.pad(X, ((0, 0), (0, wide - dim))))
        np.testing.assert_array_equal(transform.apply_inverse(Y), Y[:, :dim])


@pytest.mark.parametrize("dim", DIMS)
def test_of_an_orthogonal_matrix_the_rest_follows(engine: str, dim: int) -> None:
    matrix = frames.matrices(frames.random_orthogonal(dim, np.random.default_rng(3)))["base"]
    one = base.core.Matrix(matrix)
    three = base.core.Matrix(matrix, matrix, np.ascontiguousarray(matrix.T))
    X, Y = gaussian(4, 5, dim), gaussian(5, 5, len(matrix))
    np.testing.assert_array_equal(one.apply(X), three.apply(X))
    np.testing.assert_array_equal(one.apply_query(X), three.apply_query(X))
    np.testing.assert_array_equal(one.apply_inverse(Y), three.apply_inverse(Y))


@pytest.mark.parametrize(
    "quantizer", [vs.LVQ(8), vs.OSQ(4), vs.PQ(8), vs.Binary("sign"), vs.RaBitQ(1, rotation="none")]
)
def test_no_frame_takes_no_room(quantizer: vs.Quantizer) -> None:
    made = quantizer.fit(gaussian(1, 300, 512))
    codebooks = made.arrays["centroids"].nbytes if "centroids" in made.arrays else 0
    assert sum(array.nbytes for array in made.arrays.values()) - codebooks < 10_000


@pytest.mark.parametrize("quantizer", [vs.SAQ(2), vs.OPQ(8), vs.TurboQuant(2), vs.RaBitQ(1, rotation="dense")])
def test_one_matrix_is_kept_of_an_orthogonal_frame(quantizer: vs.Quantizer) -> None:
    made = quantizer.fit(gaussian(1, 300, 48))
    assert made.arrays["base"].shape == (48, 48)
    assert not {"query", "inverse"} & set(made.arrays)
    assert np.abs(made.arrays["base"] @ made.arrays["base"].T - np.eye(48)).max() < 1e-5


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("make", [lambda: vs.LVQ(4), lambda: vs.PQ(8), lambda: vs.SAQ(2), lambda: vs.OPQ(8)])
def test_states_with_three_matrices_are_read_as_before(metric: str, make: Any) -> None:
    X = gaussian(6, 400, 40)
    made = make().train(X - X.mean(axis=0), 40, metric, mean=X.mean(axis=0))
    meta, arrays = made.state()
    matrix = arrays.get("base", np.eye(base.padded(40), dtype=np.float32)[:, :40])
    old = {name: array for name, array in arrays.items() if name != "padding"}
    query = old.setdefault("query", matrix)
    old |= {"base": matrix, "inverse": arrays.get("inverse", np.ascontiguousarray(query.T))}
    read = vs.Quantizer.restore(meta, 40, metric, old)
    for found in (read, vs.Quantizer.restore(meta, 40, metric, arrays)):
        for way in ("apply", "apply_query"):
            np.testing.assert_array_equal(getattr(found.transform, way)(X), getattr(made.transform, way)(X))
        Y = made.transform.apply(X)
        np.testing.assert_array_equal(found.transform.apply_inverse(Y), made.transform.apply_inverse(Y))


def test_damaged_frames_are_refused() -> None:
    meta, arrays = vs.LVQ(4).fit(gaussian(1, 50, 24)).state()
    plain = {name: array for name, array in arrays.items() if name != "padding"}
    eye = np.eye(32, 24, dtype=np.float32)
    for wrong, message in (
        ({}, "base is missing"),
        ({"padding": np.array([48])}, "another dimension"),
        ({"padding": np.array([32], np.int32)}, "padding has dtype"),
        ({"base": eye, "query": eye}, "inverse is missing"),
        ({"base": eye[:24]}, "multiple of 16"),
    ):
        with pytest.raises(ValueError, match=message):
            vs.Quantizer.restore(meta, 24, "l2", plain | wrong)


@pytest.mark.parametrize("bits", [4, 8])
def test_the_most_dimensions_there_are(engine: str, bits: int) -> None:
    # One table entry for each dimension: only 65535 of them can be added in 16 bits.
    X = np.where(gaussian(2, 12, 65536) > 0, np.float32(1), np.float32(-1))
    ids, distances = vs.Flat("l2", quantizer=vs.LVQ(bits), refine="f32").fit(X).search(X, 1)
    assert ids[:, 0].tolist() == list(range(12)) and (distances == 0).all()
