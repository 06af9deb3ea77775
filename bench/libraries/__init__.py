"""The contestants of peers.py and scaling.py: a file for each library, one face for all (base.py), a list of names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One contestant: a class of a file in this folder, and what its constructor gets."""

    name: str
    module: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        """Whether it is vsearch's own."""
        return self.name.startswith("vsearch")


def entries() -> dict[str, Entry]:
    """All contestants by name, ours first. Parameters are those that each library recommends."""
    every = [
        Entry("vsearch-graph", "libraries.ours", "Graph", {"degree": 32}),
        Entry("vsearch-graph-64", "libraries.ours", "Graph", {"degree": 64}),
        Entry("vsearch-graph-compact", "libraries.ours", "Graph", {"layout": "compact"}),
        Entry("vsearch-graph-compact-lvq4", "libraries.ours", "GraphCompact", {"codes": "LVQ4", "refine": "int8"}),
        Entry("vsearch-graph-compact-leanvec", "libraries.ours", "GraphCompact", {"codes": "LeanVec", "refine": "f16"}),
        Entry("vsearch-ivf", "libraries.ours", "IVF", {"bits": 1, "refine": "bf16"}),
        Entry("vsearch-flat", "libraries.ours", "Flat"),
        Entry("hnswlib-M16", "libraries.hnsw", "Hnswlib", {"m": 16, "ef_construction": 200}),
        Entry("hnswlib-M32", "libraries.hnsw", "Hnswlib", {"m": 32, "ef_construction": 400}),
        Entry("faiss-HNSW32", "libraries.faiss_indexes", "FaissHNSW", {"factory": "HNSW32"}),
        Entry("faiss-HNSW32-SQ8", "libraries.faiss_indexes", "FaissHNSW", {"factory": "HNSW32_SQ8"}),
        Entry("faiss-IVFPQfs-refine", "libraries.faiss_indexes", "FaissIVF", {"codes": "PQ{half}x4fs"}),
        Entry(
            "faiss-IVFRaBitQfs-refine",
            "libraries.faiss_indexes",
            "FaissIVF",
            {"codes": "RaBitQfs", "rotate": True},
        ),
        Entry("usearch-f32", "libraries.usearch_index", "Usearch", {"dtype": "f32"}),
        Entry("usearch-bf16", "libraries.usearch_index", "Usearch", {"dtype": "bf16"}),
        Entry("usearch-i8", "libraries.usearch_index", "Usearch", {"dtype": "i8"}),
        Entry("scann", "libraries.scann_tree", "Scann"),
        Entry("vsag-hgraph-sq8", "libraries.vsag_hgraph", "HGraph", {"base": "sq8_uniform"}),
        Entry("vsag-hgraph-sq4", "libraries.vsag_hgraph", "HGraph", {"base": "sq4_uniform"}),
        Entry("symqg-R32", "libraries.rabitq", "Symqg", {"degree": 32}),
        Entry("symqg-R64", "libraries.rabitq", "Symqg", {"degree": 64}),
        Entry("rabitq-ivf5", "libraries.rabitq", "RabitqIVF", {"bits": 5}),
        Entry("rabitq-ivf7", "libraries.rabitq", "RabitqIVF", {"bits": 7}),
        Entry("rabitq-ivf32", "libraries.rabitq", "RabitqIVF", {"bits": 32}),
        Entry("rabitq-hnsw5", "libraries.rabitq", "RabitqHNSW", {"bits": 5}),
        Entry("rabitq-hnsw8", "libraries.rabitq", "RabitqHNSW", {"bits": 8}),
        Entry("svs-f32", "libraries.svs_vamana", "Vamana"),
    ]
    return {entry.name: entry for entry in every}
