"""Record one execution of a model: the way into provnet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from provnet.capture.attributes import Attributes
from provnet.capture.autograd_graph import check_gradients, replay_with_graph, with_live_views
from provnet.capture.call import ModelCall, model_call
from provnet.capture.checks import check_model, check_other_arguments, check_outputs, check_sources, count_examples
from provnet.capture.control import check_control, constants_made
from provnet.capture.escape import Escapes
from provnet.capture.execution import Execution
from provnet.capture.finish import finish, needed
from provnet.capture.holders import unshared
from provnet.capture.masked_rows import check_masked_rows, masked_examples
from provnet.capture.mode import Recorder
from provnet.capture.module_names import modules_of
from provnet.capture.opaque_calls import Opaque, opaque_modes, whole_function
from provnet.capture.replay import check_examples
from provnet.capture.sources import Chosen, Sources, choose_sources, named_arguments, own_arguments
from provnet.capture.structure import distinct, tensors_in
from provnet.errors import InputError, ProvnetError, TraceError, UnknownNameError


def record(
    model: Any,
    *args: Any,
    sources: Sources = None,
    opaque: Opaque = (),
    batch_dim: int = 0,
    check_batch: bool = False,
    copy: bool = False,
    graph: bool = False,
    model_kwargs: Mapping[str, Any] | None = None,
) -> Execution:
    """Run `model(*args, **model_kwargs)` once and return the ops on the way from its sources to its outputs.

    Args:
        model: an nn.Module or any function of tensors. It is left as it was found, and so is torch's global state.
        args: the model's arguments; tensors may be nested in tuples, lists, dicts and dataclasses. They are copied.
        sources: what is to be explained: names, positions or tensors among the arguments, or paths of modules, whose
            output is then a source. By default all floating tensors, and what integers (tokens) look up; no argument
            whose name says that it is a mask or holds positions.
        opaque: modules to keep whole, by path, as objects or by class (the most specific one decides); or a mapping of
            these to "identity", "uniform", "jacobian" or a function. A bare one is "jacobian".
        batch_dim: the axis of all sources along which the examples lie.
        check_batch: test that examples are independent, by 2 * ceil(log2 batch) replays.
        copy: copy the model's weights, so that they may change afterwards.
        graph: let the recorded tensors carry autograd's graph, back to those of the caller's tensors that require a
            gradient: by a replay, whose values and gradients are held against the model's own.

    Raises: `InputError`, `DeviceError`, `NonFiniteError`, `TrainingModeError` for input that cannot be explained;
        `TraceError` for an execution that cannot be recorded; `CrossExampleError`; `UnknownNameError`, `OptionError`.

    Example:
        >>> execution = record(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), torch.ones(1, 3))
        >>> [op.label for op in execution.ops]
        ['0', '1']
    """
    kwargs = dict(model_kwargs or {})
    model = uncompiled(model)
    name = name_of(model)
    model, modules, opaque = whole_function(model, modules_of(model), opaque)
    imprint = check_model(model, modules)
    modes = opaque_modes(opaque, modules)
    given = [tensor for _, tensor in named_arguments(model, args, kwargs)]
    with _undisturbed(graph):
        args, kwargs = own_arguments(args, kwargs, graph)
        arguments = named_arguments(model, args, kwargs)
        chosen = choose_sources(arguments, given, sources, modules)
        check_sources(chosen.tensors, chosen.numbers, modules, batch_dim)
        check_other_arguments(arguments)
        rest = (batch_dim, copy, check_batch)
        execution, outputs = _run(model, Recorder(name), modules, modes, args, kwargs, chosen, *rest)
        execution = replace(execution, imprint=imprint, argument=_lone_argument(execution, chosen, arguments))
        if check_batch:
            check_examples(execution)
        if graph:
            parameters = {name: p for path, m in modules.items() for name, p in m.named_parameters(path, recurse=False)}
            execution = replay_with_graph(with_live_views(execution, parameters))
            check_gradients(execution, outputs)
        else:
            del outputs  # the execution alone holds them, unless the model keeps them
            values = (value.tensor for value in execution.values.values() if value.kind == "computed")
            execution = replace(execution, unshared=unshared(values))
    if chosen.numbers or chosen.modules:
        inner = "its source comes up inside the model (a look-up, or a module's output)"
        return replace(execution, fixed=(*execution.fixed, inner))
    by_name = dict(zip(execution.sources, chosen.tensors.values(), strict=True))
    options = {"opaque": opaque, "batch_dim": batch_dim}
    return replace(execution, call=model_call(model, args, kwargs, by_name, arguments, options))


def uncompiled(model: Any) -> Any:
    """Return the module that torch.compile was given, of which it makes a wrapper; any other model as it is.

    A compiled module computes the same, and would be compiled anew here: the recorder sees every op.
    """
    while isinstance(model, nn.Module) and type(model).__name__ == "OptimizedModule":
        model = model._orig_mod
    return model


_TRANSFORMED = ("BatchedTensorImpl", "TensorWrapper")
"""How torch's errors name the tensors that its function transforms pass to a model."""


def _lone_argument(execution: Execution, chosen: Chosen, arguments: list[tuple[str, Tensor]]) -> str | None:
    """Return what the argument is called that is the only source, None if there are several, or it is none."""
    if list(execution.sources) != ["input"]:
        return None
    names = [name for name, tensor in arguments if any(tensor is one for one in chosen.tensors.values())]
    return names[0] if names else None


def record_again(call: ModelCall, inputs: Mapping[str, Tensor]) -> Execution:
    """Record the same call of the same model with other sources, by name. Raises: as `record`."""
    args, kwargs = call.arguments(inputs)
    return record(call.model, *args, sources=list(call.numbers), model_kwargs=kwargs, **call.options)


def _run(
    model: Any,
    recorder: Recorder,
    modules: dict[str, nn.Module],
    modes: dict[int, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    chosen: Chosen,
    batch_dim: int,
    copy: bool,
    thorough: bool,
) -> tuple[Execution, dict[str, Tensor]]:
    recorder.store.own(modules)
    recorder.store.bear([tensor for _, tensor in tensors_in((args, kwargs))])
    attributes = Attributes(modules.values())
    recorder.opaque.modes = modes
    recorder.source_modules = dict(chosen.modules)
    ids = {name: recorder.store.add(tensor, active=True, kind="source") for name, tensor in chosen.tensors.items()}
    for name, tensor in chosen.numbers.items():
        recorder.lookups.numbers[recorder.store.add(tensor, active=True, kind="source")] = name
    recorder.lookups.explicit, recorder.lookups.batch_dim = chosen.explicit, batch_dim
    try:
        try:
            with recorder.names.watching(modules), Escapes(recorder.escaped), recorder:
                result = model(*args, **kwargs)
        except (ProvnetError, MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            if any(kind in str(error) for kind in _TRANSFORMED):
                raise TraceError(
                    f"{recorder.names.model} runs under torch.vmap or another transform of torch.func, and what it "
                    "computes there cannot be followed. Trace the function itself on the whole batch: examples lie on "
                    "its first axis already."
                ) from error
            ways_out = _only_integers(chosen)
            raise InputError(f"{_failure(recorder, modules, error, args, kwargs)}{ways_out}") from error
        returned = dict(distinct(tensors_in(result, "output")))
        found = {name: recorder.store.find(tensor) for name, tensor in returned.items()}
        outputs = {n: i for n, i in found.items() if i is not None and returned[n].is_floating_point()}
        inside = _sources_inside(recorder, chosen)
        if torch.is_grad_enabled():
            recorder.lookups.revive(recorder.store.entries)
        ids = {"input": next(iter(ids.values()))} if len(ids) == 1 and not inside else ids | inside
        origins = map(recorder.store.origin, returned.values())
        made_by = list(dict.fromkeys(origin.op for origin in origins if origin is not None))
        check_masked_rows(recorder.steps, recorder.store.entries)
        pairs = [name for name, value in found.items() if value is not None and returned[name].is_complex()]
        check_outputs({name: returned[name] for name in outputs}, list(returned), made_by, list(chosen.numbers), pairs)
        batch = count_examples({n: recorder.store.entries[i].tensor for n, i in ids.items()}, batch_dim)
    finally:
        recorder.store.restore()
        attributes.restore()
    steps, entries = needed(recorder, outputs), recorder.store.entries
    recorder.remarks.add_constants(constants_made(steps, entries))
    for frame in masked_examples(steps, entries):
        recorder.remarks.add(
            "attention is masked altogether for some example",
            "it gives zeros there, which nothing feeds, and a target among them has relevance that is undefined",
            frame,
        )
    recorder.remarks.tell()
    check_control(steps, recorder.steps, entries, tuple(ids.values()), batch, batch_dim, thorough)
    execution = finish(recorder, steps, ids, outputs, batch, batch_dim, copy)
    recorder.close()
    return execution, {name: returned[name] for name in outputs}


def _only_integers(chosen: Chosen) -> str:
    if chosen.tensors or not chosen.numbers:
        return ""
    dtypes = ", ".join(f"{name}: {tensor.dtype}" for name, tensor in chosen.numbers.items())
    return f" If these are no numbers of tokens or rows ({dtypes}), convert them: x.float()."


def _sources_inside(recorder: Recorder, chosen: Chosen) -> dict[str, int]:
    """Return name -> value for the sources that came up during the run: look-ups and outputs of modules."""
    recorder.store.settle_integers()
    calls = Counter(frame.path for frame in recorder.names.calls)
    for path, wanted in chosen.modules.items():
        missing = sorted((wanted or set()) - set(range(calls[path])))
        if missing or not calls[path]:
            call = f"{path}#{missing[0]}" if missing else path
            raise UnknownNameError(
                f"sources= names {call!r}, but the module {path!r} was called {calls[path]} times in this run. Calls "
                f"are counted from 0: {path}#0."
            )
    return {name: found.value for name, found in recorder.lookups.names(calls).items()}


def _failure(
    recorder: Recorder, modules: Mapping[str, nn.Module], error: Exception, args: Any, kwargs: Mapping[str, Any]
) -> str:
    path = recorder.names.place_of(error)
    where = f" in {path!r} ({type(modules[path]).__name__})" if path in modules and path else ""
    tensors = (tensor for _, tensor in tensors_in((args, kwargs)))
    given = ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')} on {t.device}" for t in tensors)
    return (
        f"the model {recorder.names.model} failed{where} on input [{given}] with {type(error).__name__}: {error}. "
        f"Give it input of the shape, dtype and device that it wants{_forgotten_axis(error)}; model(x) by itself shows "
        "the same error."
    )


def _forgotten_axis(error: Exception) -> str:
    """Return one more way out where a shape is the fault: many a model takes one example without complaint at first."""
    return " (one example needs a batch axis: x.unsqueeze(0))" if re.search("shape|size|dim", str(error)) else ""


@contextmanager
def _undisturbed(graph: bool) -> Iterator[None]:
    """Set torch up for recording, and then as it was: gradients or none, random numbers put back."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.set_grad_enabled(graph), torch.random.fork_rng(devices):
        yield


def name_of(model: Any) -> str:
    """Return what a model is called in messages: its class, or the function's own name."""
    if isinstance(model, nn.Module):
        return type(model).__name__
    return getattr(model, "__name__", None) or type(model).__name__
