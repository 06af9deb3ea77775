"""Index names on the command line: what is said is what is built, and nonsense is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.cli.specs import IndexSpec, parse_indexes
from vsearch.errors import ParameterError


@pytest.mark.parametrize(
    ("name", "spec", "label"),
    [
        ("flat", IndexSpec("flat"), "Flat"),
        ("flat-int8", IndexSpec("flat", numbers="int8"), "Flat, int8"),
        ("flat-rabitq8", IndexSpec("flat", bits=8), "Flat + RaBitQ 8 bits"),
        (" IVF ", IndexSpec("ivf"), "IVF"),
        ("ivf-rabitq", IndexSpec("ivf", bits=1), "IVF + RaBitQ 1 bit"),
        ("ivf512-rabitq4-bf16", IndexSpec("ivf", 512, 4, "bf16"), "IVF 512 + RaBitQ 4 bits, bf16"),
        ("ivf-rabitq7-norefine", IndexSpec("ivf", None, 7, "norefine"), "IVF + RaBitQ 7 bits, no refine"),
        ("graph64-f32", IndexSpec("graph", degree=64, numbers="f32"), "Graph 64, f32"),
        ("graph-compact", IndexSpec("graph", codes="lvq", compact=True), "Graph compact"),
        (
            "graph96-compact-saq4-int8",
            IndexSpec("graph", None, 4, "int8", "saq", 96, True),
            "Graph 96 compact + SAQ 4 bits, int8",
        ),
    ],
)
def test_names_say_what_is_built(name: str, spec: IndexSpec, label: str) -> None:
    assert IndexSpec.parse(name) == spec and spec.label == label


@pytest.mark.parametrize(
    "name",
    [
        "",
        "hnsw",
        "flat512",
        "ivf0",
        "ivf-",
        "rabitq",
        "ivf-rabitq4-rabitq4",
        "ivf-f64",
        "flat-norefine",
        "ivf_f16",
        "graph-lvq4",
        "graph-compact-rabitq1",
        "ivf-compact",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=r"`index` must be a name such as flat, .*; got "):
        IndexSpec.parse(name)


@given(st.text(alphabet="flativrbq0128-,", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        specs = parse_indexes(text)
    except ParameterError:
        return
    assert specs and len(set(specs)) == len(specs)


def test_compact_graphs_are_made_with_their_codes() -> None:
    for name, quantizer, refine in (
        ("graph-compact", "LVQ(bits=8,", None),
        ("graph-compact-lvq-int8", "LVQ(bits=4,", "int8"),
        ("graph-compact-saq6-norefine", "SAQ(bits=6.0)", None),
    ):
        index = IndexSpec.parse(name).make("cosine")
        assert index.layout == "compact" and index.refine == refine and repr(index.quantizer).startswith(quantizer)
    assert IndexSpec.parse("graph-compact").adjusted(bits=4).make("l2").quantizer.bits == 4


def test_lists_of_names_drop_doubles() -> None:
    assert [spec.label for spec in parse_indexes("flat, ivf,flat,ivf-rabitq1,ivf-rabitq")] == [
        "Flat", "IVF", "IVF + RaBitQ 1 bit",
    ]  # fmt: skip
    with pytest.raises(ParameterError, match="got nothing"):
        parse_indexes(" , ")


def test_options_complete_a_name_and_may_not_contradict_it() -> None:
    assert IndexSpec.parse("ivf").adjusted(bits=4, lists=64) == IndexSpec.parse("ivf64-rabitq4")
    assert IndexSpec.parse("ivf64").adjusted(lists=64).lists == 64
    with pytest.raises(ParameterError, match="`lists` must agree with the index name, which says 64; got 65"):
        IndexSpec.parse("ivf64").adjusted(lists=65)
    with pytest.raises(ParameterError, match="`bits` must agree"):
        IndexSpec.parse("ivf-rabitq2").adjusted(bits=3)
    with pytest.raises(ParameterError, match="`lists` must not be given for a flat index; got 8"):
        IndexSpec.parse("flat").adjusted(lists=8)
