"""Expressions of numbers: what a semiring or an annotation function does to one edge, for all who compute it.

An expression is Python of a small kind: names, numbers, + - * /, comparisons, `and`, `or`, `x if c else y`, and min,
max, abs, exp, log, sqrt. Anything else is refused, so that a text can be trusted with a compiler.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import cache, reduce
from typing import Any

import torch
from torch import Tensor

from provnet.errors import OptionError

CALLS = {"min": 2, "max": 2, "abs": 1, "exp": 1, "log": 1, "sqrt": 1}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_NODES = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.IfExp, ast.Load, *_OPERATORS)
_CALLED: dict[str, Callable[..., Tensor]] = {
    "min": torch.minimum,
    "max": torch.maximum,
    "abs": torch.abs,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
}


FAMILIES = {
    ("x + y", "x * y"): "sum-product",
    ("max(x, y)", "x * y"): "max-times",
    ("max(x, y)", "x + y"): "max-plus",
    ("min(x, y)", "x + y"): "min-plus",
    ("max(x, y)", "min(x, y)"): "max-min",
    ("min(x, y)", "max(x, y)"): "min-max",
}
"""⊕ and ⊗ as expressions -> what fast routes call the two together."""

FOLDS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "x + y": torch.sum,
    "max(x, y)": torch.amax,
    "min(x, y)": torch.amin,
}
"""⊕ as an expression -> torch's own fold of it along an axis that is not empty. A NaN stays one."""


@cache
def operation(text: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function of two tensors x and y that an expression is. Raises `OptionError` as `checked` does."""
    tree = checked(text, frozenset({"x", "y"}))
    match tree:
        case ast.BinOp(left=ast.Name(id="x"), op=op, right=ast.Name(id="y")):
            return _OPERATORS[type(op)]
        case ast.Call(func=ast.Name(id=name), args=[ast.Name(id="x"), ast.Name(id="y")]):
            return _CALLED[name]
    return lambda x, y: on_tensors(tree, {"x": x, "y": y})


def checked(text: str, names: frozenset[str]) -> ast.expr:
    """Return the syntax tree of an expression. Raises `OptionError` if it holds anything but numbers' arithmetic."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise OptionError(f"{text!r} is no expression: {error.msg}.") from error
    for node in ast.walk(tree):
        if not _known(node, names):
            raise OptionError(
                f"{ast.unparse(node)!r} in {text!r} is not known; use {', '.join(sorted(names))}, numbers, + - * /, "
                f"one comparison at a time, `and`, `or`, `x if c else y`, and {', '.join(CALLS)}."
            )
    return tree


def _known(node: ast.AST, names: frozenset[str]) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return len(args) == CALLS.get(name)
        case ast.Name(id=name):
            return name in names or name in CALLS
        case ast.Constant(value=value):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.Compare(ops=ops):
            return len(ops) == 1
    return isinstance(node, _NODES)


def substituted(tree: ast.expr, values: Mapping[str, ast.expr]) -> ast.expr:
    """Return the tree with expressions in the place of names."""

    class Substitute(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return values.get(node.id, node)

    return Substitute().visit(ast.parse(ast.unparse(tree), mode="eval").body)


def on_tensors(tree: ast.expr, values: Mapping[str, Tensor]) -> Tensor:
    """Return what an expression makes of tensors, elementwise."""
    match tree:
        case ast.Constant(value=value):
            return torch.as_tensor(value, dtype=next(iter(values.values())).dtype)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](on_tensors(operand, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](on_tensors(left, values), on_tensors(right, values))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _OPERATORS[type(op)](on_tensors(left, values), on_tensors(right, values))
        case ast.BoolOp(op=op, values=parts):
            join = operator.and_ if isinstance(op, ast.And) else operator.or_
            return reduce(join, (on_tensors(part, values) for part in parts))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return torch.where(on_tensors(test, values), on_tensors(body, values), on_tensors(orelse, values))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _CALLED[name](*(on_tensors(argument, values) for argument in args))
    raise AssertionError("checked has seen it")
