"""Write a body's expression in Triton's language, with every type said: Triton's own rules for mixed types differ from
torch's, its plain division and square root are not rounded as IEEE asks, and its truth values add modulo 2.

Numbers in the text take the type of what they meet, so that counts stay integers. `and` and `or` take truth values
(x != 0) and give one.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from provnet.errors import DTypeError, OptionError

TYPES = {
    torch.int8: "tl.int8",
    torch.uint8: "tl.uint8",
    torch.int16: "tl.int16",
    torch.int32: "tl.int32",
    torch.int64: "tl.int64",
    torch.float32: "tl.float32",
    torch.float64: "tl.float64",
}
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
FOLDS = {"min": "tl.minimum", "max": "tl.maximum"}


@dataclass(frozen=True)
class Piece:
    """A text in Triton's language and its type: torch.bool for a truth value, None for a number that has none yet."""

    text: str
    type: torch.dtype | None


def written(tree: ast.expr, types: Mapping[str, torch.dtype], weight: torch.dtype, result: torch.dtype) -> str:
    """Return an expression in Triton's language, of type `result` (torch.bool: as a 0 or 1 of eight bits).

    `types` gives the type of every name in reach. Integers become `weight` where they are divided or go into exp, log
    or sqrt (float32 if that is an integer too).
    Raises: `DTypeError` for a type other than float32, float64 and integers; `OptionError` for a name out of reach.
    """
    for name, dtype in {**types, "the result": result}.items():
        if dtype not in TYPES and dtype != torch.bool:
            raise DTypeError(f"{name} is {dtype}; Triton kernels take {', '.join(map(str, TYPES))} and torch.bool.")
    writer = _Writer(types, weight if weight.is_floating_point else torch.float32)
    piece = writer.write(tree)
    if result == torch.bool:
        return f"{_truth(piece)}.to(tl.int8)"
    return writer.cast(piece, result)


@dataclass(frozen=True)
class _Writer:
    types: Mapping[str, torch.dtype]
    real: torch.dtype

    def write(self, node: ast.expr) -> Piece:
        match node:
            case ast.Name(id=name):
                return self._name(name)
            case ast.Constant(value=int() | float() as value):
                return Piece(repr(value), None)
            case ast.UnaryOp(operand=operand):
                piece = self._number(self.write(operand))
                return Piece(f"(-{piece.text})", piece.type)
            case ast.BinOp(op=ast.Div(), left=left, right=right):
                return self._divided(self.write(left), self.write(right))
            case ast.BinOp(op=op, left=left, right=right):
                x, y, dtype = self._alike(self.write(left), self.write(right))
                return Piece(f"({x} {OPERATORS[type(op)]} {y})", dtype)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                x, y, _ = self._alike(self.write(left), self.write(right))
                return Piece(f"({x} {OPERATORS[type(op)]} {y})", torch.bool)
            case ast.BoolOp(op=op, values=values):
                sign = " & " if isinstance(op, ast.And) else " | "
                return Piece(f"({sign.join(_truth(self.write(value)) for value in values)})", torch.bool)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                x, y, dtype = self._alike(self.write(body), self.write(orelse))
                return Piece(f"tl.where({_truth(self.write(test))}, {x}, {y})", dtype)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._called(name, [self.write(argument) for argument in arguments])
        raise OptionError(f"{ast.unparse(node)!r} has no Triton form; see Body for what an expression may hold.")

    def _name(self, name: str) -> Piece:
        if name not in self.types:
            raise OptionError(f"the body reads {name!r}, but it is not given; there are {', '.join(self.types)}.")
        dtype = self.types[name]
        return Piece(name, torch.int8 if dtype == torch.bool else dtype)

    def _divided(self, left: Piece, right: Piece) -> Piece:
        x, y, dtype = self._alike(left, right)
        if not dtype.is_floating_point:
            x, y, dtype = self.cast(Piece(x, dtype), self.real), self.cast(Piece(y, dtype), self.real), self.real
        # `/` of float32 is an approximation there; that of float64 is rounded to nearest.
        return Piece(f"tl.div_rn({x}, {y})" if dtype == torch.float32 else f"({x} / {y})", dtype)

    def _called(self, name: str, arguments: list[Piece]) -> Piece:
        if name in FOLDS:
            x, y, dtype = self._alike(*arguments)
            if dtype == torch.float64:
                # No such instruction, and tl.maximum would mind NaN: 10 instructions an edge of (max, ×) instead of 6.
                return Piece(f"tl.where({x} {'<' if name == 'min' else '>'} {y}, {x}, {y})", dtype)
            return Piece(f"{FOLDS[name]}({x}, {y})", dtype)
        piece = self._number(arguments[0])
        if name == "abs":
            return Piece(f"tl.abs({piece.text})", piece.type)
        if piece.type is None or not piece.type.is_floating_point:
            piece = Piece(self.cast(piece, self.real), self.real)
        exact = name == "sqrt" and piece.type == torch.float32
        return Piece(f"tl.{'sqrt_rn' if exact else name}({piece.text})", piece.type)

    def _number(self, piece: Piece) -> Piece:
        """Return a number with a type: truth values count as 0 and 1."""
        if piece.type is None:
            dtype = self._alone(piece)
            return Piece(self.cast(piece, dtype), dtype)
        return Piece(f"{piece.text}.to(tl.int32)", torch.int32) if piece.type == torch.bool else piece

    def _alone(self, literal: Piece) -> torch.dtype:
        """Return the type of a number that meets none: a whole one must not turn counts into floats."""
        if not literal.text.isdigit():
            return self.real
        return torch.int32 if int(literal.text) < 2**31 else torch.int64

    def _alike(self, left: Piece, right: Piece) -> tuple[str, str, torch.dtype]:
        """Return two numbers in the type that torch would choose for both, and the type."""
        if left.type is None and right.type is None:
            dtype = torch.promote_types(self._alone(left), self._alone(right))
            return self.cast(left, dtype), self.cast(right, dtype), dtype
        if left.type is None or right.type is None:
            literal, other = (left, right) if left.type is None else (right, left)
            dtype = self._number(other).type or self.real
            # A whole number takes the type that it meets; a fraction makes integers real.
            if not dtype.is_floating_point:
                dtype = torch.promote_types(dtype, self._alone(literal))
        else:
            left, right = self._number(left), self._number(right)
            dtype = torch.promote_types(left.type or self.real, right.type or self.real)
        return self.cast(left, dtype), self.cast(right, dtype), dtype

    def cast(self, piece: Piece, dtype: torch.dtype) -> str:
        """Return a piece as a number of a type."""
        if piece.type is None:
            # Through a tensor of its type: a bare number would pass through float32 on its way to float64.
            value = f'float("{piece.text}")' if dtype.is_floating_point else piece.text
            return f"tl.full((), {value}, {TYPES[dtype]})"
        return piece.text if piece.type == dtype else f"{piece.text}.to({TYPES[dtype]})"


def _truth(piece: Piece) -> str:
    if piece.type is None:
        return f"(tl.full((), {piece.text}, tl.float32) != 0)"
    return piece.text if piece.type == torch.bool else f"({piece.text} != 0)"
