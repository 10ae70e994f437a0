"""Where explicit gates come from: a session, one example, and the conventions that chose the edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from provnet.circuit.conventions import Conventions
from provnet.face.session import Session
from provnet.rules.lrp.base import Rule
from provnet.torch_backend.walk.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Origin:
    """Where gates come from, so that a rule can value their variables.

    batch   the number of the example.   units   whether unit edges are variables too.
    """

    session: Session
    batch: int
    conventions: Conventions
    units: bool = False

    def workspace(self, floating: torch.dtype, rule: Rule) -> Workspace:
        """Return the blocks that the gates stand for, ready for a rule's coefficients."""
        return self.session.workspace(floating, rule, self.conventions)
