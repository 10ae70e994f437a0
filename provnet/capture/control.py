"""Constants that were made of traced tensors: masks, indices, signs. They are remarked on, and must not mix examples.

A comparison or an index chooses what is computed, as control flow does: it belongs to the execution, and is not
remarked on while it only chooses or scales. Numbers made by a step (a sign, a cast to integers), and choices
that are added to something, take a share that no source gets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from provnet.capture.replay import run_call
from provnet.capture.steps import RecordedStep
from provnet.capture.store import ConstantOrigin, StoreEntry
from provnet.errors import CrossExampleError

_SCALING = frozenset(["aten.mul", "aten.div", "aten.bmm", "aten.mm", "aten.where", "aten.masked_fill"])
"""Through these a choice takes no share."""

CHANGES = ("raised", "lowered", "copied")
"""What is done to the other examples: beyond all values that occur, below them, or made one that is left alone."""


def constants_made(steps: Sequence[RecordedStep], entries: Sequence[StoreEntry]) -> list[ConstantOrigin]:
    """Return the ops that made constants of traced floats which take a share, in the order in which they are read."""
    found: dict[ConstantOrigin, None] = {}
    for step in steps:
        for value in step.reads:
            origin = entries[value].origin
            if origin is None:
                continue
            scales = step.name in _SCALING or not entries[value].tensor.is_floating_point()
            if not (origin.choice and scales):
                found[origin] = None
    return list(found)


def check_control(
    steps: Sequence[RecordedStep],
    recorded: Sequence[RecordedStep],
    entries: Sequence[StoreEntry],
    sources: Sequence[int],
    batch: int,
    dim: int,
    thorough: bool,
) -> None:
    """Raise `CrossExampleError` if a mask or a number that `steps` read was made from other examples' values.

    What made them is run again with other values in some of the examples: those left alone must get what they got. It
    can show that examples mix, and not that they never do. The first example is parted from the others, both ways;
    `thorough`: each pair of examples is. Time: four, or 6 * ceil(log2 batch), times what leads to these constants;
    nothing where there are none.
    """
    looked = {
        value
        for step in steps
        for value in step.reads
        if entries[value].origin is not None and _compares(entries[value].tensor)
    }
    if batch < 2 or not looked:
        return
    cone = _cone(recorded, looked)
    for kept in _parts(batch, thorough):
        for change in CHANGES if thorough else CHANGES[:2]:
            values = {i: _changed(entries[i].tensor, kept, dim, change) for i in sources}
            if _run(cone, entries, values):
                _compare(entries, values, looked, kept, dim)


def _parts(batch: int, thorough: bool) -> Iterator[Tensor]:
    """Yield which examples are left alone: the first and all others, or the halves by each bit of their index."""
    index = torch.arange(batch)
    for half in [index >> bit & 1 for bit in range((batch - 1).bit_length())] if thorough else [(index > 0) + 0]:
        yield half == 0
        yield half == 1


def _compares(tensor: Tensor) -> bool:
    """Return whether a constant can be compared example by example: indices may count examples themselves."""
    return tensor.dtype is torch.bool or tensor.is_floating_point()


def _cone(recorded: Sequence[RecordedStep], looked: set[int]) -> list[RecordedStep]:
    wanted, found = set(looked), []
    for step in reversed(recorded):
        if any(value in wanted for value in step.outputs if value is not None):
            found.append(step)
            wanted.update(step.reads)
    return found[::-1]


def _changed(tensor: Tensor, kept: Tensor, dim: int, change: str) -> Tensor:
    """Return a source with other values in the examples that are not kept. Integers may only be some that occur."""
    kept = kept.to(tensor.device)
    other = tensor.clone().movedim(dim, 0)
    if change == "copied" or not tensor.is_floating_point():
        other[~kept] = other[kept][:1].clone()
    else:
        step = 4 * (tensor.max() - tensor.min()) + 1
        other[~kept] += step if change == "raised" else -step
    return other.movedim(0, dim)


def _run(cone: Sequence[RecordedStep], entries: Sequence[StoreEntry], values: dict[int, Tensor]) -> bool:
    """Compute the values of the steps from changed sources; return whether that was possible."""
    try:
        with torch.no_grad():
            for step in cone:
                results = run_call(
                    step.function,
                    step.args,
                    step.kwargs,
                    lambda value: values[value] if value in values else entries[value].tensor,
                )
                for value, result in zip(step.outputs, results, strict=True):
                    if value is not None:
                        values[value] = result.to(entries[value].tensor.dtype)
    except (RuntimeError, IndexError, ValueError):  # other values may lead elsewhere: sizes that do not fit
        return False
    return True


def _compare(
    entries: Sequence[StoreEntry], values: Mapping[int, Tensor], looked: set[int], kept: Tensor, dim: int
) -> None:
    for value in sorted(looked):
        before, after, origin = entries[value].tensor, values.get(value), entries[value].origin
        if after is None or after.shape != before.shape or origin is None:
            continue
        changed = (after != before) & ~((after != after) & (before != before))
        if bool(changed.any()) and all(bool(rows.any()) for rows in _examples(changed, kept, dim)):
            where = origin.frame.path or origin.frame.module
            raise CrossExampleError(
                f"{origin.op!r} (in {where!r}) makes a constant of shape {tuple(before.shape)} from the values of "
                "several examples, such as a mask by the mean of the batch, so that an example's result depends on "
                "the others. Trace one example at a time, or compare within each example."
            )


def _examples(changed: Tensor, kept: Tensor, dim: int) -> Iterator[Tensor]:
    """Yield what changed in the kept examples, for each way in which the tensor could hold the examples."""
    batch, kept = len(kept), kept.to(changed.device)
    if changed.dim() > dim and changed.shape[dim] == batch:
        yield changed.movedim(dim, 0)[kept]
        return
    held = False
    for axis, size in enumerate(changed.shape):
        rows = size // batch
        for inner in (n for n in range(1, rows + 1) if size % batch == 0 and rows % n == 0):
            held = True
            yield changed.unflatten(axis, (rows // inner, batch, inner)).movedim(axis + 1, 0)[kept]
    if not held:
        yield changed
