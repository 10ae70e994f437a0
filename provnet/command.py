"""The command `provnet`: help, version and lists at once, without torch; everything else by `provnet.cli`."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path

from provnet import __version__
from provnet.listing import listed, listing

CLI = Path(__file__).with_name("cli")

GROUPS = ("circuit_commands", "dataset_commands", "intervention_commands", "report_commands")
"""The files of `cli/` that hold commands, in the order of the help."""

USAGE = """\
Usage: provnet [OPTIONS] COMMAND [ARGS]...

  One execution of a PyTorch model as a provenance circuit, evaluated in any semiring.

Options:
  --version             print the version
  --install-completion  complete commands and options in this shell
  --show-completion     print the completion for this shell
  --help                print this; `provnet COMMAND --help` says more

Commands:
{commands}

Exit codes: 0 done; 1 an unforeseen error, with its traceback; 2 refused, with one message that says what to do.
"""


def main() -> None:
    """Run the command line."""
    asked = sys.argv[1:]
    if asked in ([], ["--help"], ["help"]):
        sys.stdout.write(help_text())
    elif asked == ["--version"]:
        sys.stdout.write(f"provnet {__version__}\n")
    elif asked[0] == "list" and asked[1:2] and asked[1] in listing() and asked[2:] in ([], ["--json"]):
        sys.stdout.write(f"{listed(asked[1], asked[2:] == ['--json'])}\n")
    else:
        import_module("provnet.cli").app()


def help_text() -> str:
    """Return the help of the command: each command's first sentence, read from the sources in `cli/`."""
    found = commands()
    width = max(map(len, found))
    return USAGE.format(commands="\n".join(f"  {name:<{width}}  {said}" for name, said in found.items()))


def commands() -> dict[str, str]:
    """Return {command: its first sentence}, in the order of the sources."""
    found = {}
    sources = [CLI.joinpath(f"{group}.py").read_text("utf-8") for group in GROUPS]
    for node in (node for source in sources for node in ast.parse(source).body):
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "app.command":
                name = str(ast.literal_eval(mark.args[0])) if mark.args else node.name
                found[name] = (ast.get_docstring(node) or "").split("\n")[0]
    return found
