"""One block made ready for one rule and policy: f(a) rows, weights, denominators, winners. Then any of its edges is a
look-up: `tile` for a dense bundle of edges, `at` for chosen outputs. Both give the same bits, for both read the same
denominators and do the rest elementwise (design section 1: z is made once per circuit, block and rule)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.circuit.deferred import deferrable, raw
from provnet.rules.lrp.base import Rule
from provnet.rules.lrp.factors import RuleEdges, Terms
from provnet.torch_backend.blocks.scratch import Scratch


@dataclass(frozen=True)
class Tile:
    """Positions first:last of one group, and some channels: the edges [batch, positions, channels, slots]."""

    positions: slice
    channels: Tensor


Sources = tuple[Tensor, Tensor | None, Tensor]
"""Input index, present (None: all) and weight index of a tile's slots, each [positions, fan]."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that a block's edges are computed from.

    a       f(a) for each product of the rule, [batch, inputs]
    w, b    flat, or [batch, …] where they vary by example; None: ones, no bias
    z       for each branch the stabilised denominator, [batch, outputs]
    winner  of a selection under the policy `winner`: the slot that won, [batch, outputs]
    padding inputs that are padding and no neurons (padding that was written out), [inputs], or [batch, inputs] where
            examples differ in it; None: there is none
    weight_padding
            weights that are such entries (masked probabilities, to the values they multiply): [weights], or
            [batch, weights]; None: there is none. An edge with one is absent
    memo    what routes keep beside the denominators
    scratch memory that a route may use until it returns; None: take fresh memory

    w, z and winner are made when they are first looked at; `raw(prepared, "w")` shows what stands for them.
    """

    block: Block
    rule: Rule
    a: tuple[Tensor, ...]
    b: Tensor | None
    w: Tensor | None = deferrable()  # noqa: RUF009  # a descriptor: instances share nothing
    z: tuple[Tensor, ...] = deferrable()
    winner: Tensor | None = deferrable(None)  # noqa: RUF009
    padding: Tensor | None = None
    weight_padding: Tensor | None = None
    memo: dict[str, Tensor] = field(default_factory=dict)
    scratch: Scratch | None = None

    @property
    def device(self) -> torch.device:
        return self.a[0].device

    @property
    def batch(self) -> int:
        return len(self.a[0])

    @property
    def selects(self) -> bool:
        """Whether the block passes all to the winner of each window. Asking does not make the winners."""
        return raw(self, "winner") is not None

    @property
    def whole(self) -> bool:
        """Whether every slot that the wiring has is an edge: no neuron that feeds the block is padding."""
        return self.padding is None and self.weight_padding is None

    @property
    def parts(self) -> tuple[Prepared, ...]:
        """Its operands: it is its only one."""
        return (self,)

    @property
    def slots(self) -> int:
        """Slots of a neuron, the bias counted."""
        return self.block.wiring.fan + (self.b is not None)

    def undefined(self) -> Tensor | None:
        """Return which outputs have no defined edge by their denominators alone, [batch, outputs]; None: it takes
        none."""
        if self.selects or not self.z:
            return None
        return torch.stack([(z == 0) | ~torch.isfinite(z) for z in self.z]).all(0)

    # -- tiles ---------------------------------------------------------------------------------------------------------

    def outputs(self, tile: Tile) -> Tensor:
        """Return the output index of every (position, channel) of the tile."""
        positions = torch.arange(tile.positions.start, tile.positions.stop, device=self.device)
        return self.block.wiring.output(positions[:, None], tile.channels)

    def sources(self, positions: slice) -> Sources:
        """Return the sources of the slots at some positions: the first channel's, for channels share their sources."""
        first = self.outputs(Tile(positions, torch.zeros(1, dtype=torch.int64, device=self.device)))
        wiring = self.block.wiring
        repeated = wiring.taps if wiring.shift is not None and wiring.taps is not None else wiring.fan
        index, present, weight = wiring.source(first, torch.arange(repeated, device=self.device))
        present = None if present is True else present
        if repeated < wiring.fan:
            index, weight = _shifted(index, wiring.shift or 0, wiring.fan), _shifted(weight, repeated, wiring.fan)
            present = None if present is None else present.repeat(1, wiring.fan // repeated)
        return index, self._shared_present(present, index, weight), weight

    def _shared_present(self, present: Tensor | None, index: Tensor, weight: Tensor) -> Tensor | None:
        """Return which slots are there as far as all examples and channels agree on it; None: all."""
        for padding, at in ((self.padding, index), (self._shared_weight_padding(), weight)):
            if padding is not None and padding.dim() == 1:
                present = _both(present, ~padding[at])
        return present

    def _shared_weight_padding(self) -> Tensor | None:
        """Return the weights that are none, where channels have no weights of their own; else see `_tile_present`."""
        return self.weight_padding if self.block.wiring.channels == 1 else None

    def _present_by_example(self, index: Tensor, weight: Tensor, batch: slice) -> Tensor | None:
        """Return which slots are there, [batch, *index.shape], where examples differ in it; None: they do not."""
        found = None
        for padding, at in ((self.padding, index), (self._shared_weight_padding(), weight)):
            if padding is not None and padding.dim() == 2:
                found = _both(found, ~self._by_example(padding, batch, at))
        return found

    def tile(self, tile: Tile, batch: slice, sources: Sources) -> RuleEdges:
        """Return the tile's edges, [batch, positions, channels, slots]."""
        outputs = self.outputs(tile)
        if self.winner is not None:
            won = self.winner[batch][:, outputs.reshape(-1)].reshape(-1, *outputs.shape)
            return self._selected(won, self._tile_present(tile, batch, sources))
        z = tuple(z[batch][:, outputs.reshape(-1)].reshape(-1, *outputs.shape) for z in self.z)
        return self.rule.coefficients(self._terms(tile, batch, sources, outputs, z))

    def numerators(self, tile: Tile, batch: slice, sources: Sources, absent: float = 0.0) -> tuple[Tensor, ...]:
        """Return each branch's contributions, [batch, positions, channels, slots], with `absent` where there is no
        edge."""
        terms = self._terms(tile, batch, sources, self.outputs(tile), ())
        found = self.rule.numerators(terms)
        if terms.present is None:
            return found
        fill = torch.full((), absent, dtype=found[0].dtype, device=self.device)
        return tuple(torch.where(terms.present, part, fill) for part in found)

    def _terms(self, tile: Tile, batch: slice, sources: Sources, outputs: Tensor, z: tuple[Tensor, ...]) -> Terms:
        index, _, weight = sources
        a = tuple(self.gather(a[batch], index)[:, :, None] for a in self.a)
        w = None if self.w is None else self.tile_weights(tile, batch, weight)
        b = None if self.b is None else self._by_example(self.b, batch, self.block.wiring.bias(outputs))
        present = self._tile_present(tile, batch, sources)
        return Terms(a, w, b, None if present is None else self._with_bias(present), z)

    def _tile_present(self, tile: Tile, batch: slice, sources: Sources) -> Tensor | None:
        """Return which slots of a tile there are, broadcastable to [batch, positions, channels, fan]; None: all."""
        index, present, weight = sources
        by_example = self._present_by_example(index, weight, batch)
        shared = None if present is None else present[:, None]
        if self.weight_padding is not None and self.block.wiring.channels > 1:  # each channel has weights of its own
            shared = _both(shared, ~self._bank(self.weight_padding, tile, batch))
        return shared if by_example is None else _both(shared, by_example[:, :, None])

    def gather(self, a: Tensor, index: Tensor) -> Tensor:
        """Return rows [batch, inputs] at a tile's sources: [batch, positions, fan]."""
        wiring = self.block.wiring
        if wiring.channel_axis == -1 and wiring.positions == 1:
            return a[:, None]  # all inputs in their order: a look-up would copy them for every tile
        return a[:, index.reshape(-1)].reshape(len(a), *index.shape)

    def tile_weights(self, tile: Tile, batch: slice, weight: Tensor) -> Tensor:
        """Return the tile's weights, broadcastable to [batch, positions, channels, fan]."""
        wiring = self.block.wiring
        assert self.w is not None
        if wiring.channels == 1:
            return self._by_example(self.w, batch, weight)[:, :, None]
        return self._bank(self.w, tile, batch)

    def _bank(self, values: Tensor, tile: Tile, batch: slice) -> Tensor:
        """Return what stands at the weights of a tile of several channels, [1 or batch, 1, channels, fan].

        Weights lie as [groups, channels, fan] (see Wiring); so does what is known of each of them.
        """
        wiring = self.block.wiring
        group = tile.positions.start * wiring.groups // wiring.positions
        bank = values.reshape(-1, wiring.groups, wiring.channels, wiring.fan)[:, group]
        if len(tile.channels) < wiring.channels:
            first, last = int(tile.channels[0]), int(tile.channels[-1])
            run = last - first + 1 == len(tile.channels)  # a run of channels is a view, others are copied
            bank = bank[:, first : last + 1] if run else bank.index_select(1, tile.channels)
        return (bank[batch] if len(bank) > 1 else bank)[:, None]

    @staticmethod
    def _by_example(values: Tensor, batch: slice, index: Tensor) -> Tensor:
        """Return values[index] with a leading axis of examples (of size one where all share them)."""
        held = values[None] if values.dim() == 1 else values[batch]
        return held[:, index.reshape(-1)].reshape(len(held), *index.shape)

    def _with_bias(self, present: Tensor) -> Tensor:
        """Return the mask with one more slot, present, if there is a bias."""
        if self.b is None:
            return present
        return torch.cat([present, torch.ones_like(present[..., :1])], dim=-1)

    def _selected(self, won: Tensor, present: Tensor | None) -> RuleEdges:
        """Return a selection's edges: p = z = d = 1 for the winner, every other slot absent."""
        slots = torch.arange(self.block.wiring.fan, device=self.device)
        chosen = won.unsqueeze(-1) == slots
        ones = torch.ones((), dtype=self.a[0].dtype, device=self.device)
        return RuleEdges(
            ones.expand(chosen.shape), ones.expand(won.shape), chosen if present is None else chosen & present
        )

    # -- chosen outputs ------------------------------------------------------------------------------------------------

    def at(self, outputs: Tensor, batch: slice) -> RuleEdges:
        """Return the edges of the outputs [n]: [batch, n, slots]. The plain definition; gates and messages read it."""
        if self.winner is not None:
            return self._selected(self.winner[batch][:, outputs], self._lookup(outputs, batch)[1])
        return self.rule.coefficients(self.terms(outputs, batch))

    def _lookup(self, outputs: Tensor, batch: slice) -> Sources:
        """Return the sources of the slots of the outputs [n]. Which are present: [n, fan], or [batch, n, fan] where
        examples differ; None: all."""
        wiring = self.block.wiring
        index, present, weight = wiring.source(outputs[:, None], torch.arange(wiring.fan, device=self.device))
        present = self._shared_present(None if present is True else present, index, weight)
        by_example = self._present_by_example(index, weight, batch)
        return index, present if by_example is None else _both(present, by_example), weight

    def terms(self, outputs: Tensor, batch: slice) -> Terms:
        """Return what the edges of the outputs [n] are computed from: [batch, n, slots]."""
        wiring = self.block.wiring
        index, present, weight = self._lookup(outputs, batch)
        a = tuple(self._by_example(a, batch, index) for a in self.a)
        w = None if self.w is None else self._by_example(self.w, batch, weight)
        b = None if self.b is None else self._by_example(self.b, batch, wiring.bias(outputs))
        z = tuple(z[batch][:, outputs] for z in self.z)
        return Terms(a, w, b, None if present is None else self._with_bias(present), z)


@dataclass(frozen=True, eq=False)
class Joined:
    """A block of several operands made ready. Their slots stand side by side, and Θ sees them all.

    parts   each operand as a block of its own, with the denominators of the whole; the last one has the bias
    """

    block: Block
    parts: tuple[Prepared, ...]

    @property
    def rule(self) -> Rule:
        return self.parts[0].rule

    @property
    def z(self) -> tuple[Tensor, ...]:
        return self.parts[0].z

    @property
    def b(self) -> Tensor | None:
        return self.parts[-1].b

    @property
    def selects(self) -> bool:
        return self.parts[0].selects

    @property
    def winner(self) -> Tensor | None:
        """Of a selection, the slot that won, counted over all operands: [batch, outputs]."""
        return self.parts[0].winner

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    @property
    def batch(self) -> int:
        return self.parts[0].batch

    @property
    def slots(self) -> int:
        """Slots of a neuron, the bias counted."""
        return sum(part.slots for part in self.parts)

    def undefined(self) -> Tensor | None:
        """Return which outputs have no defined edge by their denominators alone; see `Prepared.undefined`."""
        return self.parts[0].undefined()

    def at(self, outputs: Tensor, batch: slice) -> RuleEdges:
        """Return the edges of the outputs [n]: [batch, n, slots], operand by operand, the bias last."""
        if self.selects:
            return self._selected(outputs, batch)
        terms = [part.terms(outputs, batch) for part in self.parts]
        return self.rule.coefficients(_side_by_side(terms))

    def numerators(self, outputs: Tensor, batch: slice) -> tuple[Tensor, ...]:
        """Return each branch's contributions to the outputs [n]: [batch, n, slots]."""
        return self.rule.numerators(_side_by_side([part.terms(outputs, batch) for part in self.parts]))

    def _selected(self, outputs: Tensor, batch: slice) -> RuleEdges:
        assert self.winner is not None
        won = self.winner[batch][:, outputs]
        chosen = won.unsqueeze(-1) == torch.arange(self.slots, device=self.device)
        ones = torch.ones((), dtype=self.parts[0].a[0].dtype, device=self.device)
        return RuleEdges(ones.expand(chosen.shape), ones.expand(won.shape), chosen)


Ready = Prepared | Joined
"""A block made ready for one rule and policy."""


def split(block: Block) -> tuple[Block, ...]:
    """Return each operand as a block of its own: the only one is the block itself."""
    if len(block.operands) == 1:
        return (block,)
    return tuple(replace(block, operands=(one,)) for one in block.operands)


def joined(block: Block, parts: tuple[Prepared, ...], b: Tensor | None) -> Joined:
    """Return operands as one block, whose bias the last one has."""
    return Joined(block, (*parts[:-1], replace(parts[-1], w=raw(parts[-1], "w"), b=b)))


def only(found: Joined) -> Ready:
    """Return the only operand, which is the whole block; several as they are."""
    return found.parts[0] if len(found.parts) == 1 else found


def _side_by_side(terms: list[Terms]) -> Terms:
    """Return the slots of all operands as those of one neuron."""
    widths = [part.a[0].shape[-1] for part in terms]
    a = tuple(torch.cat(_alike(list(rows)), -1) for rows in zip(*(part.a for part in terms), strict=True))
    w = None
    if any(part.w is not None for part in terms):
        one = torch.ones((1, 1, 1), dtype=a[0].dtype, device=a[0].device)
        held = [one.expand(1, 1, n) if part.w is None else part.w for part, n in zip(terms, widths, strict=True)]
        w = torch.cat(_alike(held), -1)
    present = None
    if any(part.present is not None for part in terms):
        # The bias's slot stands in the last part's mask already, where there is one.
        last = terms[-1].b is not None
        every = torch.ones((), dtype=torch.bool, device=a[0].device)
        masks = []
        for number, (part, n) in enumerate(zip(terms, widths, strict=True)):
            n = n + (last and number == len(terms) - 1)
            masks.append(every.expand(1, n) if part.present is None else part.present)
        present = torch.cat(_alike(masks), -1)
    return Terms(a, w, terms[-1].b, present, terms[0].z)


def _both(mask: Tensor | None, other: Tensor) -> Tensor:
    return other if mask is None else mask & other


def _alike(parts: list[Tensor]) -> list[Tensor]:
    """Return tensors expanded to one shape but for their last axis."""
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return [part.expand(*shape, part.shape[-1]) for part in parts]


def _shifted(first: Tensor, step: int, fan: int) -> Tensor:
    """Return [positions, fan] from the first slots [positions, taps], each repetition `step` further."""
    times = torch.arange(fan // first.shape[1], device=first.device) * step
    return (first[:, None, :] + times[:, None]).flatten(1)
