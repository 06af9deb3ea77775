"""The door: every message is checked word for word, because the message is what the user gets."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vsearch import _validate as v
from vsearch.errors import DimensionError, DTypeError, DuplicateIdError, ParameterError, UnknownIdError, VsearchError

DTYPES = "float16, float32, float64, int8, uint8"


def refuses(kind: type[VsearchError], message: str, call: Any, *args: Any, **kwargs: Any) -> None:
    """The call raises exactly ``kind`` with exactly ``message``."""
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert type(caught.value) is kind
    assert str(caught.value) == message


class Tensor:
    """What a tensor library hands over: only DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class GpuTensor:
    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __dlpack__(self, **kwargs: Any) -> Any:
        raise BufferError("no")


# ---------------------------------------------------------------------------------------------------- plain values


@pytest.mark.parametrize("k", [1, 10, 65536, np.int64(7), np.uint8(3)])
def test_k_allowed(k: Any) -> None:
    assert v.check_k(k) == int(k)
    assert type(v.check_k(k)) is int


@pytest.mark.parametrize(
    ("k", "kind", "got"),
    [
        (0, ParameterError, "0"),
        (-3, ParameterError, "-3"),
        (65537, ParameterError, "65537"),
        (2.0, DTypeError, "2.0"),
        (math.nan, DTypeError, "nan"),
        (True, DTypeError, "True (bool)"),
        (np.True_, DTypeError, f"{np.True_!r} ({type(np.True_).__name__})"),
        ("10", DTypeError, "'10'"),
        (None, DTypeError, "None"),
        (np.ones(3), DTypeError, "an array of dtype float64 and shape (3,)"),
        ([1], DTypeError, "[1] (list)"),
        ("x" * 100, DTypeError, "'" + "x" * 56 + "..."),
    ],
)
def test_k_refused(k: Any, kind: type[VsearchError], got: str) -> None:
    refuses(kind, f"`k` must be an int in [1, 65536]; got {got}.", v.check_k, k)


def test_int_with_more_digits_than_python_prints() -> None:
    refuses(ParameterError, "`k` must be an int in [1, 65536]; got an int of 16610 bits.", v.check_k, 10**5000)


def test_int_with_open_top() -> None:
    assert v.check_int("seed", 10**30, 0) == 10**30
    refuses(ParameterError, "`seed` must be an int >= 0; got -1.", v.check_int, "seed", -1, 0)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.25), np.int8(1)])
def test_float_allowed(value: Any) -> None:
    assert v.check_float("recall", value, 0, 1) == float(value)


@pytest.mark.parametrize(
    ("value", "kind", "got"),
    [
        (1.5, ParameterError, "1.5"),
        (0.0, ParameterError, "0.0"),
        (math.nan, ParameterError, "nan"),
        (math.inf, ParameterError, "inf"),
        (True, DTypeError, "True (bool)"),
        ("0.9", DTypeError, "'0.9'"),
        (0.5j, DTypeError, "0.5j (complex)"),
        (None, DTypeError, "None"),
    ],
)
def test_float_refused(value: Any, kind: type[VsearchError], got: str) -> None:
    message = f"`recall` must be a number in (0, 1]; got {got}."
    refuses(kind, message, v.check_float, "recall", value, 0, 1, open_low=True)


def test_float_with_open_top() -> None:
    assert v.check_float("effort", 1e300, 1) == 1e300
    refuses(ParameterError, "`effort` must be a number in [1, inf); got 0.5.", v.check_float, "effort", 0.5, 1)
    message = "`effort` must be a number in [1, inf); got an int of 16610 bits."
    refuses(ParameterError, message, v.check_float, "effort", 10**5000, 1)


def test_choice() -> None:
    metrics = ("l2", "ip", "cosine")
    assert v.check_choice("metric", "ip", metrics) == "ip"
    assert v.check_choice("refine", None, (None, "f32")) is None
    assert v.check_choice("bits", 4, (1, 2, 4)) == 4
    start = "`metric` must be one of 'l2', 'ip', 'cosine'; got "
    refuses(ParameterError, start + "'L2'. Did you mean 'l2'?", v.check_choice, "metric", "L2", metrics)
    refuses(ParameterError, start + "'cosin'. Did you mean 'cosine'?", v.check_choice, "metric", "cosin", metrics)
    refuses(ParameterError, start + "'hamming'.", v.check_choice, "metric", "hamming", metrics)
    refuses(ParameterError, start + "2.", v.check_choice, "metric", 2, metrics)
    refuses(ParameterError, "`bits` must be one of 1, 2; got True (bool).", v.check_choice, "bits", True, (1, 2))


# ---------------------------------------------------------------------------------------------------------- vectors


@pytest.mark.parametrize("dtype", DTYPES.split(", "))
def test_vectors_become_float32(dtype: str) -> None:
    X = np.arange(12).reshape(4, 3).astype(dtype)
    out = v.check_vectors("X", X, 3)
    assert out.dtype == np.float32 and out.flags.c_contiguous and (out == X).all()
    assert (out is X) == (dtype == "float32")  # no copy where none is needed


def test_lengths() -> None:
    X = np.full((3, 4), 5e17, dtype=np.float32)  # of length 1e18, but for rounding
    X[1] *= np.float32(0.99)
    many = np.tile(X[1], (1000, 1))
    assert v.check_lengths("X", many) is many
    X[[0, 2]] *= np.float32(0.5)
    assert v.check_lengths("X", X) is X
    for factor, length in ((2, "1.98e+18"), (1e20, "9.9e+37")):
        Y = X.copy()
        Y[1] *= np.float32(factor)
        message = f"`X` must have rows of length at most 1e+18 to be quantized; row 1 has length {length}. "
        refuses(ParameterError, message + "Divide all vectors by one number.", v.check_lengths, "X", Y)


def test_vectors_of_other_kinds() -> None:
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    for same in (
        X.tolist(),
        [[int(x) for x in row] for row in X],
        Tensor(X),
        np.asfortranarray(X),
        X.astype(">f4"),
        [*X],
    ):
        out = v.check_vectors("X", same)
        assert out.dtype == np.float32 and out.dtype.isnative and out.flags.c_contiguous and (out == X).all()
    assert (v.check_vectors("X", np.arange(24, dtype="f4").reshape(4, 6)[:, ::2]) == X * 2).all()
    crooked = np.frombuffer(b"." + X.tobytes(), np.float32, offset=1).reshape(4, 3)
    assert v.check_vectors("X", crooked).flags.aligned


def test_vectors_read_only_and_empty() -> None:
    X = np.zeros((2, 3), np.float32)
    X.flags.writeable = False
    assert v.check_vectors("X", X) is X
    assert v.check_vectors("X", np.zeros((0, 3)), allow_empty=True).shape == (0, 3)
    message = "`X` must have at least one row; got shape (0, 3)."
    refuses(DimensionError, message, v.check_vectors, "X", np.zeros((0, 3)))


@pytest.mark.parametrize(
    ("X", "got"),
    [
        (np.zeros((2, 2), object), "dtype object"),
        (np.zeros((2, 2), complex), "dtype complex128"),
        (np.zeros((2, 2), bool), "dtype bool"),
        (np.zeros((2, 2), "U3"), "dtype <U3"),
        (np.zeros((2, 2), "M8[s]"), "dtype datetime64[s]"),
        ([[True, False]], "a list (dtype bool)"),
        ([["a", "b"]], "a list (dtype <U1)"),
        ("abc", "a str (dtype <U3)"),
        (None, "a NoneType (dtype object)"),
        ({1: 2}, "a dict (dtype object)"),
    ],
)
def test_vectors_of_wrong_dtype(X: Any, got: str) -> None:
    refuses(DTypeError, f"`X` must be an array of {DTYPES}; got {got}.", v.check_vectors, "X", X)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16])
def test_vectors_of_ints_are_told_the_way_out(dtype: Any) -> None:
    message = f"`X` must be an array of {DTYPES}; got dtype {np.dtype(dtype)}. Write `X.astype(np.float32)`."
    refuses(DTypeError, message, v.check_vectors, "X", np.array([[1, 2], [3, 4]], dtype))


def test_vectors_of_another_dimension_are_told_whose_it_is() -> None:
    message = "`X` must have d=3 like the quantizer; got d=2. Were they made by another model?"
    X = np.zeros((4, 2), np.float32)
    refuses(DimensionError, message, v.check_codable, "X", X, 3)
    refuses(DimensionError, message, v.check_codable, "X", X.astype(np.float64), 3)
    for check in (v.check_vectors, v.check_queries):
        refuses(DimensionError, message.replace("quantizer", "nest"), lambda c=check: c("X", X, 3, like="the nest"))


def test_vectors_restricted_to_dtypes() -> None:
    X = np.zeros((1, 8), np.uint8)
    assert v.check_vectors("X", X, dtypes=["uint8"]).shape == (1, 8)
    message = "`X` must be an array of uint8; got dtype int8."
    refuses(DTypeError, message, v.check_vectors, "X", X.astype(np.int8), dtypes=["uint8"])


def test_vectors_that_cannot_be_read() -> None:
    message = (
        f"`X` must be an array of {DTYPES}; got GpuTensor, which cannot be read (can't convert cuda:0 device type "
        "tensor to numpy). For a tensor, pass `x.detach().cpu().float()`."
    )
    refuses(DTypeError, message, v.check_vectors, "X", GpuTensor())
    masked = np.ma.masked_array(np.zeros((2, 2)), mask=[[0, 1], [0, 0]])
    message = f"`X` must be an array of {DTYPES}; got a masked array. Fill or drop what is masked first."
    refuses(DTypeError, message, v.check_vectors, "X", masked)
    assert v.check_vectors("X", np.ma.masked_array(np.zeros((2, 2)))).shape == (2, 2)
    message = "`X` must have rows of equal length; got [[1, 2], [3]] (list)."
    refuses(DimensionError, message, v.check_vectors, "X", [[1, 2], [3]])


@pytest.mark.parametrize(
    ("shape", "dim", "message"),
    [
        ((), None, "`X` must have shape (n, d); got ()."),
        ((3,), None, "`X` must have shape (n, d); got (3,). For one vector, pass `X[None]`."),
        ((3,), 3, "`X` must have shape (n, 3); got (3,). For one vector, pass `X[None]`."),
        ((2, 3, 4), None, "`X` must have shape (n, d); got (2, 3, 4)."),
        ((0,), None, "`X` must have shape (n, d); got (0,)."),
        ((2, 0), None, "`X` must have 1 to 65536 dimensions; got 0."),
        ((1, 65537), None, "`X` must have 1 to 65536 dimensions; got 65537."),
        ((2, 768), 384, "`X` must have d=384 like the index; got d=768. Were they made by another model?"),
    ],
)
def test_vectors_of_wrong_shape(shape: tuple[int, ...], dim: int | None, message: str) -> None:
    refuses(DimensionError, message, v.check_vectors, "X", np.zeros(shape, np.float32), dim)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("bad", "what"), [(math.nan, "NaN"), (math.inf, "infinity"), (-math.inf, "infinity")])
def test_vectors_not_finite_names_first_row(dtype: str, bad: float, what: str) -> None:
    X = np.ones((50, 7), dtype)
    X[41, 0] = math.nan
    X[17, 3] = bad
    refuses(ParameterError, f"`X` must be finite; row 17 has {what}.", v.check_vectors, "X", X)


def test_vectors_too_large_for_float32() -> None:
    X = np.ones((5, 3))
    X[2, 1] = 1e39
    refuses(ParameterError, "`X` must fit float32; row 2 has a value beyond 3.4e38.", v.check_vectors, "X", X)


def test_largest_finite_vectors_pass_without_a_warning() -> None:
    top = np.finfo(np.float32).max
    X = np.full((3, 65536), top, np.float32)
    X[1] = -top
    X[2, ::2] = -top
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert v.check_vectors("X", X) is X
        for row in X:
            assert v.check_queries("Q", row, 65536)[1]


# ---------------------------------------------------------------------------------------------------------- queries


def test_queries_single_and_many() -> None:
    q = np.arange(5, dtype=np.float32)
    for one in (q, q.astype(np.float64), q.astype(np.int8), q.tolist(), Tensor(q), np.arange(10, dtype="f4")[::2] / 2):
        out, single = v.check_queries("Q", one, 5)
        assert single and out.shape == (1, 5) and out.dtype == np.float32 and (out[0] == q).all()
        assert out.flags.c_contiguous
    assert np.shares_memory(v.check_queries("Q", q, 5)[0], q)
    for many in (q[None], np.stack([q, q]), np.zeros((0, 5))):
        out, single = v.check_queries("Q", many, 5)
        assert not single and out.shape == many.shape and out.dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), "`Q` must have shape (4,) or (nq, 4); got ()."),
        ((1, 1, 4), "`Q` must have shape (4,) or (nq, 4); got (1, 1, 4)."),
        ((5,), "`Q` must have d=4 like the index; got d=5. Were they made by another model?"),
        ((4, 3), "`Q` must have d=4 like the index; got d=3. Were they made by another model?"),
        ((0,), "`Q` must have d=4 like the index; got d=0. Were they made by another model?"),
    ],
)
def test_queries_of_wrong_shape(shape: tuple[int, ...], message: str) -> None:
    refuses(DimensionError, message, v.check_queries, "Q", np.ones(shape, np.float32), 4)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(("bad", "what"), [(math.nan, "NaN"), (math.inf, "infinity")])
def test_query_not_finite(bad: float, what: str, warm: bool) -> None:
    v._probes.clear()
    if warm:
        v.check_queries("Q", np.zeros(9, np.float32), 9)
    q = np.zeros(9, np.float32)
    q[4], q[5] = bad, -bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refuses(ParameterError, f"`Q` must be finite; row 0 has {what}.", v.check_queries, "Q", q, 9)


def test_query_of_wrong_dtype() -> None:
    refuses(DTypeError, f"`Q` must be an array of {DTYPES}; got dtype bool.", v.check_queries, "Q", np.ones(4, bool), 4)


@given(hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32)))
def test_finite_proof_is_exact(q: np.ndarray) -> None:
    good = bool(np.isfinite(q).all())
    for _ in range(2):  # the long way, then the short way
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                v.check_queries("Q", q, len(q))
            assert good
        except ParameterError:
            assert not good


# ------------------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize(
    "ids", [[3, 1, 2], np.array([3, 1, 2], np.uint64), np.array([3, 1, 2], np.int16), Tensor(np.array([3, 1, 2])).array]
)
def test_ids_become_int64(ids: Any) -> None:
    out = v.check_ids("ids", ids, 3)
    assert out.dtype == np.int64 and out.tolist() == [3, 1, 2]


def test_ids_of_any_number() -> None:
    assert v.check_ids("ids", 5).tolist() == [5]
    assert v.check_ids("ids", np.int32(5)).tolist() == [5]
    assert v.check_ids("ids", []).tolist() == []
    assert v.check_ids("ids", range(3)).tolist() == [0, 1, 2]
    assert v.check_ids("ids", [2**63 - 1, 0]).tolist() == [2**63 - 1, 0]


@pytest.mark.parametrize(
    ("ids", "n", "kind", "message"),
    [
        ([1, 2], 3, DimensionError, "`ids` must have shape (3,), one id per vector; got (2,)."),
        ([[1, 2]], 2, DimensionError, "`ids` must have shape (2,), one id per vector; got (1, 2)."),
        ([[1, 2]], None, DimensionError, "`ids` must have shape (n,); got (1, 2)."),
        (7, 1, DimensionError, "`ids` must have shape (1,), one id per vector; got ()."),
        ([4, 9, 4, 9], 4, DuplicateIdError, "`ids` must be unique; 4 is given twice."),
        ([4, -1, -2], 3, ParameterError, "`ids` must be >= 0; got -1."),
        (np.array([0, 2**63], np.uint64), 2, ParameterError, "`ids` must be below 2**63; got 9223372036854775808."),
        (np.ones(2), 2, DTypeError, "`ids` must be an array of ints; got dtype float64."),
        (np.ones(2, bool), 2, DTypeError, "`ids` must be an array of ints; got dtype bool."),
        ([1.5], 1, DTypeError, "`ids` must be an array of ints; got a list (dtype float64)."),
        (["a"], 1, DTypeError, "`ids` must be an array of ints; got a list (dtype <U1)."),
        ([2**70], 1, DTypeError, "`ids` must be an array of ints; got a list (dtype object)."),
        ([[1], [2, 3]], 2, DTypeError, "`ids` must be an array of ints; got [[1], [2, 3]] (list)."),
        (None, 2, DTypeError, "`ids` must be an array of ints; got a NoneType (dtype object)."),
        (True, None, DTypeError, "`ids` must be an array of ints; got a bool (dtype bool)."),
    ],
)
def test_ids_refused(ids: Any, n: int | None, kind: type[VsearchError], message: str) -> None:
    refuses(kind, message, v.check_ids, "ids", ids, n)


# ---------------------------------------------------------------------------------------------------------- filters

SORTED = np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29])


def bits(*ids: int) -> list[int]:
    return np.packbits(np.isin(SORTED, ids), bitorder="little").tolist()


def test_filter_of_each_kind() -> None:
    assert v.check_filter(None, SORTED) is None
    want = bits(3, 29)
    mask = np.isin(SORTED, [3, 29])
    packed = np.packbits(mask, bitorder="little")
    for same in (
        mask,
        mask.tolist(),
        [29, 3, 3],
        {3, 29},
        np.array([3, 29], np.uint64),
        np.array([29, 3], np.int16),
        packed,
    ):
        out = v.check_filter(same, SORTED)
        assert out is not None and out.dtype == np.uint8 and out.tolist() == want
    for none in ([], set(), np.zeros(10, bool), np.zeros(0, np.int64), np.zeros(2, np.uint8)):
        out = v.check_filter(none, SORTED)
        assert out is not None and out.tolist() == [0, 0]


def test_filter_clears_bits_beyond_the_last_id() -> None:
    given_bits = np.array([255, 255], np.uint8)
    out = v.check_filter(given_bits, SORTED)
    assert out is not None and out.tolist() == [255, 3] and given_bits.tolist() == [255, 255]
    out = v.check_filter(given_bits, np.arange(16))
    assert out is not None and out.tolist() == [255, 255]


def test_filter_by_extreme_ids_of_contiguous_ones() -> None:
    ids = np.arange(2**63 - 20, 2**63 - 1)
    for stranger in (0, -1, -(2**63), 2**63 - 1, 2**63 - 21):
        message = f"`filter` must hold ids of the index; {stranger} is not in it."
        refuses(UnknownIdError, message, v.check_filter, [2**63 - 19, stranger], ids)


def test_filter_of_an_empty_index() -> None:
    none = np.zeros(0, np.int64)
    for empty in ([], np.zeros(0, bool), np.zeros(0, np.uint8)):
        out = v.check_filter(empty, none)
        assert out is not None and out.shape == (0,)
    refuses(UnknownIdError, "`filter` must hold ids of the index; 1 is not in it.", v.check_filter, [1], none)


@pytest.mark.parametrize(
    ("filter", "kind", "message"),
    [
        (np.ones(9, bool), DimensionError, "`filter` must be a mask of shape (10,), one bool per id; got (9,)."),
        (
            np.ones((1, 10), bool),
            DimensionError,
            "`filter` must be a mask of shape (10,), one bool per id; got (1, 10).",
        ),
        (
            np.ones(10, np.uint8),
            DimensionError,
            "`filter` must be a bitmap of shape (2,), one bit per id; got (10,). For a list of ids, pass int64.",
        ),
        ([3, 4, 6], UnknownIdError, "`filter` must hold ids of the index; 4 is not in it."),
        ([-1], UnknownIdError, "`filter` must hold ids of the index; -1 is not in it."),
        ([31], UnknownIdError, "`filter` must hold ids of the index; 31 is not in it."),
        ([[3]], DimensionError, "`filter` must have one dimension; got shape (1, 1)."),
        (3, DimensionError, "`filter` must have one dimension; got shape ()."),
        ([2**63], ParameterError, "`filter` must be below 2**63; got 9223372036854775808."),
        (np.ones(3), DTypeError, "`filter` must be a bool mask, packed bits or ids; got dtype float64."),
        (["a"], DTypeError, "`filter` must be a bool mask, packed bits or ids; got a list (dtype <U1)."),
        ("a", DTypeError, "`filter` must be a bool mask, packed bits or ids; got a str (dtype <U1)."),
        (
            len,
            DTypeError,
            "`filter` must be a bool mask, packed bits or ids; got a builtin_function_or_method (dtype object).",
        ),
        ([[1], [2, 3]], DTypeError, "`filter` must be a bool mask, packed bits or ids; got [[1], [2, 3]] (list)."),
    ],
)
def test_filter_refused(filter: Any, kind: type[VsearchError], message: str) -> None:
    refuses(kind, message, v.check_filter, filter, SORTED)


SETS = st.one_of(st.sets(st.integers(0, 60)), st.integers(0, 2000).map(lambda n: set(range(n, 2 * n))))


@settings(deadline=None)
@given(SETS, st.data())
def test_filter_agrees_with_sets(ids: set[int], data: st.DataObject) -> None:
    ordered = np.array(sorted(ids), np.int64)
    chosen = data.draw(st.lists(st.sampled_from(sorted(ids)))) if ids else []
    mask = np.isin(ordered, np.array(chosen, np.int64))
    want = np.packbits(mask, bitorder="little").tolist()
    for same in (chosen, mask, np.packbits(mask, bitorder="little"), np.array(chosen, np.int32)):
        out = v.check_filter(same, ordered)
        assert out is not None and out.tolist() == want


# ------------------------------------------------------------------------------------------------------ the grammar

ODDITIES: list[Any] = [
    None, True, 1, -1, 2.5, math.nan, 1j, "a", b"a", [], [[]], [[], [1]], {}, {1}, object(), len, int, slice(1), ...,
    np.zeros(3), np.zeros((2, 2), object), np.array(3), np.ma.masked_all((2, 2)), np.zeros(2, "M8[s]"),
    np.zeros(2, [("a", "f4")]), np.array(["x"]), 10**400, GpuTensor(), range(3), memoryview(b"abcd"), iter([1]),
]  # fmt: skip


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda x: re.sub(r" at 0x\w+", "", repr(x))[:30])
def test_anything_is_taken_or_refused_in_the_grammar(oddity: Any) -> None:
    calls = [
        lambda x: v.check_int("x", x, 0, 9),
        lambda x: v.check_float("x", x, 0, 1),
        lambda x: v.check_choice("x", x, ("l2", "ip")),
        lambda x: v.check_vectors("x", x),
        lambda x: v.check_vectors("x", x, 4, True),
        lambda x: v.check_queries("x", x, 4),
        lambda x: v.check_ids("x", x),
        lambda x: v.check_ids("x", x, 2),
        lambda x: v.check_filter(x, SORTED),
    ]
    for call in calls:
        message = ""
        try:
            call(oddity)
        except VsearchError as error:
            message = str(error)
        assert len(message) < 300
        assert not message or re.match(r"`(x|filter)` must (be|have|fit|hold) .*[.?]$", message, re.DOTALL), message
