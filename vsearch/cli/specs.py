"""Index names on the command line: ``flat``, ``ivf-rabitq4-bf16``, ``ivf512``, ``graph``, ``graph-compact``.

    name  = family ["-" quantizer] ["-" numbers]
    family    = "flat" | "ivf" [lists] | "graph" [degree] ["-compact"]
                                                 ivf512 has 512 lists; plain ivf lets the index choose; graph64 has
                                                 64 neighbours to a vertex, plain graph 32
    quantizer = ("rabitq" | "lloydmax" | "saq" | "lvq" | "osq") [bits]
                                                 rabitq has 1 bit when not said, the others 4
    numbers   = "f32" | "f16" | "bf16" | "int8" | "norefine"

``numbers`` is what full vectors are kept in: of the whole index without a quantizer, of the refine store with one
(where ``norefine`` keeps the codes alone). A graph has 1-bit codes and vectors always; a compact one has codes of 8
bits when not said otherwise, and vectors where ``numbers`` says which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from vsearch.errors import ParameterError

GRAMMAR = re.compile(
    r"(?P<family>flat|ivf(?P<lists>[1-9]\d{0,8})?|graph(?P<degree>32|64|96|128)?(?P<compact>-compact)?)"
    r"(-(?P<codes>rabitq|lloydmax|saq|lvq|osq)(?P<bits>\d)?)?"
    r"(-(?P<numbers>f32|f16|bf16|int8|norefine))?"
)

#: Quantizers by their names here: the class's, and bits when not said.
QUANTIZERS = {
    "rabitq": ("RaBitQ", 1),
    "lloydmax": ("LloydMax", 4),
    "saq": ("SAQ", 4),
    "lvq": ("LVQ", 4),
    "osq": ("OSQ", 4),
}

#: For help texts and errors.
EXAMPLES = "flat, flat-int8, ivf, ivf512-rabitq4-bf16, ivf-saq4-norefine, graph or graph-compact"

#: What a quantized index refines from when its name does not say: half the bytes of f32, hardly any recall.
DEFAULT_REFINE = "bf16"


@dataclass(frozen=True)
class IndexSpec:
    """An index as named on the command line, not yet built."""

    family: str
    lists: int | None = None
    bits: int | None = None
    numbers: str | None = None
    codes: str = "rabitq"
    degree: int | None = None
    compact: bool = False

    @classmethod
    def parse(cls, name: str) -> IndexSpec:
        """Read one name.

        Examples
        --------
        >>> IndexSpec.parse("ivf512-rabitq4-f16")
        IndexSpec(family='ivf', lists=512, bits=4, numbers='f16', codes='rabitq', degree=None, compact=False)
        """
        found = GRAMMAR.fullmatch(name.strip().lower())
        if (
            found is None
            or (found["numbers"] == "norefine" and not found["codes"])
            or (found["codes"] and "graph" in found["family"] and (not found["compact"] or found["codes"] == "rabitq"))
        ):
            raise ParameterError(f"`index` must be a name such as {EXAMPLES}; got {name!r}.")
        return cls(
            family=found["family"].removesuffix("-compact").rstrip("0123456789"),
            lists=int(found["lists"]) if found["lists"] else None,
            bits=int(found["bits"] or QUANTIZERS[found["codes"]][1]) if found["codes"] else None,
            numbers=found["numbers"],
            codes=found["codes"] or ("lvq" if found["compact"] else "rabitq"),
            degree=int(found["degree"]) if found["degree"] else None,
            compact=found["compact"] is not None,
        )

    @property
    def label(self) -> str:
        """The name that tables and figures show.

        Examples
        --------
        >>> IndexSpec.parse("ivf-rabitq4").label
        'IVF + RaBitQ 4 bits'
        """
        label = {"flat": "Flat", "ivf": "IVF", "graph": "Graph"}[self.family]
        if self.lists or self.degree:
            label += f" {self.lists or self.degree}"
        if self.compact:
            label += " compact"
        if self.bits:
            label += f" + {QUANTIZERS[self.codes][0]} {self.bits} bit" + ("s" if self.bits > 1 else "")
        if self.numbers == "norefine":
            return label + ", no refine"
        return label + (f", {self.numbers}" if self.numbers else "")

    def adjusted(self, bits: int | None = None, lists: int | None = None) -> IndexSpec:
        """Return the spec with what separate options say; they may not contradict the name.

        Examples
        --------
        >>> IndexSpec.parse("ivf").adjusted(bits=4, lists=64).label
        'IVF 64 + RaBitQ 4 bits'
        """
        for name, said, asked in (("bits", self.bits, bits), ("lists", self.lists, lists)):
            if said is not None and asked is not None and said != asked:
                raise ParameterError(f"`{name}` must agree with the index name, which says {said}; got {asked}.")
        if lists is not None and self.family != "ivf":
            raise ParameterError(f"`lists` must not be given for a {self.family} index; got {lists}.")
        if bits is not None and self.family == "graph" and not self.compact:
            raise ParameterError(f"`bits` must not be given for a graph, whose codes have 1 bit; got {bits}.")
        return replace(self, bits=bits or self.bits, lists=lists or self.lists)

    def make(self, metric: str, seed: int = 0) -> Any:
        """Return the index, not yet fitted."""
        import vsearch as vs

        options: dict[str, Any] = {"metric": metric, "seed": seed}
        if self.compact:
            quantizer = getattr(vs, QUANTIZERS[self.codes][0])(bits=self.bits or 8)
            refine = None if self.numbers == "norefine" else self.numbers
            layout: dict[str, Any] = {"degree": self.degree or 32, "layout": "compact", "refine": refine}
            return vs.Graph(**options, quantizer=quantizer, **layout)
        if self.family == "graph":
            return vs.Graph(**options, degree=self.degree or 32, refine=self.numbers or "f16")
        if self.bits is not None:
            options["quantizer"] = getattr(vs, QUANTIZERS[self.codes][0])(bits=self.bits)
            options["refine"] = None if self.numbers == "norefine" else self.numbers or DEFAULT_REFINE
        elif self.numbers:
            options["dtype"] = self.numbers
        return vs.Flat(**options) if self.family == "flat" else vs.IVF(self.lists, **options)


def parse_indexes(names: str) -> list[IndexSpec]:
    """Read a comma-separated list of names, doubles dropped.

    Examples
    --------
    >>> [spec.family for spec in parse_indexes("flat, ivf")]
    ['flat', 'ivf']
    """
    specs = [IndexSpec.parse(name) for name in names.split(",") if name.strip()]
    if not specs:
        raise ParameterError("`index` must name at least one index, such as flat or ivf-rabitq; got nothing.")
    return list(dict.fromkeys(specs))
