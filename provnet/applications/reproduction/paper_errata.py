"""What is printed in the papers and cannot be meant: each with what should stand there, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Erratum:
    """Where it stands, what is printed, and what should stand there."""

    where: str
    printed: str
    meant: str


ERRATA = (
    Erratum(
        "[Gro24] 2.2.1, after (𝔹-LRP); [GSM25] 3.2",
        "784 × 300 × 100 = 23,520,000 different paths connect one input pixel to the output neuron of class 0",
        "One pixel has 300 × 100 = 30,000 paths to one output; 23,520,000 is the number for all 784 pixels together. "
        "Counting relevance with every edge present gives 30,000 (see the claims above).",
    ),
    Erratum(
        "[Gro24] 2.1, on Boolean circuits",
        "Boolean relevance takes for each node the logical conjunction of the annotations of its outgoing edges",
        "The disjunction: R_j = ∨ over k of Θ(d)_jk ∧ R_k, as (𝔹-LRP) itself has it. ∨ joins paths, ∧ runs along one.",
    ),
    Erratum(
        "[Gro24] 1.3.2, the rule z^B",
        "x_k w_jk − l_j w⁺_jk − h_j w⁻_jk, and x_k w_j'k − l_j w⁺_j'k − h_j w⁻_j'k below",
        "The input's index is that of the weight's first end: x_j w_jk − l_j w⁺_jk − h_j w⁻_jk, and in the denominator "
        "x_j' w_j'k − l_j' w⁺_j'k − h_j' w⁻_j'k. As printed the shares of a neuron do not sum to one.",
    ),
    Erratum(
        "[GSM25] eq. 10 to 13",
        "Brackets that do not close where they should",
        "Each annotation is closed before ⊗: R_j = ⊕ over k of (Θ(d)_jk) ⊗ R_k, for Viterbi with "
        "Θ(d)_jk = |p_jk| / max_j' |p_j'k|, as [Gro24] 2.2.3 prints it.",
    ),
    Erratum(
        "[Gro24] 1.3.2, LRP-ε",
        "ε + Σ a w in the denominator",
        "[Bach15] adds ε with the sign of the sum, so that the denominator cannot vanish; the printed form has "
        "a pole at Σ a w = −ε. Both are here: `Epsilon(ε)` and `Epsilon(ε, literal=True)`.",
    ),
    Erratum(
        "[Gro24] 2.1",
        "Choosing the real semiring with Θ(x) = x gives classical LRP up to a factor a^(L)_i on each layer",
        "Up to that factor once: LRP is linear, and the factor is that of the start.",
    ),
    Erratum(
        "[Gro24] 3.2 beside its notebook",
        "Average relevance; neurons with the lowest absolute relevance are pruned first",
        "The notebook takes the mean of absolute values, of pixels from 0 to 255 with the box [−1, 1] for z^B, which "
        "does not contain them; here pixels are in [0, 1].",
    ),
)
