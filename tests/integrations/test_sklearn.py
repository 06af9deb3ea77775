"""scikit-learn's own checks of estimators, and agreement with its exact neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.cluster import DBSCAN
from sklearn.exceptions import NotFittedError
from sklearn.manifold import Isomap
from sklearn.neighbors import KNeighborsTransformer
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from vsearch.integrations.sklearn import VsearchTransformer

X = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)


@parametrize_with_checks([VsearchTransformer(), VsearchTransformer(mode="connectivity", recall=0.9)])
def test_estimator_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("mode", ["distance", "connectivity"])
@pytest.mark.parametrize("metric", ["l2", "sqeuclidean", "cosine"])
def test_the_graph_is_that_of_scikit_learn(mode: str, metric: str) -> None:
    ours = VsearchTransformer(4, mode=mode, metric=metric).fit(X)
    theirs = KNeighborsTransformer(mode=mode, n_neighbors=4, metric=metric).fit(X)
    for Q in (X, X[:7] + 0.1):
        a, b = ours.transform(Q), theirs.transform(Q)
        assert a.shape == b.shape
        assert np.allclose(a.toarray(), b.toarray(), atol=2e-3)
    assert (ours.kneighbors(return_distance=False) == theirs.kneighbors(return_distance=False)).all()
    assert np.allclose(ours.kneighbors_graph().toarray(), theirs.kneighbors_graph(mode=mode).toarray(), atol=2e-3)


def test_approximate_neighbours_reach_their_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    from vsearch.integrations import sklearn

    monkeypatch.setattr(sklearn, "EXACT_BELOW", 0)
    found = VsearchTransformer(10, recall=0.9, n_jobs=1).fit(X).kneighbors(return_distance=False)
    exact = VsearchTransformer(10).fit(X).kneighbors(return_distance=False)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact)]) >= 0.85


def test_pipelines_take_the_graph() -> None:
    clusters = np.concatenate([X[:50, :2] * 0.1, X[50:100, :2] * 0.1 + 5])
    labels = make_pipeline(VsearchTransformer(10), DBSCAN(metric="precomputed", eps=0.5)).fit_predict(clusters)
    assert len(set(labels[:50]) | set(labels[50:])) >= 2
    assert not set(labels[:50]) & set(labels[50:]) - {-1}
    assert make_pipeline(VsearchTransformer(20), Isomap(metric="precomputed", n_neighbors=20)).fit_transform(
        X
    ).shape == (
        200,
        2,
    )


def test_bad_use_is_refused() -> None:
    with pytest.raises(NotFittedError):
        VsearchTransformer().transform(X)
    for options, words in (({"mode": "both"}, "`mode`"), ({"metric": "l1"}, "`metric`")):
        with pytest.raises(ValueError, match=words):
            VsearchTransformer(**options).fit(X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_neighbors <= n_samples_fit"):
        VsearchTransformer().fit(X).kneighbors(n_neighbors=200)
