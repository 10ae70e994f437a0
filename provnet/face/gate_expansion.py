"""From blocks to explicit gates: which neurons and edges of one example a `GateCircuit` has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.cone import find_cone
from provnet.circuit.conventions import Conventions
from provnet.circuit.examples import example_of
from provnet.circuit.expand import expand
from provnet.circuit.gates import VARIABLE
from provnet.errors import TargetError
from provnet.face.gate_circuit import GateCircuit
from provnet.face.gate_origin import Origin
from provnet.face.gate_pruning import threshold_of
from provnet.face.neuron_names import At, neurons_at, output_named
from provnet.face.pruned import Pruned
from provnet.face.session import Session
from provnet.face.switched_off import dead_neurons, reached_neurons, without_sources
from provnet.face.targets import Target, Targets, target_neurons
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings.annotations.base import Annotation


def expand_gates(
    session: Session,
    *,
    conventions: Conventions,
    target: Target,
    batch: int,
    at: At,
    grain: str,
    units: bool,
    biases: bool,
    limit: int,
    output: str | int | None,
    dead: bool,
    annotation: str | Annotation | None,
    rule: Rule,
    within: Callable[[int], NDArray[np.bool_]] | None = None,
) -> GateCircuit:
    """Return the explicit circuit of one example and one target; see `Circuit.gates`.

    `conventions` say which edges there are; `annotation` is a threshold on the coefficients of `rule`, which the edges
    pass; None: all edges are there. `within`: activation -> [size], the neurons that edges may leave; None: all.
    """
    data = session.data
    if not isinstance(batch, int) or not 0 <= batch < data.batch:
        raise TargetError(f"batch={batch!r}: the circuit has {data.batch} examples, 0 to {data.batch - 1}.")
    explained = output_named(data, output)
    neurons = (
        None
        if isinstance(target, Targets)
        else target_neurons(target, data.activations[explained], data.batch, session.classes)
    )
    if neurons is None or isinstance(neurons, Tensor):
        raise TargetError(f"gates explain one neuron, or several that start at one; got target={target!r}.")
    roots = [
        (
            activation,
            None
            if index is None
            else [int(np.ravel_multi_index(index, data.activations[activation].shape)) if index else 0],
        )
        for activation, index in neurons_at(data, at)
    ]
    origin = Origin(session, batch, conventions, units)
    seen = origin.workspace(session.floating(None), lrp.get("zero")).circuit
    every = chosen = _chooser(origin)
    off = {} if dead else dead_neurons(seen, batch)
    if off:
        chosen = without_sources(seen, chosen, off.get)
    if within is not None:
        chosen = without_sources(seen, chosen, lambda activation: ~within(activation))
    theta = None if annotation is None else threshold_of(annotation)
    if theta is not None:
        reached = reached_neurons(
            session, batch, conventions=conventions, target=target, output=output, rule=rule, annotation=theta
        )
        chosen = without_sources(seen, chosen, lambda activation: ~reached(activation))
    alone = example_of(seen, batch)
    store = expand(
        alone,
        neurons[batch],
        explained,
        chosen=chosen,
        roots=roots,
        grain=grain,
        units=units,
        biases=biases,
        limit=limit,
    )
    if dead and theta is None:
        return GateCircuit(store, origin)
    numbers = [np.arange(seen.activations[i].size) if n is None else np.array(n, np.int64) for i, n in roots]
    asked_for = [(i, some) for (i, _), some in zip(roots, numbers, strict=True)]
    target_numbers = np.array([neurons[batch]])
    whole = find_cone(alone, explained, target_numbers, asked_for, every, units, biases)
    how = [] if dead else ["without neurons that this execution switched off"]
    how += [] if theta is None else [f"edges with d ≥ θ, {theta!r}"]
    if theta is not None:
        store = GateCircuit(store, origin).prune(annotation=theta, rule=rule).store
    left = Pruned(" and ".join(how), int((store.kind == VARIABLE).sum()), sum(whole.edges.values()))
    return GateCircuit(store, origin, left, rule)


def _chooser(origin: Origin) -> Callable[[int, NDArray[np.int64]], NDArray[np.bool_] | None]:
    """Return which slots of a block are present in this example, for what the wiring cannot know: winners, padding."""
    zero, batch = lrp.get("zero"), origin.batch
    workspace = origin.workspace(origin.session.floating(None), zero)

    def chosen(index: int, outputs: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        block = workspace.circuit.blocks[index]
        padding = any(workspace.circuit.activations[i].padding is not None for i in block.reads)
        if not padding and block.kind != "selection":
            return None
        some = torch.from_numpy(outputs).to(workspace.rows(block.inputs[0]).device)
        edges = workspace.prepared(index, zero).at(some, slice(batch, batch + 1))
        if edges.present is None:
            return None
        present = edges.present[..., : block.wiring.fan]
        return present.expand(1, len(outputs), block.wiring.fan)[0].cpu().numpy()

    return chosen
