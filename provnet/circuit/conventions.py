"""The conventions that are no rule: which edges an execution has where the literature offers several readings.

An op rule gives a block and, where a convention has a say, its other **forms**; `under` picks one for every block
before anything is evaluated. After it there are plain blocks only: nothing else asks for a convention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.errors import OptionError

DERIVATIVE = "derivative"
"""The form that rules take which give every step its derivative, whatever the conventions say."""


@dataclass(frozen=True)
class Convention:
    """One convention: its values, the first the default, each with a sentence; where it applies, and its source."""

    name: str
    applies: str
    values: Mapping[Any, str]
    source: str

    @property
    def default(self) -> Any:
        """The value that holds where nothing is said."""
        return next(iter(self.values))

    def check(self, value: Any, where: str = "") -> None:
        """Raise `OptionError` unless `value` is one of the values; `where` says what it was given to."""
        known = [one for one in self.values if type(one) is type(value) and one == value]
        if not known:
            shown = " or ".join(map(repr, self.values))
            raise OptionError(
                f"{self.name}={value!r}{where} is unknown; take {shown}. It says what {self.applies} pass on."
            )


CONVENTIONS: dict[str, Convention] = {
    one.name: one
    for one in (
        Convention(
            "bias",
            "layers with a bias",
            {
                True: "The bias is a neuron with activation 1: it takes its share and sends nothing further down.",
                False: "Bias edges are absent, and the bias is in no denominator.",
            },
            "[Bach15] section 2.6; design of provnet, section 1",
        ),
        Convention(
            "pooling",
            "poolings",
            {
                "winner": "A maximum passes everything to the first largest input; an average keeps proportions.",
                "proportional": "Every input of the window gets its proportion a_j / Σ a_j'.",
                "seed": "Every living input gets one (1/n in Viterbi, log n in tropical, a/n in real).",
            },
            "[Mon19] section 10.3; seed: the code of [GSM25]",
        ),
        Convention(
            "products",
            "products of two traced tensors",
            {
                "half": "Each factor gets half: d = ½ p/z with p = a·b on both edges.",
                "value": "The gate's edges are absent, the value gets everything; without a gate, half.",
                "full": "Each factor gets everything, d = p/z on both edges: for reachability and counts of paths.",
            },
            "half: [AttnLRP] eq. 15; value: Arras et al. 2019, signal-take-all",
        ),
        Convention(
            "softmax",
            "softmaxes",
            {
                "identity": "One unit edge from each score to its own probability.",
                "attnlrp": "p_ij = x_i s_j (δ_ij - s_i), and what is left of s_j is a bias.",
                "constant": "Probabilities have no edges: what they receive ends there, a sink.",
            },
            "attnlrp: [AttnLRP] Proposition 3.1; constant: Ali et al. 2022",
        ),
        Convention(
            "norm",
            "normalisation layers",
            {
                "detached": "The standard deviation is constant: p_jk = a_j (δ_jk - 1/n) γ_k / σ, the bias is β_k.",
                "identity": "One unit edge from each entry to the normalised one; β gets nothing.",
            },
            "detached: Ali et al. 2022; identity: [AttnLRP] Proposition 3.4",
        ),
    )
}
"""Every convention by name: signatures, error messages and `docs/conventions-of-evaluation.md` come from it."""


@dataclass(frozen=True)
class Conventions:
    """A value for each convention. Raises: `OptionError` for a value that is none."""

    bias: bool = True
    pooling: str = "winner"
    products: str = "half"
    softmax: str = "identity"
    norm: str = "detached"

    def __post_init__(self) -> None:
        for name, one in CONVENTIONS.items():
            one.check(getattr(self, name))

    def changed(self, **values: Any) -> Conventions:
        """Return these with some values replaced; None leaves one as it is."""
        given = {name: value for name, value in values.items() if value is not None}
        return replace(self, **given) if given else self


NAMES = tuple(field.name for field in fields(Conventions))

DEFAULT = Conventions()


def under(circuit: BlockCircuit, wanted: Sequence[tuple[Conventions, bool]]) -> BlockCircuit:
    """Return the circuit with each block in the form that its conventions pick, `wanted` block by block.

    With True beside them a block takes the form of its derivative, if it has one. Activations, the number and the
    order of blocks and their paths stay. A circuit in which nothing changes is returned itself.
    """
    blocks = tuple(form_of(block, *one) for block, one in zip(circuit.blocks, wanted, strict=True))
    same = all(new is old for new, old in zip(blocks, circuit.blocks, strict=True))
    return circuit if same else replace(circuit, blocks=blocks)


def form_of(block: Block, conventions: Conventions, derivative: bool = False) -> Block:
    """Return the form of one block under some conventions."""
    name = block.convention
    found = block
    if derivative and DERIVATIVE in block.forms:
        found = block.forms[DERIVATIVE]
    elif name is not None and not derivative:
        found = block.forms.get(getattr(conventions, name), block)
    if found is not block:
        # Names and parameters are the default form's: the others were made before these were known.
        found = replace(found, path=block.path, module=block.module, parameters=block.parameters)
    return found if conventions.bias or found.bias is None else without_bias(found)


def without_bias(block: Block) -> Block:
    """Return a block whose bias is absent: its output is no longer the sum of its contributions."""
    return replace(block, bias=None, bias_memory=None, output_is_sum=False)
