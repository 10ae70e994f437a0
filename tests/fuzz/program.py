"""A random program as data: steps of Python text, and the runnable Python that they make up.

A step is one line, "F.relu({0})", whose holes are filled with the values that it reads. Weights are made from numbers
of their own, so that a program that loses a step keeps all its other weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["linear", "sum", "average", "scale", "unit", "index", "max", "unlisted"]
"""How the brute force lists the edges of a step (see `edges.py`)."""

PRELUDE = '''\
import torch
import torch.nn.functional as F
from torch import nn


def numbers(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def made(module, seed):
    """Return the module in evaluation, its parameters and buffers drawn from `seed`."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            drawn = numbers(seed, *tensor.shape).to(tensor.dtype)
            tensor.data.copy_(drawn.abs() + 0.5 if name == "running_var" else drawn)
    return module.eval()
'''


@dataclass(frozen=True)
class Source:
    """An argument of the program: `shape` is one example's."""

    shape: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Step:
    """One line of a program.

    text      an expression, or several lines that assign to `out`, with holes {0}, {1}, … for the values read.
    reads     the numbers of these values; sources come first, then the results of the steps.
    setup     attribute -> expression of the module's `__init__`: "w3" -> "numbers(17, 2, 5)".
    kind      how edges are listed.  plain: piecewise linear and without constants, so that LRP-0 is input x gradient.
    by_batch  the step reads how many examples there are, or looks at all of them: one by one may differ.
    """

    op: str
    text: str
    reads: tuple[int, ...]
    setup: Mapping[str, str]
    kind: Kind = "unlisted"
    plain: bool = False
    by_batch: bool = False


@dataclass(frozen=True)
class Program:
    """Sources, steps, and the numbers of the values that are returned."""

    seed: int
    batch: int
    dtype: str
    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def source_code(self) -> str:
        """Return runnable Python that defines `model` and `inputs`."""
        setup = {name: made for step in self.steps for name, made in step.setup.items()}
        arguments = ", ".join(f"v{n}" for n in range(len(self.sources)))
        cast = "" if self.dtype == "float64" else f".to(torch.{self.dtype})"
        lines = [PRELUDE, "", "class Program(nn.Module):", "    def __init__(self):", "        super().__init__()"]
        for name, expression in setup.items():
            lines.append(f"        self.{name} = {expression}{cast if expression.startswith('numbers') else ''}")
        lines += ["", f"    def forward(self, {arguments}):", "        B = v0.shape[0]"]
        for number, step in enumerate(self.steps, len(self.sources)):
            lines += [f"        {line}" for line in self._lines(number, step)]
        returned = ", ".join(f"v{n}" for n in self.outputs)
        lines += [f"        return {returned}", "", "", f"model = Program().to(torch.{self.dtype}).eval()"]
        given = (f"numbers({s.seed}, {', '.join(map(str, (self.batch, *s.shape)))}){cast}" for s in self.sources)
        return "\n".join([*lines, f"inputs = ({', '.join(given)},)", ""])

    def _lines(self, number: int, step: Step) -> list[str]:
        filled = step.text.format(*(f"v{n}" for n in step.reads)).splitlines()
        if len(filled) == 1:
            return [f"v{number} = {filled[0]}  # {step.op}"]
        return [*filled, f"v{number} = out  # {step.op}"]

    def run(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """Return (model, inputs), made anew."""
        names: dict[str, Any] = {}
        exec(compile(self.source_code(), f"<program {self.seed}>", "exec"), names)
        return names["model"], names["inputs"]

    def values(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Return every value of the program, sources first, by running its steps one by one."""
        found = list(inputs)
        for step in self.steps:
            found.append(run_step(step, model, [found[n] for n in step.reads], len(inputs[0])))
        return found

    @property
    def plain(self) -> bool:
        """Whether the program is piecewise linear and without constants."""
        return all(step.plain for step in self.steps)


def run_step(step: Step, model: nn.Module, given: list[Tensor], batch: int) -> Tensor:
    """Return what one step makes of the given values."""
    names = {f"v{n}": tensor for n, tensor in enumerate(given)}
    scope = {"torch": torch, "F": nn.functional, "self": model, "B": batch, **names}
    text = step.text.format(*names)
    if "\n" not in text:
        return eval(text, scope)
    exec(text, scope)
    return scope["out"]
