"""What one circuit's evaluations share: rows, denominators, winners. Made once per block and rule, and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.circuit.deferred import Deferred, raw
from provnet.errors import OptionError
from provnet.rules.fusion import Scaled
from provnet.rules.lrp import assignment
from provnet.rules.lrp.base import Choice, Edges, Product, Rule
from provnet.rules.lrp.zero import Zero
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.annotations.seed import Seed
from provnet.torch_backend.prepared import Prepared
from provnet.torch_backend.rows import rows, tensor_of
from provnet.torch_backend.scratch import Scratch
from provnet.torch_backend.slopes import slopes
from provnet.torch_backend.sums import Denominators, Sums, plain_sums
from provnet.torch_backend.weights import ScaledRows
from provnet.torch_backend.winners import Winners

KEPT_RULES = 4
"""Denominators of this many (rule, bias) pairs are kept for a block; one takes as much memory as its pre-activation."""


@dataclass(frozen=True)
class Policy:
    """The conventions that are no rule: is the bias a neuron, and what does a pooling pass on (design section 1)."""

    bias: bool = True
    pooling: Literal["winner", "proportional", "seed"] = "winner"

    def __post_init__(self) -> None:
        if self.pooling not in ("winner", "proportional", "seed"):
            raise OptionError(f"pooling={self.pooling!r} is unknown; take 'winner', 'proportional' or 'seed'.")
        if not isinstance(self.bias, bool):
            raise OptionError(f"bias={self.bias!r} is neither True nor False.")

    def seeds(self, block: Block) -> bool:
        """Whether the block is a pooling that the authors' seeding replaces, rule and annotation and all."""
        return self.pooling == "seed" and block.role == "pooling"


class Workspace:
    """The rows and denominators of one circuit in one floating dtype."""

    def __init__(self, circuit: BlockCircuit, dtype: torch.dtype) -> None:
        self.circuit, self.dtype = circuit, dtype
        self._choices: OrderedDict[Rule, tuple[Choice, ...]] = OrderedDict()
        self._sums: dict[int, OrderedDict[tuple[Rule, bool], Sums]] = {}
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

    def inputs(self, block: Block) -> Tensor:
        """Return the block's inputs, concatenated example by example: [batch, inputs]."""
        found = [self.rows(i) for i in block.inputs]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    # -- what a block takes --------------------------------------------------------------------------------------------

    def choice(self, index: int, rule: Rule) -> Choice:
        """Return what block `index` takes when `rule` is asked for. Raises `OptionError`, `UnknownNameError`."""
        if rule not in self._choices:
            self._choices[rule] = assignment(rule, self.circuit)
            while len(self._choices) > KEPT_RULES:
                self._choices.popitem(last=False)
        return self._choices[rule][index]

    def policy(self, index: int, rule: Rule, policy: Policy) -> Policy:
        """Return the policy at block `index`: a composite may change it there."""
        choice = self.choice(index, rule)
        pooling: Any = choice.pooling or policy.pooling
        bias = policy.bias if choice.bias is None else choice.bias
        return policy if (bias, pooling) == (policy.bias, policy.pooling) else Policy(bias, pooling)

    def theta(self, index: int, rule: Rule, policy: Policy, annotation: Annotation) -> Annotation:
        """Return the annotation function at block `index`: the authors' seeding stands in place of it."""
        block = self.circuit.blocks[index]
        return Seed() if self.policy(index, rule, policy).seeds(block) else annotation.at(block.path)

    def unit_edges(self, index: int, rule: Rule) -> Edges | None:
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
        return Edges(d.unsqueeze(2), torch.ones_like(d), None)

    # -- rows and denominators -----------------------------------------------------------------------------------------

    def prepared(self, index: int, rule: Rule, policy: Policy) -> Prepared:
        """Return block `index` made ready for a rule and a policy. Its denominators are made once."""
        block = self.circuit.blocks[index]
        if self.circuit.lean is not None and index != self._last:
            self._forget()  # a walk looks at one block after the other; denominators would keep activations alive
            self._last = index
        policy = self.policy(index, rule, policy)
        a = self.inputs(block)
        if block.role == "pooling" and (policy.seeds(block) or block.kind == "selection"):
            return self._pooled(index, a, policy)
        rule = self.choice(index, rule).rule
        with_bias = policy.bias and rule.uses_bias
        w: Any = self._weights(block)
        b = None if block.bias is None or not with_bias else self._flat(block.bias, block.bias_by_example)
        void = self._void(block, a)
        shape = self.circuit.activations[block.inputs[0]].shape if len(block.inputs) == 1 else (a.shape[1],)
        made: dict[Callable[..., Tensor] | None, Tensor] = {}
        factors = tuple(self._factor(product, a, shape, w is None, void, made) for product in rule.products)
        plain = Prepared(block, rule, factors, b, w, (), void=void, scratch=self._scratch)
        z, memo = self._denominators(index, plain, policy, a, shape)
        return replace(plain, w=w, z=z, memo=memo)

    def _weights(self, block: Block) -> Tensor | Deferred | None:
        """Return a block's weights, flat. Those that are not made yet stay so."""
        held = raw(block, "weight")
        if not isinstance(held, Deferred):
            return None if held is None else self._flat(held, block.weight_by_example)
        if isinstance(held, Scaled) and held.base.dtype == held.scale.dtype == self.dtype:
            return ScaledRows(held)
        return Deferred(lambda *_: self._flat(block.weight, block.weight_by_example), *held.parts)

    @staticmethod
    def _factor(
        product: Product,
        a: Tensor,
        shape: tuple[int, ...],
        ones: bool,
        void: Tensor | None,
        made: dict[Callable[..., Tensor] | None, Tensor],
    ) -> Tensor:
        """Return f(a), 0 at neurons that are none. Products with the same f share it, unless g(1) is in it."""
        if product.a in made and not ones:
            return made[product.a]
        found = product.rows(a, shape, ones)
        if void is not None:
            found = torch.where(void, torch.zeros((), dtype=a.dtype, device=a.device), found)
        return made.setdefault(product.a, found) if not ones else found

    def _flat(self, handle: Tensor, by_example: bool) -> Tensor:
        return handle.reshape(len(handle), -1).to(self.dtype) if by_example else handle.reshape(-1).to(self.dtype)

    def _void(self, block: Block, a: Tensor) -> Tensor | None:
        """Return which of the inputs are no neurons for this block, None if all are.

        A zero that was padded takes part in a maximum, and may win it: there only -inf is nothing.
        """
        found = [self.circuit.activations[i].void for i in block.inputs]
        if all(void is None for void in found):
            return None
        sizes = [self.circuit.activations[i].size for i in block.inputs]
        device = self.rows(block.inputs[0]).device
        parts = [
            torch.zeros(size, dtype=torch.bool) if void is None else torch.from_numpy(void)
            for void, size in zip(found, sizes, strict=True)
        ]
        joined = torch.cat(parts).to(device)
        if block.kind == "selection":
            joined &= (a == -torch.inf).all(0)
        return joined if bool(joined.any()) else None

    def _pooled(self, index: int, a: Tensor, policy: Policy) -> Prepared:
        block = self.circuit.blocks[index]
        plain = Prepared(block, Zero(), (a,), None, None, (), void=self._void(block, a))
        if policy.pooling == "winner":
            if index not in self._winners:
                self._winners[index] = Winners(plain)
            return replace(plain, winner=self._winners[index])
        if policy.pooling == "seed":
            count = torch.full((len(a), block.wiring.outputs), block.wiring.fan, dtype=a.dtype, device=a.device)
            return replace(plain, z=(count,))
        return replace(plain, z=plain_sums(plain))

    def _denominators(
        self, index: int, plain: Prepared, policy: Policy, a: Tensor, shape: tuple[int, ...]
    ) -> tuple[Denominators, dict[str, Tensor]]:
        key = (plain.rule, policy.bias)
        held = self._sums.setdefault(index, OrderedDict())
        if key not in held:
            plain.rule.check(plain.block, a, shape)
            held[key] = Sums()
        held.move_to_end(key)
        while len(held) > KEPT_RULES:
            held.popitem(last=False)
        recorded = self._recorded(plain)
        return Denominators(plain, held[key], recorded, partial(self._plain_sum, plain, a)), held[key].memo

    def _plain_sum(self, plain: Prepared, a: Tensor) -> Tensor:
        """Return z = Σ a·w, bias included, whatever the rule makes of them."""
        recorded = self._recorded(plain)
        if recorded is not None:
            return recorded
        rows = a if plain.void is None else torch.where(plain.void, torch.zeros((), dtype=a.dtype, device=a.device), a)
        return plain_sums(replace(plain, rule=Zero(), a=(rows,), w=raw(plain, "w")))[0]

    def _recorded(self, plain: Prepared) -> Tensor | None:
        """Return the recorded output where it is the plain sum: the model has made it already."""
        output = self.circuit.activations[plain.block.output]
        whole = plain.block.output_is_sum and (plain.b is not None or plain.block.bias is None)
        return self.rows(output.id) if whole and output.handle.dtype == self.dtype else None
