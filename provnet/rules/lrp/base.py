"""What a propagation rule is: from contributions to coefficients, said once in a form that every route can use.

A rule is a sum of **branches**; a branch's contribution is a sum of **products** f(a_j) * g(w_jk), and its denominator
the sum of those over the neuron's inputs, bias included. Said so, one declaration serves the literal route
(elementwise), the denominators (the op itself, applied to f(a) and g(w)) and the fast routes (its transpose):

    zero         a·w                          gamma        a·(w + γ·w⁺)
    alpha-beta   α: a⁺·w⁺ + a⁻·w⁻             z^B          a·w − low·w⁺ − high·w⁻
                −β: a⁺·w⁻ + a⁻·w⁺             w², flat     1·w², 1·1

Which block takes which rule is the rule's own say too: `assign` gives every block of a circuit its `Choice`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.errors import OptionError
from provnet.registry import Registry
from provnet.rules.lrp.factors import Branch, Factors, RuleEdges, Terms

SYNONYMS = {
    "lrp-zero": ("zero",),
    "z": ("zero",),
    "z-rule": ("zero",),
    "lrp": ("zero", "epsilon"),
    "lrp-epsilon": ("epsilon",),
    "lrp-ε": ("epsilon",),
    "eps": ("epsilon",),
    "ε": ("epsilon",),
    "epsilon-rule": ("epsilon",),
    "lrp-gamma": ("gamma",),
    "γ": ("gamma",),
    "gamma-rule": ("gamma",),
    "z+": ("z-plus",),
    "lrp-z+": ("z-plus",),
    "lrp-z-plus": ("z-plus",),
    "alpha1-beta0": ("z-plus",),
    "αβ": ("alpha-beta",),
    "lrp-alpha-beta": ("alpha-beta",),
    "alpha2-beta1": ("alpha-beta",),
    "w2": ("w-square",),
    "w²": ("w-square",),
    "zB": ("z-box",),
    "z^B": ("z-box",),
    "box": ("z-box",),
    "lrp-flat": ("flat",),
    "saliency": ("gradient",),
    "grad": ("gradient",),
}
"""What other tools and papers call the rules."""

REGISTRY: Registry[Callable[[], Rule]] = Registry("propagation rule", SYNONYMS)
register = REGISTRY.register


@dataclass(frozen=True)
class Choice:
    """What one block takes: a rule, and the conventions that differ from the evaluation's, name -> value.

    `why` names what chose it ("rule", "default", a composite's entry), for the plan.
    """

    rule: Rule
    conventions: Mapping[str, Any] = field(default_factory=dict)
    why: str = "rule"


class Rule:
    """The base of propagation rules. Equal rules compare equal (subclasses are frozen dataclasses)."""

    name: ClassVar[str] = ""
    branches: tuple[Branch, ...] = (Branch(),)
    uses_bias: ClassVar[bool] = True
    """Whether the bias is a neuron for this rule. False: its edges are absent, and it is in no denominator."""
    units: ClassVar[bool] = False
    """Whether the rule gives unit edges a coefficient."""
    kinds: ClassVar[tuple[str, ...]] = ("affine",)
    """The kinds of block that a composite may give this rule to."""

    @property
    def proportional(self) -> bool:
        """Whether contributions are the plain a·w: all that the rule may do is to stabilise their sum."""
        return self.branches == (Branch(),)

    @property
    def products(self) -> tuple[Factors, ...]:
        """All products, branch after branch: the order of `Terms.a`."""
        return tuple(product for branch in self.branches for product in branch.products)

    # -- where it applies ----------------------------------------------------------------------------------------------

    def at(self, block: Block) -> Rule | None:
        """Return the rule for `block`; None: plain proportions. A rule given by itself is for the linear maps.

        One that only stabilises is for contractions of two traced tensors too. A product of one term cannot cancel.
        """
        sums = block.role == "product" and any(operand.wiring.fan > 1 for operand in block.operands)
        return self if block.role == "linear" or (sums and self.proportional) else None

    def refusal(self, circuit: BlockCircuit, index: int) -> str | None:
        """Return why this rule has no meaning at a block, None if it has one. Asked before anything is computed."""
        return None

    def check(self, block: Block, rows: Tensor, shape: tuple[int, ...]) -> None:
        """Raise `OptionError` if what feeds a block breaks the rule's law. Asked once, when denominators are made."""

    def assign(self, circuit: BlockCircuit) -> tuple[Choice | None, ...]:
        """Return what each block takes; None: plain proportions. Raises `OptionError` where the rule cannot apply."""
        found: list[Choice | None] = []
        for index, block in enumerate(circuit.blocks):
            rule = self.at(block)
            if rule is not None:
                rule.require(circuit, index)
            found.append(None if rule is None else Choice(rule))
        return tuple(found)

    def require(self, circuit: BlockCircuit, index: int) -> None:
        """Raise `OptionError`, with the block and the way out, if the rule has no meaning at it."""
        block = circuit.blocks[index]
        reason = self.refusal(circuit, index)
        if block.role == "product" and not self.proportional and not self.units:
            reason = "both factors are activations and neither is a weight; take Zero or Epsilon for it"
        if reason is not None:
            raise OptionError(
                f"{self!r} cannot apply to the block {block.path!r} ({block.op}): {reason}. Choose where it applies "
                f"with Composite({{...}}); circuit.plan(rule) shows what every block takes."
            )

    @property
    def remainder(self) -> str:
        """The name of the sink of what a neuron with defined edges does not pass on."""
        return "rule"

    # -- coefficients --------------------------------------------------------------------------------------------------

    @property
    def floor(self) -> float:
        """A number that no |z'| is below; 0: none is known. Stated, it spares a look at every denominator."""
        return 0.0

    @property
    def together(self) -> float:
        """c, where the sums of two branches add up to c·z for every neuron, z = Σ a·w: one says the other; 0: they do
        not. Stated, it spares a pass over the weights."""
        return 0.0

    @property
    def local(self) -> bool:
        """Whether `stabilise` is elementwise, so that it may be given parts of a layer."""
        return False

    def stabilise(self, z: Tensor) -> Tensor:
        """Return the denominator z' for the plain sums z, [batch, neurons] of one whole layer."""
        return z

    def numerators(self, terms: Terms) -> tuple[Tensor, ...]:
        """Return each branch's contributions, fl(f(a) * g(w)) summed over its products."""
        found, factors = [], iter(terms.a)
        for branch in self.branches:
            first, *others = (product.numerator(next(factors), terms) for product in branch.products)
            for other in others:
                first += other  # a fresh tensor: adding in place saves a pass over memory
            found.append(first)
        return tuple(found)

    def coefficients(self, terms: Terms) -> RuleEdges:
        """Return the edges' contributions, denominators and coefficients.

        With several branches there is no single p: p is d, and z is one. A branch whose pool is empty gives nothing.
        """
        parts = self.numerators(terms)
        if len(parts) == 1:
            return RuleEdges(parts[0], terms.z[0], terms.present)
        d = torch.zeros((), dtype=parts[0].dtype, device=parts[0].device)
        for branch, p, z in zip(self.branches, parts, terms.z, strict=True):
            d = d + branch.factor * RuleEdges(p, z, terms.present).d
        alive = torch.stack([(z != 0) & torch.isfinite(z) for z in terms.z]).any(0)
        return RuleEdges(d, torch.ones_like(terms.z[0]), terms.present, defined=alive.unsqueeze(-1).expand(d.shape))


class Stabilised(Rule):
    """The base of rules with an optional ε in the denominator: z + ε·sign z, with sign 0 = +1.

    A subclass declares the field `stabilizer` itself, so that it stands behind the subclass's own.
    """

    stabilizer: float = 0.0

    def __post_init__(self) -> None:
        number(self.name, stabilizer=self.stabilizer)

    @property
    def remainder(self) -> str:
        return "stabiliser" if self.stabilizer else "rule"

    @property
    def floor(self) -> float:
        return self.stabilizer if type(self).stabilise is Stabilised.stabilise else 0.0

    def stabilise(self, z: Tensor) -> Tensor:
        return shifted(z, self.stabilizer) if self.stabilizer else z


def shifted(z: Tensor, epsilon: float | Tensor) -> Tensor:
    """Return z + ε·sign z, with sign 0 = +1, for ε >= 0."""
    if not isinstance(epsilon, Tensor):
        held(epsilon, z, "epsilon")
    if isinstance(epsilon, Tensor) or z.requires_grad:
        return torch.where(z < 0, z - epsilon, z + epsilon)
    found = z + 0.0  # makes -0 a +0, whose sign is that of 0
    return torch.copysign(torch.full((), epsilon, dtype=z.dtype, device=z.device), found, out=found).add_(z)


def number(rule: str, **options: float) -> None:
    """Raise `OptionError` unless every option is a finite number >= 0."""
    for what, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise OptionError(f"the rule {rule!r} got {what}={value!r}; it must be a finite number >= 0.")


def held(value: float, like: Tensor, what: str) -> float:
    """Return a rule's parameter. Raises `OptionError` if the dtype of `like` does not hold it."""
    if like.is_floating_point() and value > (most := torch.finfo(like.dtype).max):
        raise OptionError(f"{what}={value:g} leaves {like.dtype}, which ends at {most:g}. Take less, or a wider dtype.")
    return value
