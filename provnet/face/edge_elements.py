"""An answer for every variable: a mapping that is backed by one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from provnet.circuit.gates import Variable
from provnet.circuit.variables import find_variable, names_of
from provnet.notebook import card
from provnet.symbolic.naming import number_text

SHOWN = 6
"""Variables that are printed."""


class EdgeElements(Mapping[str, Any]):
    """Variable's name -> element, in the order of `variables`; takes variables too.

    `tensor` is [variables, *element_shape], with a leading batch axis where the valuation had one; its columns are the
    elements.
    """

    def __init__(self, variables: Sequence[Variable], tensor: Tensor, axis: int = 0) -> None:
        self.variables, self.tensor, self._axis = variables, tensor, axis

    def __getitem__(self, variable: Variable | str) -> Any:
        return self.tensor.select(self._axis, find_variable(self.variables, variable))

    def __iter__(self) -> Iterator[str]:
        return iter(names_of(self.variables))

    def strongest(self, most: int = 20) -> list[tuple[str, Any]]:
        """Return up to `most` variables with their elements, the largest numbers first; others in their order."""
        names = names_of(self.variables)
        if self.tensor.dim() == 1 and self.tensor.numel():
            found = self.tensor.to(torch.float64)
            sizes = torch.where(found.isinf(), torch.zeros_like(found), found.abs())
            order = sizes.argsort(descending=True, stable=True)[:most].tolist()
            return [(names[i], self.tensor[i].item()) for i in order]
        return [(name, self[name].tolist()) for name in names[:most]]

    def __repr__(self) -> str:
        shown = [f"{name}: {number_text(value)}" for name, value in self.strongest(SHOWN)]
        more = len(self) - len(shown)
        return "{" + ", ".join(shown) + (f", … {more:,} more" if more else "") + "}"

    def _repr_html_(self) -> str:
        rows = [[name, number_text(value, 5)] for name, value in self.strongest(60)]
        return card(f"{len(self):,} variables, the largest first", [], ["variable", "element"], rows)

    def __len__(self) -> int:
        return len(self.variables)
