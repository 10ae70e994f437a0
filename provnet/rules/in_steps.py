"""An op that becomes several blocks, with activations between them that the model did not make.

Sums of listed entries whose lists differ by example, such as those of tokens that a router sends to experts, are taken
apart: entries are gathered into slots, which is an index map that may differ by example, and the slots are added up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from provnet.capture.execution import Ref, TracedOp
from provnet.circuit.table import listed
from provnet.errors import ProvnetError
from provnet.rules.ops.base import Op
from provnet.rules.ops.entry_sums import pairs, wired

GATHERED = "provnet.gathered"
"""The index map of the first step. Slots that nothing is gathered into are padding."""

_ATEN = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Steps:
    """The ops that one op becomes, in their order; `made`: the values between them, by number."""

    ops: tuple[TracedOp, ...]
    made: dict[int, Tensor]


def steps_of(op: Op) -> Steps | None:
    """Return the steps of an op that becomes several blocks, None if its own rule has one for it."""
    if op.short not in ("index_add", "scatter_add", "scatter_reduce"):
        return None
    into = op["self"]
    added = op["source"] if op.short == "index_add" else op["src"]
    summed = op.short in ("index_add", "scatter_add") or (op.short == "scatter_reduce" and op["reduce"] == "sum")
    if not summed or op.batch == 1 or not op.active(added) or op["include_self"] is False:
        return None
    places, taken = pairs(op, added)
    try:
        wired(op, into, added, places, taken)
    except ProvnetError:
        table = listed(places.numpy(), taken.numpy(), op.tensor(op.output).numel())
        number = max(op.execution.values) + 1  # the first that no value has yet
        return _sum_of_gathered(op, into, added, torch.from_numpy(table.T), number)
    return None


def _sum_of_gathered(op: Op, into: Ref, added: Ref, table: Tensor, number: int) -> Steps:
    """Return z = x + alpha * Σ over slots of the entries of y that are gathered into them, [slots, entries]."""
    shape, source = op.shape(op.output), op.tensor(added)
    gather = _gathering(table.reshape(*((-1,) if len(table) > 1 else ()), *shape))
    steps, made = [], {number: gather(source)}
    steps.append(_step(op, GATHERED, gather, (added,), number, "gathered"))
    if len(table) > 1:
        made[number + 1] = made[number].sum(0)
        steps.append(_step(op, "aten.sum", _ATEN.sum.dim_IntList, (Ref(number), [0]), number + 1, "slots added"))
    last, alpha = max(made), 1 if op["alpha"] is None else op["alpha"]
    addition = replace(
        op.traced, name="aten.add", func=_ATEN.add.Tensor, args=(into, Ref(last)), kwargs={"alpha": alpha}
    )
    return Steps((*steps, addition), made)


def _gathering(table: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function that puts entry table[...] of a tensor, or 0 where that is -1, at each place."""

    def gathered(source: Tensor) -> Tensor:
        entries = torch.cat([source.reshape(-1), source.new_zeros(1)])
        return entries[table.to(source.device)]

    return gathered


def _step(op: Op, name: str, func: Any, args: tuple[Any, ...], output: int, what: str) -> TracedOp:
    label = f"{op.traced.label}: {what}"
    return replace(op.traced, name=name, func=func, args=args, kwargs={}, outputs=(output,), label=label)
