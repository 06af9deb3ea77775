"""Files and stores: the container, checksums, locks, and rows of stored vectors."""
