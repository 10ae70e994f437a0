"""From a recorder's notes to an `Execution`: leave out what no output needs, number and label the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping

from provnet.capture.execution import Execution, ModuleCall, TracedOp, Value
from provnet.capture.mode import Recorder
from provnet.capture.module_names import Frame, free_name
from provnet.capture.steps import RecordedStep
from provnet.capture.store import ConstantOrigin, StoreEntry


def finish(
    recorder: Recorder,
    steps: list[RecordedStep],
    sources: Mapping[str, int],
    outputs: Mapping[str, int],
    batch: int,
    batch_dim: int,
    copy: bool,
) -> Execution:
    """Return the execution: the `needed` steps, and the values that these refer to.

    With `copy`, the model's tensors are copied, and have no owner.
    """
    entries = recorder.store.entries
    computed = {value for step in steps for value in step.outputs if value is not None}
    used = {ref for step in steps for ref in step.reads}
    kept = sorted(used | computed | set(sources.values()) | set(outputs.values()))
    names = {value: name for name, value in sources.items()}
    frames = recorder.names.calls
    called = _call_names(frames)
    taken = {*sources, *(frame.path for frame in frames), *called.values()}
    labels = _labels(steps, called, taken)
    origins = _origin_names([entries[i].origin for i in kept], called, {*taken, *labels})
    values = {i: _value(i, entries[i], names.get(i), i in computed, copy, origins) for i in kept}
    return Execution(
        model=recorder.names.model,
        ops=tuple(
            TracedOp(
                index=i,
                name=s.name,
                func=s.function,
                args=s.args,
                kwargs=s.kwargs,
                outputs=s.outputs,
                path=s.frame.path,
                module=s.frame.module,
                label=label,
                call=called.get(id(s.frame), ""),
                classes=s.frame.classes,
            )
            for i, (s, label) in enumerate(zip(steps, labels, strict=True))
        ),
        values=values,
        sources=dict(sources),
        outputs=dict(outputs),
        modules=tuple(_module_call(frame, called[id(frame)], values) for frame in frames),
        batch=batch,
        batch_dim=batch_dim,
        opaque={i: step.opaque for i, step in enumerate(steps) if step.opaque is not None},
        fixed=tuple(recorder.dependence.reasons.values()),
    )


def needed(recorder: Recorder, outputs: Mapping[str, int]) -> list[RecordedStep]:
    """Return the active steps that an output depends on."""
    entries, wanted = recorder.store.entries, set(outputs.values())
    found: list[RecordedStep] = []
    for step in reversed(recorder.steps):
        if any(value in wanted and entries[value].active for value in step.outputs if value is not None):
            found.append(step)
            wanted.update(step.reads)
    return found[::-1]


def _origin_names(
    origins: Iterable[ConstantOrigin | None], called: Mapping[int, str], taken: Container[str]
) -> dict[int, str]:
    """Return id(origin) -> a unique name of the op that made a constant of a traced tensor, "path/sign_1"."""
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[int, str] = {}
    for origin in origins:
        if origin is not None and id(origin) not in found:
            call, op = called.get(id(origin.frame), ""), origin.op.rpartition(".")[2]
            counts[call, op] += 1
            name = f"{op}_{counts[call, op]}"
            found[id(origin)] = free_name(call, "/", name, taken) if call or name in taken else name
    return found


def _value(
    number: int, entry: StoreEntry, source: str | None, computed: bool, copy: bool, origins: Mapping[int, str]
) -> Value:
    origin = None if entry.origin is None else origins[id(entry.origin)]
    if source is not None:
        return Value(number, entry.tensor, "source", source, True, live=entry.live)
    # What an op computes that is left out here (the winners of a top-k, say) counts as constant.
    kind = "constant" if entry.kind == "computed" and not computed else entry.kind
    if copy and entry.owner is not None:
        return Value(number, entry.tensor.clone(), kind, entry.name, entry.active, origin=origin)
    return Value(number, entry.tensor, kind, entry.name, entry.active, entry.version, entry.owner, entry.live, origin)


def _call_names(frames: list[Frame]) -> dict[int, str]:
    """Return id(frame) -> the call's unique name: the module's path, or "path#1" for one of several calls."""
    calls = Counter(frame.path for frame in frames)
    return {
        id(frame): frame.path if calls[frame.path] == 1 else free_name(frame.path, "#", str(frame.call), calls)
        for frame in frames
    }


def _labels(steps: list[RecordedStep], called: Mapping[int, str], taken: Container[str]) -> list[str]:
    """Return a unique name for each op: its call's if the module is a leaf with just this op, else call/op_1.

    A module may itself be called "add_1": then the op goes by another name.
    """
    per_frame = Counter(id(step.frame) for step in steps)
    counts: Counter[tuple[int, str]] = Counter()
    labels: list[str] = []
    for step in steps:
        frame, op = step.frame, step.name.rpartition(".")[2]
        call = called.get(id(frame), "")
        if call and per_frame[id(frame)] == 1 and (frame.leaf or step.opaque is not None):
            labels.append(call)
            continue
        counts[id(frame), op] += 1
        name = f"{op}_{counts[id(frame), op]}"
        labels.append(free_name(call, "/", name, taken) if call or name in taken else name)
    return labels


def _module_call(frame: Frame, name: str, values: Mapping[int, Value]) -> ModuleCall:
    outputs = [(key, value) for key, value in frame.outputs if value in values]
    return ModuleCall(
        path=frame.path,
        module=frame.module,
        call=frame.call,
        inputs=tuple(value for value in frame.inputs if value in values),
        outputs=tuple(value for _, value in outputs),
        output_keys=tuple(key for key, _ in outputs),
        name=name,
    )
