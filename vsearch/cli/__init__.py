"""The `vsearch` command: demo, rag-demo, bench, build, query, info, check, export, import, datasets.

Typer and rich come with the extra ``cli``; this file needs neither, so that without one of them the command still
starts and says what to install.
"""

from __future__ import annotations

import sys

NEEDS_EXTRA = "The vsearch command needs {}: pip install 'vsearch-ann[cli]'"


def main() -> None:
    """Run the command line; the entry point of `vsearch` and of `python -m vsearch`."""
    for needed in ("typer", "rich"):  # asked for alone, so that an ImportError of our own is not taken for theirs
        try:
            __import__(needed)
        except ImportError:
            print(NEEDS_EXTRA.format(needed), file=sys.stderr)
            raise SystemExit(2) from None
    from vsearch.cli.app import app

    app(prog_name="vsearch")
