"""Evaluations that a page has asked for: kept, so that a second look costs nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from provnet import rules
from provnet.applications.command_questions import parse_target
from provnet.applications.inspection.algebras import algebra_of, costs, semiring_called, thresholded
from provnet.applications.inspection.model import Algebra, PageQuestion
from provnet.applications.inspection.network import Ends, Ints, Network
from provnet.applications.inspection.wire_columns import EdgeColumns, Floats
from provnet.circuit.cone import find_cone
from provnet.errors import OptionError, UnknownNameError
from provnet.face import Circuit, Relevance
from provnet.face.neuron_names import output_named
from provnet.face.targets import target_neurons
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings import names as semiring_names
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.base import Semiring

KEPT = 24
"""Evaluations that are kept, each with the relevance of every tensor."""

DEFINITION = 10_000_000
"""EdgeColumns of all examples up to which the reference route answers."""


class Answers:
    """Relevance, elements and messages of one circuit for the questions of a page."""

    def __init__(
        self,
        circuit: Circuit,
        semirings: Mapping[str, Semiring] | None = None,
        rule_names: Mapping[str, Rule] | None = None,
        output: str | int | None = None,
    ) -> None:
        """`semirings`, `rule_names`: more of them, by the names that the page shows. `output`: which output."""
        self.circuit, self.output = circuit, output
        self.network = Network(circuit.workspace(circuit.floating(None)).circuit)
        self.semirings = {name: semiring_called(name) for name in semiring_names()} | dict(semirings or {})
        self.semirings = {name: one for name, one in self.semirings.items() if not one.element_shape}
        self.rules: dict[str, Any] = {name: name for name in _rule_names()} | dict(rule_names or {})
        if circuit.rule is not None:
            self.rules["saved"] = circuit.rule
        # The definition itself, where it is quick: nothing is compiled, and messages agree to the bit.
        edges = circuit.edges * circuit.batch
        self.route = "reference" if edges <= DEFINITION else "auto"
        self._held: OrderedDict[tuple[Any, ...], Relevance] = OrderedDict()
        self._reached: dict[tuple[str, int], Mapping[int, NDArray[np.bool_]]] = {}

    # -- the choices -----------------------------------------------------------------------------------------

    def algebra(self, name: str) -> Algebra:
        """Return what a page needs to know of a semiring."""
        return algebra_of(name, self.semirings[name])

    def check(self, question: PageQuestion) -> PageQuestion:
        """Return the question. Raises `UnknownNameError`, `OptionError` for what it cannot ask."""
        for what, name, known in (
            ("semiring", question.semiring, self.semirings),
            ("semiring", question.order, self.semirings),
            ("propagation rule", question.rule, self.rules),
        ):
            if name not in known:
                raise UnknownNameError(f"no {what} is called {name!r} here. Known: {', '.join(known)}.")
        if not 0 <= question.example < self.circuit.batch:
            raise OptionError(
                f"example {question.example}: the circuit has {self.circuit.batch}, from 0 to {self.circuit.batch - 1}."
            )
        parse_target(question.target)
        self._check_edges(question.rule)
        return question

    def _check_edges(self, name: str) -> None:
        """Raise `OptionError` for a rule that has other edges than the page shows."""
        rule = lrp.get(self.rules[name])
        theirs = self.circuit.workspace(self.circuit.floating(None), rule).circuit.blocks
        for ours, other in zip(self.network.data.blocks, theirs, strict=True):
            same = (ours.kind, ours.inputs) == (other.kind, other.inputs) and ours.wiring == other.wiring
            if ours is not other and not same:
                raise OptionError(
                    f"the rule {name!r} has other edges at {ours.path!r} ({ours.op}) than the page shows, which are "
                    "those of the default conventions. Take another rule, or evaluate it without the page."
                )

    # -- evaluations -----------------------------------------------------------------------------------------

    def relevance(self, question: PageQuestion, names: Iterable[str]) -> dict[str, Relevance]:
        """Return the relevance in each semiring; those that are missing are evaluated in one walk."""
        wanted = list(dict.fromkeys(names))
        keys = {name: self._key(question, name) for name in wanted}
        missing = [name for name in wanted if keys[name] not in self._held]
        if missing:
            thetas = [self.theta(question, name) for name in missing]
            found = self.circuit.evaluate(
                [self.semirings[name] for name in missing],
                target=parse_target(question.target),
                rule=[self.rules[question.rule]] * len(missing),
                annotation=thetas,
                at="*",
                output=self.output,
                route=self.route,
            )
            self._held.update(zip((keys[name] for name in missing), found, strict=True))
        found = {name: self._held[keys[name]] for name in wanted}
        for name in wanted:
            self._held.move_to_end(keys[name])
        while len(self._held) > max(KEPT, len(wanted)):
            self._held.popitem(last=False)
        return found

    def theta(self, question: PageQuestion, name: str) -> Any:
        """Return the annotation function of a semiring: with the question's θ where it takes one, else its own."""
        if question.theta is None or not thresholded(self.semirings[name]):
            return None
        return Threshold(question.theta)

    def _key(self, question: PageQuestion, name: str) -> tuple[Any, ...]:
        theta = question.theta if thresholded(self.semirings[name]) else None
        return name, question.rule, question.target, theta

    def target_number(self, question: PageQuestion) -> int:
        """Return the row-major number of the explained neuron in the output. Raises `TargetError`."""
        held = self.circuit.data.activations[output_named(self.circuit.data, self.output)]
        return int(target_neurons(parse_target(question.target), held, self.circuit.batch)[question.example])

    def reached(self, question: PageQuestion, activation: int) -> NDArray[np.bool_]:
        """Return which neurons of a tensor have a path to the target, whatever its coefficients, [neurons]."""
        key = (question.target, question.example)
        if key not in self._reached:
            data = self.network.data
            roots = [(layer, np.arange(data.activations[layer].size)) for layer in self.network.layers]
            targets = np.array([self.target_number(question)])
            output = output_named(self.circuit.data, self.output)
            chosen = partial(self._wired, question)
            self._reached[key] = find_cone(data, output, targets, roots, chosen, units=False, biases=False).inside
        live = self._reached[key].get(activation)
        return np.zeros(self.network.data.activations[activation].size, bool) if live is None else live

    def _wired(self, question: PageQuestion, block: int, outputs: Ints) -> NDArray[np.bool_] | None:
        """Return which slots hold an edge, None: all that the wiring knows."""
        if self.network.plain(block):
            return None
        return self.present(question, block, outputs)[:, : self.network.data.blocks[block].wiring.fan]

    def values(self, question: PageQuestion, names: Iterable[str], layer: int) -> dict[str, Floats]:
        """Return a layer's relevance in some semirings, [neurons]."""
        found = self.relevance(question, names)
        return {name: as_numbers(one.rows(layer)[question.example]) for name, one in found.items()}

    # -- edges -----------------------------------------------------------------------------------------------

    def into(
        self, question: PageQuestion, names: Sequence[str], block: int, outputs: Ints, counts: Ints | None = None
    ) -> EdgeColumns:
        """Return the edges into some neurons of a block: strongest first, `counts` of each; None: all of them."""
        fan = self.network.data.blocks[block].wiring.fan
        source, wired = self.network.slots(block, outputs)
        here = np.array(wired)
        elements, messages, coefficient = {}, {}, np.zeros(source.shape)
        for name, one in self.relevance(question, (*names, question.order)).items():
            slots = one.slots(block, _tensor(outputs), question.example)
            here &= slots.present[:, :fan].cpu().numpy()
            coefficient = as_numbers(slots.coefficient[:, :fan])
            elements[name] = as_numbers(slots.element[:, :fan])
            messages[name] = as_numbers(slots.message[:, :fan])
        ends = self.network.landing(block, source.reshape(-1))
        self._along(question, ends, messages)
        here &= (ends.number >= 0).reshape(source.shape)
        rank = np.where(here, self.strength(messages[question.order], question.order), -np.inf)
        row, slot = _strongest(rank, here, counts)
        flat = row * fan + slot
        return EdgeColumns(
            block,
            outputs[row],
            slot,
            source[row, slot],
            ends.layer[flat],
            ends.number[flat],
            coefficient[row, slot],
            {name: elements[name][row, slot] for name in names},
            {name: messages[name][row, slot] for name in names},
        )

    def chosen(
        self, question: PageQuestion, names: Sequence[str], block: int, outputs: Ints, slots: Ints
    ) -> EdgeColumns:
        """Return the edges at some (output, slot) of a block, in their order."""
        rows, place = np.unique(outputs, return_inverse=True)
        source, _ = self.network.slots(block, rows)
        found = source[place, slots]
        ends = self.network.landing(block, found)
        elements, messages, coefficient = {}, {}, np.zeros(len(found))
        for name, one in self.relevance(question, names).items():
            held = one.slots(block, _tensor(rows), question.example)
            coefficient = as_numbers(held.coefficient)[place, slots]
            elements[name] = as_numbers(held.element)[place, slots]
            messages[name] = as_numbers(held.message)[place, slots]
        self._along(question, ends, messages)
        return EdgeColumns(block, outputs, slots, found, ends.layer, ends.number, coefficient, elements, messages)

    def out_of(self, question: PageQuestion, names: Sequence[str], layer: int, number: int) -> list[EdgeColumns]:
        """Return the edges that leave a neuron towards the target, block by block."""
        found = []
        for block, outputs, slots in self.network.consumers(layer, number):
            here = self.present(question, block, outputs)[np.arange(len(outputs)), slots]
            here &= self.reached(question, self.network.data.blocks[block].output)[outputs]
            if here.any():
                found.append(self.chosen(question, names, block, outputs[here], slots[here]))
        return found

    def present(self, question: PageQuestion, block: int, outputs: Ints) -> NDArray[np.bool_]:
        """Return which slots of some neurons hold an edge in the example, [outputs, slots]."""
        (one,) = self.relevance(question, (question.order,)).values()
        return one.slots(block, _tensor(outputs), question.example).present.cpu().numpy()

    def _along(self, question: PageQuestion, ends: Ends, messages: dict[str, Floats]) -> None:
        """Multiply messages by the elements of the unit edges that they pass, where a rule gives them any."""
        for rows, block, outputs in ends.trail:
            for name, one in self.relevance(question, messages).items():
                units = one.unit_elements(block, question.example)
                if units is None:
                    continue
                flat = torch.from_numpy(np.ascontiguousarray(messages[name]).reshape(-1))
                passed = one.semiring.times(units[_tensor(outputs)].to(flat.dtype), flat[rows])
                flat[_tensor(rows)] = passed
                messages[name] = flat.numpy().reshape(messages[name].shape)

    def strength(self, values: Floats, name: str) -> Floats:
        """Return how strong elements are, the greatest first: |x| in rings, cheap before dear."""
        one, x = self.semirings[name], np.asarray(values, np.float64)
        if one.ring:
            return np.abs(x)
        return -x if costs(one) else x


def _rule_names() -> list[str]:
    """Return the rules' names, one for each rule: of two spellings the one with a hyphen."""
    known = rules.names()
    return [n for n in known if "_" not in n and n not in ("lrp0", "zplus", "zbox", "wsquare")]


def _tensor(numbers: Ints) -> torch.Tensor:
    return torch.from_numpy(np.array(numbers))  # a copy: torch warns of arrays that cannot be written


def as_numbers(x: torch.Tensor) -> Floats:
    """Return elements as a numpy array of their own dtype."""
    return x.detach().cpu().numpy()


def _strongest(rank: Floats, here: NDArray[np.bool_], counts: Ints | None) -> tuple[Ints, Ints]:
    """Return (row, slot) of the present entries of each row, strongest first, at most `counts` of them."""
    order = np.argsort(-rank, axis=1, kind="stable")
    most = here.sum(1) if counts is None else np.minimum(here.sum(1), counts)
    # Absent entries have rank -inf; so may present ones, which a second stable sort brings before them.
    behind = np.take_along_axis(~here, order, 1)
    order = np.take_along_axis(order, np.argsort(behind, axis=1, kind="stable"), 1)
    row = np.repeat(np.arange(len(rank)), most)
    place = np.arange(len(row)) - np.repeat(np.cumsum(most) - most, most)
    return row, order[row, place]
