"""Write a body into a program that folds dense edges in registers: several rows and a panel of near ends at a time.

The text is LLVM's intermediate language. A group of rows meets a panel of near ends; their running folds stay in
registers while far ends pass by, so that a weight is read once for all rows of the group and a number of a far end once
for the panel. Each update is its expression, operation by operation: no FMA, no reordering within an edge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.machine_code import fuses
from provnet.torch_backend.contractions.vector_lines import NUMBERS, Lines, Types, splat

FAR = 256
"""Far ends whose weights are copied side by side at a time: 32 numbers of each are 32 KB, a first-level cache."""

PROGRAM = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare <WIDTH x float> @llvm.fabs.vWIDTHf32(<WIDTH x float>)
declare <WIDTH x double> @llvm.fabs.vWIDTHf64(<WIDTH x double>)
declare <WIDTH x float> @llvm.fma.vWIDTHf32(<WIDTH x float>, <WIDTH x float>, <WIDTH x float>)
declare <WIDTH x double> @llvm.fma.vWIDTHf64(<WIDTH x double>, <WIDTH x double>, <WIDTH x double>)

define void @fold(ptr noalias %weights, i64 %far.step, i64 %near.step, i64 %far, i64 %near, i64 %first, i64 %last,
                  ptr noalias %s0, ptr noalias %s1, ptr noalias %s2, i64 %groups, ptr noalias %a, ptr noalias %out,
                  i64 %across, W %c0.one, W %c1.one) #0 {
entry:
  %lain = alloca [SIZE x W], align 64
  call void @llvm.memset.p0.i64(ptr align 64 %lain, i8 0, i64 BYTES, i1 false)
SPLATS
  br label %panel
panel:
  %p = phi i64 [%first, %entry], [%p.next, %panel.end]
  %n = mul i64 %p, WIDTH
  %n.left = sub i64 %near, %n
  %n.tail = icmp slt i64 %n.left, WIDTH
  %wide = select i1 %n.tail, i64 %n.left, i64 WIDTH
  %beside = icmp eq i64 %near.step, 1
  %whole.not = xor i1 %n.tail, true
  %vectors = and i1 %beside, %whole.not
  %panel.offset = mul i64 %n, %near.step
  %panel.at = getelementptr W, ptr %weights, i64 %panel.offset
  br label %block
block:
  %k = phi i64 [0, %panel], [%k.next, %block.end]
  %k.left = sub i64 %far, %k
  %k.tail = icmp slt i64 %k.left, FAR
  %count = select i1 %k.tail, i64 %k.left, i64 FAR
  %block.offset = mul i64 %k, %far.step
  %block.at = getelementptr W, ptr %panel.at, i64 %block.offset
  br i1 %vectors, label %copy, label %gather

copy:  ; a row of the panel at a time
  %y.k = phi i64 [0, %block], [%y.k.next, %copy]
  %y.offset = mul i64 %y.k, %far.step
  %y.at = getelementptr W, ptr %block.at, i64 %y.offset
  %y.w = load <WIDTH x W>, ptr %y.at, align ALIGN
  %y.to.offset = mul i64 %y.k, WIDTH
  %y.to = getelementptr W, ptr %lain, i64 %y.to.offset
  store <WIDTH x W> %y.w, ptr %y.to, align 64
  %y.k.next = add i64 %y.k, 1
  %y.more = icmp slt i64 %y.k.next, %count
  br i1 %y.more, label %copy, label %rows

gather:  ; a column at a time
  %g.n = phi i64 [0, %block], [%g.n.next, %gather.end]
  %g.offset = mul i64 %g.n, %near.step
  %g.at = getelementptr W, ptr %block.at, i64 %g.offset
  br label %gather.one
gather.one:
  %g.k = phi i64 [0, %gather], [%g.k.next, %gather.one]
  %g.k.offset = mul i64 %g.k, %far.step
  %g.w.at = getelementptr W, ptr %g.at, i64 %g.k.offset
  %g.w = load W, ptr %g.w.at, align ALIGN
  %g.to.row = mul i64 %g.k, WIDTH
  %g.to.offset = add i64 %g.to.row, %g.n
  %g.to = getelementptr W, ptr %lain, i64 %g.to.offset
  store W %g.w, ptr %g.to, align ALIGN
  %g.k.next = add i64 %g.k, 1
  %g.more = icmp slt i64 %g.k.next, %count
  br i1 %g.more, label %gather.one, label %gather.end
gather.end:
  %g.n.next = add i64 %g.n, 1
  %g.again = icmp slt i64 %g.n.next, %wide
  br i1 %g.again, label %gather, label %rows

rows:
  br label %group
group:
  %g = phi i64 [0, %rows], [%g.next, %group.end]
  %row = mul i64 %g, ROWS
STARTS
  %s.row = mul i64 %g, %far
  %s.first = add i64 %s.row, %k
  %s.offset = mul i64 %s.first, ROWS
  %s0.first = getelementptr S0, ptr %s0, i64 %s.offset
  %s1.first = getelementptr S1, ptr %s1, i64 %s.offset
  %s2.first = getelementptr S2, ptr %s2, i64 %s.offset
  br label %edge
edge:
  %j = phi i64 [0, %group], [%j.next, %edge]
FOLDS
  %j.w.offset = mul i64 %j, WIDTH
  %w.at = getelementptr W, ptr %lain, i64 %j.w.offset
  %w = load <WIDTH x W>, ptr %w.at, align 64
  %j.s.offset = mul i64 %j, ROWS
  %s0.at = getelementptr S0, ptr %s0.first, i64 %j.s.offset
  %s1.at = getelementptr S1, ptr %s1.first, i64 %j.s.offset
  %s2.at = getelementptr S2, ptr %s2.first, i64 %j.s.offset
UPDATES
  %j.next = add i64 %j, 1
  %j.more = icmp slt i64 %j.next, %count
  br i1 %j.more, label %edge, label %group.end
group.end:
ENDS
  %g.next = add i64 %g, 1
  %group.more = icmp slt i64 %g.next, %groups
  br i1 %group.more, label %group, label %block.end
block.end:
  %k.next = add i64 %k, FAR
  %block.more = icmp slt i64 %k.next, %far
  br i1 %block.more, label %block, label %panel.end
panel.end:
  %p.next = add i64 %p, 1
  %panel.more = icmp slt i64 %p.next, %last
  br i1 %panel.more, label %panel, label %exit
exit:
  ret void
}
LAYS
attributes #0 = { nounwind "prefer-vector-width"="LARGEST" "min-legal-vector-width"="LARGEST" }
"""

LAY = """
define void @lay.NAME(ptr noalias %from, ptr noalias %reached, i64 %row.step, i64 %far.step, i64 %rows, i64 %far,
                      T %fill, ptr noalias %to) #0 {
entry:
  br label %group
group:
  %first = phi i64 [0, %entry], [%first.next, %group.end]
  %to.offset = mul i64 %first, %far
  %to.first = getelementptr T, ptr %to, i64 %to.offset
  br label %end
end:
  %k = phi i64 [0, %group], [%k.next, %end]
  %k.offset = mul i64 %k, %far.step
  %to.k = mul i64 %k, ROWS
  %to.at = getelementptr T, ptr %to.first, i64 %to.k
EACH
  %k.next = add i64 %k, 1
  %k.more = icmp slt i64 %k.next, %far
  br i1 %k.more, label %end, label %group.end
group.end:
  %first.next = add i64 %first, ROWS
  %more = icmp slt i64 %first.next, %rows
  br i1 %more, label %group, label %exit
exit:
  ret void
}
"""
"""Numbers of far ends laid side by side for a group of rows, [groups of rows, far, rows of a group]; of those that are
not reached `fill`. The last group's rows that there are none of are copies of the last row."""

EACH = """
  %row.R = add i64 %first, R
  %inside.R = icmp slt i64 %row.R, %rows
  %final.R = sub i64 %rows, 1
  %held.R = select i1 %inside.R, i64 %row.R, i64 %final.R
  %row.offset.R = mul i64 %held.R, %row.step
  %offset.R = add i64 %row.offset.R, %k.offset
  %at.R = getelementptr T, ptr %from, i64 %offset.R
  %value.R = load T, ptr %at.R, align ALIGN
  %alive.at.R = getelementptr i8, ptr %reached, i64 %offset.R
  %alive.R = load i8, ptr %alive.at.R, align 1
  %there.R = icmp ne i8 %alive.R, 0
  %chosen.R = select i1 %there.R, T %value.R, T %fill
  %to.R = getelementptr T, ptr %to.at, i64 R
  store T %chosen.R, ptr %to.R, align ALIGN
"""

SCALARS = ("s0", "s1", "s2")


@dataclass(frozen=True)
class PanelShape:
    """How many near ends and rows are folded at a time."""

    width: int
    rows: int


def shape_of(body: Body, types: Types, vector: int) -> PanelShape:
    """Return the panel whose folds and near numbers stay in the registers of a machine with vectors of so many
    bytes."""
    width = 2 * vector // types["w"].itemsize
    registers = 32 if vector == 64 else 16
    # Two vectors of weights; a row has two of folds (four where they are twice as long), and as many of near numbers.
    held = 2 * types["v"].itemsize // types["w"].itemsize + (2 if body.near else 0)
    return PanelShape(width, max(2, min(6, (registers - 6) // held)))


def program(body: Body, types: Types, panel: PanelShape, vector: int) -> str:
    """Return the text of a program. Raises nothing for what `is_written`."""
    width, w, v = panel.width, NUMBERS[types["w"]], NUMBERS[types["v"]]
    starts, folds, updates, ends = [], [], [], []
    for r in range(panel.rows):
        starts.append(
            f"  %row.{r} = add i64 %row, {r}\n  %row.offset.{r} = mul i64 %row.{r}, %across\n"
            f"  %n.{r} = add i64 %row.offset.{r}, %n\n"
            f"  %v.at.{r} = getelementptr {v}, ptr %out, i64 %n.{r}\n"
            f"  %v.start.{r} = load <{width} x {v}>, ptr %v.at.{r}, align {types['v'].itemsize}"
        )
        if body.near:
            starts.append(
                f"  %a.at.{r} = getelementptr W, ptr %a, i64 %n.{r}\n"
                f"  %a.{r} = load <{width} x {w}>, ptr %a.at.{r}, align ALIGN"
            )
        folds.append(f"  %v.{r} = phi <{width} x {v}> [%v.start.{r}, %group], [%v.next.{r}, %edge]")
        updates.append(_update(body, types, width, r))
        ends.append(f"  store <{width} x {v}> %v.next.{r}, ptr %v.at.{r}, align {types['v'].itemsize}")
    splats = "\n".join(splat(f"%{name}", f"%{name}.one", types["w"], width) for name in ("c0", "c1"))
    lays = [_lay(name, types[name], panel.rows) for name in SCALARS[: body.scalars]]
    parts = {"LAYS": lays, "SPLATS": splats, "STARTS": starts, "FOLDS": folds, "UPDATES": updates, "ENDS": ends}
    text = PROGRAM
    for name, lines in parts.items():
        text = text.replace(name, lines if isinstance(lines, str) else "\n".join(lines))
    numbers = {
        "LARGEST": vector * 8,
        "WIDTH": width,
        "ROWS": panel.rows,
        "SIZE": FAR * width,
        "BYTES": FAR * width * types["w"].itemsize,
        "FAR": FAR,
        "ALIGN": types["w"].itemsize,
    }
    for name, number in numbers.items():
        text = text.replace(name, str(number))
    for name in SCALARS:
        text = text.replace(f" {name.upper()},", f" {NUMBERS[types.get(name, types['s0'])]},")
    return text.replace(" W,", f" {w},").replace(" W>", f" {w}>").replace(" W]", f" {w}]").replace(" W %", f" {w} %")


def _lay(name: str, dtype: torch.dtype, rows: int) -> str:
    each = "".join(re.sub(r"\bR\b", str(r), EACH) for r in range(rows))
    text = LAY.replace("EACH", each).replace("NAME", name).replace("ROWS", str(rows))
    text = text.replace("ALIGN", str(dtype.itemsize))
    return text.replace(" T,", f" {NUMBERS[dtype]},").replace(" T %", f" {NUMBERS[dtype]} %")


def _update(body: Body, types: Types, width: int, row: int) -> str:
    """Return the lines that fold an edge of a row of the group."""
    lines = []
    for name in SCALARS[: body.scalars]:
        dtype = types[name]
        lines.append(
            f"  %{name}.at.{row} = getelementptr {NUMBERS[dtype]}, ptr %{name}.at, i64 {row}\n"
            f"  %{name}.one.{row} = load {NUMBERS[dtype]}, ptr %{name}.at.{row}, align {dtype.itemsize}"
        )
        lines.append(splat(f"%{name}.{row}", f"%{name}.one.{row}", dtype, width))
    names = {name: f"%{name}.{row}" for name in ("v", "a", *SCALARS)} | {name: f"%{name}" for name in ("w", "c0", "c1")}
    part = None
    if body.ordinary and fuses():
        part, s0 = f"%part.{row}", NUMBERS[types["s0"]]
        lines += [f"  {part}.one = fdiv {s0} 1.0, %s0.one.{row}", splat(part, f"{part}.one", types["s0"], width)]
    written = Lines(types, width, names, f"%u.{row}", part)
    found, dtype = written.write(body.tree)
    vector = f"<{width} x {NUMBERS[dtype]}>"
    # A name of its own for the result: a select between it and itself is left out by the compiler.
    lines += [*written.lines, f"  %v.next.{row} = select i1 true, {vector} {found}, {vector} {found}"]
    return "\n".join(lines)
