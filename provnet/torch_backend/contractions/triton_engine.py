"""Contractions by Triton: on a GPU, or in Triton's interpreter (TRITON_INTERPRET=1) where there is none."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from provnet.errors import DeviceError, DTypeError, MissingProgramWarning, OptionError
from provnet.torch_backend.contractions.base import Operands
from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.triton_launch import Launch, Size, launch_of
from provnet.torch_backend.contractions.triton_operands import (
    ContractionEnds,
    columns_of,
    numbers_on,
    packed_scalar,
    packed_weights,
    table_on,
)

TRITON = all(importlib.util.find_spec(name) is not None for name in ("triton", "platformdirs"))

PACKED = 1 << 30
"""Bytes of scalars that are laid out anew at a time: a larger batch is taken in turns."""
INDEXED = 1 << 30
"""Ends or columns at a time, for they are counted in 32 bits."""
ELEMENTS = 1024
"""What a program does where elements are by themselves."""
FUSION = {"enable_fp_fusion": False, "num_stages": 1}
"""fl(a * w) is rounded before it is compared or divided, so no product may flow into a sum."""


@cache
def can_build() -> bool:
    """Return whether Triton can build its launchers, which are C that includes Python's header. Warns if it cannot."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    # Distributions have schemes of their own, beside the one that they build by.
    folders = {sysconfig.get_path("include"), sysconfig.get_path("include", "posix_prefix")}
    if compiler and any((Path(folder) / "Python.h").is_file() for folder in folders):
        return True
    lacking = (
        f"Python's header Python.h, which is not in {' nor '.join(sorted(folders))},"
        if compiler
        else "a C compiler (gcc, clang or what CC names)"
    )
    warnings.warn(
        f"Triton needs {lacking}, so blocks are evaluated by plain torch, several times slower. Install it, or take "
        "the warning as it is.",
        MissingProgramWarning,
        stacklevel=2,
    )
    return False


class TritonEngine:
    """One kernel for dense layers and convolutions of any stride, padding, dilation and groups.

    Exact for max, min, or and integer sums; float sums run in a fixed order on one kind of device, without atomics.
    Products are rounded before they are used, division and square root as IEEE says, no tf32; exp and log of float32
    are the device's, within about 2^-22. Nothing may be NaN.
    No gradient flows. Memory: the scalars, the weights (but a dense layer's that are pulled) and, of layers with few
    near ends, their parts.
    `launch` forces how work is cut, for tests.
    """

    name: ClassVar[str] = "triton"

    def __init__(self, launch: Launch | None = None) -> None:
        self.launch = launch

    def takes(self, device: torch.device) -> bool:
        """Return whether Triton is installed, and the device a CUDA one of capability 7 or any in the interpreter."""
        if not TRITON:
            return False
        if os.environ.get("TRITON_INTERPRET") == "1":
            return True
        # Triton 3 compiles for no device before these.
        return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0) and can_build()

    @torch.no_grad()
    def least_passing(self, z: Tensor, reached: Tensor, theta: float, strict: bool) -> Tensor:
        """Return `least_passing` of |z|, of the shape of z; what is not `reached` is made too, for it costs nothing."""
        z = z.contiguous()
        out = torch.empty_like(z)
        if out.numel():
            kernels = importlib.import_module("provnet.torch_backend.contractions.triton_least")
            number, programs = numbers_on((theta,), z.dtype, z.device), -(-z.numel() // ELEMENTS)
            with torch.cuda.device_of(z):
                options = {"STRICT": strict, "NEGATIVE": theta < 0, "SIZE": ELEMENTS}
                kernels.least[(programs,)](out, z, number, z.numel(), **options, **FUSION)
        return out

    @torch.no_grad()
    def contract(self, body: Body, operands: Operands) -> Tensor:
        """Return v of every near end, [batch, near neurons].

        Raises: `DTypeError` for types that kernels do not take (half precision), `DeviceError` for operands on several
        devices, `OptionError` if the scalars or the near end's numbers are not those that the body reads.
        """
        _check(body, operands)
        ends = ContractionEnds.of(operands.geometry, operands.direction)
        batch, near = len(operands.reached), operands.geometry.per_example * ends.groups * ends.channels * ends.places
        out = torch.full((batch, near), operands.zero, dtype=operands.dtype, device=operands.reached.device)
        if out.numel() and operands.reached.numel():
            for first, last in _turns(operands, ends):
                _fold(body, _slice(operands, first, last), ends, out[first:last], self.launch)
        return out

    def in_registers(self, body: Body, operands: Operands, folds: int = 1) -> Tensor | None:
        """Return None: the one kernel keeps its folds in registers, and no body is cheaper by another."""
        return None


ENGINE = TritonEngine()


def _check(body: Body, operands: Operands) -> None:
    if len(operands.scalars) != body.scalars or body.near != (operands.near is not None):
        raise OptionError(
            f"body {body.name!r} reads {body.scalars} scalars and {'a' if body.near else 'no'} near end; "
            f"{len(operands.scalars)} and {'no' if operands.near is None else 'a'} near end came."
        )
    tensors = [operands.weights, operands.reached, *operands.scalars]
    tensors += [] if operands.near is None else [operands.near]
    if len({tensor.device for tensor in tensors}) > 1:
        raise DeviceError(f"operands lie on {', '.join(str(t.device) for t in tensors)}; move them to one device.")
    if operands.near is not None and operands.near.dtype != operands.weights.dtype:
        raise DTypeError(
            f"activations are {operands.near.dtype}, weights {operands.weights.dtype}; bring both to one type."
        )


def _turns(operands: Operands, ends: ContractionEnds) -> Iterator[tuple[int, int]]:
    """Yield ranges of examples whose scalars fit the limits, or one example at a time."""
    rows = operands.geometry.per_example
    scalar = max((s.element_size() for s in operands.scalars), default=4)
    step = min(
        PACKED // (rows * ends.groups * ends.far * ends.far_places * scalar),
        INDEXED // (rows * max(ends.places, ends.far_places)),
    )
    for first in range(0, len(operands.reached), max(step, 1)):
        yield first, min(first + max(step, 1), len(operands.reached))


def _slice(operands: Operands, first: int, last: int) -> Operands:
    return replace(
        operands,
        scalars=tuple(s[first:last] for s in operands.scalars),
        reached=operands.reached[first:last],
        near=None if operands.near is None else operands.near[first:last],
    )


def _fold(body: Body, operands: Operands, ends: ContractionEnds, out: Tensor, forced: Launch | None) -> None:
    """Write v of some examples to `out`, [examples, near neurons]."""
    rows = len(out) * operands.geometry.per_example
    size = _size(body, operands, ends, rows)
    launch = forced or launch_of(size, _processors(out.device), body.join is not None)
    parts = -(-ends.far // launch.share)
    kernels, found = _kernels(body, operands), _plain(out)
    result = found if parts == 1 else found.new_empty((parts, out.numel()))
    tiles, blocks = -(-size.ends // launch.places), ends.groups * -(-ends.channels // launch.channels)
    # Triton launches on torch's current device, which may be another than the operands'.
    with torch.cuda.device_of(out):
        kernels.fold[(tiles * blocks * parts,)](
            result,
            *_read(body, operands, ends, rows, launch),
            tiles,
            blocks,
            ends.groups,
            launch.share,
            PLACES=launch.places,
            CHANNELS=launch.channels,
            STEP=launch.step,
            NEAR=body.near,
            SCALARS=body.scalars,
            REACHED=body.unreached is None,
            num_warps=launch.warps,
            **FUSION,
        )
        if parts > 1:
            programs = -(-out.numel() // ELEMENTS)
            kernels.joined[(programs,)](found, result, out.numel(), parts, SIZE=ELEMENTS, **FUSION)


def _read(body: Body, operands: Operands, ends: ContractionEnds, rows: int, launch: Launch) -> tuple[Tensor | int, ...]:
    """Return what `fold` reads, from `near` on; a tensor that this body does not read is replaced by any other."""
    device, unreached = operands.reached.device, body.unreached
    far = -(-ends.far // launch.step) * launch.step
    weights = packed_weights(operands, ends, far, launch.channels)
    scalars = [
        packed_scalar(_plain(s if unreached is None else s.masked_fill(~operands.reached, fill)), ends, rows, far, fill)
        for s, fill in zip(operands.scalars, unreached or (0, 0), strict=False)
    ]
    return (
        weights if operands.near is None else operands.near.contiguous(),
        weights,
        table_on(operands.geometry, operands.direction, device),
        packed_scalar(operands.reached.int(), ends, rows, far, 0) if unreached is None else weights,
        scalars[0] if scalars else weights,
        scalars[-1] if scalars else weights,
        numbers_on((*operands.constants, 0.0, 0.0)[:2], weights.dtype, device),
        numbers_on((operands.zero,), torch.int8 if operands.dtype == torch.bool else operands.dtype, device),
        rows * ends.places,
        ends.places,
        ends.far_places,
        ends.channels,
        weights.shape[-1],
        far,
        columns_of(ends, rows),
        operands.geometry.taps,
    )


def _kernels(body: Body, operands: Operands) -> Any:
    # Imported when first used, for it needs Triton's companions.
    source = importlib.import_module("provnet.torch_backend.contractions.triton_source")
    scalars = tuple(scalar.dtype for scalar in operands.scalars)
    return source.kernels(body, source.Signature(operands.dtype, operands.weights.dtype, scalars))


def _plain(tensor: Tensor) -> Tensor:
    """Return truth values as bytes, for a kernel reads and writes numbers."""
    return tensor.view(torch.int8) if tensor.dtype == torch.bool else tensor


def _size(body: Body, operands: Operands, ends: ContractionEnds, rows: int) -> Size:
    words = -(-operands.dtype.itemsize // 4) + (operands.weights.element_size() // 4 if body.near else 0)
    # A test of life takes registers of its own.
    words += 1 if body.unreached is None else 0
    return Size(rows * ends.places, ends.groups, ends.channels, ends.far, operands.geometry.taps, words)


def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
