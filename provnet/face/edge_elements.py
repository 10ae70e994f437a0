"""An answer for every variable: a mapping that is backed by one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from provnet.circuit.gates import Variable
from provnet.circuit.variables import find_variable, names_of


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

    def __len__(self) -> int:
        return len(self.variables)
