"""What one circuit's evaluations share: rows, denominators, winners. Made once per block and rule, and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from provnet.circuit.blocks import Activation, Block, BlockCircuit, Operand
from provnet.circuit.deferred import Deferred, raw
from provnet.rules.lrp import assignment
from provnet.rules.lrp.base import Choice, Rule
from provnet.rules.lrp.factors import Factors, RuleEdges
from provnet.rules.lrp.zero import Zero
from provnet.semirings import annotations
from provnet.semirings.annotations.base import Annotation
from provnet.torch_backend.blocks.extent import Extent
from provnet.torch_backend.blocks.prepared import Joined, Prepared, Ready, joined, only, split
from provnet.torch_backend.blocks.rows import rows, tensor_of
from provnet.torch_backend.blocks.scratch import Scratch
from provnet.torch_backend.blocks.slopes import slopes
from provnet.torch_backend.blocks.sums import Denominators, Sums, plain_sums
from provnet.torch_backend.blocks.values import values_of
from provnet.torch_backend.blocks.winners import Winners

KEPT_RULES = 4
"""Denominators of this many rules are kept for a block; one takes as much memory as its pre-activation."""


class Workspace:
    """The rows and denominators of one circuit in one floating dtype.

    circuit   under its conventions: plain blocks. base: the same circuit before, to which composites speak; None: it
              is the circuit itself.
    """

    def __init__(self, circuit: BlockCircuit, dtype: torch.dtype, base: BlockCircuit | None = None) -> None:
        self.circuit, self.dtype, self.base = circuit, dtype, base or circuit
        self._choices: OrderedDict[Rule, tuple[Choice, ...]] = OrderedDict()
        self._sums: dict[int, OrderedDict[Rule, Sums]] = {}
        self._winners: dict[int, Winners] = {}
        self._scratch = Scratch()
        self._last: int | None = None

    def release(self) -> None:
        """Let go of what a lean circuit made again, and what was made of it. Another circuit's workspace keeps all."""
        if self.circuit.lean is not None:
            self.circuit.lean.release()
            self._forget()

    def pass_by(self, activation: int) -> None:
        """Let go of one activation that a lean circuit made again: a walk from the target has no more use for it."""
        if self.circuit.lean is not None:
            self.circuit.lean.release(activation)

    def _forget(self) -> None:
        self._sums.clear()
        self._winners.clear()
        self._last = None

    def rows(self, activation: int) -> Tensor:
        """Return an activation as [batch, neurons]."""
        return rows(self.circuit.activations[activation], self.circuit.batch, self.dtype)

    def activation(self, activation: int) -> Activation:
        """Return a recorded tensor with its layout."""
        return self.circuit.activations[activation]

    @property
    def batch(self) -> int:
        """The number of examples."""
        return self.circuit.batch

    def shape(self, activation: int) -> tuple[int, ...]:
        """Return the shape of one example of an activation."""
        return self.circuit.activations[activation].shape

    def fed(self, operand: Operand) -> Tensor:
        """Return what an operand multiplies its weights with, [batch, neurons]: its activation, scaled."""
        found = self.rows(operand.input)
        if operand.weight.derivative:
            # A masked score is -inf and its probability 0: it has no contribution, where -inf * 0 would be NaN.
            found = torch.where(torch.isfinite(found), found, torch.zeros((), dtype=found.dtype, device=found.device))
        if operand.scale is None:
            return found
        scale = operand.scale.to(found.dtype)
        return (found.reshape(*scale.shape, -1) * scale.unsqueeze(-1)).reshape(len(found), -1)

    # -- what a block takes --------------------------------------------------------------------------------------------

    def choice(self, index: int, rule: Rule) -> Choice:
        """Return what block `index` takes when `rule` is asked for. Raises `OptionError`, `UnknownNameError`."""
        if rule not in self._choices:
            self._choices[rule] = assignment(rule, self.base)
            while len(self._choices) > KEPT_RULES:
                self._choices.popitem(last=False)
        return self._choices[rule][index]

    def theta(self, index: int, annotation: Annotation) -> Annotation:
        """Return the annotation function at block `index`: the block's own, if it has one, stands in place of it."""
        block = self.circuit.blocks[index]
        return annotation.at(block.path) if block.annotation is None else annotations.get(block.annotation)

    def unit_edges(self, index: int, rule: Rule) -> RuleEdges | None:
        """Return the edges of a block of unit edges whose coefficient is their derivative: [batch, outputs, 1].

        None if the rule passes relevance on there. Raises: `UnsupportedOperationError` where no derivative is known.
        """
        block = self.circuit.blocks[index]
        if block.kind != "elementwise" or not self.choice(index, rule).rule.units:
            return None
        (source,) = (self.circuit.activations[i] for i in block.inputs)
        output = self.circuit.activations[block.output]
        found = replace(output, handle=slopes(block, tensor_of(source), tensor_of(output), self.dtype))
        d = rows(found, self.circuit.batch, self.dtype)
        return RuleEdges(d.unsqueeze(2), torch.ones_like(d), None)

    # -- rows and denominators -----------------------------------------------------------------------------------------

    def prepared(self, index: int, rule: Rule) -> Ready:
        """Return block `index` made ready for a rule. Its denominators are made once."""
        block = self.circuit.blocks[index]
        if self.circuit.lean is not None and index != self._last:
            self._forget()  # a walk looks at one block after the other; denominators would keep activations alive
            self._last = index
        if block.kind == "selection" or block.annotation is not None:
            return self._selected(index)
        rule = self.choice(index, rule).rule
        b = None if block.bias is None or not rule.uses_bias else self._flat(block.bias, block.bias_by_example)
        *others, last = split(block)
        plain = Joined(block, (*(self._operand(one, rule) for one in others), self._operand(last, rule, b)))
        sums = self._kept_sums(index, plain)
        z = Denominators(plain, sums, self._recorded(plain), partial(self._plain_sum, plain))
        extents = sums.extents
        parts = tuple(replace(part, w=raw(part, "w"), z=z, extent=extents[n]) for n, part in enumerate(plain.parts))
        return parts[0] if len(parts) == 1 else replace(plain, parts=parts)

    def _operand(self, block: Block, rule: Rule, b: Tensor | None = None) -> Prepared:
        """Return a block of one operand with f(a), weights and a bias, without denominators."""
        (operand,) = block.operands
        a, w = self.fed(operand), values_of(operand.weight, self)
        padding = self._padding(block, a)
        shape = self.circuit.activations[operand.input].shape
        made: dict[Callable[..., Tensor] | None, Tensor] = {}
        factors = tuple(self._factor(product, a, shape, w is None, padding, made) for product in rule.products)
        partner = operand.weight.partner
        weight_padding = None if partner is None else self._none(partner, a)
        return Prepared(
            block, rule, factors, b, w, (), padding=padding, weight_padding=weight_padding, scratch=self._scratch
        )

    @staticmethod
    def _factor(
        product: Factors,
        a: Tensor,
        shape: tuple[int, ...],
        ones: bool,
        padding: Tensor | None,
        made: dict[Callable[..., Tensor] | None, Tensor],
    ) -> Tensor:
        """Return f(a), 0 at neurons that are none. Products with the same f share it, unless g(1) is in it."""
        if product.a in made and not ones:
            return made[product.a]
        found = product.rows(a, shape, ones)
        if padding is not None:
            found = torch.where(padding, torch.zeros((), dtype=a.dtype, device=a.device), found)
        return made.setdefault(product.a, found) if not ones else found

    def _flat(self, handle: Tensor | Deferred, by_example: bool) -> Tensor:
        held: Tensor = handle.look() if isinstance(handle, Deferred) else handle
        return held.reshape(len(held), -1).to(self.dtype) if by_example else held.reshape(-1).to(self.dtype)

    def _padding(self, block: Block, a: Tensor) -> Tensor | None:
        """Return which neurons of a block's only operand are padding for it, None if none is.

        A zero that was padded takes part in a maximum, and may win it: there only -inf is nothing.
        """
        found = self._none(block.inputs[0], a)
        if found is None:
            return None
        if block.kind == "selection":
            nothing = a == -torch.inf
            found &= nothing.all(0) if found.dim() == 1 else nothing
        return found if bool(found.any()) else None

    def _none(self, activation: int, like: Tensor) -> Tensor | None:
        """Return which neurons of an activation are none, [size] or [batch, size]; None: all are neurons."""
        padding = self.circuit.activations[activation].padding
        return None if padding is None else torch.from_numpy(padding.copy()).to(like.device)

    def _selected(self, index: int) -> Ready:
        """Return a block that no rule speaks for: winners, or the number of slots as denominators."""
        block = self.circuit.blocks[index]
        parts = []
        for one in split(block):
            a = self.rows(one.inputs[0])
            parts.append(Prepared(one, Zero(), (a,), None, None, (), padding=self._padding(one, a)))
        plain = joined(block, tuple(parts), None)
        more: dict[str, Any] = {}
        if block.kind == "selection":
            if index not in self._winners:
                self._winners[index] = Winners(only(plain))
            more["winner"] = self._winners[index]
        else:
            a = plain.parts[0].a[0]
            more["z"] = (torch.full((len(a), block.wiring.outputs), block.wiring.fan, dtype=a.dtype, device=a.device),)
        return only(replace(plain, parts=tuple(replace(part, **more) for part in plain.parts)))

    def _kept_sums(self, index: int, plain: Joined) -> Sums:
        """Return what is kept of a block's sums under a rule. The rule's law is checked when they are first made."""
        key = plain.rule
        held = self._sums.setdefault(index, OrderedDict())
        if key not in held:
            for operand in plain.block.operands:
                plain.rule.check(plain.block, self.fed(operand), self.circuit.activations[operand.input].shape)
            held[key] = Sums(extents=tuple(Extent() for _ in plain.parts))
        held.move_to_end(key)
        while len(held) > KEPT_RULES:
            held.popitem(last=False)
        return held[key]

    def _plain_sum(self, plain: Joined) -> Tensor:
        """Return z = Σ a·w, bias included, whatever the rule makes of them."""
        recorded = self._recorded(plain)
        if recorded is not None:
            return recorded
        parts = []
        for part in plain.parts:
            a = self.fed(part.block.operands[0])
            a = (
                a
                if part.padding is None
                else torch.where(part.padding, torch.zeros((), dtype=a.dtype, device=a.device), a)
            )
            parts.append(replace(part, rule=Zero(), a=(a,), w=raw(part, "w")))
        return plain_sums(replace(plain, parts=tuple(parts)))[0]

    def _recorded(self, plain: Joined) -> Tensor | None:
        """Return the recorded output where it is the plain sum: the model has made it already."""
        output = self.circuit.activations[plain.block.output]
        whole = plain.block.output_is_sum and (plain.parts[-1].b is not None or plain.block.bias is None)
        # Under products="full" the output is no sum of what is on the edges, so there is nothing else to take.
        alike = output.handle.dtype == self.dtype or plain.block.sink == "full products"
        return self.rows(output.id) if whole and alike else None
