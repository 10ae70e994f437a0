"""From a model and its input to a `Circuit`, and the whole way in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch

from provnet.capture.record import record
from provnet.capture.sources import named_arguments
from provnet.errors import OptionError
from provnet.face.circuit import Circuit, SemiringLike
from provnet.face.parameter_sources import where_they_lie, without_parameters
from provnet.face.recording import recording_of
from provnet.face.relevance import Relevance
from provnet.face.session import Session
from provnet.face.targets import Target
from provnet.rules.build import build_with_layouts
from provnet.rules.lean_circuit import lean_circuit
from provnet.torch_backend.settings import plain_torch
from provnet.torch_backend.walk.differentiable import detached


def trace(
    model: Callable[..., Any],
    *args: Any,
    sources: Any = None,
    opaque: Iterable[Any] | Mapping[Any, Any] = (),
    batch_dim: int = 0,
    batch_norm: Literal["fused", "kept"] = "fused",
    check_batch: bool = False,
    lean: bool = False,
    copy: bool = False,
    differentiable: bool = False,
    watch: Literal["sample", "all"] = "sample",
    model_kwargs: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Circuit:
    """Run `model(*args)` once and return its provenance circuit; the model is left as it was.

    sources      names of the inputs to explain, or paths of modules, whose output is then explained. Default: every
                 floating tensor among the arguments, and what integers (tokens) look up; no mask and no positions.
                 Names of parameters ("fc.weight") among them ask for their relevance too: see `Relevance.parameters`.
    opaque       modules to keep whole: names, modules or classes of modules, or a mapping of these to "identity",
                 "uniform", "jacobian" or a function.
    batch_dim    the axis of the sources that carries examples.
    batch_norm   "fused": in evaluation, one affine map with the linear map before it; "kept": a block of its own.
    check_batch  replay with NaN in half of the examples to prove that examples do not mix.
    lean         keep few activations and make the others again, bit by bit, when an evaluation needs them: about one
                 more forward pass for tracing and for each evaluation. Tracing itself holds all of them for a while.
    copy         own copies of the weights, so that the model may change afterwards.
    differentiable   relevance in real, log and expectation carries autograd's graph, back to those arguments and
                 parameters that require a gradient. One trace is one graph: like torch's own, it can be walked back
                 once, unless with retain_graph=True. Costs a second forward pass, two backward passes, their memory.
    watch        how writes to weights that torch does not count (.data, numpy, fused optimisers) are noticed: "sample"
                 compares all bits of models up to 1 MB and some of every 4 kB of larger ones, "all" every bit, at the
                 cost of one more copy of the weights and of reading it at each evaluation. See docs/staleness.md.
    model_kwargs, **kwargs   keyword arguments of the model (model_kwargs for names that `trace` takes itself).

    Raises: `InputError`, `NonFiniteError`, `TrainingModeError`, `MissingRuleError`, `CrossExampleError` and their kin.
    Example: `circuit = provnet.trace(model, torch.rand(8, 784))`
    """
    if batch_norm not in ("fused", "kept"):
        raise OptionError(f"batch_norm={batch_norm!r} is unknown; take 'fused' or 'kept'.")
    if not isinstance(lean, bool):
        raise OptionError(f"lean={lean!r} is neither True nor False.")
    if watch not in ("sample", "all"):
        raise OptionError(f"watch={watch!r} is unknown; take 'sample' or 'all'.")
    if differentiable:
        _check_differentiable(copy, lean)
    given = {**kwargs, **(model_kwargs or {})}
    sources, parameters = without_parameters(model, sources, named_arguments(model, args, given))
    if copy and parameters:
        raise OptionError(
            f"copy=True and sources={sorted(parameters)!r}: copies of weights are no parameters of the model. Leave "
            "copy=True out."
        )
    execution = record(
        model,
        *args,
        sources=sources,
        opaque=opaque,
        batch_dim=batch_dim,
        check_batch=check_batch,
        copy=copy,
        graph=differentiable,
        model_kwargs=given,
    )
    with plain_torch(), torch.set_grad_enabled(differentiable or torch.is_grad_enabled()):
        data, layouts = build_with_layouts(execution, batch_norm)
        data = replace(data, parameters=where_they_lie(data, parameters))
        data = lean_circuit(execution, data) if lean else data
        plain = detached(data) if differentiable else data  # here, for what is made late must have its graph
    recording = None if differentiable else recording_of(execution, layouts, batch_norm, lean, copy)
    watched = (watch == "all", execution.imprint, execution.unshared)
    return Circuit(Session(plain, data if differentiable else None, recording, *watched))


def _check_differentiable(copy: bool, lean: bool) -> None:
    if lean:
        raise OptionError(
            "lean=True and differentiable=True: autograd's graph holds every activation. Take one of them."
        )
    if torch.is_inference_mode_enabled():
        raise OptionError(
            "differentiable=True inside torch.inference_mode(), which makes no graph. Trace outside of it."
        )
    if copy:
        raise OptionError("copy=True cuts the graph to the model's parameters. Leave it out with differentiable=True.")


def explain(
    model: Callable[..., Any],
    *args: Any,
    semiring: SemiringLike = "real",
    target: Target = "predicted",
    **options: Any,
) -> Relevance:
    """Trace and evaluate in one call: `provnet.explain(model, x, semiring="viterbi", target=3).inputs`.

    `options` go to `Circuit.evaluate`; trace yourself for what `trace` takes, or to ask more than one question.
    model, args   the model and its arguments, as of `trace`.
    """
    return trace(model, *args).evaluate(semiring, target=target, **options)
