"""What must hold for every program: provnet against autograd, against edge lists, and against itself.

Each check gets a `Case` and raises `AssertionError` where provnet is wrong. `Skip` says that its law does not apply.
"""

from __future__ import annotations

import copy
import random
import tempfile
import threading
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import provnet
from provnet.errors import LimitError, TraceWarning
from tests.fuzz.edges import badly_conditioned, listed
from tests.fuzz.program import Program
from tests.oracles import oracle_relevance

SEMIRINGS = ("real", "boolean", "counting", "viterbi", "tropical", "bottleneck")
GATE_LIMIT = 20_000


class Skip(Exception):
    """The law says nothing of this program."""


class Case:
    """A program that has been run and traced, and one output neuron that is explained."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.model, self.inputs = program.run()
        self.before = (copy.deepcopy(self.model.state_dict()), [x.clone() for x in self.inputs])
        self.circuit = traced(self.model, self.inputs)
        self.random = random.Random(program.seed)
        self.output = self.random.randrange(len(self.circuit.outputs))
        shape = self.values[program.outputs[self.output]].shape
        held = self.circuit.session.data.activations[self.circuit.session.data.outputs[self.output]]
        self.index = tuple(self.random.randrange(n) for n in held.shape)
        self.shape = tuple(shape)

    @cached_property
    def values(self) -> list[Tensor]:
        """Every value of the program, by torch alone."""
        with torch.no_grad():
            return self.program.values(self.model, self.inputs)

    def evaluate(self, semiring: Any, circuit: Any = None, **options: Any) -> list[Tensor]:
        """Return the relevance of each source, [batch, *shape]."""
        asked = circuit or self.circuit
        # In a batch of one the example may lie on another axis of size one: the neuron's number stays.
        shape = asked.session.data.activations[asked.session.data.outputs[self.output]].shape
        target = tuple(map(int, np.unravel_index(self.flat, shape))) if shape else ()
        return relevance(asked.evaluate(semiring, target=target, output=self.output, **options))

    def example(self, number: int) -> tuple[Tensor, ...]:
        return tuple(x[number : number + 1] for x in self.inputs)

    def scores(self, leaves: tuple[Tensor, ...]) -> Tensor:
        """Return the explained neuron's activation for each example, by running them one by one."""
        rows = []
        for n in range(self.program.batch):
            given = tuple(x[n : n + 1] for x in leaves) if not self.by_batch else leaves
            found = self.model(*given)
            chosen = found[self.output] if isinstance(found, tuple) else found
            if self.by_batch:
                raise Skip("it looks at the whole batch")
            rows.append(chosen.reshape(-1)[self.flat])
        return torch.stack(rows)

    @cached_property
    def flat(self) -> int:
        """The explained neuron's number, row-major, in a batch of one."""
        held = self.circuit.session.data.activations[self.circuit.session.data.outputs[self.output]]
        return int(np.ravel_multi_index(self.index, held.shape)) if held.shape else 0

    @property
    def by_batch(self) -> bool:
        return self.program.batch > 1 and any(step.by_batch for step in self.program.steps)


def traced(model: Any, inputs: tuple[Tensor, ...], **options: Any) -> provnet.Circuit:
    """Trace; constants in a program are meant, so remarks on them are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        return provnet.trace(model, *inputs, **options)


def relevance(result: provnet.Relevance) -> list[Tensor]:
    """Return the relevance of each source, exact counts as Python integers in a numpy array."""
    sources = result._asked.circuit.sources
    names = [result._asked.circuit.activations[s].name for s in sources]
    return [result[name] for name in names]


def gradients(case: Case) -> tuple[Tensor, list[Tensor]]:
    """Return (scores, the gradient of each with respect to each source), by autograd."""
    leaves = tuple(x.clone().requires_grad_() for x in case.inputs)
    with torch.enable_grad():
        scores = case.scores(leaves)
        if not scores.requires_grad:
            return scores, [torch.zeros_like(x) for x in leaves]
        found = torch.autograd.grad(scores.sum(), leaves, allow_unused=True, materialize_grads=True)
    return scores.detach(), list(found)


def same(got: list[Any], wanted: list[Any], what: str, tolerance: float = 0.0) -> None:
    """Raise `AssertionError` where two lists of tensors differ by more than `tolerance`, of the largest entry."""
    for number, (a, b) in enumerate(zip(got, wanted, strict=True)):
        a, b = (torch.as_tensor(np.asarray(x, dtype=np.float64)) for x in (a, b))
        assert a.shape == b.shape, f"{what}: source {number} has the shape {tuple(a.shape)}, not {tuple(b.shape)}"
        finite = b[torch.isfinite(b)].abs()
        scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
        close = torch.isclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
        assert bool(close.all()), f"{what}: source {number} got\n{a}\nwanted\n{b}"


# --- against autograd -------------------------------------------------------------------------------------------------


def gradient_rule_is_autograd(case: Case) -> None:
    """rule="gradient" in the real semiring is the gradient."""
    only_double(case)
    _, wanted = gradients(case)
    same(case.evaluate("real", rule="gradient"), wanted, "gradient", 1e-8)


def lrp_is_input_times_gradient(case: Case) -> None:
    """Of a piecewise linear program without constants LRP-0 is input x gradient / output (Shrikumar et al. 2016).

    Where a sum cancels to exactly zero LRP has no shares, and the law says nothing.
    """
    only_double(case)
    if not case.program.plain:
        raise Skip("it has constants, or bends")
    scores, slopes = gradients(case)
    if bool((scores.abs() < 1e-6).any()) or not well_conditioned(case):
        raise Skip("a sum nearly cancels")
    shaped = [scores.reshape(-1, *(1,) * (x.dim() - 1)) for x in case.inputs]
    wanted = [x * g / s for x, g, s in zip(case.inputs, slopes, shaped, strict=True)]
    same(case.evaluate("real"), wanted, "LRP-0 against input x gradient", 1e-6)


def well_conditioned(case: Case) -> bool:
    for n in range(case.program.batch):
        found = listed(case.program, case.model, grad_inputs(case, n), case.program.outputs[case.output])
        if found is None or badly_conditioned(*found):
            return False
    return True


def grad_inputs(case: Case, number: int) -> tuple[Tensor, ...]:
    return tuple(x.clone().requires_grad_() for x in case.example(number))


def only_double(case: Case) -> None:
    if case.program.dtype != "float64":
        raise Skip("rounded to float32")


# --- against brute force ----------------------------------------------------------------------------------------------


def edge_lists_agree(case: Case) -> None:
    """Six semirings, three rules: sums over edges that are listed one by one."""
    only_double(case)
    circuit = traced(case.model, case.inputs, batch_norm="kept")
    for n in range(case.program.batch):
        if case.by_batch:
            raise Skip("it looks at the whole batch")
        found = listed(case.program, case.model, grad_inputs(case, n), case.program.outputs[case.output])
        if found is None:
            raise Skip("a step cannot be listed")
        if badly_conditioned(*found):
            raise Skip("a sum nearly cancels")
        network, x = found
        for semiring in SEMIRINGS:
            for rule, name in (("zero", "lrp0"), ("z-plus", "zplus"), ("epsilon", "eps1e-06")):
                oracle = oracle_relevance(network, x, case.flat, semiring, name).relevance[0]
                got = case.evaluate(semiring, circuit, rule=rule)
                flat = np.concatenate([np.asarray(r[n], dtype=np.float64).reshape(-1) for r in got])
                exact = semiring in ("boolean", "counting")
                same([flat], [oracle.astype(np.float64)], f"{semiring}, {rule}", 0.0 if exact else 1e-7)


# --- provnet against itself -------------------------------------------------------------------------------------------


def semirings_agree(case: Case) -> None:
    """Boolean is counting > 0, tropical is -log Viterbi: both are homomorphisms."""
    count, some = case.evaluate("counting"), case.evaluate("boolean")
    same([c > 0 for c in count], some, "boolean against counting > 0")
    best, cost = case.evaluate("viterbi"), case.evaluate("tropical")
    deep = [torch.where(b > 1e-30, -torch.log(b), torch.inf) for b in best]
    kept = [torch.where(b > 1e-30, c, torch.inf) for b, c in zip(best, cost, strict=True)]
    same(kept, deep, "tropical against -log viterbi", 1e-4 if case.program.dtype == "float32" else 1e-9)


def routes_agree(case: Case) -> None:
    """Fast routes give what the literal definition gives: exactly in Boolean and counting."""
    for semiring in SEMIRINGS:
        slow, fast = case.evaluate(semiring, route="reference"), case.evaluate(semiring)
        exact = semiring in ("boolean", "counting", "bottleneck")
        loose = 1e-3 if case.program.dtype == "float32" else 1e-9
        if semiring == "real" and max(float(r.abs().max()) for r in slow) > 1e3:
            continue  # a sum nearly cancels
        same(fast, slow, f"{semiring}, auto against reference", 0.0 if exact else loose)


def gates_are_blocks(case: Case) -> None:
    """Explicit gates give the bits of the reference route; in real numbers they add up in another order."""
    loose = 1e-4 if case.program.dtype == "float32" else 1e-9
    example = case.random.randrange(case.program.batch)
    try:
        gates = case.circuit.gates(target=case.index, output=case.output, batch=example, limit=GATE_LIMIT)
    except LimitError as error:
        raise Skip("too many gates") from error
    for semiring in SEMIRINGS:
        blocks = case.evaluate(semiring, route="reference")
        found = gates.evaluate(semiring).tensor
        wanted = torch.cat([r[example].reshape(-1) for r in blocks])
        same([found], [wanted], f"{semiring}, gates against blocks", loose if semiring == "real" else 0.0)


def one_by_one(case: Case) -> None:
    """A batch is its examples."""
    if case.by_batch:
        raise Skip("it looks at the whole batch")
    tolerance = 1e-3 if case.program.dtype == "float32" else 1e-7
    together = {semiring: case.evaluate(semiring) for semiring in SEMIRINGS}
    if max(float(r.abs().max()) for r in together["real"]) > 1e3:
        raise Skip("a sum nearly cancels")
    for n in range(case.program.batch):
        alone = traced(case.model, case.example(n))
        for semiring, whole in together.items():
            part = case.evaluate(semiring, alone)
            same(part, [r[n : n + 1] for r in whole], f"{semiring}, example {n} alone against the batch", tolerance)


def files_keep_everything(case: Case) -> None:
    """A circuit that was saved and loaded gives the same bits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "circuit.provnet"
        provnet.save(case.circuit, path)
        loaded = provnet.load(path)
        for semiring in SEMIRINGS:
            same(case.evaluate(semiring, loaded), case.evaluate(semiring), f"{semiring}, loaded against saved")
        same(case.evaluate("real", loaded, rule="gradient"), case.evaluate("real", rule="gradient"), "gradient, loaded")


def lean_is_whole(case: Case) -> None:
    """A circuit that keeps few activations gives the same bits."""
    lean = traced(case.model, case.inputs, lean=True)
    for semiring in SEMIRINGS:
        same(case.evaluate(semiring, lean), case.evaluate(semiring), f"{semiring}, lean against whole")


def threads_agree(case: Case) -> None:
    """Threads that start together get what one gets."""
    wanted = {semiring: case.evaluate(semiring) for semiring in SEMIRINGS}
    barrier, faults = threading.Barrier(3), list[BaseException]()

    def ask(semiring: str) -> None:
        try:
            barrier.wait(10)
            for _ in range(3):
                same(case.evaluate(semiring), wanted[semiring], f"{semiring}, one of three threads")
        except BaseException as error:
            faults.append(error)

    workers = [threading.Thread(target=ask, args=(s,)) for s in ("real", "viterbi", "real")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if faults:
        raise faults[0]


def model_is_left_as_found(case: Case) -> None:
    """Parameters, buffers, inputs and hooks are what they were."""
    state, inputs = case.before
    now = case.model.state_dict()
    assert list(now) == list(state), "the model's tensors have other names"
    assert all(torch.equal(now[name], state[name]) for name in state), "the model's tensors have changed"
    assert all(torch.equal(a, b) for a, b in zip(case.inputs, inputs, strict=True)), "the inputs have changed"
    hooks = [m for m in case.model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooks, f"hooks were left on {hooks}"


CHECKS: dict[str, Callable[[Case], None]] = {
    check.__name__: check
    for check in (
        gradient_rule_is_autograd,
        lrp_is_input_times_gradient,
        edge_lists_agree,
        semirings_agree,
        routes_agree,
        gates_are_blocks,
        one_by_one,
        files_keep_everything,
        lean_is_whole,
        threads_agree,
        model_is_left_as_found,
    )
}
