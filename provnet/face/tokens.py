"""Relevance of tokens: the ⊕ of the features that a token was looked up as."""

from __future__ import annotations

from torch import Tensor

from provnet.circuit.blocks import Activation, BlockCircuit
from provnet.errors import OptionError
from provnet.semirings.base import Semiring
from provnet.torch_backend.counts.bounds import check_total


def token_source(circuit: BlockCircuit, name: str | None) -> int:
    """Return the source that holds tokens: the one of that name, or the only one with tokens and features.

    Raises: `OptionError` if it is no sequence, or if none or several are and no name was given; `UnknownNameError`.
    """
    held = [circuit.activations[source] for source in circuit.sources]
    if name is not None:
        chosen = circuit.activations[circuit.find(name)]
        if chosen.id not in circuit.sources or not _is_sequence(chosen):
            raise OptionError(_refusal(chosen.name, chosen, held))
        return chosen.id
    found = [source for source in held if _is_sequence(source)]
    if len(found) != 1:
        raise OptionError(_refusal("the circuit", held[0] if len(held) == 1 else None, held))
    return found[0].id


def by_token(rows: Tensor, held: Activation, semiring: Semiring) -> Tensor:
    """Return the ⊕ over the features of each token, [batch, tokens, *element], of rows [batch, neurons, *element].

    Raises: `CountOverflowError` if whole numbers leave 64 bits.
    """
    parts = rows.unflatten(1, held.shape)
    check_total(f"{held.name}, all features of a token", "⊕", semiring, [parts], dim=2)
    return semiring.sum(parts, 2)


def _is_sequence(held: Activation) -> bool:
    return len(held.shape) == 2


def _refusal(what: str, held: Activation | None, sources: list[Activation]) -> str:
    shape = f", of the shape {list(held.shape)} an example," if held is not None else ""
    shown = ", ".join(f"{source.name!r} {list(source.shape)}" for source in sources)
    return (
        f"{what}{shape} is not one sequence of tokens with features. The sources are {shown}, each without "
        "its examples. Name a source with the shape [tokens, features], or ask for the relevance of the source itself "
        "and combine what belongs together."
    )
