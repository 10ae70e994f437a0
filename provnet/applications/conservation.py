"""What share of the relevance each layer, and each neuron, passed on; in every semiring that can divide."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import UnsupportedOperationError
from provnet.face.relevance import Relevance
from provnet.semirings.base import Semiring


def conservation_residuals(relevance: Relevance) -> dict[str, Tensor]:
    """Return {block path: given ⊘ came} of every layer, elements [batch] (or [targets, batch]), from the target down.

    x ⊘ y is the residual, the largest r with y ⊗ r ≤ x: the quotient in Real and NonNegative, min(1, x/y) in Viterbi,
    the truncated difference in Tropical, the Gödel implication in Bottleneck, y → x in Boolean. It is one iff the
    layer lost nothing: came ≤ given. A layer to which nothing came counts as one. `Conserving(Θ)` makes every one of
    them one, where no neuron lost all of its edges. Source: [GSM25] Problem 1; residuated semirings, Blyth and
    Janowitz 1972.
    Raises: `UnsupportedOperationError` in a semiring without a residual.
    """
    semiring = _dividing(relevance.semiring)
    return {layer.path: quotient(semiring, layer.given, layer.came) for layer in relevance.conservation().layers}


def neuron_residuals(relevance: Relevance, path: str) -> Tensor:
    """Return (⊕_j R_{j←k}) ⊘ R_k for every output neuron k of a block, [batch, outputs], bias messages included.

    One iff the neuron passed on all it had. By `messages`, so for small layers; errors as there, and as above.
    """
    semiring = _dividing(relevance.semiring)
    messages = relevance.messages(path)
    given = semiring.sum(messages, messages.dim() - 1)
    came = relevance[path].flatten(given.dim() - 1).reshape(given.shape)
    return quotient(semiring, given, came)


def quotient(semiring: Semiring, given: Tensor, came: Tensor) -> Tensor:
    """Return given ⊘ came, and one where nothing came."""
    one, nothing = semiring.full((), semiring.one, came), came == semiring.zero
    return torch.where(nothing, one, semiring.residual(given, torch.where(nothing, one, came)))


def _dividing(semiring: Semiring) -> Semiring:
    if semiring.element_shape or not semiring.offers("residual"):
        raise UnsupportedOperationError(
            f"{semiring.name!r} has no residual on single numbers, so no share that is passed on. conservation() "
            "compares what came and what was given in any semiring."
        )
    return semiring
