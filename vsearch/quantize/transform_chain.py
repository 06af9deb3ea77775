"""Transforms one after the other, folded into one matrix product where one is due anyway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from vsearch.errors import DimensionError, DTypeError, ParameterError
from vsearch.quantize.moments import sample_rows
from vsearch.quantize.transform_base import Affine, State, Transform

MAX_STEPS = 64


class Folded(NamedTuple):
    """x -> matrix (x - offset) - shift: the offset of the first step and what the later ones subtract."""

    first: Affine
    shift: np.ndarray

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Rows of X (n, in) mapped, float32 (n, out)."""
        return self.first(X) - self.shift if self.shift.any() else self.first(X)


class Compose(Transform):
    """Transforms one after the other; ``a >> b`` makes the same.

    Fitting goes step by step, each on what the steps before it make of the vectors (of 65,536 of them, after the first)
    and of the queries, and fits all steps anew. Steps that are fitted already may be composed as they are. If one of
    them costs a matrix product, all are folded into that one.

    Parameters
    ----------
    steps : 1 to 64 transforms
        In the order in which they are applied; compositions among them are taken apart.

    Raises
    ------
    ParameterError, DTypeError
        If there are no steps, or something else among them.
    DimensionError
        If fitted steps do not fit one another.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.quantize.transforms import PCA, Rotation
    >>> X = np.random.default_rng(0).standard_normal((500, 40)).astype(np.float32)
    >>> both = (PCA(16) >> Rotation()).fit(X)
    >>> both.apply(X).shape, both.apply(X[0]).shape, both.matrix.shape
    ((500, 16), (16,), (16, 40))
    """

    name: ClassVar[str] = "compose"

    def __init__(self, steps: Iterable[Transform]) -> None:
        if not isinstance(steps, Iterable):
            raise DTypeError(f"`steps` must be a list of transforms; got {steps!r:.60}.")
        flat: list[Transform] = []
        for step in steps:
            if not isinstance(step, Transform):
                raise DTypeError(f"`steps` must be transforms; got {step!r:.60} ({type(step).__name__}).")
            flat += step.steps if isinstance(step, Compose) else [step]
        if not 1 <= len(flat) <= MAX_STEPS:
            raise ParameterError(f"`steps` must be 1 to {MAX_STEPS} transforms; got {len(flat)}.")
        if len({id(step) for step in flat}) < len(flat):
            raise ParameterError("`steps` must be different objects; one is given twice, and can be fitted but once.")
        self.steps: tuple[Transform, ...] = tuple(flat)
        self._folds: dict[bool, tuple[tuple[int, ...], Folded]] = {}
        self._check_chain()

    def __repr__(self) -> str:
        return " >> ".join(map(repr, self.steps))

    @property
    def in_dim(self) -> int | None:
        """Dimensions of what the first step takes, None unless all are fitted."""
        return None if any(step.in_dim is None for step in self.steps) else self.steps[0].in_dim

    @property
    def out_dim(self) -> int | None:
        """Dimensions of what the last step gives, None unless all are fitted."""
        return None if any(step.in_dim is None for step in self.steps) else self.steps[-1].out_dim

    @property
    def is_affine(self) -> bool:
        """Whether all steps are."""
        return all(step.is_affine for step in self.steps)

    @property
    def is_dense(self) -> bool:
        """Whether any step is."""
        return any(step.is_dense for step in self.steps)

    @property
    def is_orthogonal(self) -> bool:
        """Whether all steps are."""
        return all(step.is_orthogonal for step in self.steps)

    def params(self) -> dict[str, Any]:
        """Name and parameters of every step."""
        return {"steps": [{"transform": step.name, **step.params()} for step in self.steps]}

    def state(self) -> State:
        """Parameters (JSON) and arrays, those of step 2 as `step2.matrix` and so on."""
        self._fitted()
        states = [step.state() for step in self.steps]
        arrays = {f"step{i}.{name}": array for i, (_, own) in enumerate(states) for name, array in own.items()}
        return {"transform": self.name, "steps": [params for params, _ in states]}, arrays

    @classmethod
    def _restore(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Compose:
        specs = params["steps"]
        if not isinstance(specs, list) or len(specs) > MAX_STEPS:
            raise ParameterError("`steps` is no list, or too long")
        made = []
        for i, spec in enumerate(specs):
            if (
                not isinstance(spec, Mapping) or spec.get("transform") == cls.name
            ):  # a composition is flat: no recursion
                raise ParameterError(f"step {i} is no single transform")
            prefix = f"step{i}."
            own = {str(name)[len(prefix) :]: array for name, array in arrays.items() if str(name).startswith(prefix)}
            made.append(Transform.from_state(spec, own))
        return cls(made)

    def _arrays(self) -> dict[str, np.ndarray]:
        return self.state()[1]

    def _fit(self, X: np.ndarray, queries: np.ndarray | None) -> None:
        for step in self.steps[:-1]:
            step.fit(X, queries=queries)
            X = step.apply(sample_rows(X))
            queries = None if queries is None else step.apply_query(queries)
        self.steps[-1].fit(X, queries=queries)

    def _forward(self, X: np.ndarray, query: bool) -> np.ndarray:
        if self.is_dense and self.is_affine:
            return self._folded(query)(X)
        for step in self.steps:
            X = step._forward(X, query)
        return X

    def _back(self, Y: np.ndarray) -> np.ndarray:
        for step in reversed(self.steps):
            Y = step._back(Y)
        return Y

    def _folded(self, query: bool) -> Folded:
        """The steps as one map, kept until one of them is fitted again."""
        versions = tuple(step._version for step in self.steps)
        if query not in self._folds or self._folds[query][0] != versions:
            self._folds[query] = versions, self._fold(query)
        return self._folds[query][1]

    def _fold(self, query: bool) -> Folded:
        """M2 (M1 (x - o1) - o2) = M2 M1 (x - o1) - M2 o2, and so on."""
        product = np.eye(self._fitted()[1])
        shift = np.zeros(len(product))
        for step in reversed(self.steps[1:]):
            product = step._times(product, query)
            shift += product @ step._offset(query)
        product = self.steps[0]._times(product, query)
        first = Affine(np.ascontiguousarray(product, dtype=np.float32), self.steps[0]._offset(query))
        return Folded(first, shift.astype(np.float32))

    def _affine(self, query: bool) -> Affine:
        """The map with all shifts brought before the matrix, where the first steps can give what the later subtract."""
        first, shift = self._folded(query)
        offset = np.zeros(len(shift))
        for step in reversed(self.steps):
            offset = step._offset(query) + step._lift(offset, query)
        matrix = first.matrix.astype(np.float64)
        moved = matrix @ first.offset + shift
        tolerance = 1e-4 * np.linalg.norm(np.abs(matrix) @ np.abs(offset)) + 1e-30
        # A rotation that pads does not reach all of its space. What was fitted after it lies where it reaches, but a
        # later step that cuts dimensions off may hide the way back: then solve for it.
        if np.linalg.norm(matrix @ offset - moved) > tolerance:
            offset = offset + np.linalg.lstsq(matrix, moved - matrix @ offset, rcond=None)[0]
        if np.linalg.norm(matrix @ offset - moved) > tolerance:
            raise ParameterError(f"{self!r} has no single offset: a step subtracts what the steps before cannot give.")
        return Affine(first.matrix, offset.astype(np.float32))

    def _fitted(self) -> tuple[int, int]:
        for step in self.steps:
            step._fitted()
        self._check_chain()  # a step may have been fitted to something else since
        return self.steps[0]._fitted()[0], self.steps[-1]._fitted()[1]

    def _check_chain(self) -> None:
        for before, after in zip(self.steps, self.steps[1:]):
            if None not in (before.out_dim, after.in_dim) and before.out_dim != after.in_dim:
                wanted = f"dimensions that follow: {before!r} gives {before.out_dim}"
                raise DimensionError(f"`steps` must have {wanted}, {after!r} takes {after.in_dim}.")
