"""What the evaluations of one execution share: its blocks, whether they are still what they were, and workspaces."""

from __future__ import annotations

from collections.abc import Container, Sequence

import torch

from provnet.capture.imprint import Imprint
from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.conventions import DEFAULT, Conventions
from provnet.errors import OptionError
from provnet.face.freshness import Freshness
from provnet.face.recording import Recording
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.torch_backend.walk.workspace import Workspace
from provnet.torch_backend.walk.workspaces import Workspaces


class Session:
    """What stands behind a `Circuit` and the gates that are made of it: `circuit.session`.

    data        the blocks. Their tensors carry no graph.
    with_graph  the same blocks with tensors that carry autograd's graph; None unless traced with differentiable=True.
    recording   the recorded ops, for other batches; None for a circuit from a file, or one with a graph.
    """

    def __init__(
        self,
        data: BlockCircuit,
        with_graph: BlockCircuit | None = None,
        recording: Recording | None = None,
        watch_all: bool = False,
        imprint: Imprint | None = None,
        unshared: Container[int] = (),
        known: Freshness | None = None,
    ) -> None:
        """`watch_all`: compare every bit of large tensors too, to see whether they changed. `imprint`: that of the
        model's tensors, if there is one already. `unshared`: where memory lies that nobody else can write to.
        `known`: what a circuit of the same weights holds of them, which was looked at a moment ago."""
        self.data, self.with_graph, self.recording = data, with_graph, recording
        self.freshness = Freshness(data, watch_all, imprint, unshared, known)
        self._workspaces = Workspaces()
        self._classes: tuple[str, ...] = ()

    @property
    def imprint(self) -> Imprint:
        """What the model's own tensors held when the circuit was made."""
        return self.freshness.imprint

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the output's entries; empty if none were given."""
        return self._classes

    @classes.setter
    def classes(self, names: Sequence[str]) -> None:
        found = tuple(map(str, names))
        sizes = {self.data.activations[o].shape[-1] if self.data.activations[o].shape else 1 for o in self.data.outputs}
        if found and len(found) not in sizes:
            raise OptionError(f"{len(found)} names were given for an output of {sorted(sizes)} entries: give one each.")
        self._classes = found

    @property
    def device(self) -> torch.device:
        """Where the recorded output lies, and with it what evaluations give."""
        return self.data.activations[self.data.outputs[0]].handle.device

    @property
    def edges(self) -> int:
        """The number of edges that carry variables, an example: padding and unit edges are none."""
        return sum(block.wiring.edges for block in self.data.blocks if block.has_coefficients)

    def floating(self, dtype: torch.dtype | None) -> torch.dtype:
        """Return the floating dtype of an evaluation: `dtype`, or the model's, at least float32. Raises
        `OptionError`."""
        if dtype is None:
            held = self.data.activations[self.data.outputs[0]].handle.dtype
            return held if held in (torch.float32, torch.float64) else torch.float32
        if dtype not in (torch.float32, torch.float64):
            raise OptionError(f"dtype={dtype}: relevance is evaluated in torch.float32 or torch.float64.")
        return dtype

    def workspace(
        self, floating: torch.dtype, rule: Rule | None = None, conventions: Conventions = DEFAULT, graph: bool = False
    ) -> Workspace:
        """Return what one thread's evaluations in one floating dtype share that see the same blocks.

        rule, conventions   what chooses the forms of the blocks. None: rule zero.
        graph   whether tensors carry autograd's graph, if the session has it and gradient mode is on.
        """
        wanted = graph and torch.is_grad_enabled() and self.with_graph is not None
        base = self.with_graph if wanted and self.with_graph is not None else self.data
        return self._workspaces.of(base, floating, rule or lrp.Zero(), conventions)

    def check_fresh(self) -> None:
        """Raise `StaleCircuitError` if a tensor that the circuit refers to was changed since tracing."""
        self.freshness.check()

    def check_weights(self) -> None:
        """Raise `StaleCircuitError` if one of the model's tensors was changed; what the run made is not looked at."""
        self.freshness.check_weights()

    def check_recorded(self) -> None:
        """Raise `StaleCircuitError` if a tensor that the run made was changed since; weights are not looked at."""
        self.freshness.check_recorded()
