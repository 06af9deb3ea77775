"""Every check at the door: what a caller hands in is either made canonical here or refused before anything changes.

Messages follow one grammar, "`k` must be an int in [1, 65536]; got 0.", then, where there is one, a second sentence
with the way out. Vectors leave as C-contiguous float32, ids as int64, a filter as a packed bitmap; behind the door the
code trusts them.

NaN and infinity are found by one dot product per row with a constant vector of 2**-60. No finite float32 row of up to
65536 values can overflow it, and NaN or infinity always survives it, so a finite result proves the row and a search
with a single query pays about half a microsecond for the proof; `np.isfinite(x).all()` costs four times that. Rows are
multiplied by `einsum`, never by BLAS: OpenBLAS wakes a worker for a thousand of them, which then spins for a tenth of
a second on a core that the search wants.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from vsearch.errors import DimensionError, DTypeError, DuplicateIdError, ParameterError, UnknownIdError

#: The most neighbours one search returns, and the most dimensions a vector has.
MAX_K = 65536
MAX_DIM = 65536

#: The longest vector that is compressed: squared distances between such fit into float32 with room to spare.
MAX_LENGTH = 1e18

#: What `check_vectors` takes as vectors; all of these are exact in float32 but float64, which is rounded.
FLOATS = ("float16", "float32", "float64", "int8", "uint8")

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+) *(?:([kmgt]i?) ?b?|b)", re.IGNORECASE)

# Names bound once: attribute look-ups are a tenth of the cost of checking one query.
_F32, _Array, _isfinite = np.dtype(np.float32), np.ndarray, math.isfinite
_READY = 0x101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED, read at once from `flags.num`
_probes: dict[int, np.ndarray] = {}


def check_int(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int in [low, high]; ``high=None`` leaves the top open.

    >>> check_int("lists", 16, 1, 1000)
    16
    """
    wanted = f"an int >= {low}" if high is None else f"an int in [{low}, {high}]"
    number = None
    if not isinstance(value, (bool, np.bool_)):
        with suppress(TypeError):
            number = operator.index(value)
    if number is None:
        raise DTypeError(f"`{name}` must be {wanted}; got {_show(value)}.")
    if number < low or (high is not None and number > high):
        raise ParameterError(f"`{name}` must be {wanted}; got {_show(number)}.")
    return number


def check_k(k: Any) -> int:
    """Return the number of neighbours asked for.

    >>> check_k(10)
    10
    """
    if type(k) is int and 1 <= k <= MAX_K:
        return k
    return check_int("k", k, 1, MAX_K)


def check_float(name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False) -> float:
    """Return ``value`` as a finite float in [low, high], or in (low, high] with ``open_low``.

    >>> check_float("recall", 0.95, 0, 1, open_low=True)
    0.95
    """
    interval = f"{'(' if open_low else '['}{low:g}, {f'{high:g}]' if high < math.inf else 'inf)'}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise DTypeError(f"`{name}` must be a number in {interval}; got {_show(value)}.")
    try:
        number = float(value)
    except OverflowError:  # an int beyond 1e308
        number = math.inf
    if not math.isfinite(number) or number < low or number > high or (open_low and number == low):
        raise ParameterError(f"`{name}` must be a number in {interval}; got {_show(value)}.")
    return number


def check_size(name: str, value: Any) -> int:
    """Return ``value`` as a number of bytes >= 1: an int, or words with a unit of bytes.

    >>> check_size("memory", "1.5 kB"), check_size("memory", "2GiB")
    (1500, 2147483648)
    """
    if not isinstance(value, str):
        return check_int(name, value, 1)
    found = _SIZE.fullmatch(value.strip())
    size = float(found[1]) * _UNITS[(found[2] or "").lower()] if found else 0
    if size < 1:
        raise ParameterError(f"`{name}` must be a number of bytes, or in words such as '512MB'; got {_show(value)}.")
    return int(size)


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Return ``value`` if it is one of ``allowed``.

    >>> check_choice("metric", "l2", ("l2", "ip", "cosine"))
    'l2'
    """
    for option in allowed:
        if type(value) is type(option) and value == option:
            return option
    near = []
    if isinstance(value, str):
        import difflib

        near = difflib.get_close_matches(value.lower(), [x for x in allowed if isinstance(x, str)], 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ParameterError(f"`{name}` must be one of {', '.join(map(repr, allowed))}; got {_show(value)}.{hint}")


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is a bool; anything else is more often a mistake than meant.

    >>> check_flag("mmap", True)
    True
    """
    if not isinstance(value, (bool, np.bool_)):
        raise DTypeError(f"`{name}` must be True or False; got {_show(value)}.")
    return bool(value)


def check_path(name: str, path: Any) -> str:
    """Return ``path``, a name or an `os.PathLike`, as the name that the system takes.

    >>> check_path("path", "wiki.vsx")
    'wiki.vsx'
    """
    try:
        file = os.fsdecode(path)
    except TypeError:
        raise DTypeError(f"`{name}` must be a str or a path; got {_show(path)}.") from None
    if not file or "\0" in file:
        raise ParameterError(f"`{name}` must be the name of a file; got {_show(path)}.")
    return file


def check_vectors(
    name: str,
    X: Any,
    dim: int | None = None,
    allow_empty: bool = False,
    dtypes: str | Collection[str] = "float",
    *,
    like: str = "the index",
) -> np.ndarray:
    """Return ``X`` as a C-contiguous float32 array of shape (n, d); no copy where it is one already.

    ``X`` is an array, anything with ``__array__`` or ``__dlpack__`` (tensors), or a list of rows; ``dim`` the d it
    must have and ``like`` whose d that is, for the message; ``dtypes`` names the dtypes it may have, where "float"
    stands for `FLOATS`.

    >>> check_vectors("X", [[1, 2], [3, 4]]).dtype
    dtype('float32')
    """
    array = _as_array(name, X, FLOATS if dtypes == "float" else tuple(dtypes))
    _check_rows(name, array, dim, allow_empty, like)
    return _as_finite_f32(name, array)


def check_codable(name: str, X: Any, dim: int, *, like: str = "the quantizer") -> np.ndarray:
    """`check_vectors` and `check_lengths` in one pass over memory, where all is well.

    >>> check_codable("X", [[1, 2], [3, 4]], 2).dtype
    dtype('float32')
    """
    if type(X) is _Array and X.dtype == np.float32 and X.ndim == 2 and X.flags.carray and len(X):
        _check_rows(name, X, dim, False, like)
        with np.errstate(all="ignore"):
            if np.vdot(X, X) <= MAX_LENGTH**2:  # not so for NaN
                return X
    return check_lengths(name, check_vectors(name, X, dim, like=like))


def check_lengths(name: str, X: np.ndarray) -> np.ndarray:
    """Return float32 ``X`` (n, d) if no row is longer than quantizers can take.

    >>> check_lengths("X", np.ones((2, 4), np.float32)).shape
    (2, 4)
    """
    with np.errstate(all="ignore"):
        if np.vdot(X, X) <= MAX_LENGTH**2:  # one pass at the speed of memory
            return X
        lengths = np.sqrt(np.einsum("ij,ij->i", X, X, dtype=np.float64))
    if not (lengths <= MAX_LENGTH).all():
        row = int(np.argmax(lengths))
        text = f"rows of length at most {MAX_LENGTH:g} to be quantized; row {row} has length {lengths[row]:.3g}"
        raise ParameterError(f"`{name}` must have {text}. Divide all vectors by one number.")
    return X


def check_queries(name: str, Q: Any, dim: int, *, like: str = "the index") -> tuple[np.ndarray, bool]:
    """Return queries as C-contiguous float32 (nq, dim), and whether ``Q`` was a single vector; ``like`` as above.

    >>> check_queries("Q", np.zeros(4, np.float32), 4)[1]
    True
    """
    # The path of a single ready-made query, well under a microsecond; whatever it does not like goes the long way.
    if type(Q) is _Array and Q.ndim == 1 and len(Q) == dim and Q.dtype is _F32 and Q.flags.num & _READY == _READY:
        try:
            if _isfinite(Q.dot(_probes[dim])):
                return Q[None], True
        except (KeyError, RuntimeWarning, FloatingPointError):  # a first search, or +inf beside -inf
            pass
    array = _as_array(name, Q, FLOATS)
    if array.ndim not in (1, 2):
        raise DimensionError(f"`{name}` must have shape ({dim},) or (nq, {dim}); got {array.shape}.")
    _check_dim(name, array.shape[-1], dim, like)
    return _as_finite_f32(name, array.reshape(-1, dim)), array.ndim == 1


def _check_rows(name: str, array: np.ndarray, dim: int | None, allow_empty: bool, like: str) -> None:
    if array.ndim != 2:
        wanted = "(n, d)" if dim is None else f"(n, {dim})"
        hint = f" For one vector, pass `{name}[None]`." if array.ndim == 1 and array.size else ""
        raise DimensionError(f"`{name}` must have shape {wanted}; got {array.shape}.{hint}")
    _check_dim(name, array.shape[1], dim, like)
    if len(array) == 0 and not allow_empty:
        raise DimensionError(f"`{name}` must have at least one row; got shape {array.shape}.")


def _check_dim(name: str, d: int, dim: int | None, like: str) -> None:
    if dim is None and not 1 <= d <= MAX_DIM:
        raise DimensionError(f"`{name}` must have 1 to {MAX_DIM} dimensions; got {d}.")
    if dim is not None and d != dim:
        raise DimensionError(f"`{name}` must have d={dim} like {like}; got d={d}. Were they made by another model?")


def _as_array(name: str, value: Any, dtypes: tuple[str, ...]) -> np.ndarray:
    """Anything array-like as an ndarray of one of ``dtypes``; Python numbers in lists become float64."""
    wanted = f"`{name}` must be an array of {', '.join(dtypes)}"
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DTypeError(f"{wanted}; got a masked array. Fill or drop what is masked first.")
    try:
        if isinstance(value, np.ndarray) or hasattr(value, "__array__") or not hasattr(value, "__dlpack__"):
            array = np.asarray(value)
        else:
            array = np.from_dlpack(value)
    except (TypeError, RuntimeError, BufferError) as error:  # tensors on a GPU, with a gradient, or of bfloat16
        hint = " For a tensor, pass `x.detach().cpu().float()`." if hasattr(value, "__dlpack__") else ""
        raise DTypeError(f"{wanted}; got {type(value).__name__}, which cannot be read ({error}).{hint}") from None
    except (ValueError, OverflowError):
        raise DimensionError(f"`{name}` must have rows of equal length; got {_show(value)}.") from None
    if array.dtype.name in dtypes:
        return array
    if array.dtype.kind in "iuf" and not hasattr(value, "dtype") and "float64" in dtypes:  # lists of plain numbers
        return array.astype(np.float64)
    mendable = array.dtype.kind in "iu" and "float32" in dtypes and hasattr(value, "astype")
    hint = f" Write `{name}.astype(np.float32)`." if mendable else ""
    raise DTypeError(f"{wanted}; got {_dtype_name(value, array)}.{hint}")


def _as_finite_f32(name: str, array: np.ndarray) -> np.ndarray:
    """``array`` (n, d) as C-contiguous float32, refused if a row has NaN, infinity or what float32 cannot hold."""
    with np.errstate(all="ignore"):
        vectors = np.require(array, np.float32, ["C", "A"])
        if array.dtype.kind != "f" or array.size == 0:
            return vectors
        d = vectors.shape[1]
        if d not in _probes:
            _probes[d] = np.full(d, 2.0**-60, np.float32)
        good = np.isfinite(np.einsum("ij,j->i", vectors, _probes[d]))
    if not good.all():
        row = int(np.argmin(good))
        if np.isfinite(array[row]).all():
            raise ParameterError(f"`{name}` must fit float32; row {row} has a value beyond 3.4e38.")
        what = "NaN" if np.isnan(array[row]).any() else "infinity"
        raise ParameterError(f"`{name}` must be finite; row {row} has {what}.")
    return vectors


def check_ids(name: str, ids: Any, n: int | None = None) -> np.ndarray:
    """Return ``ids`` as int64 of shape (n,), each >= 0 and none twice; ``n=None`` takes any number, or one id.

    >>> check_ids("ids", [7, 3], 2)
    array([7, 3])
    """
    if n is None and hasattr(ids, "__index__") and not isinstance(ids, (bool, np.bool_, np.ndarray)):
        ids = [ids]
    array = _as_ints(name, ids)
    if array.ndim != 1 or (n is not None and len(array) != n):
        shape = "(n,)" if n is None else f"({n},), one id per vector"
        raise DimensionError(f"`{name}` must have shape {shape}; got {array.shape}.")
    if array.size and int(array.min()) < 0:
        raise ParameterError(f"`{name}` must be >= 0; got {int(array[np.argmax(array < 0)])}.")
    repeated = first_repeated(array)
    if repeated is not None:
        raise DuplicateIdError(f"`{name}` must be unique; {repeated} is given twice.")
    return array


def first_repeated(ids: np.ndarray) -> int | None:
    """The smallest id >= 0 that occurs twice in ``ids``, or None; linear time where ids ascend or are dense."""
    if len(ids) < 2 or (ids[1:] > ids[:-1]).all():
        return None
    if int(ids.max()) < 16 * len(ids):
        seen = np.zeros(int(ids.max()) + 1, bool)
        seen[ids] = True
        if np.count_nonzero(seen) == len(ids):
            return None
    ordered = np.sort(ids)
    again = ordered[1:] == ordered[:-1]
    return int(ordered[np.argmax(again)]) if again.any() else None


def check_filter(filter: Any, ids_sorted: np.ndarray) -> np.ndarray | None:
    """Return a filter as a packed bitmap aligned with ``ids_sorted``, or None where there is no filter.

    It may be a bool mask (n,), ids in any order, also repeated (list, set, array), or bits as packed by
    ``np.packbits(mask, bitorder="little")``. Mask and bits are aligned with the ids; uint8 is always read as bits.

    >>> check_filter([5, 9], np.array([3, 5, 9]))
    array([6], dtype=uint8)
    """
    if filter is None:
        return None
    n = len(ids_sorted)
    size = -(-n // 8)
    if isinstance(filter, np.ndarray) and filter.dtype == np.uint8:
        if filter.shape != (size,):
            wanted = f"a bitmap of shape ({size},), one bit per id"
            raise DimensionError(f"`filter` must be {wanted}; got {filter.shape}. For a list of ids, pass int64.")
        bits = filter.copy()
        bits[n // 8 :] &= (1 << n % 8) - 1
        return bits
    filter = list(filter) if isinstance(filter, (set, frozenset)) else filter
    array = _as_ints("filter", filter, "a bool mask, packed bits or ids", kinds="biu")
    if array.dtype == np.bool_ and array.shape != (n,):
        raise DimensionError(f"`filter` must be a mask of shape ({n},), one bool per id; got {array.shape}.")
    if array.dtype == np.bool_:
        return np.packbits(array, bitorder="little")
    if array.ndim != 1:
        raise DimensionError(f"`filter` must have one dimension; got shape {array.shape}.")
    if n and ids_sorted[-1] - ids_sorted[0] == n - 1:  # contiguous: no need to search
        at = np.clip(array - ids_sorted[0], 0, n - 1)
    else:
        at = np.minimum(np.searchsorted(ids_sorted, array), max(n - 1, 0))
    known = ids_sorted[at] == array if n else np.zeros(array.shape, bool)
    if not known.all():
        raise UnknownIdError(f"`filter` must hold ids of the index; {int(array[np.argmin(known)])} is not in it.")
    if len(at) < n // 128:  # few: set their bits; else a mask is the quicker way
        bits = np.zeros(size, np.uint8)
        np.bitwise_or.at(bits, at >> 3, np.left_shift(1, at & 7).astype(np.uint8))
        return bits
    mask = np.zeros(n, bool)
    mask[at] = True
    return np.packbits(mask, bitorder="little")


def _as_ints(name: str, value: Any, wanted: str = "an array of ints", kinds: str = "iu") -> np.ndarray:
    """``value`` as an int64 array, or a bool array where ``kinds`` allows that."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors on a GPU
        raise DTypeError(f"`{name}` must be {wanted}; got {_show(value)}.") from None
    if array.size == 0 and array.dtype.kind == "f":  # an empty list has no type of its own
        return array.astype(np.int64)
    if array.dtype.kind not in kinds:
        raise DTypeError(f"`{name}` must be {wanted}; got {_dtype_name(value, array)}.")
    if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ParameterError(f"`{name}` must be below 2**63; got {int(array.max())}.")
    return array if array.dtype == np.bool_ else np.require(array, np.int64, ["C", "A"])


def _dtype_name(value: Any, array: np.ndarray) -> str:
    return f"dtype {array.dtype}" if hasattr(value, "dtype") else f"a {type(value).__name__} (dtype {array.dtype})"


def _show(value: Any) -> str:
    """A short repr that cannot fail: with the type where it is not plain, cut where it is long."""
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    try:
        text = repr(value)
    except Exception:  # a broken `__repr__`, or an int of more digits than Python prints
        return f"an int of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    text = text if len(text) <= 60 else text[:57] + "..."
    return text if value is None or type(value) in (int, float, str) else f"{text} ({type(value).__name__})"
