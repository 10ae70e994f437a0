"""Write a body into the numba kernels: their text between the marks of the template."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import torch
from tqdm import tqdm

from provnet.torch_backend.contractions.body import Body, checked
from provnet.torch_backend.contractions.cache import generated_module

FIRST, LAST = "# <body>\n", "# </body>\n"
CALLED = {"max": "greatest", "min": "least"}
FLOATS = {torch.float32: "float32", torch.float64: "float64"}
Types = tuple[tuple[str, torch.dtype], ...]
"""The types of the names v, a, w, s0, s1, c0, c1."""


class _Spell(ast.NodeTransformer):
    """min and max that compile to one instruction, for they need not mind NaN; numbers of the type that they meet.

    numba would have a float32 and a number in the text make a float64, at half the speed and with other bits.
    """

    def __init__(self, types: Mapping[str, torch.dtype]) -> None:
        self.types = types

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(CALLED.get(node.id, node.id), ast.Load())

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node.left, node.right = self._alike(node.left, node.right)
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        node.left, node.comparators[0] = self._alike(node.left, node.comparators[0])
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        node.body, node.orelse = self._alike(node.body, node.orelse)
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if len(node.args) == 2:
            node.args = list(self._alike(*node.args))
        return self.generic_visit(node)  # type: ignore[return-value]

    def _alike(self, x: ast.expr, y: ast.expr) -> tuple[ast.expr, ast.expr]:
        return self._as(x, self._type(y)), self._as(y, self._type(x))

    @staticmethod
    def _as(node: ast.expr, dtype: torch.dtype | None) -> ast.expr:
        number = isinstance(node, ast.Constant) or (
            isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)
        )
        if not number or dtype not in FLOATS:
            return node
        return ast.Call(ast.Name(FLOATS[dtype], ast.Load()), [ast.Constant(float(ast.literal_eval(node)))], [])

    def _type(self, node: ast.expr) -> torch.dtype | None:
        """Return the type of an expression, None of numbers alone."""
        names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id in self.types]
        found = [self.types[name] for name in names]
        return max(found, key=lambda dtype: (dtype.is_floating_point, dtype.itemsize)) if found else None


def spelled(text: str, types: Mapping[str, torch.dtype]) -> str:
    """Return a body's expression as the template's language has it."""
    return ast.unparse(ast.fix_missing_locations(_Spell(types).visit(checked(text))))


def _text(name: str) -> str:
    return files("provnet.torch_backend.contractions").joinpath(name).read_text(encoding="utf-8")


def _cached(source: str) -> str:
    """Only a module on disk has a cache; a template itself is compiled afresh, by tests."""
    return source.replace("@njit(nogil=True", "@njit(cache=True, nogil=True")


def source_of(body: Body, types: Types) -> str:
    """Return the source of a module with the kernels of `body`."""
    before, rest = _text("numba_template.py").split(FIRST)
    _, after = rest.split(LAST)
    known = dict(types)
    update, join = spelled(body.update, known), spelled(body.join or "v", {"v": known["v"], "s0": known["v"]})
    written = (
        f"from numba import float32, float64\n\n\n"
        f"NAME, SCALARS = {body.name!r}, {body.scalars}\n\n\n"
        f'@njit(inline="always")\ndef update(v, a, w, s0, s1, c0, c1):\n    return {update}\n\n\n'
        f'@njit(inline="always")\ndef join(v, s0):\n    return {join}\n\n\n'
    )
    return _cached(before + written + after)


@lru_cache(maxsize=64)
def kernels(body: Body, types: Types) -> ModuleType:
    """Return the module with the kernels of `body`, compiled at their first call or taken from the disk."""
    return _announced(generated_module(body.name, source_of(body, types)), body.name)


@lru_cache(maxsize=1)
def living_kernels() -> ModuleType:
    """Return the module of `numba_living`, compiled at its first call or taken from the disk."""
    return _announced(generated_module("living", _cached(_text("numba_living.py"))), "layers of living neurons")


@lru_cache(maxsize=1)
def best_kernels() -> ModuleType:
    """Return the module of `numba_best`, as `living_kernels`."""
    return _announced(generated_module("best", _cached(_text("numba_best.py"))), "best products")


def _announced(module: ModuleType, what: str) -> ModuleType:
    """Say on a terminal that the kernels of a module will be compiled, if numba has kept none of them on the disk."""
    file = Path(str(module.__file__))
    if sys.stderr.isatty() and not any(file.parent.glob(f"__pycache__/{file.stem}.*.nbi")):
        tqdm.write(f"provnet: compiling the kernels for {what}; this takes seconds, once on this machine", sys.stderr)
    return module
