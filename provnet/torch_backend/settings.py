"""What the caller's surroundings would change in our arithmetic is kept out of it: autocast, a default device,
inference mode."""

from __future__ import annotations

from contextlib import ContextDecorator, ExitStack
from types import TracebackType

import torch

AUTOCAST = ("cpu", "cuda")


class plain_torch(ContextDecorator):
    """Run with autocast off and fresh tensors on the CPU where no device is named, and leave both as they were.

    Inference mode is off too, and gradients with it: what is kept from inside it could not be used outside.
    Under autocast a matrix product of float32 gives bfloat16: denominators would be off in the third digit. Serves as a
    decorator too. Where nothing is set, which is asked in a microsecond, nothing is done.
    """

    def __init__(self) -> None:
        self._kept: ExitStack | None = None

    def _recreate_cm(self) -> plain_torch:
        """Return what one call of a decorated function enters: several may run at a time."""
        return plain_torch()

    def __enter__(self) -> None:
        autocast = [kind for kind in AUTOCAST if torch.is_autocast_enabled(kind)]
        # A default device is a mode on the stack of torch's functions: the question costs more than all others.
        elsewhere = torch._C._len_torch_function_stack() > 0 and torch.get_default_device().type != "cpu"
        if not (autocast or elsewhere or torch.is_inference_mode_enabled()):
            return
        with ExitStack() as stack:
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
                stack.enter_context(torch.no_grad())  # leaving inference mode turns gradients on
            for kind in autocast:
                stack.enter_context(torch.autocast(kind, enabled=False))
            if elsewhere:
                stack.enter_context(torch.device("cpu"))
            self._kept = stack.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            self._kept.__exit__(kind, error, trace)
