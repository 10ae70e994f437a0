"""Write a program that lays weights out for panels of near channels, a square of taps and channels at a time."""

from __future__ import annotations

import re

import torch

from provnet.torch_backend.contractions.squares import declared, iota, transposed
from provnet.torch_backend.contractions.vector_lines import NUMBERS

PROGRAM = """
declare <LANES x T> @llvm.fabs.vLANESKIND(<LANES x T>)
DECLARED
define void @pack(i64 %first, i64 %last, i64 %far, i64 %near, i64 %taps, i64 %far.step, i64 %near.step,
                  ptr noalias %weights, ptr noalias %out) #0 {
entry:
  br label %end
end:
  %k = phi i64 [%first, %entry], [%k.next, %end.next]
  %k.offset = mul i64 %k, %far.step
  br label %channel
channel:
  %n = phi i64 [0, %end], [%n.next, %channel.end]
  %n.offset = mul i64 %n, %near.step
  %kn.offset = add i64 %n.offset, %k.offset
  %panel = sdiv i64 %n, WIDTH
  %inner = srem i64 %n, WIDTH
  %panel.tap = mul i64 %panel, %taps
  br label %square
square:
  %t = phi i64 [0, %channel], [%t.next, %square.end]
  %from = add i64 %kn.offset, %t
  %t.left = sub i64 %taps, %t
  %t.left.first = insertelement <LANES x i64> poison, i64 %t.left, i64 0
  %t.left.all = shufflevector <LANES x i64> %t.left.first, <LANES x i64> poison, <LANES x i32> zeroinitializer
  %inside = icmp slt <LANES x i64> IOTA, %t.left.all
READS
SHUFFLES
  br label %write
WRITES
square.end:
  %t.next = add i64 %t, LANES
  %t.more = icmp slt i64 %t.next, %taps
  br i1 %t.more, label %square, label %channel.end
channel.end:
  %n.next = add i64 %n, LANES
  %n.more = icmp slt i64 %n.next, %near
  br i1 %n.more, label %channel, label %end.next
end.next:
  %k.next = add i64 %k, 1
  %k.more = icmp slt i64 %k.next, %last
  br i1 %k.more, label %end, label %exit
exit:
  ret void
}
attributes #0 = { nounwind "prefer-vector-width"="LARGEST" "min-legal-vector-width"="LARGEST" }
"""
"""Weights of the far ends first:last, from [far, near, taps], the taps side by side, to [panels, taps, far, WIDTH]. In
the last panel 0 stands where there are no channels, up to a whole vector."""

READ = """
  %n.LANE = add i64 %n, LANE
  %is.LANE = icmp slt i64 %n.LANE, %near
  %mask.LANE = select i1 %is.LANE, <LANES x i1> %inside, <LANES x i1> zeroinitializer
  %step.LANE = mul i64 %near.step, LANE
  %from.LANE = add i64 %from, %step.LANE
  %at.LANE = getelementptr T, ptr %weights, i64 %from.LANE
  %r.LANE = call <LANES x T> @llvm.masked.load.vLANESKIND.p0(
      ptr %at.LANE, i32 SIZE, <LANES x i1> %mask.LANE, <LANES x T> zeroinitializer)
  %q.0.LANE = CHANGED
"""

WRITE = """write.LANE:
  %t.LANE = add i64 %t, LANE
  %panel.tap.LANE = add i64 %panel.tap, %t.LANE
  %far.LANE = mul i64 %panel.tap.LANE, %far
  %row.LANE = add i64 %far.LANE, %k
  %row.offset.LANE = mul i64 %row.LANE, WIDTH
  %to.offset.LANE = add i64 %row.offset.LANE, %inner
  %to.LANE = getelementptr T, ptr %out, i64 %to.offset.LANE
  store <LANES x T> %q.LAST.LANE, ptr %to.LANE, align SIZE
  %more.LANE = icmp slt i64 NEXT, %t.left
  br i1 %more.LANE, label %write.NEXT, label %square.end
"""


def program(dtype: torch.dtype, lanes: int, width: int, sizes: bool, vector: int) -> str:
    """Return the text of a program for weights of a type, and panels of so many channels. `sizes`: |w| is laid out."""
    number, kind = NUMBERS[dtype], f"f{dtype.itemsize * 8}"
    shuffles, last = transposed("q", number, lanes)
    size = f"call <LANES x T> @llvm.fabs.vLANES{kind}(<LANES x T> %r.LANE)"
    plain = "select i1 true, <LANES x T> %r.LANE, <LANES x T> %r.LANE"
    read = READ.replace("CHANGED", size if sizes else plain)
    reads = "".join(re.sub(r"LANE\b", str(lane), read) for lane in range(lanes))
    writes = (
        "".join(re.sub(r"LANE\b", str(lane), WRITE).replace("NEXT", str(lane + 1)) for lane in range(lanes))
        + f"write.{lanes}:\n  br label %square.end\n"
    )
    text = PROGRAM.replace("DECLARED", declared(dtype, lanes)).replace("READS\n", reads)
    text = text.replace("SHUFFLES", shuffles).replace("WRITES\n", writes).replace("label %write\n", "label %write.0\n")
    words = {
        "LANES": lanes,
        "KIND": kind,
        "WIDTH": width,
        "SIZE": dtype.itemsize,
        "LAST": last,
        "LARGEST": vector * 8,
        "IOTA": iota(lanes),
    }
    for word, meant in words.items():
        text = re.sub(rf"{word}(?!S)" if word == "LARGEST" else word, str(meant), text)
    return text.replace("x T>", f"x {number}>").replace(" T,", f" {number},")
