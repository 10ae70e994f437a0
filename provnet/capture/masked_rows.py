"""A softmax over scores that are all masked has no answer: 0/0. It is refused by its name, not by what comes of it.

Fused attention gives zeros there instead. They are harmless, as of queries that stand on padding: nothing feeds them
and nothing comes of them. Where all queries of an example are such, it is said, for the example is as good as empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from provnet.capture.execution import Ref
from provnet.capture.store import StoreEntry
from provnet.errors import NonFiniteError

SOFTMAXES = frozenset({"aten._softmax", "aten.softmax", "aten._log_softmax", "aten.log_softmax"})
"""The ops that give NaN for such a row."""

SAFE = "aten._safe_softmax"
"""The one that gives zeros, of fused attention."""


def check_masked_rows(steps: Sequence[Any], entries: Sequence[StoreEntry]) -> None:
    """Raise `NonFiniteError` for the first softmax with a row of nothing but -inf; it gives NaN there.

    Args: `steps`, the recorded ops, with `name`, `args`, `outputs` and `frame`; `entries`, the values by number.
    Time: a look at each softmax's result.
    """
    for step in steps:
        output = step.outputs[0] if step.name in SOFTMAXES else None
        scores = step.args[0] if output is not None else None
        if output is None or not isinstance(scores, Ref) or not bool(entries[output].tensor.isnan().any()):
            continue
        rows = _masked(entries[scores.id].tensor, step.args[1])
        if rows:
            where = f"in module {step.frame.path!r}" if step.frame.path else "in the model itself"
            raise NonFiniteError(
                f"a softmax ({step.name}, {where}) has {rows} rows of scores that are all masked (-inf), where it "
                "gives NaN. Leave every row one position that is not masked, such as the position itself; drop "
                "examples that are empty; mask with the least finite number of the dtype; or call "
                "torch.nn.functional.scaled_dot_product_attention(q, k, v, mask), which gives zeros there."
            )


def masked_examples(steps: Sequence[Any], entries: Sequence[StoreEntry]) -> Iterator[Any]:
    """Yield the frame of each fused softmax in which all rows of some place on the first axis are masked.

    Time: a look at one row of each place, and at all where that is masked.
    """
    for step in steps:
        output = step.outputs[0] if step.name == SAFE else None
        if output is None or entries[output].tensor.dim() < 3:
            continue
        shares = entries[output].tensor.flatten(1, -2)
        last = shares[:, -1].amax(-1) == 0
        if bool(last.any()) and bool((shares[last].flatten(1).amax(1) == 0).any()):
            yield step.frame


def _masked(scores: Tensor, dim: int) -> int:
    """Return how many rows along an axis are nothing but -inf."""
    return int((scores == -torch.inf).all(dim).sum())
