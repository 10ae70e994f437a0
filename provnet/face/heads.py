"""Attention heads by the path of their module: where in a circuit they lie."""

from __future__ import annotations

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.errors import UnknownNameError
from provnet.rules.ops.ranks import SOFTMAX, rank_of


def attention_in(circuit: BlockCircuit, path: str) -> int:
    """Return the activation that a module's attention gives, probabilities times values, heads on its first axis.

    path   of the module that runs the attention, or the name of a recorded tensor, which is returned itself if no
           attention runs below it.
    Raises: `UnknownNameError` if no attention, or more than one, runs in the module.
    """
    inside = [block for block in attentions(circuit) if path in ("", block.path) or block.path.startswith(_below(path))]
    if len(inside) == 1:
        return inside[0].output
    if not inside and path in circuit.names:
        return circuit.names[path]
    known = ", ".join(block.path for block in attentions(circuit)) or "none"
    what = f"{len(inside)} attentions run" if inside else "no attention runs"
    raise UnknownNameError(f"{what} in {path!r}, so its heads are not known. Give one of: {known}.")


def attentions(circuit: BlockCircuit) -> list[Block]:
    """Return the contractions of probabilities, which a softmax made, with values: one an attention."""
    ranks: dict[int, int] = {}
    found = []
    for block in circuit.blocks:
        sums = any(operand.wiring.fan > 1 for operand in block.operands)
        if block.role == "product" and sums and any(ranks.get(i) == SOFTMAX for i in block.inputs):
            found.append(block)
        ranks[block.output] = rank_of(block, ranks)
    return found


def _below(path: str) -> tuple[str, str]:
    """Return how the paths of what runs in a module begin: its own ops, and those of modules in it."""
    return f"{path}/", f"{path}."
