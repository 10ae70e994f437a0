"""Write a body's expression as operations on vectors, in LLVM's intermediate language."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import torch

from provnet.torch_backend.contractions.body import Body

NUMBERS = {torch.float32: "float", torch.float64: "double", torch.int64: "i64"}

ARITHMETIC: dict[type[ast.AST], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
COMPARED: dict[type[ast.AST], str] = {ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le"}
CHOICES = {"max": "gt", "min": "lt"}

Types = Mapping[str, torch.dtype]
"""The types of v, a, w, s0, s1, c0, c1, and of s2 where a body has it."""


def is_written(body: Body, types: Types) -> bool:
    """Return whether a program can say the body: sums, products, quotients, choices, and numbers of matching types."""
    if not all(dtype in NUMBERS for dtype in types.values()) or types["w"] not in (torch.float32, torch.float64):
        return False
    try:
        found = Lines(types, 1, {name: f"%{name}" for name in types}).write(body.tree)
    except Unsaid:
        return False
    return found[1] == types["v"]


def splat(name: str, one: str, dtype: torch.dtype, width: int) -> str:
    """Return the lines that fill a vector, `name`, with the number `one`."""
    vector = f"<{width} x {NUMBERS[dtype]}>"
    return (
        f"  {name}.first = insertelement {vector} poison, {NUMBERS[dtype]} {one}, i64 0\n"
        f"  {name} = shufflevector {vector} {name}.first, {vector} poison, <{width} x i32> zeroinitializer"
    )


class Unsaid(Exception):
    """An expression that the program has no instructions for."""


class Lines:
    """The lines that make an expression of vectors."""

    def __init__(
        self, types: Types, width: int, names: Mapping[str, str], prefix: str = "%u", part: str | None = None
    ) -> None:
        """Make quotients by s0 of products, if there is `part`, the correctly rounded 1 / s0."""
        self.types, self.width, self.names, self.prefix, self.part = types, width, names, prefix, part
        self.lines: list[str] = []

    def write(self, tree: ast.expr, like: torch.dtype | None = None) -> tuple[str, torch.dtype]:
        """Return an expression's value and type; that of a number is what it meets, `like`."""
        match tree:
            case ast.Name(id=name) if name in self.types:
                return self.names[name], self.types[name]
            case ast.Constant(value=value) if like is not None:
                return self._number(value, like), like
            case ast.BinOp(left=left, op=ast.Div(), right=ast.Name(id="s0")) if self.part is not None:
                one, dtype = self.write(left, self.types["s0"])
                return self._quotient(one, self.part, dtype), dtype
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                one, other, dtype = self._alike(left, right)
                if isinstance(op, ast.Div) and not dtype.is_floating_point:
                    raise Unsaid
                return self._line(f"{_sign(dtype)}{ARITHMETIC[type(op)]}", dtype, f"{one}, {other}"), dtype
            case ast.Call(func=ast.Name(id="abs"), args=[only]):
                one, dtype = self.write(only)
                if not dtype.is_floating_point:
                    raise Unsaid
                kind = f"{self._vector(dtype)} @llvm.fabs.v{self.width}f{dtype.itemsize * 8}"
                return self._made(f"call {kind}({self._vector(dtype)} {one})"), dtype
            case ast.Call(func=ast.Name(id=name), args=[first, second]) if name in CHOICES:
                one, other, dtype = self._alike(first, second)
                # The second if it is larger: of a NaN, which a far end that is not reached may make, the first stays.
                chosen = self._compared(CHOICES[name], dtype, other, one)
                return self._chosen(chosen, dtype, other, one), dtype
            case ast.IfExp(test=ast.Compare(left=left, ops=[op], comparators=[right]), body=body, orelse=orelse):
                if type(op) not in COMPARED:
                    raise Unsaid
                x, y, compared = self._alike(left, right)
                chosen = self._compared(COMPARED[type(op)], compared, x, y)
                one, other, dtype = self._alike(body, orelse)
                return self._chosen(chosen, dtype, one, other), dtype
        raise Unsaid

    def _quotient(self, p: str, part: str, dtype: torch.dtype) -> str:
        """Return p / s0 rounded correctly: twice a quotient is mended by what it leaves of p. Source: Markstein 1990,
        Computation of elementary functions on the IBM RISC System/6000 processor, Theorem 7."""
        vector = self._vector(dtype)
        found = self._line("fmul", dtype, f"{p}, {part}")
        for _ in range(2):
            against = self._made(f"fneg {vector} {found}")
            left = self._fused(dtype, against, self.names["s0"], p)
            found = self._fused(dtype, left, part, found)
        return found

    def _fused(self, dtype: torch.dtype, x: str, y: str, z: str) -> str:
        vector = self._vector(dtype)
        kind = f"{vector} @llvm.fma.v{self.width}f{dtype.itemsize * 8}"
        return self._made(f"call {kind}({vector} {x}, {vector} {y}, {vector} {z})")

    def _alike(self, first: ast.expr, second: ast.expr) -> tuple[str, str, torch.dtype]:
        if isinstance(first, ast.Constant):
            other, dtype = self.write(second)
            one, _ = self.write(first, dtype)
            return one, other, dtype
        one, dtype = self.write(first)
        other, found = self.write(second, dtype)
        if found != dtype:
            raise Unsaid
        return one, other, dtype

    def _vector(self, dtype: torch.dtype) -> str:
        return f"<{self.width} x {NUMBERS[dtype]}>"

    def _number(self, value: object, dtype: torch.dtype) -> str:
        if not isinstance(value, int | float) or float(value) != int(value) or abs(value) > 1 << 20:
            raise Unsaid  # whole numbers alone are the same in every dtype
        number = f"{int(value)}.0" if dtype.is_floating_point else str(int(value))
        return f"<{', '.join([f'{NUMBERS[dtype]} {number}'] * self.width)}>"

    def _made(self, text: str) -> str:
        name = f"{self.prefix}.{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def _line(self, operation: str, dtype: torch.dtype, arguments: str) -> str:
        return self._made(f"{operation} {self._vector(dtype)} {arguments}")

    def _compared(self, how: str, dtype: torch.dtype, one: str, other: str) -> str:
        kind = "fcmp o" if dtype.is_floating_point else "icmp s"
        return self._line(f"{kind}{how}", dtype, f"{one}, {other}")

    def _chosen(self, mask: str, dtype: torch.dtype, one: str, other: str) -> str:
        vector = self._vector(dtype)
        return self._made(f"select <{self.width} x i1> {mask}, {vector} {one}, {vector} {other}")


def _sign(dtype: torch.dtype) -> str:
    return "f" if dtype.is_floating_point else ""
