"""`python -m vsearch` is the `vsearch` command, for where another program owns that name."""

from vsearch.cli import main

main()
