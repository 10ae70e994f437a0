"""Lines of a program that turn [channels, places] into [places, channels] and back, a square of vectors at a time.

LLVM's intermediate language. Numbers lie as [channels, places] in memory, `places` from one channel to the next; in a
tile as [places, width].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from provnet.torch_backend.contractions.vector_lines import NUMBERS

LOOPS = """  br label %NAME
NAME:
  %NAME.i = phi i64 [0, %BEFORE], [%NAME.i.next, %NAME.end]
  %NAME.left = sub i64 %count, %NAME.i
  %NAME.left.first = insertelement <LANES x i64> poison, i64 %NAME.left, i64 0
  %NAME.left.all = shufflevector <LANES x i64> %NAME.left.first, <LANES x i64> poison, <LANES x i32> zeroinitializer
  %NAME.inside = icmp slt <LANES x i64> IOTA, %NAME.left.all
  %NAME.place = add i64 %near.offset, %NAME.i
  %NAME.tile = mul i64 %NAME.i, WIDTH
  br label %NAME.square
NAME.square:
  %NAME.n = phi i64 [0, %NAME], [%NAME.n.next, %NAME.square]
  %NAME.offset = mul i64 %NAME.n, %places
  %NAME.from = add i64 %NAME.offset, %NAME.place
  %NAME.to = add i64 %NAME.tile, %NAME.n
MOVES
  %NAME.n.next = add i64 %NAME.n, LANES
  %NAME.more = icmp slt i64 %NAME.n.next, %channels
  br i1 %NAME.more, label %NAME.square, label %NAME.end
NAME.end:
  %NAME.i.next = add i64 %NAME.i, LANES
  %NAME.again = icmp slt i64 %NAME.i.next, %count
  br i1 %NAME.again, label %NAME, label %AFTER
"""
"""The last square of a row has fewer places, and the last of a panel fewer channels: a mask leaves the others out."""

CHANNEL = """  %NAME.n.LANE = add i64 %NAME.n, LANE
  %NAME.is.LANE = icmp slt i64 %NAME.n.LANE, %channels
  %NAME.mask.LANE = select i1 %NAME.is.LANE, <LANES x i1> %NAME.inside, <LANES x i1> zeroinitializer
  %NAME.further.LANE = mul i64 %places, LANE
  %NAME.memory.LANE = add i64 %NAME.from, %NAME.further.LANE
  %NAME.at.LANE = getelementptr T, ptr %MEMORY, i64 %NAME.memory.LANE
  %NAME.inner.LANE = add i64 %NAME.to, LANE.WIDTH
  %NAME.tile.LANE = getelementptr T, ptr %TILE, i64 %NAME.inner.LANE
"""

READ = (
    "  %NAME.0.LANE = call <LANES x T> @llvm.masked.load.vLANESKIND.p0(ptr %NAME.at.LANE, i32 SIZE, <LANES x i1> "
    "%NAME.mask.LANE, <LANES x T> zeroinitializer)",
    "  store <LANES x T> %NAME.LAST.LANE, ptr %NAME.tile.LANE, align ALL",
)
WRITTEN = (
    "  %NAME.0.LANE = load <LANES x T>, ptr %NAME.tile.LANE, align ALL",
    "  call void @llvm.masked.store.vLANESKIND.p0(<LANES x T> %NAME.LAST.LANE, ptr %NAME.at.LANE, i32 SIZE, "
    "<LANES x i1> %NAME.mask.LANE)",
)


@dataclass(frozen=True)
class Moved:
    """What is moved: pointers to numbers in memory and to a tile, their type, and the tile's width in vectors of
    `lanes`."""

    memory: str
    tile: str
    dtype: torch.dtype
    lanes: int
    width: int


def into_tile(name: str, moved: Moved, before: str, after: str) -> str:
    """Return the lines that bring `%count` places of `%channels` channels into a tile, from the label `before` to the
    label `after`. All names begin with `name`."""
    return _loops(READ, name, moved, before, after)


def out_of_tile(name: str, moved: Moved, before: str, after: str) -> str:
    """Return the lines that bring a tile's places and channels to memory; names as for `into_tile`."""
    return _loops(WRITTEN, name, moved, before, after)


def declared(dtype: torch.dtype, lanes: int) -> str:
    """Return the declarations of what the lines call."""
    vector, kind = f"<{lanes} x {NUMBERS[dtype]}>", f"v{lanes}{_kind(dtype)}"
    return (
        f"declare {vector} @llvm.masked.load.{kind}.p0(ptr, i32, <{lanes} x i1>, {vector})\n"
        f"declare void @llvm.masked.store.{kind}.p0({vector}, ptr, i32, <{lanes} x i1>)"
    )


def _loops(moves: tuple[str, str], name: str, moved: Moved, before: str, after: str) -> str:
    rows, number = range(moved.lanes), NUMBERS[moved.dtype]
    shuffles, last = transposed(name, number, moved.lanes)
    read = [_of_lane(CHANNEL.replace("LANE.WIDTH", str(lane * moved.width)) + moves[0], lane) for lane in rows]
    written = [_of_lane(moves[1], lane) for lane in rows]
    text = LOOPS.replace("MOVES", "\n".join([*read, shuffles, *written]))
    words = {
        "LANES": moved.lanes,
        "NAME": name,
        "MEMORY": moved.memory,
        "TILE": moved.tile,
        "BEFORE": before,
        "AFTER": after,
        "WIDTH": moved.width,
        "KIND": _kind(moved.dtype),
        "SIZE": moved.dtype.itemsize,
        "ALL": moved.dtype.itemsize * moved.lanes,
        "LAST": last,
        "IOTA": iota(moved.lanes),
    }
    for word, meant in words.items():
        text = text.replace(word, str(meant))
    return text.replace("x T>", f"x {number}>").replace(" T,", f" {number},")


def iota(lanes: int) -> str:
    """Return the vector 0, 1, ... as the language has it."""
    return f"<{', '.join(f'i64 {lane}' for lane in range(lanes))}>"


def _of_lane(line: str, lane: int) -> str:
    return line.replace("LANES", "\0").replace("LANE", str(lane)).replace("\0", "LANES")


def transposed(name: str, number: str, lanes: int) -> tuple[str, int]:
    """Return the lines that transpose the rows %name.0.lane of a square, and the number in place of 0 of the result.

    Each step exchanges the lanes of two rows `far` apart, so that log2 steps do it.
    """
    vector, lines, step, far = f"<{lanes} x {number}>", [], 0, 1
    while far < lanes:
        for row in range(lanes):
            low, high = row & ~far, row | far
            shift = far if row & far else 0
            chosen = [(lane & ~far) + shift + (lanes if lane & far else 0) for lane in range(lanes)]
            mask = ", ".join(f"i32 {lane}" for lane in chosen)
            lines.append(
                f"  %{name}.{step + 1}.{row} = shufflevector {vector} %{name}.{step}.{low}, "
                f"{vector} %{name}.{step}.{high}, <{lanes} x i32> <{mask}>"
            )
        step, far = step + 1, 2 * far
    return "\n".join(lines), step


def _kind(dtype: torch.dtype) -> str:
    return f"{'f' if dtype.is_floating_point else 'i'}{dtype.itemsize * 8}"
