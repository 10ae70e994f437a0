"""Fold messages into the neurons that they reach, for any semiring: plus is all that is used."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import Semiring


def scatter_taps(semiring: Semiring, into: Tensor, index: Tensor, messages: Tensor, taps: int) -> None:
    """into[b, index[l, k]] ⊕= messages[b, l, k], in place; slots congruent modulo `taps` reach distinct neurons.

    Args: `into` [batch, neurons + 1, *element], whose last neuron takes what is absent; `index` [positions, slots];
    `messages` [batch, positions, slots, *element].
    """
    for tap in range(taps):
        found = index[:, tap::taps].reshape(-1)
        part = messages[:, :, tap::taps].flatten(1, 2)
        into.index_copy_(1, found, semiring.plus(into.index_select(1, found), part))


def scatter_any(semiring: Semiring, into: Tensor, index: Tensor, messages: Tensor) -> None:
    """The same without a promise: messages are sorted by the neuron they reach and folded pairwise, log2 steps.

    Args: `index` [messages]; `messages` [batch, messages, *element]. The order of folding is fixed, on every device.
    """
    index, order = torch.sort(index, stable=True)
    messages = messages.index_select(1, order)
    while len(index):
        fresh = torch.ones_like(index, dtype=torch.bool)
        fresh[1:] = index[1:] != index[:-1]
        starts = fresh.nonzero().squeeze(1)
        if len(starts) == len(index):
            break
        rank = torch.arange(len(index), device=index.device) - starts[fresh.cumsum(0) - 1]
        left = (rank % 2 == 0).nonzero().squeeze(1)
        # A left neighbour has a partner if the next message is of the same neuron.
        partner = (left + 1).clamp(max=len(index) - 1)
        paired = (left + 1 < len(index)) & (index[partner] == index[left])
        folded = messages.index_select(1, left)
        joined = semiring.plus(folded[:, paired], messages.index_select(1, partner[paired]))
        folded[:, paired] = joined
        index, messages = index[left], folded
    into.index_copy_(1, index, semiring.plus(into.index_select(1, index), messages))
