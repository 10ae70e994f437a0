"""Whose workspace is whose: each thread has its own, for a workspace hands out memory that is written again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import torch

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.conventions import Conventions
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.torch_backend.walk.workspace import Workspace

KEPT_WORKSPACES, KEPT_CHOICES = 4, 16
"""A thread keeps so many workspaces of a circuit, and so many choices of forms, which are small."""


class Workspaces(threading.local):
    """The workspaces of one thread, by circuit, floating dtype, and the forms of its blocks.

    Denominators are made once a thread: that is the price of threads that never wait for each other. A thread that ends
    lets go of its own.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Any, ...], Workspace] = OrderedDict()
        self._chosen: OrderedDict[tuple[Any, ...], BlockCircuit] = OrderedDict()
        self._last: tuple[BlockCircuit, tuple[Any, ...], Workspace] | None = None

    def of(self, base: BlockCircuit, floating: torch.dtype, rule: Rule, conventions: Conventions) -> Workspace:
        """Return this thread's workspace of a circuit under a rule and conventions; it keeps the circuit alive."""
        asked = (floating, rule, conventions)
        if self._last is not None and self._last[0] is base and self._last[1] == asked:
            return self._last[2]  # most are asked for several times in a row
        found = self._of(base, floating, rule, conventions)
        self._last = base, asked, found
        return found

    def _of(self, base: BlockCircuit, floating: torch.dtype, rule: Rule, conventions: Conventions) -> Workspace:
        circuit = self._under(base, rule, conventions)
        # Two rules that choose the same forms share a workspace. Its blocks are alive, so their ids are their own.
        key = (floating, *map(id, circuit.blocks))
        if key not in self._held:
            self._held[key] = Workspace(circuit, floating, base)
        return _recent(self._held, key, KEPT_WORKSPACES)

    def _under(self, base: BlockCircuit, rule: Rule, conventions: Conventions) -> BlockCircuit:
        key = (id(base), rule, conventions)
        if key not in self._chosen:
            self._chosen[key] = lrp.resolved(base, rule, conventions)
        return _recent(self._chosen, key, KEPT_CHOICES)

    def __reduce__(self) -> Any:
        """Copies and pickles begin with none: what is in a workspace can be made again."""
        return Workspaces, ()


def _recent(held: OrderedDict[Any, Any], key: Any, most: int) -> Any:
    """Return an entry, the most recent one from now on; the oldest beyond `most` go."""
    held.move_to_end(key)
    while len(held) > most:
        held.popitem(last=False)
    return held[key]
