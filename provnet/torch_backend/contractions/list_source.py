"""Write a body into a program that folds lists of living far ends: a near end's channels stay in registers.

The text is LLVM's intermediate language, for compilers that know the vectors of this machine would otherwise take half
of them. A tile is some places of a row; tap by tap, and block by block of far ends, each place folds its list into a
panel of channels. Results lie channel by channel in a tile and are transposed on their way out.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache

from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.machine_code import fuses
from provnet.torch_backend.contractions.squares import Moved, declared, into_tile, out_of_tile
from provnet.torch_backend.contractions.vector_lines import NUMBERS, Lines, Types, splat

PLACES = 64
"""Places of a tile: with a panel of 512 bytes their folds are 32 KB, beside as much of weights."""

PROGRAM = """
DECLARATIONS
define void @fold(i64 %first, i64 %last, i64 %tiles, i64 %places, i64 %positions, i64 %taps, ptr noalias %table,
                  i64 %blocks, i64 %far, ptr noalias %starts, ptr noalias %index, ptr noalias %s0, ptr noalias %s1,
                  ptr noalias %weights, i64 %channels, i64 %row.step, ptr noalias %a, ptr noalias %out,
                  ptr noalias %v, ptr noalias %e, V %zero.one, W %c0.one, W %c1.one) #0 {
entry:
SPLATS
  %starts.step = add i64 %blocks, 1
  br label %unit
unit:
  %u = phi i64 [%first, %entry], [%u.next, %unit.end]
  %row = sdiv i64 %u, %tiles
  %tile = srem i64 %u, %tiles
  %begin = mul i64 %tile, PLACES
  %left = sub i64 %places, %begin
  %short = icmp slt i64 %left, PLACES
  %count = select i1 %short, i64 %left, i64 PLACES
  %row.offset = mul i64 %row, %row.step
  %near.offset = add i64 %row.offset, %begin
  %list.row = mul i64 %row, %positions
  br label %clear
clear:
  %z.i = phi i64 [0, %unit], [%z.i.next, %clear]
  %z.offset = mul i64 %z.i, WIDTH
  %z.at = getelementptr V, ptr %v, i64 %z.offset
CLEARS
  %z.i.next = add i64 %z.i, 1
  %z.more = icmp slt i64 %z.i.next, %count
  br i1 %z.more, label %clear, label %cleared
cleared:
GATHER
  br label %tap
tap:
  %t = phi i64 [0, %ready], [%t.next, %tap.end]
  %t.offset = mul i64 %t, %places
  %t.first = add i64 %t.offset, %begin
  %table.at = getelementptr i32, ptr %table, i64 %t.first
  %t.far = mul i64 %t, %far
  %t.w.offset = mul i64 %t.far, WIDTH
  %t.w = getelementptr W, ptr %weights, i64 %t.w.offset
  br label %block
block:
  %b = phi i64 [0, %tap], [%b.next, %block.end]
  br label %place
place:
  %i = phi i64 [0, %block], [%i.next, %place.end]
  %position.at = getelementptr i32, ptr %table.at, i64 %i
  %position.held = load i32, ptr %position.at, align 4
  %position = sext i32 %position.held to i64
  %there = icmp sge i64 %position, 0
  br i1 %there, label %listed, label %place.end
listed:
  %list = add i64 %list.row, %position
  %starts.offset = mul i64 %list, %starts.step
  %starts.block = add i64 %starts.offset, %b
  %j.at = getelementptr i32, ptr %starts, i64 %starts.block
  %j.first.held = load i32, ptr %j.at, align 4
  %j.last.at = getelementptr i32, ptr %j.at, i64 1
  %j.last.held = load i32, ptr %j.last.at, align 4
  %j.first = sext i32 %j.first.held to i64
  %j.last = sext i32 %j.last.held to i64
  %some = icmp slt i64 %j.first, %j.last
  br i1 %some, label %alive, label %place.end
alive:
  %list.offset = mul i64 %list, %far
  %index.list = getelementptr INDEX, ptr %index, i64 %list.offset
  %s0.list = getelementptr S0, ptr %s0, i64 %list.offset
  %s1.list = getelementptr S1, ptr %s1, i64 %list.offset
  %v.offset = mul i64 %i, WIDTH
  %v.first = getelementptr V, ptr %v, i64 %v.offset
  %e.first = getelementptr A, ptr %e, i64 %v.offset
STARTS
  br label %edge
edge:
  %j = phi i64 [%j.first, %alive], [%j.next, %edge]
FOLDS
  %k.at = getelementptr INDEX, ptr %index.list, i64 %j
  %k.held = load INDEX, ptr %k.at, align INDEXALIGN
  %k = sext INDEX %k.held to i64
  %k.offset = mul i64 %k, WIDTH
  %w.at = getelementptr W, ptr %t.w, i64 %k.offset
SCALARS
UPDATES
  %j.next = add i64 %j, 1
  %j.more = icmp slt i64 %j.next, %j.last
  br i1 %j.more, label %edge, label %folded
folded:
ENDS
  br label %place.end
place.end:
  %i.next = add i64 %i, 1
  %place.more = icmp slt i64 %i.next, %count
  br i1 %place.more, label %place, label %block.end
block.end:
  %b.next = add i64 %b, 1
  %block.more = icmp slt i64 %b.next, %blocks
  br i1 %block.more, label %block, label %tap.end
tap.end:
  %t.next = add i64 %t, 1
  %tap.more = icmp slt i64 %t.next, %taps
  br i1 %tap.more, label %tap, label %written
written:
WRITE
unit.end:
  %u.next = add i64 %u, 1
  %unit.more = icmp slt i64 %u.next, %last
  br i1 %unit.more, label %unit, label %exit
exit:
  ret void
}
attributes #0 = { nounwind "prefer-vector-width"="LARGEST" "min-legal-vector-width"="LARGEST" }
"""
"""Near ends lie as [rows, channels, places], `row.step` from row to row, `channels` of the panel at most; v and e have
room for a tile, [places up to a whole vector, width]; lists as in `numba_template`, weights as [taps, far, width]."""


@dataclass(frozen=True)
class ListShape:
    """How many vectors of how many lanes a panel of channels has, how long an entry of a list's index is, and whether
    near ends lie flat, as [places, channels]."""

    lanes: int
    vectors: int
    index: int
    flat: bool = False

    @property
    def width(self) -> int:
        """Channels of a panel."""
        return self.lanes * self.vectors


def vectors_at_most(body: Body, types: Types, vector: int) -> int:
    """Return how many vectors of channels stay in the registers of a machine with vectors of so many bytes."""
    registers = 32 if vector == 64 else 16
    held = types["v"].itemsize // types["w"].itemsize + (1 if body.near else 0)
    return max(1, min(8, (registers - 6) // held))


class _Sizes(ast.NodeTransformer):
    """Weights by their size as weights: `plain` says whether no other was met."""

    plain = True

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(func=ast.Name(id="abs"), args=[ast.Name(id="w") as w]):
                return w
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Name(self, node: ast.Name) -> ast.Name:
        self.plain &= node.id != "w"
        return node


@lru_cache(maxsize=64)
def of_sizes(body: Body) -> ast.expr | None:
    """Return what a body does at an edge, of |w| in place of w: None if it reads more of a weight than its size."""
    sizes = _Sizes()
    found = sizes.visit(ast.parse(body.update, mode="eval").body)
    return found if sizes.plain else None


def program(body: Body, types: Types, shape: ListShape, vector: int) -> str:
    """Return the text of a program, for bodies that `vector_lines.is_written` and that have at most two scalars. Of
    bodies that have one `of_sizes`, weights are to be sizes."""
    lanes, v, w = shape.lanes, NUMBERS[types["v"]], NUMBERS[types["w"]]
    tree, divides = of_sizes(body) or body.tree, body.ordinary and fuses()
    clears, starts, folds, updates, ends = [], [], [], [], []
    for n in range(shape.vectors):
        at = n * lanes
        clears.append(
            f"  %z.at.{n} = getelementptr {v}, ptr %z.at, i64 {at}\n"
            f"  store <{lanes} x {v}> %zero, ptr %z.at.{n}, align VALIGN"
        )
        starts.append(
            f"  %v.at.{n} = getelementptr {v}, ptr %v.first, i64 {at}\n"
            f"  %v.start.{n} = load <{lanes} x {v}>, ptr %v.at.{n}, align VALIGN"
        )
        if body.near:
            starts.append(
                f"  %e.at.{n} = getelementptr A, ptr %e.first, i64 {at}\n"
                f"  %a.{n} = load <{lanes} x A>, ptr %e.at.{n}, align AALIGN"
            )
        folds.append(f"  %v.{n} = phi <{lanes} x {v}> [%v.start.{n}, %alive], [%v.next.{n}, %edge]")
        own = {name: f"%{name}.{n}" for name in ("v", "a", "w")}
        names = own | {"s0": "%s0.all", "s1": "%s1.all", "c0": "%c0", "c1": "%c1"}
        lines = Lines(types, lanes, names, f"%u.{n}", "%part" if divides else None)
        found, _ = lines.write(tree)
        updates.append(
            f"  %w.at.{n} = getelementptr {w}, ptr %w.at, i64 {at}\n"
            f"  %w.{n} = load <{lanes} x {w}>, ptr %w.at.{n}, align WALIGN"
        )
        updates += lines.lines
        updates.append(f"  %v.next.{n} = select i1 true, <{lanes} x {v}> {found}, <{lanes} x {v}> {found}")
        ends.append(f"  store <{lanes} x {v}> %v.next.{n}, ptr %v.at.{n}, align VALIGN")
    scalars = []
    for name in ("s0", "s1")[: body.scalars]:
        dtype = types[name]
        scalars.append(
            f"  %{name}.at = getelementptr {NUMBERS[dtype]}, ptr %{name}.list, i64 %j\n"
            f"  %{name}.one = load {NUMBERS[dtype]}, ptr %{name}.at, align {dtype.itemsize}"
        )
        scalars.append(splat(f"%{name}.all", f"%{name}.one", dtype, lanes))
    if divides:
        s0 = NUMBERS[types["s0"]]
        scalars += [f"  %part.one = fdiv {s0} 1.0, %s0.one", splat("%part", "%part.one", types["s0"], lanes)]
    splats = [splat(f"%{name}", f"%{name}.one", types["w"], lanes) for name in ("c0", "c1")]
    splats.append(splat("%zero", "%zero.one", types["v"], lanes))
    sizes = lanes, shape.width, shape.flat
    near, folds_of = Moved("a", "e", types["a"], *sizes), Moved("out", "v", types["v"], *sizes)
    gather = into_tile("gather", near, "cleared", "ready") + "ready:"
    parts = {
        "DECLARATIONS": _declared(types, lanes),
        "SPLATS": "\n".join(splats),
        "CLEARS": "\n".join(clears),
        "GATHER": gather if body.near else "  br label %ready\nready:",
        "STARTS": "\n".join(starts),
        "FOLDS": "\n".join(folds),
        "SCALARS": "\n".join(scalars),
        "UPDATES": "\n".join(updates),
        "ENDS": "\n".join(ends),
        "WRITE": out_of_tile("write", folds_of, "written", "unit.end"),
    }
    text = PROGRAM
    for name, lines in parts.items():
        text = text.replace(name, lines)
    words = {
        "LARGEST": vector * 8,
        "PLACES": PLACES,
        "WIDTH": shape.width,
        "INDEXALIGN": shape.index,
        "INDEX": f"i{shape.index * 8}",
        "VALIGN": types["v"].itemsize * lanes,
        "WALIGN": types["w"].itemsize * lanes,
        "AALIGN": types["a"].itemsize * lanes,
        "S0": NUMBERS[types["s0"]],
        "S1": NUMBERS[types["s1"]],
        "V": v,
        "W": w,
        "A": NUMBERS[types["a"]],
    }
    return re.sub(rf"\b({'|'.join(words)})\b", lambda found: str(words[found[0]]), text)


def _declared(types: Types, lanes: int) -> str:
    floats = [dtype for dtype in set(types.values()) if dtype.is_floating_point]
    vectors = [f"<{lanes} x {NUMBERS[dtype]}>" for dtype in floats]
    kinds = [f"v{lanes}f{dtype.itemsize * 8}" for dtype in floats]
    lines = [f"declare {v} @llvm.fabs.{kind}({v})" for kind, v in zip(kinds, vectors, strict=True)]
    lines += [f"declare {v} @llvm.fma.{kind}({v}, {v}, {v})" for kind, v in zip(kinds, vectors, strict=True)]
    return "\n".join([*lines, *(declared(dtype, lanes) for dtype in {types["a"], types["v"]})])
