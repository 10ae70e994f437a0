"""Subnetworks: the neurons and the edges that a class needs, as sets, as a circuit, and as a model of its own.

An edge is relevant to an example if some path from the target through it is: the neuron that it leads to is relevant,
and its own coefficient passes Θ. Edges are told by the weight that they stand on, as the weights of a convolution serve
every place: a weight is relevant if one of its edges is. Of one example, or with share="any", the weights lie on whole
paths; with "all" or a share each weight is told for itself, and paths may have gaps.
Source: [GSM25] section 5.4 for neurons and their AND and OR; edges are this library's.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import prune

from provnet.applications.ablation import score
from provnet.applications.datasets.masks import relevant_share
from provnet.applications.datasets.sweep import sweep
from provnet.applications.datasets.tensor_file import read_tensors, write_tensors
from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.counts import count_terms
from provnet.circuit.gates import VARIABLE, Variable
from provnet.circuit.parameters import uses_of
from provnet.circuit.prune import without_edges
from provnet.circuit.variables import EdgeSegment, VariableTable
from provnet.errors import FileFormatError, LimitError, OptionError, UnknownNameError
from provnet.face import Circuit, GateCircuit
from provnet.face.pruned import Pruned, joined

LIMIT = 1 << 30
"""Truth values of one parameter's entries that a batch may take, a byte each."""

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class Subnetwork:
    """What one class of a dataset needs of a network.

    neurons    tensor -> Boolean of the shape of one example.
    weights    parameter -> Boolean of its shape: whether a relevant edge stands on the entry.
    examples   how many examples it was made of.

    `a & b` is what both need, `a | b` what either does, `a - b` what a needs and b does not.
    """

    neurons: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    examples: int

    def __repr__(self) -> str:
        masks = {**self.neurons, **self.weights}
        of = [f"{name} {int(mask.sum()):,} of {mask.numel():,}" for name, mask in masks.items()]
        return f"Subnetwork of {self.examples:,} examples: {', '.join(of)}"

    def __and__(self, other: Subnetwork) -> Subnetwork:
        return self._with(other, torch.logical_and)

    def __or__(self, other: Subnetwork) -> Subnetwork:
        return self._with(other, torch.logical_or)

    def __sub__(self, other: Subnetwork) -> Subnetwork:
        return self._with(other, lambda mine, theirs: mine & ~theirs)

    def _with(self, other: Subnetwork, join: Any) -> Subnetwork:
        if self._shapes() != other._shapes():
            raise OptionError(
                f"these subnetworks are of different tensors: {self._shapes()} and {other._shapes()}. Ask for both by "
                "one call of subnetworks."
            )
        neurons = {name: join(mask, other.neurons[name]) for name, mask in self.neurons.items()}
        weights = {name: join(mask, other.weights[name]) for name, mask in self.weights.items()}
        return Subnetwork(neurons, weights, self.examples + other.examples)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(mask.shape) for name, mask in {**self.neurons, **self.weights}.items()}

    def overlap(self, other: Subnetwork, edges: bool = True) -> float:
        """Return what two subnetworks share over what either has, of all edges together (Jaccard 1901); 1 if both are
        empty.

        other   of the same tensors.    edges   False compares neurons instead.
        Raises: `OptionError` for a subnetwork of other tensors.
        """
        both, either = ((one.weights if edges else one.neurons).values() for one in (self & other, self | other))
        shared, whole = (sum(int(mask.sum()) for mask in masks) for masks in (both, either))
        return shared / whole if whole else 1.0

    def model(self, model: nn.Module) -> nn.Module:
        """Return a copy of a model that has lost the weights outside the subnetwork; biases stay.

        The masks are those of `torch.nn.utils.prune`: `prune.remove` makes them permanent, `score` of
        `applications.ablation` says what the copy can still do. Whole neurons are taken out by `masked_copy` there.
        model   the network that the subnetwork is of.
        Raises: `UnknownNameError` if it has no such parameter, `OptionError` for one of another shape.
        """
        made = copy.deepcopy(model)
        for name, mask in self.weights.items():
            path, _, own = name.rpartition(".")
            module = dict(made.named_modules()).get(path)
            held = getattr(module, own, None)
            if module is None or not isinstance(held, nn.Parameter):
                raise UnknownNameError(f"the model has no parameter {name!r}, which the subnetwork is of.")
            if held.shape != mask.shape:
                raise OptionError(
                    f"the parameter {name!r} has the shape {list(held.shape)}, the subnetwork's {list(mask.shape)}."
                )
            prune.custom_from_mask(module, own, mask.to(held.device))
        return made

    def gates(self, circuit: Circuit, **options: Any) -> GateCircuit:
        """Return the part of one example's explicit circuit whose edges stand on the subnetwork's weights.

        Edges on no weight of it (biases, sums, pooling) stay.
        circuit   of the same network, traced with these parameters as sources: `trace(model, x, sources=[…])`.
        options   for `Circuit.gates` (target=, batch=, at=, limit=, …) but `grain`: a variable is an edge here.
        Raises: as `Circuit.gates`; `OptionError` for a circuit that does not know where its parameters lie.
        Example: `found[3].gates(provnet.trace(model, x, sources=["x", "0.weight"]), target=3).formula("x[5]")`
        """
        if options.get("grain", "edge") != "edge":
            raise OptionError(f"grain={options['grain']!r}: the edges of a subnetwork are variables of grain 'edge'.")
        data = circuit.session.data
        unknown = [name for name in self.weights if name not in data.parameters]
        if unknown:
            named = ", ".join(repr(name) for name in (*circuit.sources, *self.weights))
            raise OptionError(
                f"this circuit does not know where {unknown[0]!r} lies, for it is no source of it. Trace it as "
                f"provnet.trace(model, x, sources=[{named}])."
            )
        gates = circuit.gates(**options)
        store = without_edges(gates.store, _standing_on(data, self.weights, gates.variables))
        used, all_used = (int((one.kind == VARIABLE).sum()) for one in (store, gates.store))
        paths, all_paths = (sum(count_terms(one)) for one in (store, gates.store))
        left = Pruned(f"edges on the weights of a {self!r}", used, all_used, paths, all_paths)
        return gates.with_note(store, joined(gates.pruned, left))


def _standing_on(
    circuit: BlockCircuit, weights: Mapping[str, Tensor], variables: Sequence[Variable]
) -> NDArray[np.bool_]:
    """Return which variables stand on a weight that is kept, or on none of these weights."""
    if not isinstance(variables, VariableTable):
        return np.ones(len(variables), np.bool_)
    kept_at = {
        use.block: _kept(weights[name], use.places)
        for name in weights
        for use in uses_of(circuit, name, circuit.parameters[name])
        if not use.bias
    }
    parts = []
    for segment in variables.segments:
        kept = np.ones(len(segment), np.bool_)
        if isinstance(segment, EdgeSegment) and segment.block in kept_at:
            edges = segment.source >= 0  # the others are biases
            outputs, slots = (torch.as_tensor(column[edges]) for column in (segment.output, segment.slot))
            _, _, weight = circuit.blocks[segment.block].wiring.source(outputs, slots)
            kept[edges] = kept_at[segment.block][np.asarray(weight)]
        parts.append(kept)
    return np.concatenate(parts) if parts else np.ones(0, np.bool_)


def _kept(mask: Tensor, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each weight of a block whether its entry of a parameter is kept; one that is no entry is."""
    flat = mask.cpu().reshape(-1).numpy()
    return np.where(places < 0, True, flat[np.maximum(places, 0)])


def subnetworks(
    model: nn.Module,
    data: Any,
    share: float | Literal["all", "any"] = "any",
    at: str | Iterable[str] | None = None,
    weights: Iterable[str] | None = None,
    by: Literal["label", "predicted"] = "label",
    batch_size: int = 64,
    trace_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Subnetwork]:
    """Return what each class of a dataset needs of a network, class by class.

    model       a module in evaluation mode.   data   (examples, labels), a `Dataset` or a `DataLoader`, as of `sweep`.
    share       in how many of a class's examples a neuron or a weight has to be relevant: "all", "any", or a share.
    at          tensors whose neurons are kept, by path or glob; None: the sources.
    weights     names of parameters; None: those of all linear layers and convolutions.
    by          "label" or "predicted": whose class an example counts for. It is also the target, unless `target=` is
                given.
    batch_size, trace_options   as of `sweep`.
    options     for `sweep` and `Circuit.evaluate` (annotation=, rule=, target=, checkpoint=, …). The semiring is
                Boolean.
    Raises: as `sweep`; `OptionError` without weights; `LimitError` where a batch is too large for a parameter.
    Memory: for each weight a truth value an example of a batch, and a count a class.
    Example: `ones, sevens = (subnetworks(model, data, 0.5, annotation=Threshold(0.05))[k] for k in (1, 7))`
    """
    if "semiring" in options:
        raise OptionError("subnetworks asks in the Boolean semiring; leave semiring= out.")
    names = _weights_of(model) if weights is None else list(weights)
    if not names:
        raise OptionError("no weights are named whose edges could be told. Name parameters: weights=['fc.weight'].")
    _check_size(model, names, batch_size)
    tracing = dict(trace_options or {})
    given = tracing.pop("sources", [])
    tracing["sources"] = [*([given] if isinstance(given, str) else given), *names]
    tensors = None if at is None else [*([at] if isinstance(at, str) else at), *names]
    asked = {"target": by, **options}
    tally = sweep(
        model,
        data,
        "boolean",
        at=tensors,
        combine="frequency",
        by=by,
        batch_size=batch_size,
        trace_options=tracing,
        **asked,
    )
    masks = {name: relevant_share(tally, share, at=name) for name in tally.tensors}
    return [
        Subnetwork(
            {name: mask[label] for name, mask in masks.items() if name not in names},
            {name: mask[label] for name, mask in masks.items() if name in names},
            int(tally.examples[label]),
        )
        for label in range(tally.classes)
    ]


def _weights_of(model: nn.Module) -> list[str]:
    """Return the names of the weights of all linear layers and convolutions, each once."""
    of_layers = {id(module.weight) for module in model.modules() if isinstance(module, LAYERS)}
    return [name for name, parameter in model.named_parameters() if id(parameter) in of_layers]


def _check_size(model: nn.Module, names: Sequence[str], batch_size: int) -> None:
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    largest = max((name for name in names if name in sizes), key=sizes.__getitem__, default=None)
    if largest is not None and sizes[largest] * batch_size > LIMIT:
        raise LimitError(
            f"{largest!r} has {sizes[largest]:,} weights, of which a batch of {batch_size} examples takes "
            f"{sizes[largest] * batch_size:,} truth values, above {LIMIT:,}. Take batch_size="
            f"{max(LIMIT // sizes[largest], 1)}, or name smaller parameters: weights=[…]."
        )


def accuracy_of(model: nn.Module, examples: Tensor, labels: Tensor) -> float | None:
    """Return the share of examples that a model gets right, None if there is no example.

    model      from examples to scores [n, classes].   examples   [n, …].   labels   [n].
    """
    return score(model, (examples, labels)).accuracy if len(examples) else None


def write_subnetworks(path: str | PathLike[str], found: Sequence[Subnetwork]) -> None:
    """Write subnetworks as one safetensors file without pickle: each tensor's masks, classes first.

    path    of the file, which appears whole or not at all.   found   of all classes, as `subnetworks` gives them.
    Raises: `OutputError`; `OptionError` for none.
    """
    if not found:
        raise OptionError("found=[] holds no subnetwork to write.")
    plain = {
        "kind": "subnetworks",
        "neurons": [*found[0].neurons],
        "weights": [*found[0].weights],
        "examples": [one.examples for one in found],
    }
    masks = [{**one.neurons, **one.weights} for one in found]
    write_tensors(path, plain, {name: torch.stack([one[name] for one in masks]) for name in masks[0]})


def read_subnetworks(path: str | PathLike[str]) -> list[Subnetwork]:
    """Read what `write_subnetworks` wrote.

    path   of the file.
    Raises: `InputError` if there is none; `FileFormatError` for one that holds something else.
    """
    plain, masks = read_tensors(path)
    if plain.get("kind") != "subnetworks":
        raise FileFormatError(f"{path} holds no subnetworks. Tallies are read by Tally.load.")
    return [
        Subnetwork(
            {name: masks[name][label] for name in plain["neurons"]},
            {name: masks[name][label] for name in plain["weights"]},
            examples,
        )
        for label, examples in enumerate(plain["examples"])
    ]
