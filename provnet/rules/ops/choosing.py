"""Ops that choose entries by comparing values: sort, top-k, median. What they give are entries of their input."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from provnet.errors import TraceError
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.index_maps import entries_placed, numbering, wiring_of
from provnet.rules.ops.pooling import pooled, with_forms_of
from provnet.rules.ops.reductions import reduced


@op_rule(
    "aten.cummax",
    "aten.cummin",
    "aten.kthvalue",
    "aten.median",
    "aten.mode",
    "aten.msort",
    "aten.nanmedian",
    "aten.sort",
    "aten.topk",
)
def chosen(op: Op) -> list[Placed | None]:
    """y = x taken at the indices that the op chose along an axis: an index map, which may differ by example.

    Gates   none: unit edges. The choice itself has no edges, as a maximum's has none. Indices are no activations.
    """
    source, rank = op.only(), len(op.shape(op.only()))
    dim = _axis(op, rank)
    if dim is None and op.batch > 1:
        op.crosses("it chooses among the entries of all examples")
    if dim is not None and dim == op.layout(source).axis and op.batch > 1:
        op.crosses(f"it chooses along axis {dim}, which holds the examples")
    values, indices = _choice(op, dim)
    numbers = numbering(op, (source,))
    entries = numbers.tensors[source].to(torch.int64)
    if dim is None:
        origin = entries.reshape(-1)[indices]
    elif rank == 0:
        origin = entries
    else:
        kept = indices.dim() == rank
        origin = entries.gather(dim, indices if kept else indices.unsqueeze(dim))
        origin = origin if kept else origin.squeeze(dim)
    _check(op, source, origin, values)
    return [entries_placed(op, (source,), numbers, origin, op.output), *([None] * (len(op.traced.outputs) - 1))]


@op_rule("aten.amin", "aten.min")
def smallest(op: Op) -> Placed:
    """y = the minimum of x over some axes: an index map of the first minimum, row-major. Indices are no activations."""
    wiring, layout, _ = reduced(op, op["dim"], bool(op["keepdim"]))
    rows = op.by_example(op.only()).reshape(op.batch, -1).cpu()
    slots = wiring.source(np.arange(wiring.outputs)[:, None], np.arange(wiring.fan))[0]
    chosen = rows[:, torch.from_numpy(slots)].double().numpy().argmin(-1)
    index = np.take_along_axis(slots[None], chosen[..., None], -1)[..., 0]
    plain = pooled(op.place("selection", "pooling", wiring, layout))
    return with_forms_of(plain, op.place("index", "none", wiring_of(index, wiring.inputs), layout))


def _axis(op: Op, rank: int) -> int | None:
    """Return the axis along which an op chooses, None where it chooses among all entries."""
    if op.short == "msort":
        return 0
    named = op["dim"]
    if named is None and op.short in ("median", "nanmedian"):
        return None
    if not isinstance(named, int):
        named = -1
    return named % max(rank, 1)


def _choice(op: Op, dim: int | None) -> tuple[Tensor, Tensor]:
    """Return the recorded values, and the indices that go with them: as recorded, or found again."""
    values = op.tensor(op.output).cpu()
    recorded = op.traced.outputs[1] if len(op.traced.outputs) > 1 else None
    if recorded is not None:
        return values, op.tensor(recorded).cpu()
    if dim is None:
        x = op.tensor(op.only()).cpu().reshape(-1)
        return values, (x == values).to(torch.uint8).argmax()
    if op.short == "msort":
        return values, op.tensor(op.only()).cpu().sort(dim=0, stable=True).indices
    return values, op.replay(op.tensor)[1].cpu()


def _check(op: Op, source: int, origin: Tensor, values: Tensor) -> None:
    """Refuse a choice that does not give the recorded values, NaN apart."""
    found = op.tensor(source).cpu().reshape(-1)[origin]
    if not bool(((found == values) | (found.isnan() & values.isnan())).all()):
        raise TraceError(f"{op}: the entries at the indices that it chose are not the values that it gave.")
