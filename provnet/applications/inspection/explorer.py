"""Walk a circuit neuron by neuron: what a page asks for, answered as plain data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from provnet.applications.inspection.algebras import SIDE_BY_SIDE
from provnet.applications.inspection.answers import Answers, as_numbers
from provnet.applications.inspection.degrees import Degrees
from provnet.applications.inspection.model import Inspection, Layer, Node, PageQuestion, Picture
from provnet.applications.inspection.network import identity
from provnet.applications.inspection.source_pictures import picture_of
from provnet.applications.inspection.wire_columns import EdgeColumns, WireColumns, part_of, positions
from provnet.errors import LimitError, OptionError, TargetError
from provnet.face import Circuit
from provnet.face.neuron_names import output_named
from provnet.face.targets import target_neurons
from provnet.rules.lrp.base import Rule
from provnet.semirings import names as semiring_names
from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.rows import rows

MAX_WIRES = 400_000
"""Wires that one view may have."""

STEPS = 500
"""Thresholds that a slider is given."""

SHOWN = 8
"""Inputs of the target that a page opens with."""

Asked = Sequence[tuple[str, int, int]]
"""(neuron's id, how many of its inputs, how many of its outputs) to be shown."""


class Explorer:
    """One circuit, looked at neuron by neuron.

    semirings, rules   more choices for the page, by name.   classes   names of the output's neurons.
    output             which output is explained, where there are several.
    Example: `Explorer(circuit).view(Explorer(circuit).question())`
    """

    def __init__(
        self,
        circuit: Circuit,
        *,
        semirings: Mapping[str, Semiring] | None = None,
        rules: Mapping[str, Rule] | None = None,
        classes: Sequence[str] | Mapping[int, str] = (),
        output: str | int | None = None,
    ) -> None:
        self.circuit = circuit
        self.answers = Answers(circuit, semirings, rules, output)
        self.network = self.answers.network
        self.output = output_named(circuit.data, output)
        named = classes.items() if isinstance(classes, Mapping) else enumerate(classes)
        self.classes = {int(number): str(name) for number, name in named}
        self.degrees = Degrees(self.answers)

    # -- what there is ---------------------------------------------------------------------------------------

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers: sources, then the outputs of blocks with coefficients, in the order of execution."""
        return tuple(map(self._layer, self.network.layers))

    def _layer(self, activation: int) -> Layer:
        data, number = self.network.data, self.network.maker.get(activation)
        held = data.activations[activation]
        op = "source" if number is None else data.blocks[number].op
        depth, source = self.network.depth[activation], activation in data.sources
        return Layer(activation, held.name, held.names[1:], op, held.shape, held.size, depth, source)

    @cached_property
    def fingerprint(self) -> str:
        """What tells this execution from another: a hash of its layers and of its outputs."""
        data, digest = self.circuit.data, hashlib.blake2b(digest_size=8)
        digest.update(repr((data.model, data.batch, self.layers)).encode())
        for output in data.outputs:
            digest.update(as_numbers(rows(data.activations[output], data.batch, torch.float64)).tobytes())
        return digest.hexdigest()

    def question(self, **given: Any) -> PageQuestion:
        """Return a question, checked: real, rule zero, the predicted class of example 0, unless `given` else."""
        target = given.pop("target", None)
        target = self._first_target() if target is None else _spelled(target)
        asked = PageQuestion(**{"semiring": "real", "rule": "zero", "example": 0, **given, "target": target})
        return self.answers.check(asked)

    def _first_target(self) -> str:
        try:
            target_neurons("predicted", self.circuit.data.activations[self.output], self.circuit.batch)
        except TargetError:
            return ",".join("0" for _ in self.circuit.data.activations[self.output].shape)
        return "predicted"

    def target_number(self, question: PageQuestion) -> int:
        """Return the row-major number of the explained neuron in the output. Raises `TargetError`."""
        return self.answers.target_number(question)

    def targets(self, question: PageQuestion) -> tuple[str, ...]:
        """Return the id of the neuron that the recursion starts from, below the unit edges on top of it."""
        ends = self.network.ends(self.output, np.array([self.target_number(question)]))
        places = zip(ends.layer.tolist(), ends.number.tolist(), strict=True)
        return tuple(identity(layer, number) for layer, number in places if number >= 0)

    def class_names(self) -> dict[str, str]:
        """Return the classes' names by the id of their neuron."""
        numbers = np.array(sorted(self.classes), np.int64)
        size = self.circuit.data.activations[self.output].size
        if len(numbers) and not (numbers[0] >= 0 and numbers[-1] < size):
            raise OptionError(f"classes names {numbers[-1] + 1} of {size} outputs: name each output once.")
        ends = self.network.ends(self.output, numbers)
        ids = map(identity, ends.layer.tolist(), ends.number.tolist())
        return dict(zip(ids, (self.classes[n] for n in numbers.tolist()), strict=True))

    def pictures(self, question: PageQuestion, names: Sequence[str]) -> tuple[Picture, ...]:
        """Return every source of the example as a picture, with its relevance in some semirings."""
        data = self.circuit.data
        return tuple(
            picture_of(
                source,
                data.activations[source].shape,
                self.activations(source, question.example),
                self.answers.values(question, names, source),
            )
            for source in data.sources
        )

    def activations(self, layer: int, example: int) -> Any:
        """Return the activations of a layer in one example, [neurons]."""
        return as_numbers(rows(self.circuit.data.activations[layer], self.circuit.batch, torch.float64)[example])

    # -- a neuron by its id ------------------------------------------------------------------------------------

    def locate(self, node: str) -> tuple[int, int]:
        """Return (layer, number) of an id. Raises `OptionError` for one that names no neuron."""
        layer, _, number = node.partition(".")
        known = layer.isdecimal() and number.isdecimal() and int(layer) in self.network.layers
        if known and int(number) < self.circuit.data.activations[int(layer)].size:
            return int(layer), int(number)
        raise OptionError(f"{node[:60]!r} is no neuron of this circuit. Ids read layer.number, such as 0.3.")

    def name(self, node: str) -> str:
        """Return a neuron's name as formulas print it."""
        return str(self.network.name(*self.locate(node)))

    # -- views -------------------------------------------------------------------------------------------------

    def view(
        self,
        question: PageQuestion,
        shown: Asked | None = None,
        nodes: Iterable[str] = (),
        names: Sequence[str] | None = None,
    ) -> Inspection:
        """Return the targets, `nodes`, and the strongest wires in and out of neurons, with the neurons at their ends.

        shown   None: the target's `SHOWN` strongest inputs.
        names   semirings of the values; None: the question's, its order's, and Bottleneck, which θ reads.
        Raises: `LimitError` above `MAX_WIRES` wires, with their number.
        """
        question = self.answers.check(question)
        names = tuple(dict.fromkeys(names or (question.semiring, question.order, "bottleneck")))
        targets = self.targets(question)
        asked = [(node, SHOWN, 0) for node in targets] if shown is None else list(shown)
        found = self._inputs(question, names, asked)
        for node, _, most in asked:
            if most > 0:
                found += self._outputs_of(question, names, node, most)
        return self.inspection(question, names, found, [*targets, *nodes, *(node for node, *_ in asked)])

    def _inputs(self, question: PageQuestion, names: Sequence[str], asked: Asked) -> list[EdgeColumns]:
        by_layer: dict[int, dict[int, int]] = {}
        for node, most, _ in asked:
            layer, number = self.locate(node)
            if most > 0 and layer in self.network.maker:
                mine = by_layer.setdefault(layer, {})
                mine[number] = max(most, mine.get(number, 0))
        wanted = sum(
            min(most, self.network.fan_in(layer)) for layer, mine in by_layer.items() for most in mine.values()
        )
        if wanted > MAX_WIRES:
            raise LimitError(
                f"{wanted:,} wires were asked for, more than {MAX_WIRES:,} that a page can show. Collapse some "
                "neurons, or show fewer inputs of each."
            )
        return [
            self.answers.into(
                question,
                names,
                self.network.maker[layer],
                np.array(list(mine)),
                np.array(list(mine.values())),
            )
            for layer, mine in by_layer.items()
        ]

    def _outputs_of(self, question: PageQuestion, names: Sequence[str], node: str, most: int) -> list[EdgeColumns]:
        """Return the `most` strongest edges out of a neuron."""
        parts = self.answers.out_of(question, (*names, question.order), *self.locate(node))
        if not parts:
            return []
        strength = [self.answers.strength(p.message[question.order], question.order) for p in parts]
        best = np.argsort(-np.concatenate(strength), kind="stable")[:most]
        found, start = [], 0
        for part in parts:
            mine = np.sort(best[(best >= start) & (best < start + len(part))]) - start
            found.append(part_of(part, mine, names))
            start += len(part)
        return [part for part in found if len(part)]

    def inspection(
        self,
        question: PageQuestion,
        names: Sequence[str],
        edges: Sequence[EdgeColumns],
        ids: Iterable[str],
        complete: bool = False,
    ) -> Inspection:
        """Return edges, and neurons by id, as plain data."""
        order: dict[str, int] = {}
        for node in ids:
            self.locate(node)
            order.setdefault(node, len(order))
        columns = WireColumns(names)
        for part in edges:
            self._add(columns, part, order)
        data = self.circuit.data
        return Inspection(
            model=data.model,
            kind="neurons",
            fingerprint=self.fingerprint,
            question=question,
            algebras=tuple(map(self.answers.algebra, names)),
            layers=self.layers,
            nodes=self.nodes(question, names, list(order)),
            wires=columns.wires(),
            targets=self.targets(question),
            classes=self.class_names(),
            complete=complete,
        )

    def _add(self, columns: WireColumns, edges: EdgeColumns, order: dict[str, int]) -> None:
        """Append edges that are not there yet, and the neurons at their ends."""
        edges = columns.new(edges, self.network.data.blocks[edges.block].wiring.fan)
        made = self.network.data.blocks[edges.block].output
        columns.source.append(positions(order, edges.end_layer, edges.end_number))
        columns.target.append(positions(order, np.full(len(edges), made), edges.output))
        segment = self.network.segment(edges.block, edges.output, edges.slot, edges.source)
        columns.variable += segment.names()

    def nodes(self, question: PageQuestion, names: Sequence[str], ids: Sequence[str]) -> tuple[Node, ...]:
        """Return neurons with their values in some semirings."""
        places = [self.locate(node) for node in ids]
        layers = {layer for layer, _ in places}
        values = {layer: self.answers.values(question, names, layer) for layer in layers}
        activations = {layer: self.activations(layer, question.example) for layer in layers}
        inputs = self.degrees.inputs(question, places)
        found = []
        for node, (layer, number), fan in zip(ids, places, inputs, strict=True):
            own = {name: values[layer][name][number].item() for name in names}
            outputs = int(self.degrees.outputs(question, layer)[number])
            spoken, a = str(self.network.name(layer, number)), float(activations[layer][number])
            found.append(Node(node, spoken, layer, number, "neuron", own, a, fan, outputs))
        return tuple(found)

    # -- every threshold at once -------------------------------------------------------------------------------

    def steps(self, question: PageQuestion) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Return (θ, how many inputs are relevant at it), ascending, from one evaluation in Bottleneck.

        Exact at every θ listed, for x → [x ≥ θ] is a homomorphism to Boolean; of more than `STEPS`
        thresholds an even choice is listed.
        """
        sources = self.circuit.data.sources
        parts = [self.answers.values(question, ("bottleneck",), s)["bottleneck"] for s in sources]
        values = np.sort(np.concatenate(parts).astype(np.float64))
        thetas = np.unique(values[(values > 0) & np.isfinite(values)])
        if len(thetas) > STEPS:
            thetas = thetas[np.unique(np.linspace(0, len(thetas) - 1, STEPS).round().astype(np.int64))]
        alive = len(values) - np.searchsorted(values, thetas)
        return tuple(thetas.tolist()), tuple(alive.tolist())

    def whole(self, question: PageQuestion, shown: Asked | None = None, nodes: Iterable[str] = ()) -> Inspection:
        """Return a view with pictures and thresholds: what a page opens with."""
        steps, alive = self.steps(question)
        pictures = self.pictures(question, (question.semiring,))
        return replace(self.view(question, shown, nodes), pictures=pictures, steps=steps, alive=alive)

    @property
    def side_by_side(self) -> tuple[str, ...]:
        """The semirings in which a selected neuron is shown at once: the usual six, and those of the caller's."""
        own = [name for name in self.answers.semirings if name not in semiring_names()]
        return (*SIDE_BY_SIDE, *own)


def _spelled(target: Any) -> str:
    """Return a target as a question spells it. Raises `OptionError` for one that a page cannot ask."""
    if isinstance(target, str):
        return target
    if isinstance(target, tuple):
        return ",".join(str(int(part)) for part in target)
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        raise OptionError(f"target={target!r}: a page explains 'predicted', a class, or a full index.")
    return str(int(target))
