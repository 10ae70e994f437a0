"""What the command line asks, from text: targets, neurons, thresholds, circuits."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from provnet.applications.models import load_model
from provnet.applications.named_inputs import read_inputs
from provnet.capture.structure import replace_tensors
from provnet.errors import InputError, OptionError
from provnet.face import Circuit, GateCircuit, Relevance, load, trace
from provnet.rules import lrp
from provnet.rules.lrp.base import REGISTRY as RULES
from provnet.rules.lrp.base import Rule
from provnet.semirings import annotations
from provnet.semirings.annotations import Threshold

SHOWN = 10


def open_circuit(
    model: str, source: Path | None, more: Sequence[str] = (), sources: str | None = None, **options: Any
) -> Circuit:
    """Return the circuit of a model, `package.module:callable`, on its inputs; or the one saved in a file.

    source, more   the first input, and others as `read_inputs` reads them, with its options.
    sources        names of the inputs that are explained, with commas; None: all floating ones.
    Inputs take the model's device, and its floating dtype if it differs. Raises: `InputError` and its kin.
    """
    if Path(model).is_file():
        if source is not None or more or sources is not None:
            raise InputError(f"{model} is a saved circuit, which holds its execution: leave the input out.")
        found = load(model)
        if not isinstance(found, Circuit):
            raise InputError(f"{model} holds explicit gates; wanted is a circuit, as `provnet trace --save` writes it.")
        return found
    network, args, kwargs = open_model(model, source, more, **options)
    return trace(network, *args, model_kwargs=kwargs, sources=names_of(sources))


def names_of(sources: str | None) -> list[str] | None:
    """Return names that are separated by commas; None for None."""
    return None if sources is None else [name.strip() for name in sources.split(",")]


def saved_gates(model: str) -> GateCircuit | None:
    """Return the explicit gates that a file holds; None: it is no file, or holds a circuit of blocks."""
    found = load(model) if Path(model).is_file() else None
    return found if isinstance(found, GateCircuit) else None


def open_model(
    model: str, source: Path | None, more: Sequence[str] = (), **options: Any
) -> tuple[Any, list[Any], dict[str, Any]]:
    """Return the model `package.module:callable`, and its positional and keyword arguments, on its device and in its
    dtype.

    Raises: `InputError` and its kin.
    """
    if source is None and not more:
        if ":" not in model:
            raise InputError(f"there is no file {model}, and it names no model (package.module:callable).")
        raise InputError(f"the model {model} needs an input: give a .npy, a .safetensors or an image after it.")
    network = load_model(model)
    given = read_inputs([*([] if source is None else [source]), *more], **options)
    like = next(chain(network.parameters(), network.buffers()), None) if isinstance(network, nn.Module) else None

    def fitted(x: torch.Tensor) -> torch.Tensor:
        # Files of floats are often float64 whatever the model is; whole numbers may be indices and stay.
        if like is None:
            return x
        return x.to(like.device, like.dtype if x.is_floating_point() and like.is_floating_point() else x.dtype)

    args, kwargs = replace_tensors(given, fitted)
    return network, args, kwargs


def parse_target(text: str) -> Any:
    """Return a target: a class, a full index such as "1,0,2", or the text: 'predicted', fc[3], a class's name."""
    try:
        index = tuple(int(part) for part in text.split(","))
    except ValueError:
        return text.strip()
    return index[0] if len(index) == 1 else index


def parse_neurons(texts: Sequence[str]) -> list[Any] | None:
    """Return what `at=` takes: "fc1[0]" is a neuron, "fc1" a whole tensor; None for no text (the sources)."""
    return [text.strip() for text in texts] or None


def read_classes(path: Path | None) -> tuple[str, ...]:
    """Return the names in a text file, one a line; none for no file. Raises `InputError` if it cannot be read."""
    if path is None:
        return ()
    try:
        return tuple(path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a text file, one name a line.") from error


def theta_of(theta: str | None, annotation: str | None) -> Any:
    """Return Θ: by name, a threshold "0.1", or one that differs by layer, "conv*=0.1,fc=0.2". Raises `OptionError`."""
    if theta is None:
        return None if annotation is None else annotations.get(annotation)
    if annotation not in (None, "threshold"):
        raise OptionError(
            f"--theta goes with the annotation function 'threshold', not with {annotation!r}: leave one out."
        )
    if "=" not in theta:
        return Threshold(_number(theta))
    pairs = [part.partition("=") for part in theta.split(",")]
    return Threshold({path.strip(): _number(value) for path, _, value in pairs})


def numbers(text: str | None) -> tuple[float, ...]:
    """Return numbers that are separated by commas; none for None. Raises `OptionError`."""
    return () if text is None else tuple(_number(part) for part in text.split(","))


def whole_numbers(text: str | None) -> tuple[int, ...]:
    """Return whole numbers that are separated by commas; none for None. Raises `OptionError`."""
    found = numbers(text)
    if any(number != int(number) for number in found):
        raise OptionError(f"{text!r}: expected whole numbers with commas.")
    return tuple(int(number) for number in found)


def options_of(rule: str, theta: str | None) -> dict[str, Any]:
    """Return the options of `Circuit.evaluate` that --rule and --theta ask for."""
    return {"rule": rule_of(rule), "annotation": theta_of(theta, None)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{text!r} is no number.") from None


def describe(relevance: Relevance) -> str:
    """Return a summary for people: what was explained, the strongest inputs of every example, and the totals."""
    lines = [str(relevance)]
    if relevance.semiring.element_shape:
        return lines[0]
    found = relevance.by_source
    for name, tensor in found.items():
        if isinstance(tensor, torch.Tensor):
            lines += _strongest(relevance, tensor, f" in {name}" if len(found) > 1 else "")
    return "\n".join(lines)


def _strongest(relevance: Relevance, found: torch.Tensor, where: str) -> Iterator[str]:
    """Yield one line an example: how many inputs of a source are relevant, and the strongest."""
    semiring, explained = relevance.semiring, relevance.question.explained()
    costs = bool(np.isscalar(semiring.zero) and semiring.zero == float("inf"))
    for k, example in enumerate(found):
        flat = example.reshape(-1)
        worth = flat.double().abs() if semiring.ring else flat.double() * (-1 if costs else 1)
        alive = int((flat != torch.tensor(semiring.zero)).sum())
        best = worth.topk(min(SHOWN, alive)).indices.tolist()
        shown = ", ".join(f"{_index(i, example.shape)} {_spell(flat[i].item())}" for i in best)
        total = semiring.sum(flat, 0).item()
        what = explained[min(k, len(explained) - 1)]
        yield (
            f"example {k}, {what}: {alive:,} of {len(flat):,} inputs{where} relevant, ⊕ of all {_spell(total)}; "
            f"strongest: {shown or 'none'}"
        )


def _index(flat: int, shape: tuple[int, ...]) -> str:
    return f"[{', '.join(str(int(i)) for i in np.unravel_index(flat, shape or (1,)))}]"


def _spell(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# --- parts, parameters, and what programs read ------------------------------------------------------------------------


def rule_of(text: str) -> Rule:
    """Return a propagation rule: "epsilon", or with parameters "gamma:gamma=0.5" and "alpha-beta:alpha=2,beta=1".

    Raises: `UnknownNameError`; `OptionError` for a parameter that the rule lacks.
    """
    name, colon, given = text.partition(":")
    if not colon:
        return lrp.get(name)
    pairs = [part.partition("=") for part in given.split(",")]
    try:
        return RULES.get(name.strip())(**{key.strip(): _number(value) for key, _, value in pairs})
    except TypeError as error:
        raise OptionError(f"--rule {text}: {error}. Write parameters as gamma:gamma=0.5.") from error


def part_of(gates: GateCircuit, theta: str | None, keep: int | None, share: float | None, rule: Rule) -> GateCircuit:
    """Return the part of the gates that --theta, --keep and --share ask for, one after the other."""
    if theta is not None:
        gates = gates.prune(annotation=theta_of(theta, None), rule=rule)
    if share is not None:
        gates = gates.prune(share=share, rule=rule)
    return gates if keep is None else gates.prune(keep=keep, rule=rule)


def one_line(entry: Any) -> str:
    """Return a sentence about what a registry holds: a semiring's question, else the first line of its document."""
    said = getattr(entry, "question", "") or inspect.getdoc(entry) or ""
    return said.strip().split("\n")[0]


def describe_circuit(circuit: Circuit) -> dict[str, Any]:
    """Return a circuit's blocks as plain data."""
    summary = circuit.summary()
    rows = [{name: getattr(row, name) for name in summary.columns} for row in summary.rows]
    return {"model": circuit.session.data.model, "batch": circuit.batch, "edges": circuit.edges, "blocks": rows}


def describe_plainly(relevance: Relevance) -> dict[str, Any]:
    """Return a result as plain data: what was asked, what was explained, and the relevance of the inputs."""
    asked, found = relevance.question, relevance.by_source
    only = next(iter(found.values())) if len(found) == 1 else None
    return {
        "semiring": asked.semiring.name,
        "rule": repr(asked.rule),
        "annotation": repr(asked.annotation),
        "start": asked.start if isinstance(asked.start, str) else "given",
        "explained": asked.explained(),
        "shape": {name: list(one.shape) for name, one in found.items()} if only is None else list(only.shape),
        "inputs": {name: one.tolist() for name, one in found.items()} if only is None else only.tolist(),
    }


def to_json(data: Any) -> str:
    """Return JSON that every reader takes: numbers that are not finite are the texts "inf", "-inf" and "nan"."""
    return json.dumps(_finite(data), ensure_ascii=False, allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data
