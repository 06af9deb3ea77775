"""The commands of `vsearch`, and what happens when one of them cannot do what was asked."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from vsearch.cli import datasets, show
from vsearch.cli.bench import bench
from vsearch.cli.demo import demo
from vsearch.cli.files import build, info, query
from vsearch.errors import VsearchError


class Commands(TyperGroup):
    """Says an expected failure in one red sentence, exit code 2; a traceback is for our own mistakes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (VsearchError, OSError) as error:
            show.problems.print(Text(_sentence(error), style="red"), soft_wrap=True)
            raise typer.Exit(2) from None


def _sentence(error: Exception) -> str:
    """What went wrong; the operating system's errors without their number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return str(error)


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Vector search: name the recall, the engine finds the speed.",
)  # fmt: skip


def _version(asked: bool) -> None:
    if asked:
        import vsearch

        show.console.print(f"vsearch {vsearch.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for command in (demo, bench, build, query, info):
    app.command()(command)
app.add_typer(datasets.app, name="datasets")
