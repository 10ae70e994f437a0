"""The compiled twin of `least_passing`: seven divisions a number, side by side, and no branch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import torch

from provnet.torch_backend.contractions.machine_code import Compiled, vector_bytes

PROGRAM = """
declare <WIDTH x T> @llvm.fabs.vWIDTHfBITS(<WIDTH x T>)

define void @least(i64 %first, i64 %last, ptr noalias %z, T %theta.one, I %up.one, ptr noalias %out) #0 {
entry:
  %theta.first = insertelement <WIDTH x T> poison, T %theta.one, i64 0
  %theta = shufflevector <WIDTH x T> %theta.first, <WIDTH x T> poison, <WIDTH x i32> zeroinitializer
  %up.first = insertelement <WIDTH x I> poison, I %up.one, i64 0
  %up = shufflevector <WIDTH x I> %up.first, <WIDTH x I> poison, <WIDTH x i32> zeroinitializer
  %some = icmp slt i64 %first, %last
  br i1 %some, label %next, label %exit
next:
  %k = phi i64 [%first, %entry], [%k.next, %next]
  %z.at = getelementptr T, ptr %z, i64 %k
  %out.at = getelementptr T, ptr %out, i64 %k
  %signed = load <WIDTH x T>, ptr %z.at, align ALIGN
  %size = call <WIDTH x T> @llvm.fabs.vWIDTHfBITS(<WIDTH x T> %signed)
  %near = fmul <WIDTH x T> %theta, %size
  %bits = bitcast <WIDTH x T> %near to <WIDTH x I>
  %up2 = add <WIDTH x I> %up, %up
  %up3 = add <WIDTH x I> %up2, %up
  %bits.0 = sub <WIDTH x I> %bits, %up3
TRIED
  %found = bitcast <WIDTH x I> %bits.7 to <WIDTH x T>
  store <WIDTH x T> %found, ptr %out.at, align ALIGN
  %k.next = add i64 %k, WIDTH
  %more = icmp slt i64 %k.next, %last
  br i1 %more, label %next, label %exit
exit:
  ret void
}
attributes #0 = { nounwind "prefer-vector-width"="LARGEST" "min-legal-vector-width"="LARGEST" }
"""

# Each candidate that fails moves the answer one float on: those that pass lie side by side above those that do not.
TRIED = """
  %step.N = mul <WIDTH x I> %up, STEPS
  %tried.bits.N = add <WIDTH x I> %bits.0, %step.N
  %tried.N = bitcast <WIDTH x I> %tried.bits.N to <WIDTH x T>
  %quotient.N = fdiv <WIDTH x T> %tried.N, %size
  %passes.N = fcmp COMPARED <WIDTH x T> %quotient.N, %theta
  %on.N = select <WIDTH x i1> %passes.N, <WIDTH x I> zeroinitializer, <WIDTH x I> %up
  %bits.NEXT = add <WIDTH x I> %bits.N, %on.N
"""

Least = Callable[..., None]
"""(first, last, address of z, θ, 1 or -1 by θ's sign, address of the result): see `program`."""


@cache
def least(dtype: torch.dtype, strict: bool) -> tuple[Least, int]:
    """Return the function, compiled once a process, and how many numbers it takes at a time: of those from `first` on,
    that many are read and written whatever `last` is, so that arrays are to be padded."""
    width = vector_bytes() // dtype.itemsize
    number, whole = (ctypes.c_float, ctypes.c_int32) if dtype == torch.float32 else (ctypes.c_double, ctypes.c_int64)
    size, at = ctypes.c_int64, ctypes.c_void_p
    return Compiled(program(dtype, strict, width)).function("least", size, size, at, number, whole, at), width


def program(dtype: torch.dtype, strict: bool, width: int) -> str:
    """Return the text of a program: out[k] is the least float P with fl(P / |z_k|) >= θ (> θ if `strict`).

    P is at most three floats from fl(θ |z|), see `least_passing`; a float's neighbour is one more or less in its bits,
    by the sign of θ.
    """
    whole = "i32" if dtype == torch.float32 else "i64"
    tried = []
    for n in range(7):
        steps = f"<{', '.join([f'{whole} {n}'] * width)}>"
        text = TRIED.replace("STEPS", steps).replace("NEXT", str(n + 1)).replace(".N", f".{n}")
        tried.append(text.replace("COMPARED", "ogt" if strict else "oge"))
    bits = dtype.itemsize * 8
    text = PROGRAM.replace("TRIED", "".join(tried)).replace("WIDTH", str(width)).replace("LARGEST", str(width * bits))
    text = text.replace("ALIGN", str(dtype.itemsize)).replace("fBITS", f"f{bits}")
    number = "float" if dtype == torch.float32 else "double"
    for before, after in (("T", number), ("I", whole)):
        for end in (",", ">", " %"):
            text = text.replace(f" {before}{end}", f" {after}{end}").replace(f"({before}{end}", f"({after}{end}")
    return text
