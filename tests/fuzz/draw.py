"""How programs are drawn: from a seed, step by step, each step tried out before it is kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from tests.fuzz.program import Kind, Program, Source, Step

MAX_NEURONS = 96
"""The largest number of neurons of one value: the brute force lists all edges between two."""

MAX_MAGNITUDE = 1e4


@dataclass(frozen=True)
class Value:
    """What a drawer knows of a value: its number, and one shape for each of the batches 2 and 3."""

    number: int
    shape: tuple[int, ...]
    other: tuple[int, ...]

    @property
    def axis(self) -> int:
        """The axis that holds the examples."""
        return next(i for i, (a, b) in enumerate(zip(self.shape, self.other, strict=True)) if a != b)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def rows(self) -> int:
        """How many indices of the examples' axis belong to one example."""
        return self.shape[self.axis] // 2

    @property
    def free(self) -> list[int]:
        """The axes that hold no examples."""
        return [dim for dim in range(self.rank) if dim != self.axis]

    @property
    def neurons(self) -> int:
        return prod(self.shape) // 2

    @property
    def dims(self) -> list[str]:
        """The shape as Python text, in which B is the number of examples."""
        batch = "B" if self.rows == 1 else f"B * {self.rows}"
        return [batch if dim == self.axis else str(n) for dim, n in enumerate(self.shape)]


@dataclass
class Draw:
    """What an op's entry draws from: random choices, weights, modules, and other values of the program."""

    random: random.Random
    values: list[Value]
    modules: dict[str, str]
    setup: dict[str, str] = field(default_factory=dict)
    reads: list[int] = field(default_factory=list)

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def choice(self, options: Any) -> Any:
        return self.random.choice(list(options))

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def real(self) -> float:
        """A number with few digits, neither 0 nor 1."""
        return self.choice((-2.5, -1.5, -0.75, -0.5, 0.25, 0.5, 0.8, 1.5, 2.0, 3.0))

    def seed(self) -> int:
        return self.random.randrange(1 << 20)

    def weight(self, *shape: int) -> str:
        """A constant tensor of the model, by name."""
        seed = self.seed()
        name = f"w{seed}"
        self.setup[name] = f"numbers({', '.join(map(str, (seed, *shape)))})"
        return f"self.{name}"

    def bias(self, *shape: int) -> str:
        """A constant tensor, or "None" in three cases of five."""
        return self.weight(*shape) if self.chance(0.4) else "None"

    def tensor(self, text: str) -> str:
        """A constant tensor of the model from an expression, such as an index."""
        name = f"c{self.seed()}"
        self.setup[name] = text
        return f"self.{name}"

    def module(self, text: str) -> str:
        """A module made by `text`; an equal one that the program has already is called again in half of the cases."""
        if text in self.modules and self.chance(0.5):
            name, made = self.modules[text].split(" = ", 1)
        else:
            seed = self.seed()
            name, made = f"m{seed}", f"made({text}, {seed})"
            self.modules[text] = f"{name} = {made}"
        self.setup[name] = made
        return f"self.{name}"

    def like(self, value: Value, fits: Callable[[Value], bool] | None = None) -> Value | None:
        """Another value (or the same) that `fits`; by default one of the same shape. It is hole {1}, {2}, …"""
        test = fits or (lambda one: (one.shape, one.other) == (value.shape, value.other))
        fitting = [one for one in self.values if test(one)]
        if not fitting:
            return None
        chosen = self.choice(fitting)
        self.reads.append(chosen.number)
        return chosen


Entry = Callable[[Draw, Value], str | None]


@dataclass(frozen=True)
class OpEntry:
    """One row of the table of ops: how a step is drawn, and what the checks may ask of it."""

    name: str
    entry: Entry
    kind: Kind
    plain: bool
    by_batch: bool
    weight: float


OPS: dict[str, OpEntry] = {}


def op(kind: Kind, plain: bool = False, by_batch: bool = False, weight: float = 1.0) -> Callable[[Entry], Entry]:
    """File an op. Its function gets (draw, value) and returns the text of a step, or None where the value does not fit.

    A step whose text fails, mixes examples, is too large or not finite is dropped; an entry need not foresee it.
    """

    def file(entry: Entry) -> Entry:
        name = entry.__name__
        assert name not in OPS, f"two ops are called {name}"
        OPS[name] = OpEntry(name, entry, kind, plain, by_batch, weight)
        return entry

    return file


def draw_program(seed: int, ops: Mapping[str, OpEntry] = OPS) -> Program:
    """Return the program of a seed."""
    rng = random.Random(seed)
    torch_dtype = "float32" if rng.random() < 0.25 else "float64"
    sources = tuple(
        Source(rng.choice([(4,), (6,), (3, 4), (2, 3, 4), (2, 6), (1, 5, 5), (2, 4, 4)]), rng.randrange(1 << 20))
        for _ in range(rng.choice((1, 1, 1, 2)))
    )
    program = Program(seed, rng.randint(1, 3), torch_dtype, sources, (), ())
    trial = _Trial(program)
    only_plain = rng.random() < 0.3  # else the law of piecewise linear programs would hardly ever be asked
    usable = [one for one in ops.values() if one.plain or not only_plain]
    for _ in range(rng.randint(2, 12)):
        _add_step(trial, rng, usable)
    return trial.finished(rng)


def _add_step(trial: _Trial, rng: random.Random, usable: list[OpEntry]) -> None:
    """Draw until one step is kept; recent values are read more often, so that programs are deep."""
    for _ in range(30):
        chosen = rng.choices(usable, [one.weight for one in usable])[0]
        values = trial.known()
        value = values[-1] if rng.random() < 0.6 else rng.choice(values)
        draw = Draw(rng, values, trial.modules.copy(), reads=[value.number])
        text = chosen.entry(draw, value)
        if text is None:
            continue
        step = Step(chosen.name, text, tuple(draw.reads), dict(draw.setup), chosen.kind, chosen.plain, chosen.by_batch)
        if trial.keep(step):
            trial.modules = draw.modules
            return


class _Trial:
    """A program in the making. It runs with batches of 2 and 3 beside each other, which shows the examples' axis."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.modules: dict[str, str] = {}
        self.runs = [self._values(program, batch) for batch in (2, 3)]

    @staticmethod
    def _values(program: Program, batch: int) -> list[Tensor]:
        one = Program(program.seed, batch, "float64", program.sources, program.steps, (0,))
        model, inputs = one.run()
        with torch.no_grad():
            return one.values(model, inputs)

    def known(self) -> list[Value]:
        pairs = zip(*self.runs, strict=True)
        return [Value(n, tuple(a.shape), tuple(b.shape)) for n, (a, b) in enumerate(pairs)]

    def keep(self, step: Step) -> bool:
        """Return whether the step will do, and keep it if so."""
        p = self.program
        longer = Program(p.seed, p.batch, p.dtype, p.sources, (*p.steps, step), p.outputs)
        try:
            runs = [self._values(longer, batch) for batch in (2, 3)]
        except (RuntimeError, ValueError, IndexError, TypeError):
            return False
        new, other = runs[0][-1], runs[1][-1]
        if not _sound(new, other) or not self._independent(longer, runs[0]):
            return False
        self.program, self.runs = longer, runs
        return True

    @staticmethod
    def _independent(program: Program, values: list[Tensor]) -> bool:
        """Return whether the first example's part is the same without the second."""
        model, inputs = Program(program.seed, 2, "float64", program.sources, program.steps, (0,)).run()
        with torch.no_grad():
            try:
                alone = program.values(model, tuple(x[:1] for x in inputs))[-1]
            except (RuntimeError, ValueError, IndexError, TypeError):
                return False
        whole = values[-1]
        if whole.numel() != 2 * alone.numel():
            return False
        differing = [n for n, (a, b) in enumerate(zip(whole.shape, alone.shape, strict=True)) if a != b]
        if len(differing) != 1:
            return False
        axis, rows = differing[0], alone.shape[differing[0]]
        candidates = [
            whole.unflatten(axis, (outer, 2, rows // outer)).select(axis + 1, 0).flatten(axis, axis + 1)
            for outer in range(1, rows + 1)
            if rows % outer == 0
        ]
        return any(torch.allclose(one, alone, rtol=1e-9, atol=1e-12) for one in candidates)

    def finished(self, rng: random.Random) -> Program:
        """Return the program with one or two outputs: the last value, and perhaps another."""
        p, count = self.program, len(self.program.sources)
        made = list(range(count, count + len(p.steps)))
        if not made:  # nothing was kept: the smallest program there is
            step = Step("double", "{0} * 2", (0,), {}, "unit", plain=True)
            return Program(p.seed, p.batch, p.dtype, p.sources, (step,), (count,))
        outputs = (made[-1],)
        if len(made) > 1 and rng.random() < 0.25:
            outputs = (made[-1], rng.choice(made[:-1]))
        return without_unused(Program(p.seed, p.batch, p.dtype, p.sources, p.steps, outputs))


def _sound(new: Any, other: Any) -> bool:
    if not isinstance(new, Tensor) or new.dtype is not torch.float64 or new.numel() == 0 or new.dim() > 5:
        return False
    if new.dim() != other.dim() or sum(a != b for a, b in zip(new.shape, other.shape, strict=True)) != 1:
        return False
    if 3 * new.numel() != 2 * other.numel() or new.numel() > 2 * MAX_NEURONS:
        return False
    return bool(torch.isfinite(new).all()) and float(new.abs().max()) < MAX_MAGNITUDE


def without_unused(program: Program) -> Program:
    """Return the program without the steps that no output needs. Sources stay."""
    count, needed = len(program.sources), set(program.outputs)
    for number in reversed(range(count, count + len(program.steps))):
        if number in needed:
            needed.update(program.steps[number - count].reads)
    kept = [n for n in range(count, count + len(program.steps)) if n in needed]
    return renumbered(program, kept)


def renumbered(program: Program, kept: list[int]) -> Program:
    """Return the program with these steps only; they read nothing but sources and one another."""
    count = len(program.sources)
    numbers = {n: n for n in range(count)} | {old: count + new for new, old in enumerate(kept)}
    steps = []
    for old in kept:
        step = program.steps[old - count]
        reads = tuple(numbers[n] for n in step.reads)
        steps.append(Step(step.op, step.text, reads, step.setup, step.kind, step.plain, step.by_batch))
    outputs = tuple(numbers[n] for n in program.outputs)
    return Program(program.seed, program.batch, program.dtype, program.sources, tuple(steps), outputs)
