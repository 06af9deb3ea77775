"""How far from perfect: the least error that any code of a given size can have on given data.

A Gaussian source whose covariance has eigenvalues l_i, coded in R bits a vector, cannot be kept with a mean squared
error below D(R) = sum min(t, l_i), where the water level t solves sum max(0, log2(l_i / t) / 2) = R (reverse
water-filling: Cover and Thomas, Elements of Information Theory, section 10.3.3).

Among all data of one covariance the Gaussian is the hardest to code, so an error below 1 x Shannon is possible, and
right, on data that fall into clusters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vsearch._validate import check_choice, check_float, check_vectors
from vsearch.errors import DimensionError, DTypeError, ParameterError
from vsearch.quantize.moments import eigen_descending, mean_of, sample_rows, second_moment

METRICS = ("l2", "ip")
ITERATIONS = 80
"""Halvings of an interval that is at most 2^22 wide (65,536 dims of 16 bits): what is left is below float64."""


class ShannonBound(NamedTuple):
    """The least error at a rate: floats, or arrays where the rates were an array.

    Attributes
    ----------
    mse : mean squared error of a vector, E|x - x'|^2; under "ip" of an inner product, E<q, x - x'>^2
    relative : the same as a fraction of what it is when nothing is stored but the mean
    """

    mse: Any
    relative: Any


def reverse_water_filling(eigenvalues: Any, bits: Any) -> Any:
    """Least mean squared error of a Gaussian vector at a rate.

    Parameters
    ----------
    eigenvalues : array of shape (d,), >= 0
        Of the covariance, in any order. Zeros count as dimensions when bits are per dimension.
    bits : float or array, >= 0
        Bits for each dimension; a vector takes `bits` * d of them.

    Returns
    -------
    float, or float64 array of the shape of `bits`
        The error of a whole vector, in the unit of the eigenvalues: between 0 and their sum.

    Raises
    ------
    ParameterError, DimensionError, DTypeError
        If an eigenvalue or a rate is negative or not finite, or there are no eigenvalues.

    Examples
    --------
    >>> from vsearch.quantize.limits import reverse_water_filling
    >>> reverse_water_filling([1.0, 1.0], 2)  # 2 * 4^-2
    0.125
    >>> reverse_water_filling([4.0, 1.0, 0.0, 0.0], [0, 0.25]).tolist()  # one bit: the first eigenvalue becomes 1
    [5.0, 2.0]
    """
    spectrum = _positive("eigenvalues", eigenvalues)
    if spectrum.ndim != 1 or not spectrum.size:
        raise DimensionError(f"`eigenvalues` must have shape (d,) with d >= 1; got {spectrum.shape}.")
    rates = _positive("bits", bits)
    largest = spectrum.max()
    scaled = spectrum / (largest or 1.0)
    lit = scaled[scaled > 0]  # others take no bits and cost nothing
    if not lit.size:
        error = np.zeros(rates.shape)
    else:
        total = rates.reshape(-1, 1) * spectrum.size
        level = np.exp2(_water_level(np.log2(lit), total))
        error = largest * np.minimum(level, lit).sum(axis=1).reshape(rates.shape)
    return error if rates.ndim else float(error)


def _water_level(logs: np.ndarray, total: np.ndarray) -> np.ndarray:
    """log2 of the water level at each of `total` bits (r, 1), for log2 eigenvalues (d,) of which the largest is 0."""
    # All dims take part at `low`, and by themselves use what there is to use; or the first takes everything.
    low = np.maximum(logs.min() - 2 * total / len(logs), -2 * total)
    high = np.zeros_like(low)
    for _ in range(ITERATIONS):
        middle = (low + high) / 2
        spent = np.maximum(0, (logs - middle) / 2).sum(axis=1, keepdims=True)
        low, high = np.where(spent > total, middle, low), np.where(spent > total, high, middle)
    return high


def spectrum(X: Any, *, queries: Any = None, metric: str = "l2") -> np.ndarray:
    """Eigenvalues that decide how well data can be coded, float64 (d,), descending.

    Parameters
    ----------
    X : array of shape (n, d)
        Vectors; 65,536 of them are looked at. With n below a few times d the small eigenvalues come out too small,
        and so does every bound.
    queries : array of shape (nq, d), optional
        Under "ip"; by default queries are taken to be like the vectors.
    metric : "l2" or "ip", default "l2"
        "l2": of the covariance K_X. "ip": of K_Q^1/2 K_X K_Q^1/2, K_Q being the second moment of the queries: then the
        error is that of inner products, E<q, e>^2 = tr(K_Q E[e e^T]).

    Examples
    --------
    >>> from vsearch.quantize.limits import spectrum
    >>> spectrum([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    array([2. , 0.5])
    """
    metric = check_choice("metric", metric, METRICS)
    rows = sample_rows(check_vectors("X", X))
    moment = second_moment(rows, mean_of(rows))
    if metric == "ip":
        asked = rows if queries is None else sample_rows(check_vectors("queries", queries, rows.shape[1], like="`X`"))
        root = _root(second_moment(asked))
        moment = root @ moment @ root
    return eigen_descending((moment + moment.T) / 2)[0]


def _root(moment: np.ndarray) -> np.ndarray:
    """The symmetric square root of a symmetric positive matrix."""
    values, vectors = eigen_descending(moment)
    return (vectors.T * np.sqrt(values)) @ vectors


def shannon_bound(X: Any, bits_per_dim: Any, *, queries: Any = None, metric: str = "l2") -> ShannonBound:
    """Least error with which a Gaussian of the covariance of X can be coded.

    Parameters
    ----------
    X : array of shape (n, d)
        Vectors; see `spectrum`. For an index of lists, their residuals.
    bits_per_dim : float or array
        8 * bytes of a vector / d, *factors counted*.
    queries : array of shape (nq, d), optional
        Under "ip"; by default queries are taken to be like the vectors.
    metric : "l2" or "ip", default "l2"
        Whether the error is that of vectors or that of inner products with the queries.

    Returns
    -------
    ShannonBound
        `mse`, and `relative`: the fraction of tr(K_X), under "ip" of the variance of inner products.

    Raises
    ------
    ParameterError
        If all vectors are equal (or no query sees a difference), and `relative` would mean nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.quantize.limits import shannon_bound
    >>> X = np.random.default_rng(0).standard_normal((20000, 8)) * 3
    >>> bound = shannon_bound(X, 2)
    >>> round(bound.mse, 1), round(bound.relative, 3)  # about 9 * 8 * 4^-2, and 4^-2 of the variance
    (4.5, 0.062)
    """
    values = spectrum(X, queries=queries, metric=metric)
    total = float(values.sum())
    if not total > 0:
        raise ParameterError(f"`X` must vary; its {len(X)} vectors are all the same to the metric {metric!r}.")
    mse = reverse_water_filling(values, bits_per_dim)
    return ShannonBound(mse, mse / total)


def gap_bits(x_shannon: Any) -> Any:
    """Bits per dimension that a code spends above the limit, from its error as a multiple of the bound.

    At high rates a factor of 4 in the squared error is one bit a dimension, so the gap is log2(x) / 2. A scalar
    quantizer ends at 2.72 x Shannon, a gap of 0.72 bits.

    >>> from vsearch.quantize.limits import gap_bits
    >>> gap_bits(4.0)
    1.0
    """
    ratio = _positive("x_shannon", x_shannon)
    if not (ratio > 0).all():
        raise ParameterError("`x_shannon` must be above 0; got 0.")
    gap = np.log2(ratio) / 2
    return gap if ratio.ndim else float(gap)


def times_shannon(error: float, X: Any, bytes_per_vector: float, *, queries: Any = None, metric: str = "l2") -> float:
    """A measured error as a multiple of the least possible at that size.

    Parameters
    ----------
    error : float
        Mean squared error of a vector, E|x - x'|^2; under "ip" E<q, x - x'>^2.
    X : array of shape (n, d)
        What was coded.
    bytes_per_vector : float
        Of code *and* factors, as `quantizer.bytes_per_vector(d)` says.
    queries, metric
        As for `shannon_bound`.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.quantize.limits import times_shannon
    >>> X = np.random.default_rng(0).standard_normal((20000, 8))
    >>> signs = np.sign(X) * np.sqrt(2 / np.pi)  # the best code of one bit for each dimension alone: 4 (1 - 2/pi)
    >>> round(times_shannon(float(((X - signs) ** 2).sum(axis=1).mean()), X, 1), 2)
    1.45
    """
    error = check_float("error", error, 0)
    size = check_float("bytes_per_vector", bytes_per_vector, 0)
    X = check_vectors("X", X)
    bound = shannon_bound(X, 8 * size / X.shape[1], queries=queries, metric=metric).mse
    if not bound > 0:
        raise ParameterError(f"`bytes_per_vector` must be smaller; at {size:g} the bound is 0 in float64.")
    return float(error / bound)


def _positive(name: str, value: Any) -> np.ndarray:
    """`value` as float64, refused if any of it is negative or not finite."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise DTypeError(f"`{name}` must be numbers >= 0; got {value!r:.60}.")
    array = array.astype(np.float64)
    good = (array >= 0) & (array < np.inf)
    if not good.all():
        raise ParameterError(f"`{name}` must be finite and >= 0; got {array[~good].flat[0]:g}.")
    return array
