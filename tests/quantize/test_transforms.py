"""Transforms: what each promises, one vector like a batch, folding, states that come back and forged ones refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vsearch as vs
from vsearch.index.transform_file import load_transform, save_transform
from vsearch.quantize import base
from vsearch.quantize.transforms import PCA, Center, Compose, Rotation, Sphering, Transform, Truncate

DIM = 20


def vectors(seed: int, n: int, dim: int = DIM) -> np.ndarray:
    """Correlated, of falling variance, away from the origin."""
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(rng.standard_normal((dim, dim)))[0] * np.arange(1, dim + 1) ** -0.5
    return (rng.standard_normal((n, dim)) @ mix.T + rng.standard_normal(dim)).astype(np.float32)


X, Q = vectors(0, 300), vectors(1, 80)
MAKERS: dict[str, Any] = {
    "hadamard": lambda: Rotation(seed=3),
    "dense": lambda: Rotation("dense", seed=3),
    "pca": PCA,
    "pca 5": lambda: PCA(5),
    "pca ip": lambda: PCA(metric="ip"),
    "sphering": Sphering,
    "sphering 5": lambda: Sphering(5),
    "center": Center,
    "center ip": lambda: Center("ip"),
    "truncate": lambda: Truncate(7),
    "pca, rotation": lambda: PCA() >> Rotation(),
    "rotation, pca, centre": lambda: Rotation() >> PCA(6) >> Center(),
    "sphering, centre, rotation": lambda: Sphering() >> Center("ip") >> Rotation("dense"),
    "truncate, rotation": lambda: Truncate(7) >> Rotation(),
}
EVERY = pytest.mark.parametrize("kind", MAKERS)


def fitted(kind: str) -> Transform:
    made: Transform = MAKERS[kind]().fit(X, queries=Q)
    return made


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


# ------------------------------------------------------------ of all of them


@EVERY
def test_one_is_like_a_batch_and_both_are_the_affine_map(engine: str, kind: str) -> None:
    t = fitted(kind)
    assert t.in_dim == DIM and t.matrix.shape == t.query_matrix.shape == (t.out_dim, DIM)
    for call, rows, matrix, offset in (
        (t.apply, X, t.matrix, t.offset),
        (t.apply_query, Q, t.query_matrix, t.query_offset),
    ):
        batch = call(rows)
        assert batch.dtype == matrix.dtype == offset.dtype == np.float32 and batch.shape == (len(rows), t.out_dim)
        formula = (wide(rows) - offset) @ wide(matrix).T
        assert np.abs(batch - formula).max() < 2e-5 * np.abs(formula).max()
        one = call(rows[3])
        assert one.shape == (t.out_dim,)
        assert np.allclose(one, batch[3], atol=2e-5 * np.abs(batch).max())
        assert call(rows[:0]).shape == (0, t.out_dim)
        assert np.array_equal(call(rows.astype(np.float64).tolist()), batch)  # whatever check_vectors takes
    Y = t.apply(X)
    assert np.allclose(t.inverse(Y[3]), t.inverse(Y)[3], atol=1e-4)


@EVERY
def test_inverse_gives_what_is_mapped_to_the_same(kind: str) -> None:
    t = fitted(kind)
    Y = t.apply(X)
    back = t.inverse(Y)
    assert back.shape == X.shape and back.dtype == np.float32
    assert np.abs(t.apply(back) - Y).max() < 2e-4 * np.abs(Y).max()
    if t.out_dim is not None and t.out_dim >= DIM:
        assert np.abs(back - X).max() < 2e-4 * np.abs(X).max()


@EVERY
def test_orthogonal_means_that_distances_stay(kind: str) -> None:
    t = fitted(kind)
    before, after = oracle.distances("l2", X[:40], X), oracle.distances("l2", t.apply(X[:40]), t.apply(X))
    assert t.is_orthogonal == np.allclose(before, after, rtol=1e-4, atol=1e-4)
    assert t.is_orthogonal == np.allclose(wide(t.matrix).T @ wide(t.matrix), np.eye(DIM), atol=1e-5)


@pytest.mark.parametrize("kind", ["hadamard", "dense", "pca ip", "center ip", "sphering", "sphering, centre, rotation"])
def test_inner_products_stay_up_to_one_number_for_each_query(kind: str) -> None:
    t = fitted(kind)
    found = wide(t.apply_query(Q)) @ wide(t.apply(X)).T + (wide(Q) @ t.offset)[:, None]
    truth = wide(Q) @ wide(X).T
    assert np.abs(found - truth).max() < 1e-3 * np.abs(truth).max()
    assert not t.query_offset.any()


@EVERY
def test_the_same_seed_gives_the_same_bits(kind: str) -> None:
    for a, b in zip(fitted(kind).state()[1].values(), fitted(kind).state()[1].values()):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("kind", ["hadamard", "dense"])
def test_another_seed_gives_another_rotation(kind: str) -> None:
    a, b = (Rotation(kind, seed).start(DIM).apply(X) for seed in (0, 1))
    assert not np.allclose(a, b)


# --------------------------------------------------------------- of each


@given(st.integers(1, 70), st.sampled_from(["hadamard", "dense"]), st.integers(0, 2**63 - 1))
@settings(max_examples=40, deadline=None)
def test_rotations_of_any_dimension(dim: int, kind: str, seed: int) -> None:
    t = Rotation(kind, seed).start(dim)
    assert t.out_dim == (dim if kind == "dense" else -(-dim // 16) * 16)
    assert np.allclose(wide(t.matrix).T @ wide(t.matrix), np.eye(dim), atol=1e-5)
    if kind == "hadamard":
        assert np.abs(t.matrix - oracle.rotation(dim, base.random_signs(dim, seed))).max() < 3e-6


def test_dense_rotations_are_uniform() -> None:
    """QR alone would leave signs that do not average out, and reflections only."""
    made = np.stack([Rotation("dense", seed).start(3).matrix for seed in range(400)]).astype(np.float64)
    assert np.abs(made.mean(axis=0)).max() < 4 / np.sqrt(3 * 400)
    assert np.abs((made**2).mean(axis=0) - 1 / 3).max() < 4 * np.sqrt(4 / 45 / 400)
    assert 150 < (np.linalg.det(made) > 0).sum() < 250


@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_pca_gathers_the_variance(n: int, dim: int, seed: int) -> None:
    data = vectors(seed, n, dim)
    kept = 1 + seed % dim
    t = PCA(kept).fit(data)
    cov = np.atleast_2d(np.cov(wide(t.apply(data)).T, bias=True))
    size = t.variances[0] + 1e-9
    assert np.abs(cov - np.diag(t.variances[:kept])).max() < 1e-5 * size
    assert (np.diff(t.variances) <= 0).all() and (t.variances >= 0).all()
    lost = ((wide(t.inverse(t.apply(data))) - data) ** 2).sum(axis=1).mean()
    assert lost == pytest.approx(t.variances[kept:].sum(), abs=1e-5 * size * dim)


def test_pca_looks_at_a_sample_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.random.default_rng(2).standard_normal((70_000, 3)).astype(np.float32) * [3, 2, 1]
    a, b = PCA(seed=1).fit(many), PCA(seed=2).fit(many)
    assert not np.array_equal(a.variances, b.variances)
    assert np.allclose(a.variances, [9, 4, 1], rtol=0.03)


def test_sphering_makes_queries_isotropic_and_loses_least() -> None:
    t = Sphering(ridge=1e-8).fit(X, queries=Q)
    assert np.allclose(wide(t.apply_query(Q)).T @ t.apply_query(Q) / len(Q), np.eye(DIM), atol=1e-3)
    assert np.allclose((wide(t.apply(X)) ** 2).mean(axis=0), t.variances, rtol=1e-3, atol=1e-6)
    truth = wide(Q) @ wide(X).T
    worst = None
    for dim in (1, 5, 12):
        small = Sphering(dim, ridge=1e-8).fit(X, queries=Q)
        assert np.allclose(small.matrix, t.matrix[:dim], atol=1e-5)  # nested
        lost = ((truth - wide(small.apply_query(Q)) @ small.apply(X).T) ** 2).mean()
        assert lost == pytest.approx(t.variances[dim:].sum(), rel=1e-2)
        axes = np.linalg.eigh(wide(X).T @ X)[1][:, -dim:]  # the best for queries like the vectors
        assert lost < ((truth - (wide(Q) @ axes) @ (wide(X) @ axes).T) ** 2).mean()
        assert worst is None or lost < worst
        worst = lost


def test_sphering_keeps_inner_products_with_fewer_queries_than_dimensions() -> None:
    t = Sphering().fit(X, queries=Q[:3])
    truth = wide(Q) @ wide(X).T  # of queries it has never seen
    assert np.abs(wide(t.apply_query(Q)) @ wide(t.apply(X)).T - truth).max() < 1e-3 * np.abs(truth).max()


def test_center_leaves_distances_or_rankings() -> None:
    l2, ip = Center().fit(X), Center("ip").fit(X)
    assert np.allclose(l2.apply(X).mean(axis=0), 0, atol=1e-6)
    assert np.allclose(oracle.distances("l2", l2.apply_query(Q), l2.apply(X)), oracle.distances("l2", Q, X), rtol=1e-4)
    assert np.array_equal(ip.apply_query(Q), Q)
    assert np.array_equal((ip.apply_query(Q) @ wide(ip.apply(X)).T).argmax(axis=1), (Q @ wide(X).T).argmax(axis=1))


def test_truncate_cuts_and_may_scale(engine: str) -> None:
    t = Truncate(7, normalize=True).fit(X)
    assert np.array_equal(Truncate(7).fit(X).apply(X), X[:, :7])
    assert np.allclose(t.apply(X), oracle.unit(X[:, :7]), atol=1e-6)
    assert not t.apply(np.zeros(DIM)).any() and not t.is_affine and not t.is_orthogonal
    assert Truncate(DIM).fit(X).is_orthogonal
    chain = Compose([t, PCA(3)]).fit(X)  # not affine: step by step
    assert np.array_equal(chain.apply(X), chain.steps[1].apply(t.apply(X)))
    for call, message in (
        (
            lambda: t.inverse(np.zeros(7)),
            "normalize=True.* has no inverse: lengths are gone. With normalize=False it has",
        ),
        (lambda: t.matrix, "has no matrix and no offset: it is no affine map"),
        (lambda: t.offset, "has no matrix and no offset: it is no affine map"),
        (lambda: chain.matrix, "has no matrix and no offset: it is no affine map"),
        (lambda: chain.inverse(np.zeros(3)), "has no inverse"),
    ):
        with pytest.raises(vs.ParameterError, match=message):
            call()


# ------------------------------------------------------------- compositions

STEPS = st.sampled_from(
    [
        lambda d: Rotation(),
        lambda d: Rotation("dense", 7),
        lambda d: PCA(),
        lambda d: PCA(max(1, d - 2), metric="ip"),
        lambda d: Sphering(max(1, d - 1)),
        lambda d: Center(),
        lambda d: Center("ip"),
        lambda d: Truncate(max(1, d - 3)),
    ]
)


@given(st.lists(STEPS, min_size=1, max_size=5), st.integers(1, 24))
@settings(max_examples=80, deadline=None)
def test_folded_is_step_by_step(makers: list[Any], dim: int) -> None:
    data, queries = vectors(5, 60, dim), vectors(6, 40, dim)
    steps, width = [], dim
    for make in makers:
        steps.append(make(width))
        width = steps[-1].fit(np.zeros((1, width)), queries=np.ones((1, width))).out_dim
    chain = Compose(steps).fit(data, queries=queries)
    slowly, asked = data, queries
    for step in steps:
        slowly, asked = step.apply(slowly), step.apply_query(asked)
    for query, source, wanted in ((False, data, slowly), (True, queries, asked)):
        size = np.linalg.norm(source, axis=1).max()  # of the largest vector on the way
        for step in steps:
            size *= max(1, np.linalg.norm(step.query_matrix if query else step.matrix, 2))
        found = chain.apply_query(source) if query else chain.apply(source)
        assert np.abs(found - wanted).max() < 1e-5 * size
        if not any(isinstance(step, Sphering) for step in steps):  # of data without extent it makes what it likes
            matrix, offset = (chain.query_matrix, chain.query_offset) if query else (chain.matrix, chain.offset)
            assert np.abs((wide(source) - offset) @ wide(matrix).T - wanted).max() < 1e-5 * size


def test_composition_is_flat_and_follows_its_steps() -> None:
    a, b, c = PCA(8), Rotation("dense"), Center()
    chain = a >> (b >> c)
    assert chain.steps == (a, b, c) and repr(chain).startswith(
        "PCA(dim=8, metric='l2', seed=0) >> Rotation(kind='dense'"
    )
    assert chain.in_dim is None and chain.out_dim is None
    chain.fit(X)
    assert (chain.in_dim, chain.out_dim) == (DIM, 8)
    before = chain.apply(X)
    b.seed = 99
    b.fit(before)
    after = chain.apply(X)
    assert not np.allclose(before, after)
    assert np.allclose(after, c.apply(b.apply(a.apply(X))), atol=1e-5)
    assert np.array_equal((PCA(8).fit(X) >> Rotation("dense").start(8)).apply(X).shape, (300, 8))  # fitted before
    b.start(9)
    with pytest.raises(vs.DimensionError, match=r"PCA\(.* gives 8, Rotation\(.* takes 9"):
        chain.apply(X)


def test_an_offset_that_padding_cannot_reach_is_applied_in_steps() -> None:
    shifted = Center().fit(np.random.default_rng(8).standard_normal((1, 32)))
    for chain in (Rotation().start(DIM) >> shifted, Rotation().start(DIM) >> shifted >> Rotation("dense").start(32)):
        slowly = X
        for step in chain.steps:
            slowly = step.apply(slowly)
        assert np.allclose(chain.apply(X), slowly, atol=1e-5)
        with pytest.raises(vs.ParameterError, match="has no single offset"):
            chain.matrix  # noqa: B018


# ------------------------------------------------------------ states and files


def same_map(a: Transform, b: Transform) -> bool:
    return repr(a) == repr(b) and all(
        np.array_equal(getattr(a, call)(rows), getattr(b, call)(rows))
        for call, rows in (("apply", X), ("apply_query", Q))
    )


@pytest.mark.parametrize("kind", [*MAKERS, "normalized"])
def test_states_and_files_give_the_same_map_again(engine: str, kind: str, tmp_path: Path) -> None:
    t = Truncate(7, True).fit(X) >> Rotation().start(7) if kind == "normalized" else fitted(kind)
    params, arrays = t.state()
    again = Transform.from_state(json.loads(json.dumps(params)), {k: v.copy() for k, v in arrays.items()})
    assert type(again) is type(t) and same_map(t, again)
    save_transform(t, tmp_path / "t.vsx")
    assert same_map(t, load_transform(tmp_path / "t.vsx"))


JUNK = [None, True, -1, 0, 10**9, 1.5, "x", [], {}, [[]], "compose", "pca", 2**70, float("nan")]


@given(st.sampled_from(list(MAKERS)), st.data())
@settings(max_examples=300, deadline=None)
def test_forged_states_are_refused_or_harmless(kind: str, data: st.DataObject) -> None:
    params, arrays = fitted(kind).state()
    params = json.loads(json.dumps(params))
    spot = data.draw(st.sampled_from([params, *params.get("steps", [])]))
    name = data.draw(st.sampled_from(sorted(arrays))) if arrays else None
    way = data.draw(st.sampled_from(["value", "missing", "array", "no array", "shape"]))
    if way == "value":
        spot[data.draw(st.sampled_from(sorted(spot)))] = data.draw(st.sampled_from(JUNK))
    elif way == "missing":
        del spot[data.draw(st.sampled_from(sorted(spot)))]
    elif name is not None and way == "array":
        arrays[name] = data.draw(st.sampled_from([None, arrays[name].astype(np.float16), arrays[name].tolist()]))
    elif name is not None and way == "no array":
        del arrays[name]
    elif name is not None:
        arrays[name] = data.draw(st.sampled_from([arrays[name][:-1], arrays[name][None], arrays[name][..., 1:]]))
    refusal = ""
    try:
        t = Transform.from_state(params, arrays)
    except vs.ParameterError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("`params` and `arrays` must be the state of a transform; ")
    else:
        rows = np.ones((2, t.in_dim or 0), np.float32)
        assert t.apply(rows).shape == (2, t.out_dim)


@pytest.mark.parametrize("kind", ["pca", "sphering 5", "dense", "center", "rotation, pca, centre"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_states_that_are_not_finite_are_refused(kind: str, bad: float) -> None:
    params, arrays = fitted(kind).state()
    for name in arrays:
        if arrays[name].dtype.kind == "f":
            spoilt = arrays[name].copy()
            spoilt.flat[-1] = bad
            with pytest.raises(vs.ParameterError, match=f"array `{name.split('.')[-1]}` is not finite"):
                Transform.from_state(params, {**arrays, name: spoilt})


def test_damaged_files_are_format_errors(tmp_path: Path) -> None:
    path = tmp_path / "t.vsx"
    t = (PCA(3) >> Rotation()).fit(X)
    save_transform(t, path)
    good, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        at = rng.randrange(len(good))
        raw = (
            good[:at] if rng.random() < 0.3 else good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :]
        )
        path.write_bytes(raw)
        with pytest.raises(vs.FormatError, match=r"t\.vsx"):
            load_transform(path)


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    vs.Flat().fit(X).save(tmp_path / "flat.vsx")
    with pytest.raises(vs.FormatError, match="holds a vsearch 'flat', which is not a transform"):
        load_transform(tmp_path / "flat.vsx")
    save_transform(Center().fit(X), tmp_path / "center.vsx")
    with pytest.raises(vs.FormatError, match="holds a vsearch 'transform', which is not an index"):
        vs.load(tmp_path / "center.vsx")
    from vsearch.storage import container

    container.write(tmp_path / "forged.vsx", "transform", {"transform": "center", "metric": "l2", "in_dim": 4}, {})
    with pytest.raises(vs.FormatError, match=r"forged\.vsx is a damaged vsearch transform.*'mean' is missing"):
        load_transform(tmp_path / "forged.vsx")


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@EVERY
def test_what_is_not_finite_is_refused(kind: str, bad: float) -> None:
    spoilt = X[:5].copy()
    spoilt[2, 1] = bad
    with pytest.raises(vs.ParameterError, match="`X` must be finite; row 2"):
        MAKERS[kind]().fit(spoilt, queries=Q)
    with pytest.raises(vs.ParameterError, match="`queries` must be finite; row 2"):
        MAKERS[kind]().fit(X, queries=spoilt)
    t = fitted(kind)
    for name, call in (("X", t.apply), ("Q", t.apply_query)):
        with pytest.raises(vs.ParameterError, match=f"`{name}` must be finite; row 2"):
            call(spoilt)
    with pytest.raises(vs.ParameterError, match="`Y` must be finite; row 0"):
        t.inverse(np.full(t.out_dim or 0, bad))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Rotation("fast"), vs.ParameterError, "`kind` must be one of 'hadamard', 'dense'; got 'fast'"),
        (lambda: Rotation(seed=-1), vs.ParameterError, "`seed` must be an int in"),
        (lambda: Rotation().start(0), vs.ParameterError, "`dim` must be an int in"),
        (lambda: PCA(0), vs.ParameterError, "`dim` must be an int in"),
        (lambda: PCA(2.0), vs.DTypeError, "`dim` must be an int in"),
        (lambda: PCA(metric="cosine"), vs.ParameterError, "`metric` must be one of 'l2', 'ip'"),
        (lambda: PCA(DIM + 1).fit(X), vs.ParameterError, r"`dim` must be an int in \[1, 20\]; got 21"),
        (lambda: Truncate(DIM + 1).fit(X), vs.ParameterError, r"`dim` must be an int in \[1, 20\]; got 21"),
        (lambda: Truncate(3, 1), vs.DTypeError, "`normalize` must be True or False"),
        (lambda: Sphering(DIM + 1).fit(X, queries=Q), vs.ParameterError, r"`dim` must be an int in \[1, 20\]; got 21"),
        (lambda: Sphering(ridge=0), vs.ParameterError, r"`ridge` must be a number in \(0, 1\]"),
        (lambda: Sphering().fit(X), vs.ParameterError, "`queries` must be given.*pass `queries=X`"),
        (lambda: Sphering().fit(X, queries=0 * Q), vs.ParameterError, "`queries` must not all be zero"),
        (lambda: PCA().fit(X, queries=Q[:, 1:]), vs.DimensionError, "`queries` must have d=20"),
        (lambda: PCA().apply(X), vs.NotFittedError, r"PCA\(.*\) is not fitted; call fit\(X\) first"),
        (lambda: (PCA() >> Center()).matrix, vs.NotFittedError, r"PCA\(.*\) is not fitted"),
        (lambda: Center().state(), vs.NotFittedError, "is not fitted"),
        (lambda: Center().offset, vs.NotFittedError, "is not fitted"),
        (lambda: Center().fit(X).apply(X[:, 1:]), vs.DimensionError, "`X` must have d=20"),
        (lambda: PCA(3).fit(X).inverse(X), vs.DimensionError, "`Y` must have d=3"),
        (lambda: Center().fit(X[0]), vs.DimensionError, r"`X` must have shape \(n, d\)"),
        (lambda: Compose([]), vs.ParameterError, "`steps` must be 1 to 64 transforms; got 0"),
        (lambda: Compose(3), vs.DTypeError, "`steps` must be a list of transforms; got 3"),
        (lambda: PCA() >> 3, vs.DTypeError, r"`steps` must be transforms; got 3 \(int\)"),
        (lambda: (lambda t: t >> t)(PCA()), vs.ParameterError, "`steps` must be different objects"),
        (lambda: PCA(3).fit(X) >> Center().fit(X), vs.DimensionError, "gives 3, Center.* takes 20"),
        (lambda: Transform.from_state(3, {}), vs.ParameterError, "no mapping"),
        (lambda: Transform.from_state({"transform": "opal"}, {}), vs.ParameterError, "there is no transform 'opal'"),
        (lambda: save_transform(X, "x.vsx"), vs.DTypeError, "`transform` must be a Transform"),
    ],
)
def test_refusals_name_what_is_wrong(call, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call()
