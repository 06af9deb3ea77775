"""Files and stores: the container, checksums, locks, and rows of stored vectors."""

from vsearch.storage.container import Container, read, write

__all__ = ["Container", "read", "write"]
