"""Whose workspace is whose: each thread has its own, for a workspace hands out memory that is written again."""

from __future__ import annotations

import threading
from typing import Any

import torch

from provnet.circuit.blocks import BlockCircuit
from provnet.torch_backend.workspace import Workspace


class Workspaces(threading.local):
    """The workspaces of one thread, by circuit and floating dtype. A thread that ends lets go of its own.

    Denominators are made once a thread: that is the price of threads that never wait for each other.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, torch.dtype], Workspace] = {}

    def of(self, circuit: BlockCircuit, floating: torch.dtype) -> Workspace:
        """Return this thread's workspace of a circuit in a floating dtype; the workspace keeps the circuit alive."""
        key = id(circuit), floating
        if key not in self._held:
            self._held[key] = Workspace(circuit, floating)
        return self._held[key]

    def __reduce__(self) -> Any:
        """Copies and pickles begin with none: what is in a workspace can be made again."""
        return Workspaces, ()
