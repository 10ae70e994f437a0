"""The application: what provnet refuses is one message and exit code 2, and warnings are notes."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from provnet import __version__
from provnet.command import help_text
from provnet.errors import ProvnetError


class OneMessage(TyperGroup):
    """Shows what provnet refuses as one message and exits with 2, and warnings as notes."""

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            try:
                return super().invoke(ctx)
            except ProvnetError as error:
                typer.echo(f"provnet: {error}", err=True)
                raise typer.Exit(2) from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the same help as `provnet --help` does without loading anything."""
        typer.echo(help_text(), nl=False)


def _note(message: Any, *_: Any, **__: Any) -> None:
    typer.echo(f"provnet: note: {message}", err=True)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"provnet {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=OneMessage,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="One execution of a PyTorch model as a provenance circuit, evaluated in any semiring.",
)


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """One execution of a PyTorch model as a provenance circuit, evaluated in any semiring."""
