"""The module that ann-benchmarks (https://github.com/erikbern/ann-benchmarks) runs: copy it to
ann_benchmarks/algorithms/vsearch/module.py there, with a Dockerfile that installs vsearch-ann and the config below.

    float:
      any:
      - base_args: ['@metric']
        constructor: Vsearch
        module: ann_benchmarks.algorithms.vsearch
        name: vsearch
        docker_tag: ann-benchmarks-vsearch
        run_groups:
          graph: {args: [[graph], [32, 64]], query_args: [[10, 20, 40, 80, 160, 320, 640]]}
          ivf: {args: [[ivf], [1, 4]], query_args: [[1, 2, 5, 10, 20, 50, 100, 200, 400]]}

`python bench/ann_benchmarks.py` runs it on the bundled data, without ann-benchmarks.
"""

from __future__ import annotations

import numpy as np

import vsearch as vs

try:
    from ann_benchmarks.algorithms.base.module import BaseANN
except ImportError:
    BaseANN = object

METRICS = {"angular": "cosine", "euclidean": "l2"}


class Vsearch(BaseANN):
    """One index; query arguments are efforts."""

    def __init__(self, metric: str, kind: str, size: int) -> None:
        made = METRICS[metric]
        self.index: vs.Graph | vs.IVF
        if kind == "graph":
            self.index = vs.Graph(made, degree=size)
        else:
            self.index = vs.IVF(metric=made, quantizer=vs.RaBitQ(bits=size), refine="bf16")
        self.effort = 10.0
        self.name = f"vsearch-{kind}-{size}"

    def fit(self, X: np.ndarray) -> None:
        """Index the data."""
        self.index.fit(X, progress=False)

    def set_query_arguments(self, effort: float) -> None:
        """Set the effort of the queries that follow."""
        self.effort = effort

    def query(self, v: np.ndarray, n: int) -> np.ndarray:
        """Positions of the n nearest."""
        return self.index.search(v, n, effort=self.effort)[0]

    def batch_query(self, X: np.ndarray, n: int) -> None:
        """Ask all at once; `get_batch_results` returns the answers."""
        self.found = self.index.search(X, n, effort=self.effort, progress=False)[0]

    def get_batch_results(self) -> np.ndarray:
        """Answers of the last batch."""
        return self.found

    def __str__(self) -> str:
        return f"{self.name}-{self.effort:g}"


def main() -> None:
    from vsearch.evaluate import load_dataset

    data = load_dataset()
    X, Q = np.asarray(data.train, np.float32), np.asarray(data.test, np.float32)
    for kind, size in (("graph", 32), ("ivf", 1)):
        algorithm = Vsearch("angular", kind, size)
        algorithm.fit(X)
        for effort in (10, 40, 160):
            algorithm.set_query_arguments(effort)
            algorithm.batch_query(Q, 10)
            one = np.stack([algorithm.query(q, 10) for q in Q])
            assert (one == algorithm.get_batch_results()).all()
            assert data.neighbors is not None
            found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(one.tolist(), data.neighbors[:, :10].tolist())])
            print(f"{algorithm}: recall@10 {found:.3f}")


if __name__ == "__main__":
    main()
