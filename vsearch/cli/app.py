"""The commands of `vsearch`, and what happens when one of them cannot do what was asked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.text import Text

from vsearch.cli import collections, datasets, show
from vsearch.cli.bench import bench
from vsearch.cli.demo import demo
from vsearch.cli.files import build, info, query
from vsearch.cli.rag import rag_demo
from vsearch.errors import VsearchError


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Say an expected failure of a command in one red sentence, exit code 2; a traceback is for our own mistakes."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (VsearchError, OSError) as error:
            show.problems.print(Text(_sentence(error), style="red"), soft_wrap=True)
            raise typer.Exit(2) from None

    return run


def _sentence(error: Exception) -> str:
    """What went wrong; the operating system's errors without their number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return str(error)


def _show_version(asked: bool) -> None:
    if asked:
        import vsearch

        show.console.print(f"vsearch {vsearch.__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


def _options(version: Version = False) -> None:
    """Hold what may stand before a command."""


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Vector search: name the recall, the engine finds the speed.",
)
app.callback()(_options)
for function in (demo, rag_demo, bench, build, query, info, collections.check, collections.export):
    app.command()(told(function))
app.command("import")(told(collections.load))

_datasets = typer.Typer(help="List and fetch public data sets.", no_args_is_help=True)
_datasets.command("list")(told(datasets.list_known))
_datasets.command("get")(told(datasets.get))
app.add_typer(_datasets, name="datasets")
