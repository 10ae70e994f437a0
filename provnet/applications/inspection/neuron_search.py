"""Neurons by what a reader writes: a name, a layer, a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from provnet.applications.command_questions import parse_neurons
from provnet.applications.inspection.explorer import Explorer
from provnet.applications.inspection.model import PageQuestion, Value
from provnet.applications.inspection.network import identity
from provnet.errors import ProvnetError
from provnet.face.neuron_names import neurons_at

FOUND = 20
"""Neurons that a search gives."""


@dataclass(frozen=True)
class Hit:
    """A neuron that a search found."""

    id: str
    name: str
    value: Value


def search(explorer: Explorer, question: PageQuestion, text: str) -> tuple[Hit, ...]:
    """Return the neurons that a text names: "fc1[3]" itself, a layer's strongest, a class."""
    wanted = text.strip()
    if not wanted:
        return ()
    hits: dict[str, None] = dict.fromkeys(_named(explorer, wanted))
    for node, spoken in explorer.class_names().items():
        if wanted.casefold() in spoken.casefold():
            hits[node] = None
    for layer in explorer.layers:
        if any(wanted.casefold() in name.casefold() for name in (layer.name, *layer.aliases)):
            hits.update(dict.fromkeys(strongest(explorer, question, layer.id, FOUND)))
    ids = list(hits)[:FOUND]
    nodes = explorer.nodes(question, (question.semiring,), ids)
    return tuple(Hit(node.id, node.name, node.values[question.semiring]) for node in nodes)


def _named(explorer: Explorer, text: str) -> list[str]:
    """Return the id of the neuron that a text names, none if it names no neuron."""
    try:
        (place, *_) = neurons_at(explorer.circuit.session.data, parse_neurons([text]))
    except ProvnetError:
        return []
    activation, index = place
    if index is None:
        return []
    shape = explorer.circuit.session.data.activations[activation].shape
    number = int(np.ravel_multi_index(index, shape)) if index else 0
    ends = explorer.network.ends(activation, np.array([number]))
    return [identity(int(ends.layer[0]), int(ends.number[0]))] if ends.number[0] >= 0 else []


def strongest(explorer: Explorer, question: PageQuestion, layer: int, count: int) -> list[str]:
    """Return the ids of a layer's strongest neurons."""
    (values,) = explorer.answers.values(question, (question.order,), layer).values()
    order = np.argsort(-explorer.answers.strength(values, question.order), kind="stable")[:count]
    return [identity(layer, number) for number in order.tolist()]
