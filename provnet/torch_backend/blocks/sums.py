"""Denominators: for each branch of a rule the stabilised sum of its contributions, made once, and only if asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from provnet.circuit.deferred import Deferred, raw
from provnet.rules.lrp.factors import Branch, Factors
from provnet.torch_backend.blocks import linear_maps
from provnet.torch_backend.blocks.complement import applies, complement
from provnet.torch_backend.blocks.prepared import Joined, Prepared, Ready
from provnet.torch_backend.blocks.tiling import tiles
from provnet.torch_backend.blocks.weight_factors import Structured, mapped

PROPORTIONS = (Branch((Factors(),)),)
"""The branches of a rule whose plain sums are the op's own output."""


@dataclass(eq=False)
class Sums:
    """What is kept of one block under one rule: denominators by branch, and by operand what routes keep beside them."""

    made: dict[int, Tensor] = field(default_factory=dict)
    memos: tuple[dict[str, Tensor], ...] = ()
    first: Tensor | None = None
    """The plain sum of the first of two branches, while the second may be found from it."""


class Denominators(Deferred):
    """The denominators of a prepared block. `value`: of all branches; `branch(n)`: of one, infinite where the neuron
    does not use it.

    recorded   the recorded output where it is the plain sum z = Σ a·w, bias included; None: it is not
    plain_sum  gives that sum whatever the rule makes of it
    """

    def __init__(self, plain: Joined, sums: Sums, recorded: Tensor | None, plain_sum: Callable[[], Tensor]) -> None:
        super().__init__()
        self._plain, self._sums, self._plain_sum = plain, sums, plain_sum
        self._proportions = plain.rule.branches == PROPORTIONS
        self.recorded = recorded

    @property
    def unstabilised(self) -> Tensor | None:
        """The plain sums of a rule with plain proportions, where they are recorded and nothing is made of them yet."""
        usable = self._proportions and not self._sums.made and self._plain.block.copies == 1
        return self.recorded if usable else None

    def make(self) -> tuple[Tensor, ...]:
        return tuple(self.branch(number) for number in range(len(self._plain.rule.branches)))

    def branch(self, number: int) -> Tensor:
        """Return one branch's denominators, [batch, outputs]."""
        if number not in self._sums.made:
            self._sums.made[number] = self._made(number)
        return self._sums.made[number]

    def _made(self, number: int) -> Tensor:
        rule, copies = self._plain.rule, self._plain.block.copies
        rows = self._plain.parts[0].a[0]
        branch = rule.branches[number]
        if branch.divided:
            recorded = self.recorded if self._proportions else None
            found = rule.stabilise(self._sum(number) if recorded is None else recorded)
            # A contribution that `copies` slots share is divided among them, after what stabilises the sum.
            found = found if copies == 1 else found * copies
        else:
            one = torch.ones((), dtype=rows.dtype, device=rows.device)
            found = one.expand(len(rows), self._plain.block.wiring.outputs)
        if not branch.sign:
            return found
        z = self._plain_sum() if self.recorded is None else self.recorded
        return torch.where(z > 0 if branch.sign > 0 else z < 0, found, torch.inf)

    def _sum(self, number: int) -> Tensor:
        """Return one branch's plain sum: the second of two from the first, where they add up to the recorded sum."""
        part, *others = self._plain.parts
        if self.recorded is None or others or not applies(part, self.recorded):
            return branch_sum(self._plain, number)
        if number == 0:
            self._sums.first = branch_sum(self._plain, 0)
            return self._sums.first
        first = branch_sum(self._plain, 0) if self._sums.first is None else self._sums.first
        self._sums.first = None
        found = complement(part, self.recorded, first)
        return branch_sum(self._plain, 1) if found is None else found

    @property
    def sign(self) -> Tensor:
        """The sign of the plain sum, which says which branch a neuron uses: [batch, outputs]."""
        return (self._plain_sum() if self.recorded is None else self.recorded).sign()


def plain_sums(plain: Ready) -> tuple[Tensor, ...]:
    """Return for each branch the sums of its contributions over each neuron's inputs, bias included: [batch,
    outputs]."""
    return tuple(branch_sum(plain, number) for number in range(len(plain.rule.branches)))


def branch_sum(plain: Ready, number: int) -> Tensor:
    """Return the sums of one branch's contributions over each neuron's inputs, bias included: [batch, outputs].

    A product's factors count its contributions once each: their sum is divided by the number of factors.
    """
    first, *others = (_operand_sum(part, number) for part in plain.parts)
    for other in others:
        first = first + other
    return first if plain.block.counted == 1 else first / plain.block.counted


def _operand_sum(plain: Prepared, number: int) -> Tensor:
    branches = plain.rule.branches
    first = sum(len(branch.products) for branch in branches[:number])
    total: Tensor | None = None
    for product, a in zip(branches[number].products, plain.a[first:], strict=False):
        if total is not None and product.silent(a):
            continue
        part = _product_sum(plain, product, a)
        if part is None:
            return _folded_sum(plain, number)
        total = part if total is None else total + part
    assert total is not None
    return total


def _product_sum(plain: Prepared, product: Factors, a: Tensor) -> Tensor | None:
    if plain.block.bias_by_example or (
        plain.block.weight_by_example and not linear_maps.by_example(plain.block.wiring)
    ):
        return None
    held = raw(plain, "w")
    if isinstance(held, Structured) and product.w is None and plain.b is None:
        found = held.applied(a)
        if found is not None:
            return found
    wiring, b = plain.block.wiring, None if plain.b is None else product.biases(plain.b)
    with linear_maps.full_precision():
        w, g = mapped(plain, product)
        return linear_maps.apply(wiring, a, w, b, g)


def _folded_sum(plain: Prepared, number: int) -> Tensor:
    """The same for wirings without a kernel of their own: tiles of contributions, summed over their slots."""
    total = torch.zeros((plain.batch, plain.block.wiring.outputs), dtype=plain.a[0].dtype, device=plain.device)
    for tile, batch, sources in tiles(plain):
        at = plain.outputs(tile).reshape(-1)
        total[batch, at] = plain.numerators(tile, batch, sources)[number].sum(dim=-1).flatten(1)
    return total
