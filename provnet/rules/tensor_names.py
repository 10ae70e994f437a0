"""Names of recorded tensors: sources, module outputs and inputs, ops, the model's outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

from provnet.capture.execution import Execution, ModuleCall, TracedOp
from provnet.capture.module_names import free_name

Give = Callable[..., None]
"""(name, value, *, listed=True): what hands out a name."""


@dataclass(eq=False)
class TensorNames:
    """`ids`: every name -> value. `of`: value -> its names, the canonical one first; `absent`: name -> why."""

    ids: dict[str, int] = field(default_factory=dict)
    of: dict[int, list[str]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def give(self, name: str, value: int, *, listed: bool = True) -> None:
        """Give a value one more name. The first holder of a name keeps it."""
        if name and name not in self.ids:
            self.ids[name] = value
            if listed:
                self.of.setdefault(value, []).append(name)


def name_values(execution: Execution, known: Container[int], gone: Mapping[int, str]) -> TensorNames:
    """Name all values in `known`. Names of values in `gone` are absent, for the reason that stands there."""
    names = TensorNames()

    def give(name: str, value: int, *, listed: bool = True) -> None:
        if value in known:
            names.give(name, value, listed=listed)
        elif value in gone:
            names.absent.setdefault(name, f"{name!r} has no relevance: {gone[value]}")

    held: dict[str, set[int]] = {}
    for call in execution.modules:
        for path in (call.path, call.name):
            held.setdefault(path, set()).update(call.outputs)
    for name, value in execution.sources.items():
        # A module may be called "input" too: its output goes by its path, as every module's does.
        give(name if value in held.get(name, {value}) else free_name(name, ":", "source", held), value)
    made = {call.name: call.outputs for call in execution.modules if call.output_keys == ("",)}
    for op in execution.ops:
        _name_results(op, made, known, gone, give)
    # Inner modules first: an output that a container hands on goes by the name of the module that made it.
    for call in sorted(execution.modules, key=lambda call: -call.path.count(".")):
        _name_call(call, held, give)
    for path, count in Counter(call.path for call in execution.modules).items():
        if count > 1 and path and path not in names.ids:
            for end in ("", ":in"):
                listed = ", ".join(f"{call.name}{end}" for call in execution.modules if call.path == path)
                names.absent[path + end] = f"the module {path!r} is called {count} times; name one call: {listed}."
    for name, value in execution.outputs.items():
        give(name, value)
        if names.ids.get(name) != value:  # a module is called "output" too, and gives something else
            give(free_name(name, ":", "output", held), value)
    if execution.argument is not None and execution.argument not in held:
        give(execution.argument, execution.sources["input"], listed=False)
    return names


def _name_results(
    op: TracedOp, made: Mapping[str, tuple[int, ...]], known: Container[int], gone: Container[int], give: Give
) -> None:
    """Name an op's results: by its module's path if that is what the module returns, and by the op's own label."""
    found = [value for value in op.outputs if value is not None and (value in known or value in gone)]
    for slot, value in enumerate(op.outputs):
        if value is not None and value in found:
            if value in made.get(op.call, ()):
                give(op.call, value)
            give(op.label if len(found) == 1 else f"{op.label}[{slot}]", value)


def _name_call(call: ModuleCall, modules: Container[str], give: Give) -> None:
    """Name what a call returned and took, by names that no module has itself."""
    if not call.path:
        return
    for key, value in zip(call.output_keys, call.outputs, strict=True):
        give(free_name(call.name, key[0], key[1:], modules) if key else call.name, value)
    for slot, value in enumerate(call.inputs):
        end = "in" if len(call.inputs) == 1 else f"in[{slot}]"
        give(free_name(call.name, ":", end, modules), value, listed=False)
