"""Which active ops of the zoo have no rule yet: `python -m tests.zoo.coverage [name …]` prints them by class.

An op's signature says which of its tensors are traced (x), and which are constant (-): `mul(x,x)` is a product of two
traced factors, `mul(x,-)` a scaling.
"""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

import tests.zoo  # noqa: F401
from provnet.capture.execution import Execution, Ref, TracedOp
from provnet.capture.record import record
from provnet.errors import CrossExampleError, ProvnetError
from provnet.rules.build import build
from provnet.rules.ops.base import REGISTRY, Op
from provnet.rules.ops.example_layout import Layout
from tests.zoo.entries import ZOO, Entry


def recorded(entry: Entry) -> Execution:
    """Return the execution of one architecture."""
    model, args, kwargs = entry.build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return record(model, *args, model_kwargs=kwargs)


def signature(execution: Execution, op: TracedOp) -> str:
    """Return the op's name with x for each traced tensor and - for each constant one.

    Example: "mul(x,-)".
    """

    def marks(tree: Any) -> list[str]:
        if isinstance(tree, Ref):
            return ["x" if execution.active(tree) else "-"]
        if isinstance(tree, list | tuple):
            found = [mark for part in tree for mark in marks(part)]
            return [f"[{''.join(sorted(set(found)))}]"] if found else []
        return []

    found = [mark for part in (*op.args, *op.kwargs.values()) for mark in marks(part)]
    return f"{op.name.removeprefix('aten.')}({','.join(found)})"


def refused(execution: Execution) -> dict[str, str]:
    """Return signature -> why, for each active op that has no rule, or whose rule refuses it."""
    found: dict[str, str] = {}
    layouts = {i: Layout(execution.batch_dim) for i, value in execution.values.items() if value.active}
    for op in execution.ops:
        if op.name not in REGISTRY:
            found[signature(execution, op)] = "no rule"
            continue
        try:
            REGISTRY.get(op.name)(Op(execution, op, layouts))
        except CrossExampleError:
            continue  # each value is taken to have its examples on the first axis, which is a guess
        except ProvnetError as error:
            found[signature(execution, op)] = str(error).partition("): ")[2][:60] or str(error)[:60]
        except Exception:
            continue
    return found


def table(entries: Iterable[Entry]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return signature -> the architectures that lack it, and architecture -> the first refusal of a whole trace."""
    lacking: dict[str, list[str]] = defaultdict(list)
    refusals: dict[str, str] = {}
    for entry in entries:
        try:
            execution = recorded(entry)
        except pytest.skip.Exception as skipped:
            refusals[entry.name] = f"skipped: {skipped}"
            continue
        for name in refused(execution):
            lacking[name].append(entry.name)
        try:
            build(execution)
        except ProvnetError as error:
            refusals[entry.name] = f"{type(error).__name__}: {str(error)[:140]}"
        except Exception as error:
            refusals[entry.name] = f"FAULT {type(error).__name__}: {str(error)[:140]}"
    return dict(lacking), refusals


def main() -> None:
    """Print the table of the architectures whose names hold one of the arguments, of all without arguments."""
    wanted = sys.argv[1:]
    chosen = [e for e in ZOO.values() if not wanted or any(part in e.name for part in wanted)]
    lacking, refusals = table(chosen)
    for name, where in sorted(lacking.items(), key=lambda pair: -len(pair[1])):
        print(f"{name:45} {len(where):3}  {', '.join(where[:6])}")
    print(f"\n{len(chosen) - len(refusals)} of {len(chosen)} architectures have a rule for every op")
    for name, why in refusals.items():
        print(f"{name:30} {why}")


if __name__ == "__main__":
    main()
