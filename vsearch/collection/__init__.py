"""Documents, vectors and metadata in a folder: durable, filtered, searchable."""

from vsearch.collection.collection import Collection
from vsearch.collection.rows import Record

__all__ = ["Collection", "Record"]
