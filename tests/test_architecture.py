"""The shape of the house: who imports whom, read from the import statements, and the linters as tests."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "provnet"

ROOMS = ("capture", "circuit", "rules", "semirings", "symbolic", "torch_backend", "writers")
"""From the top of the house to the bottom: a room imports only rooms above it."""

BACKEND = ("settings", "blocks", "contractions", "counts", "gates", "routes", "walk")
"""The rooms of `torch_backend`, likewise in order: one operand's numbers come first, the walk over all blocks last."""

FOR_ALL = ("errors", "registry", "shared_setting", "notebook", "on_use")
DOORS = ("__init__", "__main__", "cli", "command", "listing", "public")  # what a user comes in by
NEVER = {
    "circuit": {"torch", "sympy", "safetensors"},
    "symbolic": {"torch", "safetensors"},
    "capture": {"sympy", "networkx"},
    "rules": {"sympy"},
    "semirings": {"sympy", "networkx", "capture", "circuit", "rules"},  # an algebra knows no network
    "torch_backend": {"sympy"},
}
"""What a room must not know, beyond the order: distributions and rooms."""


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted module) of every import statement; `from provnet import x` counts as provnet.x, and
    `on_use("x")` as an import of x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "on_use":
            yield from ((node.lineno, str(word.value)) for word in node.args if isinstance(word, ast.Constant))
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or "")
            elif node.module == "provnet":
                yield from ((node.lineno, f"provnet.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


def may_import(room: str, other: str) -> bool:
    """Return whether a file of `room` may import from `other`: rooms, or `face`, `applications`, `cli`, `__init__`."""
    if other == room or other in FOR_ALL:
        return room not in FOR_ALL or other in FOR_ALL
    if other in ROOMS:
        return room not in FOR_ALL and (room not in ROOMS or ROOMS.index(other) < ROOMS.index(room))
    if other == "face":
        return room in (*DOORS, "applications")
    return room in (*DOORS, "applications")  # the package itself, applications, cli


def room_of(dotted: str) -> str:
    """Return the room that a dotted name inside provnet belongs to; a name that is no room is the package's own."""
    first = dotted.split(".")[1] if "." in dotted else "__init__"
    known = (*ROOMS, *FOR_ALL, "face", "applications", "cli", "command", "listing", "public")
    return first if first in known else "__init__"


def backend_room(dotted: str) -> str | None:
    """Return the room within `torch_backend` that a dotted name belongs to, None if it belongs to no room."""
    parts = dotted.split(".")
    return parts[2] if parts[:2] == ["provnet", "torch_backend"] and len(parts) > 2 else None


def backend_complaints(source: str, room: str) -> list[str]:
    """Return which imports of a file in a room of `torch_backend` lead to a later room, or to none."""
    found = []
    for line, module in imports(ast.parse(source)):
        other = backend_room(module)
        if other is not None and (other not in BACKEND or BACKEND.index(other) > BACKEND.index(room)):
            found.append(f"{line}: {room} imports {module}, of {other}")
    return found


def complaints(source: str, room: str) -> list[str]:
    """Return what is wrong with the imports of a file of `room`."""
    tree, found = ast.parse(source), []
    for line, module in imports(tree):
        distribution = module.split(".")[0]
        if module.startswith("."):
            found.append(f"{line}: relative import {module!r}")
        elif distribution == "provnet":
            other = room_of(module)
            if not may_import(room, other) or other in NEVER.get(room, ()):
                found.append(f"{line}: {room} imports {module}, of {other}")
        elif distribution in NEVER.get(room, ()):
            found.append(f"{line}: {room} imports {distribution}")
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [f"{line}: import of {module} inside a function" for line, module in imports(function)]
    return found


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of_file(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_imports_only_from_above(path: Path):
    assert complaints(path.read_text("utf-8"), room_of_file(path)) == []


@pytest.mark.guarantee("the rooms of the backend know only those before them: there is no circle")
def test_the_rooms_of_the_backend_are_in_order():
    for path in (PACKAGE / "torch_backend").rglob("*.py"):
        room = backend_room("provnet.torch_backend." + ".".join(path.relative_to(PACKAGE / "torch_backend").parts))
        assert room is not None
        room = room.removesuffix(".py")
        if room != "__init__":
            assert backend_complaints(path.read_text("utf-8"), room) == [], path
    assert backend_complaints("from provnet.torch_backend.walk.evaluate import Job", "routes")
    assert backend_complaints("from provnet.torch_backend.utils import x", "walk")
    assert not backend_complaints("from provnet.torch_backend.blocks.rows import rows", "routes")


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return some of the names that import each other in a circle, all that is left when ends are taken off."""
    left = dict(arrows)
    while ends := [name for name, others in left.items() if not others & left.keys()]:
        for name in ends:
            del left[name]
    return sorted(left)


@pytest.mark.guarantee("the files of `face` know each other in one direction: there is no circle")
def test_there_is_no_circle_in_face():
    arrows = {}
    for path in (PACKAGE / "face").glob("*.py"):
        names = [module.split(".") for _, module in imports(ast.parse(path.read_text("utf-8")))]
        arrows[path.stem] = {name[2] for name in names if name[:2] == ["provnet", "face"] and len(name) > 2}
    assert circle(arrows) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["a", "b", "c", "d"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("capture", "from provnet.circuit.blocks import Block"),
        ("circuit", "import torch"),
        ("circuit", "from torch.nn import functional"),
        ("symbolic", "import torch.nn"),
        ("capture", 'networkx = on_use("networkx")'),
        ("torch_backend", "import sympy"),
        ("semirings", "from provnet.rules.lrp import base"),
        (
            "rules",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from provnet.semirings.base import Semiring",
        ),
        ("rules", "from provnet import semirings"),
        ("writers", "from provnet.face import Circuit"),
        ("writers", "import provnet"),
        ("writers", "from provnet import trace"),
        ("face", "from provnet.applications import demo"),
        ("errors", "from provnet.capture import execution"),
        ("writers", "from ..errors import ProvnetError"),
        ("applications", "def f():\n    import json"),
        ("applications", "class A:\n    async def f(self):\n        if True:\n            from json import loads"),
    ],
)
def test_a_file_that_breaks_the_rule_is_caught(room: str, source: str):
    assert complaints(source, room)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("writers", "import sympy\nfrom provnet.circuit import gates\nfrom provnet.errors import OutputError"),
        ("face", "from provnet.torch_backend import evaluate\nfrom provnet.registry import Registry"),
        ("cli", "from provnet.face import trace\nfrom provnet.applications import demo\nimport provnet"),
        ("registry", "from provnet.errors import OptionError"),
        ("circuit", "import networkx\nimport numpy\nfrom provnet.circuit.wiring import Wiring"),
    ],
)
def test_a_file_that_keeps_the_rule_passes(room: str, source: str):
    assert complaints(source, room) == []


def test_every_file_stands_in_a_known_room():
    known = {*ROOMS, *FOR_ALL, *DOORS, "face", "applications"}
    assert {room_of_file(path) for path in files()} <= known


def test_no_module_is_called_utils():
    names = {part.removesuffix(".py") for path in files() for part in path.relative_to(PACKAGE).parts}
    assert not names & {"util", "utils", "helpers", "misc", "common"}


ASKS_WHICH_COUNTS = re.compile(
    r"""isinstance\([^)]*\bCounting\b|[!=]=\s*["']counting["']|["']counting["']\s*[!=]=|\.primes\b|\.overflow\b"""
)


@pytest.mark.guarantee("no file but its own asks whether a semiring counts, or how: each has its ladder of carriers")
def test_only_counting_knows_how_counts_are_held():
    def asking(source: str) -> list[str]:
        return [line.strip() for line in source.splitlines() if ASKS_WHICH_COUNTS.search(line)]

    for path in files():
        if path != PACKAGE / "semirings" / "counting.py":
            assert asking(path.read_text("utf-8")) == [], path
    assert len(asking('if semiring.name == "counting":\nif isinstance(x, Boolean | Counting):\nif x.primes:')) == 3


def kinds(path: str) -> set[str]:
    """Return the classes of a file of `provnet/circuit` but the base that the others have: wirings, or weights."""
    tree = ast.parse((PACKAGE / "circuit" / path).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)} - {"Wiring", "Weight"}


WIRINGS = ("wiring.py", "windowed.py", "einsums.py", "table.py", "transposed.py")
KINDS = set().union(*map(kinds, (*WIRINGS, "weights.py")))


def asked_for(source: str) -> list[str]:
    """Return the lines that ask which kind of wiring or weight something is, unless the file registers by kinds."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    decorators = [one for function in functions for one in function.decorator_list]
    if any(isinstance(one, ast.Attribute) and one.attr == "register" for one in decorators):
        return []
    found = []
    for node in ast.walk(tree):
        asks = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
        if asks or isinstance(node, ast.pattern):
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            found += [ast.unparse(node)] if names & KINDS else []
    return found


@pytest.mark.guarantee("no file asks for the kind of a wiring or a weight, but those in which kinds are registered")
def test_no_file_asks_for_the_kind_of_a_wiring_or_a_weight():
    assert {"Dense", "Convolution", "Partner", "Stored", "Table"} <= KINDS
    for path in files():
        assert asked_for(path.read_text("utf-8")) == [], path
    assert asked_for("if isinstance(block.wiring, Dense | Window): ...")
    assert asked_for("match weight:\n    case Stored(values=x): ...")


def named() -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of every class and every module of the package."""
    for path in files():
        if not path.name.startswith("__"):
            yield path.stem, path
        tree = ast.parse(path.read_text("utf-8"))
        yield from ((node.name, path) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


@pytest.mark.guarantee("one name, one thing: no class and no module of the package shares its name with another")
def test_a_name_of_a_class_or_a_module_occurs_once():
    places: dict[str, list[str]] = {}
    for name, path in named():
        places.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    del places["base"]  # in every room, what its other files derive from
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def program(name: str) -> str:
    """Return the path of a tool beside this Python, or on the PATH; the test skips where there is none."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if beside is None:
        pytest.skip(f"{name} is not installed: it comes with the extra `dev`")
    return beside


@pytest.mark.parametrize(
    "arguments",
    [("ruff", "check", "--quiet", "."), ("ruff", "format", "--check", "--quiet", "."), ("basedpyright",)],
    ids=" ".join,
)
@pytest.mark.slow
def test_linters_are_clean(arguments: tuple[str, ...]):
    name, *rest = arguments
    run = subprocess.run([program(name), *rest], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
