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
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.errors import OptionError
from provnet.registry import Registry
from provnet.rules.quotient import quotient

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

RowMap = Callable[[Tensor, tuple[int, ...]], Tensor]
"""(rows [batch, neurons], the shape of one example) -> rows."""


@dataclass(frozen=True)
class Factors:
    """f(a) * g(w). None is the identity. `a` maps a whole layer's rows [batch, neurons] of the given per-example shape;
    `w` maps weights elementwise, the bias's too; `bias` is what f makes of the bias neuron's activation 1."""

    a: RowMap | None = None
    w: Callable[[Tensor], Tensor] | None = None
    bias: float = 1.0

    def rows(self, a: Tensor, shape: tuple[int, ...], ones: bool) -> Tensor:
        """Return f(a) for a whole layer; where its weights are all one (`ones`), g(1) is multiplied in here."""
        found = a if self.a is None else self.a(a, shape)
        one = 1.0 if self.w is None or not ones else float(self.w(torch.ones((), dtype=a.dtype)))
        return found if one == 1 else found * one

    def weights(self, w: Tensor | None) -> Tensor | None:
        """Return g(w); None stands for weights that are all one, whose g(1) is in the rows."""
        return w if self.w is None or w is None else self.w(w)

    def write(self, w: Tensor, into: Tensor) -> None:
        """Write g(w) to memory of w's shape, which may be w's own. No gradients pass."""
        writer = next((write for g, write in WRITERS if g is self.w), None)
        if writer is not None:
            writer(w, out=into)
        elif self.w is not None or w is not into:
            into.copy_(w if self.w is None else self.w(w))

    def silent(self, rows: Tensor) -> bool:
        """Return whether the product adds nothing anywhere: f(a) is 0, as a⁻ is behind a ReLU. Its derivative may be
        something."""
        if self.bias != 0 or rows.requires_grad:
            return False
        spread = not any(rows.stride())  # one number, shown everywhere
        return not bool((rows[:1, :1] if spread else rows).any())

    def biases(self, b: Tensor) -> Tensor:
        """Return what the product contributes for the biases b."""
        return self.bias * (b if self.w is None else self.w(b))

    def numerator(self, a: Tensor, terms: Terms) -> Tensor:
        """Return fl(f(a) * g(w)) for every slot, the bias's too, as a fresh tensor: [..., slots]."""
        w = self.weights(terms.w)
        if terms.b is None:
            return a.clone() if w is None else a * w
        b = self.biases(terms.b)
        shape = torch.broadcast_shapes(a.shape[:-1], b.shape, () if w is None else w.shape[:-1])
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (a, w, b)):
            shown = (a if w is None else a * w).expand(*shape, a.shape[-1])
            return torch.cat([shown, b.expand(shape).unsqueeze(-1)], -1)
        found = torch.empty((*shape, a.shape[-1] + 1), dtype=a.dtype, device=a.device)
        found[..., -1] = b
        if w is None:
            found[..., :-1] = a
        else:
            torch.mul(a, w, out=found[..., :-1])
        return found


@dataclass(frozen=True)
class Branch:
    """One share of the coefficient: factor * (sum of products) / (its sum over the neuron's inputs).

    sign      +1 or -1: only neurons whose plain sum z = Σ a·w has this sign use the branch. 0: all do.
    divided   False: nothing is divided, the coefficient is the sum of products itself.
    """

    products: tuple[Factors, ...] = (Factors(),)
    factor: float = 1.0
    sign: int = 0
    divided: bool = True


@dataclass(frozen=True, eq=False)
class Terms:
    """The inputs of some neurons; everything broadcasts to [..., slots], where a bias adds one slot, the last.

    a        for each product of the rule, in order, f(a): [..., fan]
    w        weights [..., fan]; None: all are one
    b        the biases [...]; None: there is none, or it is left out
    present  [..., slots]; None: all are
    z        for each branch, the stabilised denominator: [...]; infinite where the neuron does not use the branch
    """

    a: tuple[Tensor, ...]
    w: Tensor | None
    b: Tensor | None
    present: Tensor | None
    z: tuple[Tensor, ...]


class RuleEdges:
    """What Θ is given: p, z, d, present, defined (see `semirings.annotations.base.Edges`). d is made when asked for."""

    def __init__(self, p: Tensor, z: Tensor, present: Tensor | None, defined: Tensor | None = None) -> None:
        self.p, self.z, self.present = p, z, present
        self._defined = defined
        self.kept: dict[str, Tensor] = {}  # what an annotation function made of them and needs again

    @cached_property
    def _quotient(self) -> tuple[Tensor, Tensor | None]:
        d = self.p / self.z.unsqueeze(-1)
        # A sum is finite only if every summand is, and costs one pass where a mask costs three. It may overflow though
        # all summands are finite: then the mask is made and says so.
        if bool(torch.isfinite(d.sum())):
            return d, self._defined
        defined = torch.isfinite(d)
        if d.requires_grad:
            d = quotient(self.p, self.z.unsqueeze(-1))
        else:
            d = torch.where(defined, d, torch.zeros((), dtype=d.dtype, device=d.device))
        return d, defined if self._defined is None else defined & self._defined

    @property
    def d(self) -> Tensor:
        return self._quotient[0]

    @property
    def defined(self) -> Tensor | None:
        return self._quotient[1]


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


# The parts that rules are made of. One function object each, so that what two products share is made once.


def positive(a: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return a⁺ = max(a, 0). Of a layer without negative neurons, as behind a ReLU, that is the layer itself."""
    return a if shape and _nonnegative(a) else a.clamp(min=0)


def negative(a: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return a⁻ = min(a, 0)."""
    return (
        torch.zeros((), dtype=a.dtype, device=a.device).expand(a.shape) if shape and _nonnegative(a) else a.clamp(max=0)
    )


def _nonnegative(a: Tensor) -> bool:
    """Tell it of a whole layer. Looking costs one pass where a copy costs fresh memory. Weights have both signs."""
    return not a.requires_grad and a.numel() > 0 and bool(a.min() >= 0)


def ones(a: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return 1 for every neuron, or every weight."""
    return torch.ones_like(a)


def size(a: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return |a|."""
    return a.abs()


WRITERS: tuple[tuple[Any, Callable[..., Tensor]], ...] = (
    (positive, partial(torch.clamp, min=0)),
    (negative, partial(torch.clamp, max=0)),
)
"""Maps of weights that can write to given memory: fresh memory costs as much again as what is computed."""
