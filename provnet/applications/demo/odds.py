"""The demo's own semiring: not one of provnet's, and all that it takes. The report shows `odds` as it stands here."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from provnet.semirings import Semiring, make


def odds() -> Semiring:
    """How good are the odds of the best path, if the odds against its steps add up?"""

    def times(x: Tensor, y: Tensor) -> Tensor:
        against = (1 / x - 1) + (1 / y - 1)  # infinite for an impossible step
        return 1 / (1 + against)

    return make(
        torch.maximum,
        times,
        zero=0.0,
        one=1.0,
        name="odds",
        annotation="max-normalised",
        idempotent=True,
        absorptive=True,
        selective=True,
        naturally_ordered=True,
    )


SOURCE = inspect.getsource(odds)
