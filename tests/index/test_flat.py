"""Flat against brute force: what it answers, in whatever way it is asked, filled, changed and stored."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vsearch as vs

INT64_TOP = 2**63 - 1


def whole_numbers(rng: np.random.Generator, n: int, d: int, top: int = 4) -> np.ndarray:
    """Vectors of small integers: exact in every dtype, and full of ties."""
    return rng.integers(-top, top + 1, (n, d)).astype(np.float32)


def expected(metric: str, Q: np.ndarray, X: np.ndarray, ids: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    return oracle.nearest(oracle.distances(metric, Q, X), ids, k)


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 40), st.integers(0, 40), st.integers(1, 70),
    st.sampled_from(["l2", "ip"]), st.sampled_from(oracle.DTYPES), st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_answers_are_exact_with_ties_by_id(
    seed: int, n: int, d: int, nq: int, k: int, metric: str, dtype: str, threads: int
) -> None:
    rng = np.random.default_rng(seed)
    X, Q = whole_numbers(rng, n, d), whole_numbers(rng, nq, d)
    ids = rng.permutation(3 * n)[:n]
    index = vs.Flat(metric, dtype=dtype).fit(X, ids)
    found, distances = index.search(Q, k, threads=threads)
    true_ids, true_distances = expected(metric, Q, X, ids, k)
    assert found.dtype == np.int64 and distances.dtype == np.float32
    assert np.array_equal(found, true_ids)
    assert np.array_equal(distances, true_distances.astype(np.float32))


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_real_vectors_match_the_oracle(isa: str, dtype: str, metric: str) -> None:
    rng = np.random.default_rng(1)
    for d in (1, 17, 100, 384):
        X, Q = rng.standard_normal((700, d)), rng.standard_normal((20, d))
        index = vs.Flat(metric, dtype=dtype).fit(X)
        held = np.array([index.vector(i) for i in range(700)])
        truth = oracle.distances(metric, oracle.unit(Q) if metric == "cosine" else Q.astype(np.float32), held)
        _, distances = index.search(Q, 10)
        close = 2e-3 if dtype == "int8" else 2e-5
        assert np.allclose(distances, np.sort(truth, axis=1)[:, :10], rtol=close, atol=close * d**0.5)


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_a_batch_answers_as_its_queries_do_one_by_one(isa: str, dtype: str, metric: str) -> None:
    rng = np.random.default_rng(2)
    far = 50 * rng.standard_normal((1, 60))  # norms dwarf distances: a matrix product loses digits
    X, Q = far + rng.standard_normal((2000, 60)), (far + rng.standard_normal((50, 60))).astype(np.float32)
    index = vs.Flat(metric, dtype=dtype).fit(X, rng.permutation(2000))
    for k in (1, 10, 100):
        ids, distances = index.search(Q, k)
        few_ids, few_distances = index.search(Q[:5], k)
        assert np.array_equal(ids[:5], few_ids) and np.array_equal(distances[:5], few_distances)
        for row, query in enumerate(Q):
            one_ids, one_distances = index.search(query, k)
            assert np.array_equal(ids[row], one_ids) and np.array_equal(distances[row], one_distances)


@pytest.mark.parametrize("nq", [1, 5, 40])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_answer(nq: int, threads: int) -> None:
    rng = np.random.default_rng(3)
    X, Q = whole_numbers(rng, 30000, 48), whole_numbers(rng, nq, 48)
    index = vs.Flat().fit(X)
    one, many = index.search(Q, 20, threads=1), index.search(Q, 20, threads=threads)
    assert np.array_equal(one[0], many[0]) and np.array_equal(one[1], many[1])


def test_large_k_is_complete_and_sorted() -> None:
    rng = np.random.default_rng(4)
    X = whole_numbers(rng, 3000, 6)
    index = vs.Flat().fit(X)
    for Q in (X[:1], X[:9]):
        for k in (64, 65, 2999, 3000, 5000, 65536):
            ids, distances = index.search(Q, k)
            true_ids, true_distances = expected("l2", Q, X, np.arange(3000), k)
            assert np.array_equal(ids, true_ids) and np.array_equal(distances, true_distances.astype(np.float32))


def test_distances_that_overflow_do_no_harm() -> None:
    X = np.array([[1e30, 0], [0, 1e30], [1, 1], [-1e30, 1e30]], np.float32)
    index = vs.Flat().fit(X)
    for Q in (X[2], np.tile(X[2], (20, 1))):
        ids, distances = index.search(Q, 2)
        assert np.reshape(ids, (-1, 2))[:, 0].tolist() == [2] * (1 if Q.ndim == 1 else 20)
        assert np.reshape(distances, (-1, 2))[0, 0] == 0


# ---------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("nq", [1, 3, 30])
def test_filters_are_right_at_every_selectivity(dtype: str, nq: int) -> None:
    rng = np.random.default_rng(5)
    n = 2500
    X, Q = whole_numbers(rng, n, 12), whole_numbers(rng, nq, 12)
    ids = rng.permutation(2 * n)[:n]
    index = vs.Flat(dtype=dtype).fit(X, ids)
    order = np.argsort(ids)
    for matches in (0, 1, 2, 10, 64, 300, 1249, 1250, 2000, n - 1, n):
        chosen = rng.permutation(n)[:matches]
        mask = np.isin(ids[order], ids[chosen])
        true_ids, true_distances = expected("l2", Q, X[chosen], ids[chosen], 10)
        for threads in (1, 3):
            for filter in (mask, np.packbits(mask, bitorder="little"), ids[chosen]):
                found, distances = index.search(Q, 10, filter=filter, threads=threads)
                assert np.array_equal(found, true_ids), matches
                assert np.array_equal(distances, true_distances.astype(np.float32)), matches


# ------------------------------------------------------------------------------------------------- a model, and time


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True)),
        st.tuples(st.just("remove"), st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True)),
        st.tuples(st.just("load"), st.booleans()),
        st.tuples(st.just("refit"), st.just(0)),
    ),
    max_size=12,
)


@given(STEPS, st.sampled_from(["l2", "ip"]), st.sampled_from(oracle.DTYPES), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_histories_agree_with_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]], metric: str, dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("flat") / "index.vsx"
    model = {INT64_TOP: whole_numbers(rng, 1, 5)[0]}
    index = vs.Flat(metric, dtype=dtype).fit([model[INT64_TOP]], [INT64_TOP])
    for step, what in steps:
        if step == "add":
            fresh = [id for id in what if id not in model]
            vectors = whole_numbers(rng, len(fresh), 5)
            assert index.add(vectors, fresh).tolist() == fresh
            model |= zip(fresh, vectors)
        elif step == "remove":
            known = [id for id in what if id in model]
            assert index.remove(known) == len(known)
            for id in known:
                del model[id]
        elif step == "load":
            index.save(path)
            index = vs.load(path, mmap=what)
        else:
            index.fit(list(model.values()), list(model)) if model else None
        agree(index, model, metric, whole_numbers(rng, 9, 5))


def agree(index: vs.Flat, model: dict[int, np.ndarray], metric: str, Q: np.ndarray) -> None:
    ids = np.array(list(model), np.int64)
    X = np.array(list(model.values())).reshape(-1, 5)
    assert len(index) == len(model) and index.ids.tolist() == sorted(model)
    true_ids, true_distances = expected(metric, Q, X, ids, 7)
    for queries, answer in ((Q, (true_ids, true_distances)), (Q[0], (true_ids[0], true_distances[0]))):
        found, distances = index.search(queries, 7)
        assert np.array_equal(found, answer[0]) and np.array_equal(distances, answer[1].astype(np.float32))
    for id in list(model)[:3]:
        assert id in index and np.array_equal(index.vector(id), model[id])
    half = ids[::2]
    found, _ = index.search(Q, 7, filter=half)
    assert np.array_equal(found, expected(metric, Q, X[::2], half, 7)[0])


def test_searches_see_all_of_a_commit_or_nothing() -> None:
    rng = np.random.default_rng(6)
    base = whole_numbers(rng, 300, 8)
    index = vs.Flat().fit(base, np.arange(300))
    group = np.arange(1000, 1100)  # comes and goes as a whole, nearer to the query than anything else
    near = np.full((100, 8), 50, np.float32)
    done = threading.Event()
    faults: list[str] = []

    def read(single: bool, filtered: bool) -> None:
        query = np.full(8, 50, np.float32)
        Q = query if single else np.tile(query, (10, 1))
        while not done.is_set():
            known = index.ids
            try:
                ids, distances = index.search(Q, 150, filter=known[known < 1050] if filtered else None)
            except vs.UnknownIdError:  # the ids of a filter may be gone by the time it is read
                continue
            except Exception as error:
                faults.append(repr(error))
                return
            for row, distance in zip(np.atleast_2d(ids), np.atleast_2d(distances)):
                there = int(((row >= 1000) & (row < 1100)).sum())
                if there not in ((0, 50) if filtered else (0, 100)):
                    faults.append(f"{there} of the group")
                if len(set(row.tolist())) != 150 or (np.diff(distance) < 0).any():
                    faults.append("not a result")

    readers = [threading.Thread(target=read, args=(i % 2 == 0, i >= 2)) for i in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(150):
        index.add(near, group)
        index.remove(group)
    done.set()
    for reader in readers:
        reader.join()
    assert not faults, faults[:5]
    assert index.ids.tolist() == list(range(300))


# ----------------------------------------------------------------------------------------------------------- details


def test_unsigned_bytes_are_exact_in_int8_for_l2(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    X = rng.integers(0, 256, (500, 20)).astype(np.uint8)
    index = vs.Flat(dtype="int8").fit(X)
    index.add([[256.5] * 20], [900])  # does not fit a byte: rounded, like any vector that is not of integers
    index.save(tmp_path / "bytes.vsx")
    Q = rng.integers(0, 256, (12, 20)).astype(np.uint8)
    for each in (index, vs.load(tmp_path / "bytes.vsx"), vs.load(tmp_path / "bytes.vsx", mmap=True)):
        ids, distances = each.search(Q, 4)
        true_ids, true_distances = expected("l2", Q, X, np.arange(500), 4)
        assert np.array_equal(ids, true_ids) and np.array_equal(distances, true_distances.astype(np.float32))
        assert np.array_equal(each.search(Q[0], 4)[0], true_ids[0])
        assert np.array_equal(each.vector(7), X[7]) and np.allclose(each.vector(900), 256.5, atol=1)
    assert index.bytes_per_vector <= 20 + 8 + 25  # code, factors, id and the table that finds it


def test_the_short_way_and_the_long_way_agree() -> None:
    rng = np.random.default_rng(8)
    for metric in oracle.METRICS:
        X = rng.standard_normal((100, 24)).astype(np.float32)
        index = vs.Flat(metric).fit(X)
        q = rng.standard_normal(24).astype(np.float32)
        short = index.search(q, 5)
        strided = np.repeat(q, 2)[::2]
        for same in (q.astype(np.float64), q.tolist(), strided):
            assert np.array_equal(index.search(same, 5), short)
        assert np.array_equal(index.search(q, np.int64(5)), short)
        assert np.array_equal(index.search(q, 5, threads=1), short)


@pytest.mark.parametrize(
    ("query", "k", "error", "message"),
    [
        (np.zeros(3, np.float32), 5, vs.DimensionError, r"`Q` must have d=4.*got d=3"),
        (np.full(4, np.nan, np.float32), 5, vs.ParameterError, r"`Q` must be finite"),
        (np.ones(4, np.float32), 0, vs.ParameterError, r"`k` must be an int in \[1, 65536\]; got 0"),
        (np.ones(4, np.float32), 2**70, vs.ParameterError, r"`k` must be an int in \[1, 65536\]"),
        (np.ones(4, np.float32), True, vs.DTypeError, r"`k` must be an int"),
        (np.ones(4, np.complex64), 5, vs.DTypeError, r"`Q` must be an array of"),
    ],
)
def test_the_short_way_leaves_faults_to_the_long_one(query: Any, k: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        vs.Flat().fit(np.eye(4)).search(query, k)


def test_a_zero_vector_has_no_cosine() -> None:
    with pytest.raises(vs.ParameterError, match=r"`X` must not hold zero vectors .* row 2 is zero"):
        vs.Flat("cosine").fit([[1, 0], [0, 1], [0, 0]])
    index = vs.Flat("cosine").fit(np.eye(2))
    for zero in (np.zeros(2, np.float32), np.zeros((20, 2))):
        with pytest.raises(vs.ParameterError, match=r"`Q` must not hold zero vectors"):
            index.search(zero)


def test_a_half_must_be_able_to_hold_the_vectors() -> None:
    with pytest.raises(vs.ParameterError, match=r"`X` must be within ±65504"):
        vs.Flat(dtype="f16").fit([[1e5]])


def test_an_emptied_index_answers_and_can_be_filled_again() -> None:
    index = vs.Flat().fit(np.eye(3))
    assert index.remove([0, 1, 2]) == 3 and len(index) == 0
    for Q in (np.ones(3, np.float32), np.ones((20, 3), np.float32)):
        ids, distances = index.search(Q, 2)
        assert (ids == -1).all() and np.isinf(distances).all()
    assert index.add(np.eye(3)).tolist() == [0, 1, 2] or len(index) == 3
    assert index.search(np.eye(3, dtype=np.float32)[1], 1)[1][0] == 0


def test_not_fitted_says_so() -> None:
    with pytest.raises(vs.NotFittedError, match=r"Flat is not fitted; call fit\(X\) first"):
        vs.Flat().search(np.zeros(3))


def test_repr_tells_what_it_holds() -> None:
    index = vs.Flat("cosine", dtype="bf16")
    assert repr(index) == "Flat(metric='cosine', dtype='bf16'): not fitted"
    assert repr(index.fit(np.eye(10))).endswith(": 10 vectors of 10 dimensions, 28 bytes each")
    assert ": 1 vector of 3 dimensions, " in repr(vs.Flat().fit(np.ones((1, 3))))
    assert ": 1 vector of 1 dimension in 1 list, " in repr(vs.IVF(1).fit(np.ones((1, 1))))
    assert ": 1 vector of 3 dimensions, " in repr(vs.Graph().fit(np.ones((1, 3))))


@pytest.mark.parametrize("bits", [1, 4])
@pytest.mark.parametrize("metric", oracle.METRICS)
def test_codes_find_nearly_what_vectors_find(metric: str, bits: int) -> None:
    rng = np.random.default_rng(9)
    X, Q = rng.standard_normal((3000, 48)), rng.standard_normal((50, 48))
    exact, _ = vs.Flat(metric).fit(X).search(Q, 10)
    index = vs.Flat(metric, quantizer=vs.RaBitQ(bits=bits), refine="f32").fit(X)
    found, _ = index.search(Q, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact)]) > 0.9
    assert index.remove(np.arange(0, 3000, 2)) == 1500
    left, _ = index.search(Q, 10)
    assert (left % 2 == 1).all()
