"""What a circuit is: its execution in words and numbers, a table and a drawing. No question is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from provnet.face.heads import attention_in
from provnet.face.plan import Summary, summary_of
from provnet.face.session import Session
from provnet.notebook import card
from provnet.on_use import on_use
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.torch_backend.settings import plain_torch
from provnet.writers.blocks_drawing import blocks_dot

if TYPE_CHECKING:
    import graphviz
else:
    graphviz = on_use("graphviz")


class DescribedCircuit:
    """A circuit as far as it can be described; `Circuit` adds the questions."""

    def __init__(self, session: Session) -> None:
        self.session = session
        """What evaluations share, for those who build on it: the blocks as plain data, workspaces, the recorded ops."""

    @property
    def batch(self) -> int:
        """The number of examples."""
        return self.session.data.batch

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources."""
        return tuple(self.session.data.activations[source].name for source in self.session.data.sources)

    @property
    @plain_torch()
    def outputs(self) -> tuple[Tensor, ...]:
        """The recorded outputs of the model, as copies: the circuit reads its own again at every evaluation."""
        self.session.check_recorded()
        return tuple(self.session.data.activations[output].handle.clone() for output in self.session.data.outputs)

    def activation(self, name: str) -> Tensor:
        """Return the recorded values of a tensor, [batch, …], as a copy.

        name   a path as in `keys()`, such as "conv1" or "fc1:in".
        Raises: `UnknownNameError`; `StaleCircuitError` if the tensor was written to since; as `outputs` does.
        Example: `circuit.activation("fc1").shape[0] == circuit.batch`
        """
        self.session.check_recorded()
        return self.session.data.activations[self.session.data.find(name)].handle.clone()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the output's entries, for targets and results; set them: `circuit.classes = ["cat", "dog"]`.

        Raises: `OptionError` where their number is that of no output's entries.
        """
        return self.session.classes

    @classes.setter
    def classes(self, names: Sequence[str]) -> None:
        self.session.classes = names

    @property
    def edges(self) -> int:
        """The number of edges that carry variables, an example: padding and unit edges are none."""
        return self.session.edges

    @property
    def rule(self) -> Rule | None:
        """The propagation rule that was saved with the circuit, for `evaluate(rule=circuit.rule)`; None: none was."""
        return None if self.session.data.rule is None else lrp.from_json(self.session.data.rule)

    def keys(self) -> list[str]:
        """Return the names of all recorded tensors."""
        return sorted(self.session.data.names)

    def heads(self, path: str) -> str:
        """Return the name of what a module's attention gives, heads on its first axis, for `only=` and `at=`.

        path   of the module that runs the attention.
        Raises: `UnknownNameError`, with the attentions that there are, if the module runs none or several.
        Example: `circuit.evaluate("real", only={circuit.heads("blocks.0.attention"): [2]})`, through head 2 alone
        """
        return self.session.data.activations[attention_in(self.session.data, path)].name

    def summary(self) -> Summary:
        """Return a table of the blocks: path, op, shapes, edges, the rule that each takes by default."""
        return summary_of(self.session.data)

    def draw(self, limit: int = 400) -> graphviz.Source:
        """Return a drawing of the blocks, which notebooks show and `render("circuit", format="pdf")` writes.

        limit   the most blocks. For every gate see `gates(...).draw()`.
        Raises: `LimitError` above `limit` blocks. Example: `circuit.draw().render("circuit", format="svg")`
        """
        return graphviz.Source(blocks_dot(self.session.data, limit))

    def _repr_html_(self) -> str:
        summary = self.summary()
        rows = [[getattr(row, name) for name in summary.columns] for row in summary.rows]
        return card(repr(self), columns=summary.columns, rows=rows)

    def __repr__(self) -> str:
        data = self.session.data
        return (
            f"Circuit({data.model}, batch {data.batch}, {len(data.blocks)} blocks, {self.edges:,} edges an example, "
            f"sources {', '.join(self.sources)})"
        )
