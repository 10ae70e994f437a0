"""What a threshold asks of all outputs and of all scores, in one pass over each: by torch, and compiled on a CPU.

By torch it is some ten passes over memory, more than a contraction takes where a layer is large and has few edges a
neuron.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from provnet.torch_backend.contractions.machine_code import Compiled, available, vector_bytes
from provnet.torch_backend.contractions.workers import run

PROGRAM = """
declare <WIDTH x T> @llvm.fabs.vWIDTHfBITS(<WIDTH x T>)
declare T @llvm.vector.reduce.fmin.vWIDTHfBITS(<WIDTH x T>)
declare T @llvm.vector.reduce.fmax.vWIDTHfBITS(<WIDTH x T>)
declare i1 @llvm.vector.reduce.or.vWIDTHi1(<WIDTH x i1>)

define void @shares(i64 %first, i64 %last, i64 %final, ptr noalias %z, ptr noalias %came, T %least.one,
                    ptr noalias %reached, ptr noalias %share, ptr noalias %ends, ptr noalias %told) #0 {
entry:
  %one.first = insertelement <WIDTH x T> poison, T 1.0, i64 0
  %one = shufflevector <WIDTH x T> %one.first, <WIDTH x T> poison, <WIDTH x i32> zeroinitializer
  %least.first = insertelement <WIDTH x T> poison, T %least.one, i64 0
  %most = shufflevector <WIDTH x T> %least.first, <WIDTH x T> poison, <WIDTH x i32> zeroinitializer
  br label %next
next:
  %k = phi i64 [%first, %entry], [%k.next, %next]
  %least = phi <WIDTH x T> [%most, %entry], [%least.next, %next]
  %greatest = phi <WIDTH x T> [zeroinitializer, %entry], [%greatest.next, %next]
  %lost = phi <WIDTH x i1> [zeroinitializer, %entry], [%lost.next, %next]
  %nan = phi <WIDTH x i1> [zeroinitializer, %entry], [%nan.next, %next]
  ; the last numbers are looked at twice where they do not fill a vector: nothing here minds
  %tail = icmp sgt i64 %k, %final
  %at = select i1 %tail, i64 %final, i64 %k
  %z.at = getelementptr T, ptr %z, i64 %at
  %came.at = getelementptr i8, ptr %came, i64 %at
  %z.k = load <WIDTH x T>, ptr %z.at, align ALIGN
  %came.k = load <WIDTH x i8>, ptr %came.at, align 1
  %alive = icmp ne <WIDTH x i8> %came.k, zeroinitializer
  %defined = fcmp une <WIDTH x T> %z.k, zeroinitializer
  %zero = fcmp oeq <WIDTH x T> %z.k, zeroinitializer
  %live = and <WIDTH x i1> %alive, %defined
  %gone = and <WIDTH x i1> %alive, %zero
  %lost.next = or <WIDTH x i1> %lost, %gone
  %unordered = fcmp uno <WIDTH x T> %z.k, zeroinitializer
  %bad = and <WIDTH x i1> %unordered, %live
  %nan.next = or <WIDTH x i1> %nan, %bad
  %size = call <WIDTH x T> @llvm.fabs.vWIDTHfBITS(<WIDTH x T> %z.k)
  %smaller = fcmp olt <WIDTH x T> %size, %least
  %smaller.live = and <WIDTH x i1> %smaller, %live
  %least.next = select <WIDTH x i1> %smaller.live, <WIDTH x T> %size, <WIDTH x T> %least
  %larger = fcmp ogt <WIDTH x T> %size, %greatest
  %larger.live = and <WIDTH x i1> %larger, %live
  %greatest.next = select <WIDTH x i1> %larger.live, <WIDTH x T> %size, <WIDTH x T> %greatest
  %quotient = fdiv <WIDTH x T> %one, %DIVISOR
  %chosen = select <WIDTH x i1> %live, <WIDTH x T> %quotient, <WIDTH x T> zeroinitializer
  %share.at = getelementptr T, ptr %share, i64 %at
  store <WIDTH x T> %chosen, ptr %share.at, align ALIGN
  %whole = zext <WIDTH x i1> %live to <WIDTH x i8>
  %reached.at = getelementptr i8, ptr %reached, i64 %at
  store <WIDTH x i8> %whole, ptr %reached.at, align 1
  %k.next = add i64 %k, WIDTH
  %more = icmp slt i64 %k.next, %last
  br i1 %more, label %next, label %exit
exit:
  %least.of.all = call T @llvm.vector.reduce.fmin.vWIDTHfBITS(<WIDTH x T> %least.next)
  %greatest.of.all = call T @llvm.vector.reduce.fmax.vWIDTHfBITS(<WIDTH x T> %greatest.next)
  store T %least.of.all, ptr %ends, align ALIGN
  %ends.1 = getelementptr T, ptr %ends, i64 1
  store T %greatest.of.all, ptr %ends.1, align ALIGN
  %any.lost = call i1 @llvm.vector.reduce.or.vWIDTHi1(<WIDTH x i1> %lost.next)
  %any.nan = call i1 @llvm.vector.reduce.or.vWIDTHi1(<WIDTH x i1> %nan.next)
  %told.lost = zext i1 %any.lost to i8
  %told.nan = zext i1 %any.nan to i8
  store i8 %told.lost, ptr %told, align 1
  %told.1 = getelementptr i8, ptr %told, i64 1
  store i8 %told.nan, ptr %told.1, align 1
  ret void
}

define void @passes(i64 %first, i64 %last, i64 %final, ptr noalias %score, T %low.one, T %high.one, T %infinite.one,
                    ptr noalias %passes, ptr noalias %told) #0 {
entry:
  %low.first = insertelement <WIDTH x T> poison, T %low.one, i64 0
  %low = shufflevector <WIDTH x T> %low.first, <WIDTH x T> poison, <WIDTH x i32> zeroinitializer
  %high.first = insertelement <WIDTH x T> poison, T %high.one, i64 0
  %high = shufflevector <WIDTH x T> %high.first, <WIDTH x T> poison, <WIDTH x i32> zeroinitializer
  %every = icmp eq <WIDTH x i8> zeroinitializer, zeroinitializer
  %infinite.first = insertelement <WIDTH x T> poison, T %infinite.one, i64 0
  %infinite = shufflevector <WIDTH x T> %infinite.first, <WIDTH x T> poison, <WIDTH x i32> zeroinitializer
  br label %next
next:
  %k = phi i64 [%first, %entry], [%k.next, %next]
  %decided = phi <WIDTH x i1> [%every, %entry], [%decided.next, %next]
  %tail = icmp sgt i64 %k, %final
  %at = select i1 %tail, i64 %final, i64 %k
  %score.at = getelementptr T, ptr %score, i64 %at
  %score.k = load <WIDTH x T>, ptr %score.at, align ALIGN
  %above = fcmp ogt <WIDTH x T> %score.k, %high
  %finite = fcmp olt <WIDTH x T> %score.k, %infinite
  %sure = and <WIDTH x i1> %above, %finite
  %below = fcmp olt <WIDTH x T> %score.k, %low
  %known = or <WIDTH x i1> %sure, %below
  %decided.next = and <WIDTH x i1> %decided, %known
  %whole = zext <WIDTH x i1> %above to <WIDTH x i8>
  %passes.at = getelementptr i8, ptr %passes, i64 %at
  store <WIDTH x i8> %whole, ptr %passes.at, align 1
  %k.next = add i64 %k, WIDTH
  %more = icmp slt i64 %k.next, %last
  br i1 %more, label %next, label %exit
exit:
  %un = xor <WIDTH x i1> %decided.next, %every
  %any = call i1 @llvm.vector.reduce.or.vWIDTHi1(<WIDTH x i1> %un)
  %told.any = zext i1 %any to i8
  store i8 %told.any, ptr %told, align 1
  ret void
}
attributes #0 = { nounwind "prefer-vector-width"="LARGEST" "min-legal-vector-width"="LARGEST" }
"""

PIECE = 1 << 15
"""Numbers that a worker takes at a time."""


@dataclass(frozen=True, eq=False)
class ReachedShares:
    """Of outputs [batch, outputs]: which are `reached` (relevance came and z is not 0), and their `share`.

    share            1 / z, or 1 / |z| of absolute thresholds; 0 elsewhere
    least, greatest  the ends of |z| where it is reached: inf and 0 where nothing is; NaN if a z is
    lost             whether relevance came to an output whose z is 0
    """

    reached: Tensor
    share: Tensor
    least: float
    greatest: float
    lost: bool


def shares(z: Tensor, came: Tensor, absolute: bool) -> ReachedShares:
    """Return what of the outputs takes part. `came`: [batch, outputs], truth values."""
    return _shares_compiled(z, came, absolute) if _compiles(z) else shares_by_torch(z, came, absolute)


def shares_by_torch(z: Tensor, came: Tensor, absolute: bool) -> ReachedShares:
    """Return the same on any device."""
    size, defined = z.abs(), z != 0
    reached = came & defined
    zero, infinite = (torch.full((), x, dtype=z.dtype, device=z.device) for x in (0.0, torch.inf))
    share = torch.where(reached, 1 / (size if absolute else z), zero)
    if not z.numel():
        return ReachedShares(reached, share, torch.inf, 0.0, False)
    ends = float(torch.where(reached, size, infinite).amin()), float(torch.where(reached, size, zero).amax())
    return ReachedShares(reached, share, *ends, bool((came & ~defined).any()))


def _shares_compiled(z: Tensor, came: Tensor, absolute: bool) -> ReachedShares:
    z, came = z.contiguous(), came.contiguous()
    reached, share = torch.empty(z.shape, dtype=torch.bool), torch.empty(z.shape, dtype=z.dtype)
    spans = _spans(z)
    ends, told = torch.empty((len(spans), 2), dtype=z.dtype), torch.empty((len(spans), 2), dtype=torch.bool)
    function, given = _functions(z.dtype, absolute)[0], (z.data_ptr(), came.data_ptr(), torch.inf)
    made = reached.data_ptr(), share.data_ptr()
    run(
        (lambda n=n, span=span: function(*span, *given, *made, ends[n].data_ptr(), told[n].data_ptr()))
        for n, span in enumerate(spans)
    )
    lost, nan = told.any(0).tolist()
    least, greatest = float(ends[:, 0].min()), float(ends[:, 1].max())
    return ReachedShares(reached, share, *((torch.nan, torch.nan) if nan else (least, greatest)), lost)


def passes(score: Tensor, low: float, high: float) -> tuple[Tensor, bool]:
    """Return which scores are above `high`, and whether every one of those is finite and every other below `low`."""
    if not _compiles(score):
        return passes_by_torch(score, low, high)
    score = score.contiguous()
    found, spans = torch.empty(score.shape, dtype=torch.bool), _spans(score)
    told, function = torch.empty(len(spans), dtype=torch.bool), _functions(score.dtype, False)[1]
    given = score.data_ptr(), low, high, torch.inf, found.data_ptr()
    run((lambda n=n, span=span: function(*span, *given, told[n:].data_ptr())) for n, span in enumerate(spans))
    return found, not bool(told.any())


def passes_by_torch(score: Tensor, low: float, high: float) -> tuple[Tensor, bool]:
    """Return the same on any device."""
    found, below = score > high, score < low
    # Counted, not summed: a sum of truth values makes a whole number of each first.
    decided = int(found.count_nonzero() + below.count_nonzero()) == score.numel()
    return found, decided and (not score.numel() or float(score.max()) < torch.inf)


def _compiles(x: Tensor) -> bool:
    known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return known and x.numel() * x.element_size() >= 64 and available()


def _spans(x: Tensor) -> list[tuple[int, int, int]]:
    """Return ranges for the workers, and where the last vector of all begins."""
    size = x.numel()
    step, final = max(PIECE, -(-size // 8) // PIECE * PIECE), size - vector_bytes() // x.element_size()
    return [(first, min(first + step, size), final) for first in range(0, size, step)]


@cache
def _functions(dtype: torch.dtype, absolute: bool) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the two passes, compiled once a process."""
    width, bits = vector_bytes() // dtype.itemsize, dtype.itemsize * 8
    text = PROGRAM.replace("WIDTH", str(width)).replace("LARGEST", str(width * bits)).replace("fBITS", f"f{bits}")
    text = text.replace("ALIGN", str(dtype.itemsize)).replace("%DIVISOR", "%size" if absolute else "%z.k")
    text = re.sub(r"\bT\b", "float" if dtype == torch.float32 else "double", text)
    compiled, number = Compiled(text), ctypes.c_float if dtype == torch.float32 else ctypes.c_double
    at, span = ctypes.c_void_p, [ctypes.c_int64] * 3
    return (
        compiled.function("shares", *span, at, at, number, at, at, at, at),
        compiled.function("passes", *span, at, number, number, number, at, at),
    )
