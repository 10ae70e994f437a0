"""Gates on the CPU in one pass of machine code: LLVM by way of llvmlite, numba's compiler.

A gate is folded in registers: each operand is read once, nothing but the result is written. The text below is the whole
program but for two operations, ⊕ and ⊗, on a row of 1, 2, 4, … numbers, one for each valuation of a batch. LLVM splits
or joins rows into what the machine has. Roundings are those of torch's own operations in the plan's order, so results
are the same to the bit. ⊕ and ⊗ are written from a semiring's expressions; what is no instruction here, and other
dtypes, go by torch.
"""

from __future__ import annotations

import ast
import ctypes
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from provnet.circuit.gates import PLUS
from provnet.semirings.base import Semiring
from provnet.semirings.modular_integer import ModularInteger
from provnet.semirings.scalar import FAMILIES, checked
from provnet.torch_backend.contractions.machine_code import Compiled, available

Kernel = Callable[[int, int, int, int, int], None]
"""(values, runs, number of runs, wires, modulus): addresses, of [rows, width] values and of a plan's arrays."""

LINE = 64
"""Bytes a row: one line of the cache. 64 valuations of 220,000 gates took 3.7 ms so, 5.7 ms in rows of two lines."""

LARGEST_CONSTANT = 1 << 20
"""Whole numbers up to here are the same in every dtype."""

NUMBERS = {torch.float32: "float", torch.float64: "double", torch.int64: "i64", torch.int32: "i32", torch.bool: "i8"}

Pair = tuple[str, str]
"""⊕ and ⊗: two expressions of x and y (see `semirings.scalar`), or two of the names in `NAMED`."""

NAMED = ("or", "and", "modular-add", "modular-mul")
"""Operations on bits and residues, which no expression says."""

EXPRESSIONS = {family: texts for texts, family in FAMILIES.items()}
"""The same for semirings of whole numbers, which state a family."""

CHOICES = {"max": "gt", "min": "lt"}
ARITHMETIC: dict[type[ast.AST], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}

PROGRAM = """
define void @evaluate(ptr %values, ptr %runs, i64 %count, ptr %wires, i64 %modulus) {
entry:
  %p.one = insertelement <WIDTH x i64> poison, i64 %modulus, i64 0
  %p = shufflevector <WIDTH x i64> %p.one, <WIDTH x i64> poison, <WIDTH x i32> zeroinitializer
  %p.float = sitofp i64 %modulus to double
  %p.inverse = fdiv double 1.0, %p.float
  %i.one = insertelement <WIDTH x double> poison, double %p.inverse, i64 0
  %i = shufflevector <WIDTH x double> %i.one, <WIDTH x double> poison, <WIDTH x i32> zeroinitializer
  %end = getelementptr [4 x i64], ptr %runs, i64 %count
  %none = icmp eq i64 %count, 0
  br i1 %none, label %exit, label %run
run:  ; gates of one kind and one fan-in, in rows one after the other
  %this = phi ptr [%runs, %entry], [%following, %next]
  %wire = phi ptr [%wires, %entry], [%wire.next, %next]
  %kind = load i64, ptr %this
  %row.at = getelementptr i64, ptr %this, i64 1
  %row = load i64, ptr %row.at
  %row.offset = mul i64 %row, BYTES
  %out = getelementptr i8, ptr %values, i64 %row.offset
  %gates.at = getelementptr i64, ptr %this, i64 2
  %gates = load i64, ptr %gates.at
  %fan.at = getelementptr i64, ptr %this, i64 3
  %fan = load i64, ptr %fan.at
  %sums = icmp eq i64 %kind, KIND
  br i1 %sums, label %plus, label %times
plus:
LOOP-PLUS
times:
LOOP-TIMES
next:
  %used = mul i64 %gates, %fan
  %wire.next = getelementptr i32, ptr %wire, i64 %used
  %following = getelementptr [4 x i64], ptr %this, i64 1
  %more = icmp ne ptr %following, %end
  br i1 %more, label %run, label %exit
exit:
  ret void
}
"""

LOOP = """
  br label %$.gate
$.gate:
  %$.wire = phi ptr [%wire, %$], [%$.last, %$.done]
  %$.out = phi ptr [%out, %$], [%$.out.next, %$.done]
  %$.left = phi i64 [%gates, %$], [%$.left.next, %$.done]
  %$.last = getelementptr i32, ptr %$.wire, i64 %fan
  %$.first = load i32, ptr %$.wire
  %$.first.wide = zext i32 %$.first to i64
  %$.first.offset = mul i64 %$.first.wide, BYTES
  %$.first.at = getelementptr i8, ptr %values, i64 %$.first.offset
  %$.start = load ROW, ptr %$.first.at, align SIZE
  %$.second = getelementptr i32, ptr %$.wire, i64 1
  %$.alone = icmp eq ptr %$.second, %$.last
  br i1 %$.alone, label %$.done, label %$.operand
$.operand:
  %$.x = phi ROW [%$.start, %$.gate], [%$.r, %$.operand]
  %$.at = phi ptr [%$.second, %$.gate], [%$.at.next, %$.operand]
  %$.number = load i32, ptr %$.at
  %$.number.wide = zext i32 %$.number to i64
  %$.offset = mul i64 %$.number.wide, BYTES
  %$.y.at = getelementptr i8, ptr %values, i64 %$.offset
  %$.y = load ROW, ptr %$.y.at, align SIZE
OPERATION
  %$.at.next = getelementptr i32, ptr %$.at, i64 1
  %$.again = icmp ne ptr %$.at.next, %$.last
  br i1 %$.again, label %$.operand, label %$.done
$.done:
  %$.found = phi ROW [%$.start, %$.gate], [%$.r, %$.operand]
  store ROW %$.found, ptr %$.out, align SIZE
  %$.out.next = getelementptr i8, ptr %$.out, i64 BYTES
  %$.left.next = sub i64 %$.left, 1
  %$.end = icmp eq i64 %$.left.next, 0
  br i1 %$.end, label %next, label %$.gate
"""

# One instruction, but for the last two lines: y where either is a NaN. As in torch, a NaN stays one.
CHOICE_OF_FLOATS = """
  RESULT.best = fcmp oCHOICE ROW FIRST, SECOND
  RESULT.chosen = select <WIDTH x i1> RESULT.best, ROW FIRST, ROW SECOND
  RESULT.nan = fcmp uno ROW FIRST, zeroinitializer
  RESULT = select <WIDTH x i1> RESULT.nan, ROW FIRST, ROW RESULT.chosen
"""

CHOICE_OF_INTEGERS = """
  RESULT.best = icmp sCHOICE ROW FIRST, SECOND
  RESULT = select <WIDTH x i1> RESULT.best, ROW FIRST, ROW SECOND
"""

MODULAR_ADD = """
  %$.sum = add ROW %$.x, %$.y
  %$.less = sub ROW %$.sum, %p
  %$.under = icmp slt ROW %$.less, zeroinitializer
  %$.r = select <WIDTH x i1> %$.under, ROW %$.sum, ROW %$.less
"""

# Factors below p < 2^31: the quotient in doubles is off by less than 2^-20, so its floor by at most one, either way.
MODULAR_MUL = """
  %$.product = mul ROW %$.x, %$.y
  %$.product.float = sitofp ROW %$.product to <WIDTH x double>
  %$.ratio = fmul <WIDTH x double> %$.product.float, %i
  %$.quotient = fptosi <WIDTH x double> %$.ratio to ROW
  %$.whole = mul ROW %$.quotient, %p
  %$.rest = sub ROW %$.product, %$.whole
  %$.raised = add ROW %$.rest, %p
  %$.negative = icmp slt ROW %$.rest, zeroinitializer
  %$.lifted = select <WIDTH x i1> %$.negative, ROW %$.raised, ROW %$.rest
  %$.lowered = sub ROW %$.lifted, %p
  %$.under = icmp slt ROW %$.lowered, zeroinitializer
  %$.r = select <WIDTH x i1> %$.under, ROW %$.lifted, ROW %$.lowered
"""


MODULAR = {"modular-add": MODULAR_ADD, "modular-mul": MODULAR_MUL}


def operations_of(semiring: Semiring, valuation: Tensor) -> Pair | None:
    """Return the ⊕ and ⊗ that a kernel may take for the semiring on these elements; None: it goes by torch."""
    if valuation.device.type != "cpu" or semiring.element_shape or valuation.dtype not in NUMBERS or not available():
        return None
    if type(semiring) is ModularInteger:
        return ("modular-add", "modular-mul") if semiring.outside(valuation) is None else None
    bits = semiring.family in ("or-and", "bit-or-and")
    if bits or valuation.dtype == torch.bool:
        whole = valuation.dtype == torch.bool if semiring.family == "or-and" else not valuation.is_floating_point()
        return ("or", "and") if bits and whole else None
    texts = semiring.scalar or EXPRESSIONS.get(semiring.family or "")
    return texts if texts is not None and all(map(is_compiled, texts)) else None


@cache
def is_compiled(text: str) -> bool:
    """Return whether an expression has but sums, differences, products, minima, maxima and whole numbers."""
    tree = checked(text, frozenset({"x", "y"}))
    return isinstance(tree, ast.BinOp | ast.Call) and all(map(_is_compiled, ast.walk(tree)))


def _is_compiled(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(op=op):
            return type(op) in ARITHMETIC
        case ast.Call(func=ast.Name(id=name)):
            return name in CHOICES
        case ast.Constant(value=value):
            return isinstance(value, int) and abs(value) <= LARGEST_CONSTANT
    return isinstance(node, ast.Name | ast.Load | ast.operator)


@cache
def kernel(operations: Pair, dtype: torch.dtype, width: int) -> Kernel:
    """Return the program for rows of `width` numbers, compiled once a process, in some 20 ms.

    It reads and writes where the addresses point and checks nothing. The interpreter's lock is released meanwhile.
    """
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    compiled = Compiled(program(operations, dtype, width))
    return compiled.function("evaluate", pointer, pointer, number, pointer, number)


def program(operations: Pair, dtype: torch.dtype, width: int) -> str:
    """Return the text of a program, in LLVM's intermediate language."""
    plus, times = (lines_of(name, dtype, width) for name in operations)
    text = PROGRAM.replace("LOOP-PLUS", LOOP.replace("OPERATION", plus).replace("$", "plus"))
    text = text.replace("LOOP-TIMES", LOOP.replace("OPERATION", times).replace("$", "times")).replace("KIND", str(PLUS))
    text = text.replace("ROW", f"<{width} x {NUMBERS[dtype]}>").replace("WIDTH", str(width))
    return text.replace("BYTES", str(width * dtype.itemsize)).replace("SIZE", str(dtype.itemsize))


def lines_of(operation: str, dtype: torch.dtype, width: int) -> str:
    """Return the lines that make r of the rows x and y."""
    if operation in NAMED:
        return MODULAR.get(operation) or f"  %$.r = {operation} ROW %$.x, %$.y"
    lines: list[str] = []
    _write(checked(operation, frozenset({"x", "y"})), "%$.r", lines, dtype, width)
    return "".join(lines)


def _write(tree: ast.expr, result: str, lines: list[str], dtype: torch.dtype, width: int) -> str:
    """Append the lines that make an expression, and return the name of its value: `result`, if it takes a line."""
    sign = "f" if dtype.is_floating_point else ""
    match tree:
        case ast.Name(id=name):
            return f"%$.{name}"
        case ast.Constant(value=int(value)):
            number = f"{value}.0" if sign else str(value)
            return f"<{', '.join([f'{NUMBERS[dtype]} {number}'] * width)}>"
        case ast.BinOp(left=first, op=op, right=second):
            line = f"  RESULT = {sign}{ARITHMETIC[type(op)]} ROW FIRST, SECOND\n"
        case ast.Call(func=ast.Name(id=name), args=[first, second]):
            line = (CHOICE_OF_FLOATS if sign else CHOICE_OF_INTEGERS).replace("CHOICE", CHOICES[name])
        case _:
            raise AssertionError("is_compiled has seen it")
    one, other = (_write(part, f"{result}.{n}", lines, dtype, width) for n, part in enumerate((first, second)))
    lines.append(line.replace("RESULT", result).replace("FIRST", one).replace("SECOND", other))
    return result
