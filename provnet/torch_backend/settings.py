"""What the caller's surroundings would change in our arithmetic is kept out of it: autocast, a default device,
inference mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

AUTOCAST = ("cpu", "cuda")


@contextmanager
def plain_torch() -> Iterator[None]:
    """Run with autocast off and fresh tensors on the CPU where no device is named, and leave both as they were.

    Inference mode is off too, and gradients with it: what is kept from inside it could not be used outside.
    Under autocast a matrix product of float32 gives bfloat16: denominators would be off in the third digit. Serves as a
    decorator too.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())  # leaving inference mode turns gradients on
        for kind in AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield
