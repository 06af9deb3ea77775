"""Bad values for one kind of argument each, with the class and the message that refuses them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vsearch as vs

N, D = 60, 8
X = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
P, T, S = vs.ParameterError, vs.DTypeError, vs.DimensionError
NAN = float("nan")
TOP = 2**63 - 1

Fault = tuple[Any, type[vs.VsearchError], str]


def ints(name: str, low: int, high: int, none: bool = False) -> list[Fault]:
    wanted = f"`{name}` must be an int in [{low}, {high}]; got "
    return [
        (low - 1, P, f"{wanted}{low - 1}."),
        (high + 1, P, f"{wanted}{high + 1}."),
        (2.5, T, f"{wanted}2.5."),
        (2.0, T, f"{wanted}2.0."),
        (NAN, T, f"{wanted}nan."),
        ("3", T, f"{wanted}'3'."),
        ([3], T, f"{wanted}[3] (list)."),
        (True, T, f"{wanted}True (bool)."),
        (np.float32(3), T, f"{wanted}np.float32(3.0) (float32)."),
        (np.zeros(2, np.int64), T, f"{wanted}an array of dtype int64 and shape (2,)."),
        *([] if none else [(None, T, f"{wanted}None.")]),
    ]


def numbers(name: str, interval: str, outside: list[Any]) -> list[Fault]:
    wanted = f"`{name}` must be a number in {interval}; got "
    return [
        *((value, P, f"{wanted}{value}.") for value in (*outside, NAN, float("inf"), -float("inf"))),
        ("0.9", T, f"{wanted}'0.9'."),
        ([0.9], T, f"{wanted}[0.9] (list)."),
        (True, T, f"{wanted}True (bool)."),
        (np.array([0.9, 0.8]), T, f"{wanted}an array of dtype float64 and shape (2,)."),
        (1j, T, f"{wanted}1j (complex)."),
    ]


def choices(name: str, allowed: str, *hints: tuple[str, str]) -> list[Fault]:
    wanted = f"`{name}` must be one of {allowed}; got "
    return [
        *((wrong, P, f"{wanted}{wrong!r}. Did you mean {right!r}?") for wrong, right in hints),
        ("qqq", P, f"{wanted}'qqq'."),
        (2, P, f"{wanted}2."),
        (["l2"], P, f"{wanted}['l2'] (list)."),
        (np.float32, P, f"{wanted}<class 'numpy.float32'> (type)."),
    ]


def flags(name: str, none: bool = False) -> list[Fault]:
    wanted = f"`{name}` must be True or False; got "
    values = [("yes", "'yes'"), (1, "1"), (0.0, "0.0"), ([], "[] (list)"), *([] if none else [(None, "None")])]
    return [(value, T, f"{wanted}{shown}.") for value, shown in values]


def matrices(name: str, d: int | None, empty: bool = False, like: str = "the index") -> list[Fault]:
    kinds = f"`{name}` must be an array of float16, float32, float64, int8, uint8; got "
    shape = "(n, d)" if d is None else f"(n, {d})"
    cut = X[:4].copy()
    cut[2, 5] = NAN
    endless = X[:4].astype(np.float64)
    endless[1, 0] = -np.inf
    wide = X[:4].astype(np.float64)
    wide[3, 7] = 1e39
    other = f"`{name}` must have d={d} like {like}; got d=7. Were they made by another model?"
    return [
        (cut, P, f"`{name}` must be finite; row 2 has NaN."),
        (endless, P, f"`{name}` must be finite; row 1 has infinity."),
        (wide, P, f"`{name}` must fit float32; row 3 has a value beyond 3.4e38."),
        (X[0], S, f"`{name}` must have shape {shape}; got (8,). For one vector, pass `{name}[None]`."),
        (X[None], S, f"`{name}` must have shape {shape}; got (1, {N}, {D})."),
        (3.5, S, f"`{name}` must have shape {shape}; got ()."),
        ([[1, 2], [3]], S, f"`{name}` must have rows of equal length; got [[1, 2], [3]] (list)."),
        (X.astype(np.complex64), T, f"{kinds}dtype complex64."),
        (X.astype(np.int32), T, f"{kinds}dtype int32. Write `{name}.astype(np.float32)`."),
        (X > 0, T, f"{kinds}dtype bool."),
        ([["a"]], T, f"{kinds}a list (dtype <U1)."),
        (None, T, f"{kinds}a NoneType (dtype object)."),
        ("vectors", T, f"{kinds}a str (dtype <U7)."),
        *(
            [(X[:, :7], S, other)]
            if d is not None
            else [(X[:, :0], S, f"`{name}` must have 1 to 65536 dimensions; got 0.")]
        ),
        *([] if empty else [(X[:0], S, f"`{name}` must have at least one row; got shape (0, {D}).")]),
    ]


def queries(name: str, only_one: bool = False, like: str = "the index") -> list[Fault]:
    kept = [fault for fault in matrices(name, D, empty=True, like=like) if getattr(fault[0], "ndim", 0) == 2]
    shape = f"`{name}` must have shape ({D},) or (nq, {D}); got "
    bad = X[0].copy()
    bad[7] = np.inf
    one = [(X[:2], S, f"`{name}` must be one vector of shape ({D},); got (2, {D}).")] if only_one else []
    return [
        *kept,
        *one,
        (bad, P, f"`{name}` must be finite; row 0 has infinity."),
        (X[0, :7], S, f"`{name}` must have d={D} like {like}; got d=7. Were they made by another model?"),
        (X[None], S, f"{shape}(1, {N}, {D})."),
        (np.float32(1), S, f"{shape}()."),
        ("q", T, f"`{name}` must be an array of float16, float32, float64, int8, uint8; got a str (dtype <U1)."),
    ]


def refuses(fault: Fault, call: Callable[[Any], Any]) -> None:
    value, kind, message = fault
    with pytest.raises(vs.VsearchError) as caught:
        call(value)
    assert (type(caught.value), str(caught.value)) == (kind, message)


def parameters(call: Any) -> list[str]:
    return [name for name in inspect.signature(call).parameters if name != "self"]
