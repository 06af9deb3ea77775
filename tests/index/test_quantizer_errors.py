"""Bad values for every parameter of every quantizer: the exact class and the exact message."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from faults import TOP, D, Fault, P, S, T, X, choices, flags, ints, matrices, numbers, parameters, queries, refuses

import vsearch as vs

QUANTIZERS = [
    thing
    for thing in (getattr(vs, name) for name in vs.__all__)
    if inspect.isclass(thing) and issubclass(thing, vs.Quantizer) and not inspect.isabstract(thing)
]
BITS = ints("bits", 1, 8)
SEED = ints("seed", 0, TOP)
BOOKS = ints("m", 1, 65536)
NIBBLES = [fault for fault in choices("bits", "4, 8") if fault[0] != "qqq"] + [
    (5, P, "`bits` must be one of 4, 8; got 5.")
]
ANISOTROPIC = numbers("anisotropic", "[0, 0.99]", [-0.1, 1])
WEIGHTING = numbers("weighting", "[0, 1]", [-0.1, 1.1])
ROTATION = choices("rotation", "'hadamard', 'dense', 'pca', 'none'", ("hadamar", "hadamard"), ("PCA", "pca"))

ARGUMENTS: dict[str, tuple[list[Fault], Callable[[Any], Any]]] = {
    "RaBitQ.bits": (BITS, lambda v: vs.RaBitQ(v)),
    "RaBitQ.rotation": (ROTATION, lambda v: vs.RaBitQ(rotation=v)),
    "RaBitQ.seed": (SEED, lambda v: vs.RaBitQ(seed=v)),
    "LloydMax.bits": (BITS, lambda v: vs.LloydMax(v)),
    "LloydMax.rotation": (ROTATION, lambda v: vs.LloydMax(rotation=v)),
    "LloydMax.seed": (SEED, lambda v: vs.LloydMax(seed=v)),
    "TurboQuant.bits": (BITS, lambda v: vs.TurboQuant(v)),
    "TurboQuant.mode": (choices("mode", "'mse', 'prod'", ("prodd", "prod")), lambda v: vs.TurboQuant(mode=v)),
    "TurboQuant.seed": (SEED, lambda v: vs.TurboQuant(seed=v)),
    "LVQ.bits": (BITS, lambda v: vs.LVQ(v)),
    "LVQ.residual_bits": (
        [
            *ints("residual_bits", 0, 7),
            (5, P, "`residual_bits` must be at most 4 at 4 bits; got 5."),
        ],
        lambda v: vs.LVQ(4, v),
    ),
    "LVQ.unbiased": (flags("unbiased"), lambda v: vs.LVQ(unbiased=v)),
    "LVQ.rotation": (ROTATION, lambda v: vs.LVQ(rotation=v)),
    "LVQ.seed": (SEED, lambda v: vs.LVQ(seed=v)),
    "LeanVec.dim": (ints("dim", 1, 65536), lambda v: vs.LeanVec(v)),
    "LeanVec.queries": ([f for f in matrices("queries", None) if f[0] is not None], lambda v: vs.LeanVec(8, v)),
    "LeanVec.bits": (BITS, lambda v: vs.LeanVec(8, bits=v)),
    "OSQ.bits": (BITS, lambda v: vs.OSQ(v)),
    "OSQ.rotation": (ROTATION, lambda v: vs.OSQ(rotation=v)),
    "OSQ.seed": (SEED, lambda v: vs.OSQ(seed=v)),
    "SAQ.bits": (numbers("bits", "[0.25, 8]", [0, 0.2, 8.01, -1]), lambda v: vs.SAQ(v)),
    "SAQ.block": (
        [*ints("block", 16, 256), (24, P, "`block` must be a multiple of 16; got 24.")],
        lambda v: vs.SAQ(block=v),
    ),
    "SAQ.objective": (choices("objective", "'mse', 'ip', 'paper'", ("msee", "mse")), lambda v: vs.SAQ(objective=v)),
    "SAQ.levels": (
        choices("levels", "'fitted', 'gaussian', 'uniform'", ("gausian", "gaussian")),
        lambda v: vs.SAQ(levels=v),
    ),
    "SAQ.transform": (
        choices("transform", "'auto', 'pca', 'sphering'", ("spherin", "sphering")),
        lambda v: vs.SAQ(transform=v),
    ),
    "SAQ.seed": (SEED, lambda v: vs.SAQ(seed=v)),
    "Binary.method": (
        choices("method", "'sign', 'itq', 'recurrent'", ("signs", "sign"), ("ITQ", "itq")),
        lambda v: vs.Binary(v),
    ),
    "Binary.bits_per_dim": (ints("bits_per_dim", 1, 8), lambda v: vs.Binary("recurrent", v)),
    "Binary.seed": (SEED, lambda v: vs.Binary(seed=v)),
    "PQ.m": (BOOKS, lambda v: vs.PQ(v)),
    "PQ.bits": (NIBBLES, lambda v: vs.PQ(8, v)),
    "PQ.anisotropic": (ANISOTROPIC, lambda v: vs.PQ(8, anisotropic=v)),
    "PQ.seed": (SEED, lambda v: vs.PQ(8, seed=v)),
    "OPQ.m": (BOOKS, lambda v: vs.OPQ(v)),
    "OPQ.bits": (NIBBLES, lambda v: vs.OPQ(8, v)),
    "OPQ.weighting": (WEIGHTING, lambda v: vs.OPQ(8, weighting=v)),
    "OPQ.anisotropic": (ANISOTROPIC, lambda v: vs.OPQ(8, anisotropic=v)),
    "OPQ.seed": (SEED, lambda v: vs.OPQ(8, seed=v)),
    "ResidualQuantizer.m": (BOOKS, lambda v: vs.ResidualQuantizer(v)),
    "ResidualQuantizer.bits": (NIBBLES, lambda v: vs.ResidualQuantizer(8, v)),
    "ResidualQuantizer.splits": (ints("splits", 1, 8, none=True), lambda v: vs.ResidualQuantizer(8, splits=v)),
    "ResidualQuantizer.beam": (ints("beam", 1, 256), lambda v: vs.ResidualQuantizer(8, beam=v)),
    "ResidualQuantizer.rotation": (
        choices("rotation", "'auto', 'pca', 'none'", ("autoo", "auto")),
        lambda v: vs.ResidualQuantizer(8, rotation=v),
    ),
    "ResidualQuantizer.weighting": (WEIGHTING, lambda v: vs.ResidualQuantizer(8, weighting=v)),
    "ResidualQuantizer.seed": (SEED, lambda v: vs.ResidualQuantizer(8, seed=v)),
}

#: Between the layers: their arguments come from an index.
INSIDE = {
    "train",
    "restore",
    "from_params",
    "encode_residuals",
    "reconstruct",
    "apply",
    "compact",
    "columns",
    "constants",
}
CALLS = {
    "fit": ("X", "queries", "threads"), "encode": ("X", "threads"), "decode": ("codes",),
    "estimate": ("query", "codes"), "estimate_stages": ("query", "codes", "epsilon"),
    "bytes_per_vector": ("dim", "metric"),
    "hamming": ("queries", "codes"), "symmetric": ("queries", "codes"),
}  # fmt: skip


def test_no_parameter_is_forgotten() -> None:
    assert set(ARGUMENTS) == {f"{cls.__name__}.{name}" for cls in QUANTIZERS for name in parameters(cls)}
    for cls in QUANTIZERS:
        for method, call in inspect.getmembers(cls, inspect.isfunction):
            if not method.startswith("_") and method not in INSIDE:
                assert tuple(parameters(call)) == CALLS.get(method, ()), f"{cls.__name__}.{method}"


@pytest.mark.parametrize("name", ARGUMENTS)
def test_bad_arguments_of_a_constructor(name: str) -> None:
    faults, call = ARGUMENTS[name]
    for fault in faults:
        refuses(fault, call)


def test_arguments_that_exclude_each_other() -> None:
    message = "`bits_per_dim` must be 1 with method 'itq'; got 2. 'recurrent' takes 1 to 8."
    refuses((2, P, message), lambda value: vs.Binary("itq", value))
    refuses((8, P, "`residual_bits` must be an int in [0, 7]; got 8."), lambda value: vs.LVQ(1, value))


def made(cls: type[vs.Quantizer], **arguments: Any) -> vs.Quantizer:
    """One with default arguments; a product quantizer of 4 codes, a projection to 4 dimensions."""
    needed = {"m": 4, "bits": 4} if "m" in parameters(cls) else {"dim": 4} if "dim" in parameters(cls) else {}
    return cls(**needed | arguments)


def wrong_codes(cls: type[vs.Quantizer], coder: vs.Quantizer) -> list[Fault]:
    """What no codes of a fitted quantizer may be: nothing, vectors, codes of more bits, codes of more dimensions."""
    wrong = f"`codes` must be of {coder!r} for {D} dimensions; these are of another quantizer."
    names = parameters(cls)
    others = [] if {"m", "dim"} & set(names) else [made(cls).fit(np.eye(40)).encode(np.eye(40)[:9])]
    if "bits" in names:
        others.append(made(cls, bits=8 if "m" in names else 6).fit(X).encode(X))
    return [
        (None, T, "`codes` must be what encode(X) returned; got a NoneType."),
        (X, T, "`codes` must be what encode(X) returned; got a ndarray."),
        *((other, P, wrong) for other in others),
    ]


@pytest.mark.parametrize("cls", QUANTIZERS)
def test_bad_arguments_of_calls(cls: type[vs.Quantizer]) -> None:
    coder = made(cls).fit(X)
    codes = coder.encode(X)
    given = [fault for fault in matrices("queries", D, like="`X`") if fault[0] is not None]
    threads = ints("threads", 1, 1024, none=True)
    bad = wrong_codes(cls, coder)
    coded, asked = "the quantizer", queries("query", like="the quantizer")
    one = [
        fault for fault in queries("query", only_one=True) if fault[1] is S and getattr(fault[0], "shape", ()) == (2, D)
    ]
    table: list[tuple[list[Fault], Callable[[Any], Any]]] = [
        (matrices("X", None), lambda v: made(cls).fit(v)),
        (given, lambda v: made(cls).fit(X, queries=v)),
        (threads, lambda v: made(cls).fit(X, threads=v)),
        (matrices("X", D, like=coded), lambda v: coder.encode(v)),
        (threads, lambda v: coder.encode(X, threads=v)),
        (bad, coder.decode),
        (asked, lambda v: coder.estimate(v, codes)),
        (bad, lambda v: coder.estimate(X[0], v)),
        (one + asked, lambda v: coder.estimate_stages(v, codes)),
        (bad, lambda v: coder.estimate_stages(X[0], v)),
        (numbers("epsilon", "[0, inf)", [-0.1]), lambda v: coder.estimate_stages(X[0], codes, v)),
        (ints("dim", 1, 65536), coder.bytes_per_vector),
        (choices("metric", "'l2', 'ip', 'cosine'"), lambda v: coder.bytes_per_vector(D, v)),
    ]
    if isinstance(coder, vs.Binary):
        for call in (coder.hamming, coder.symmetric):
            table += [(bad, lambda v, call=call: call(codes, v)), (bad, lambda v, call=call: call(v, codes))]
    before = coder.encode(X)
    for faults, call in table:
        for fault in faults:
            refuses(fault, call)
    for part in ("symbols", "extra", "factors"):
        assert np.array_equal(getattr(before, part), getattr(coder.encode(X), part))


@pytest.mark.parametrize("cls", QUANTIZERS)
def test_quantizer_that_is_not_fitted(cls: type[vs.Quantizer]) -> None:
    coder, codes = made(cls), made(cls).fit(X).encode(X)
    trained = made(cls).train(X - X.mean(axis=0), D)  # by an index: it has no mean of its own
    for each in (coder, trained):
        for call in (
            lambda each=each: each.encode(X),
            lambda each=each: each.decode(codes),
            lambda each=each: each.estimate(X[0], codes),
            lambda each=each: each.estimate_stages(X[0], codes),
        ):
            with pytest.raises(vs.NotFittedError, match=rf"^{cls.__name__} is not fitted; call fit\(X\) first\.$"):
                call()
    assert coder.dim is None
    if isinstance(coder, vs.SAQ):
        with pytest.raises(vs.NotFittedError, match="SAQ is not fitted"):
            _ = coder.plan
