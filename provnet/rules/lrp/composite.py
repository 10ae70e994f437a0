"""Different rules for different blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.circuit.conventions import CONVENTIONS
from provnet.errors import OptionError, UnknownNameError
from provnet.rules.lrp.base import REGISTRY, Choice, Rule
from provnet.rules.lrp.selectors import Module, Selector, selector
from provnet.rules.lrp.zero import Zero


@dataclass(frozen=True)
class Entry:
    """Which blocks, and what they take: a rule, and conventions, name -> value (empty: those of the evaluation).

    `optional`: a model without such blocks is no error, as in the stock composites, which are written for any model.
    """

    blocks: Selector
    rule: Rule | None = None
    conventions: tuple[tuple[str, Any], ...] = ()
    optional: bool = False

    def __str__(self) -> str:
        options = [f"{name}={value!r}" for name, value in self.conventions]
        return f"{self.blocks}: {', '.join(([] if self.rule is None else [repr(self.rule)]) + options)}"


@dataclass(frozen=True, init=False, repr=False)
class Composite(Rule):
    """A rule that differs by block. Later entries override earlier ones, option by option; but an entry for a module
    class never overrides one for a subclass: the most specific class that a module is an instance of decides.

    entries   a mapping, or pairs: what chooses blocks (see `selectors`) -> a rule, its name, or a mapping of `rule`,
              a convention: `bias`, `pooling`, `products`, `softmax`, `norm` (see `circuit.conventions`).
    default   the rule of the linear maps that no entry chooses. Poolings, sums and scales that none chooses keep plain
              proportions. `circuit.plan(composite)` lists what every block takes, and why.

    Equal entries compare equal; `composite | {...}` adds entries; `rules.to_json` writes one down.
    Raises: `OptionError` for no entries or a wrong value; later, given a circuit, `UnknownNameError` for an entry that
    fits no block and `OptionError` for a rule that cannot apply to one that it fits.
    Example: `Composite({nn.Conv2d: Gamma(0.25), nn.Linear: Epsilon(), 0: ZBox(0, 1), "pool2": {"pooling": "seed"}})`
    """

    entries: tuple[Entry, ...]
    default: Rule
    title: str = field(compare=False)
    name = "composite"

    def __init__(
        self,
        entries: Mapping[Any, Any] | Iterable[tuple[Any, Any] | Entry],
        default: str | Rule = "zero",
        title: str = "Composite",
    ) -> None:
        pairs = entries.items() if isinstance(entries, Mapping) else entries
        found = tuple(pair if isinstance(pair, Entry) else entry(*pair) for pair in pairs)
        if not found:
            raise OptionError("Composite got no entries, so it says nothing. Give {blocks: rule, ...}, or take Zero().")
        object.__setattr__(self, "entries", found)
        object.__setattr__(self, "default", _rule(default))
        object.__setattr__(self, "title", title)

    def __or__(self, more: Mapping[Any, Any] | Iterable[tuple[Any, Any] | Entry]) -> Composite:
        """Return a composite with more entries, which override these."""
        return Composite((*self.entries, *Composite(more).entries), self.default, self.title)

    def at(self, block: Block) -> Rule | None:
        raise OptionError("what a composite gives a block depends on the circuit: ask assign(circuit).")

    def assign(self, circuit: BlockCircuit) -> tuple[Choice | None, ...]:
        given = self.default.assign(circuit)
        found: list[Choice | None] = [None if one is None else replace(one, why="default") for one in given]
        # A rule is asked where it ends up: one that a later entry overrides may be unfit there.
        for number, entry in enumerate(self.entries):
            for index in _reached(entry, circuit):
                held = found[index] or Choice(Zero(), why="default")
                one = _without_closer(entry, self.entries[:number], circuit.blocks[index])
                found[index] = Choice(
                    rule=one.rule or held.rule,
                    conventions={**held.conventions, **dict(one.conventions)},
                    why=str(one.blocks) if one.rule is not None else held.why,
                )
        for index, choice in enumerate(found):
            if choice is not None and circuit.blocks[index].has_coefficients:
                choice.rule.require(circuit, index)
        return tuple(found)

    def __repr__(self) -> str:
        default = "" if self.default == Zero() else f", default={self.default!r}"
        return f"{self.title}({{{', '.join(map(str, self.entries))}}}{default})"

    def __str__(self) -> str:
        lines = [f"  {one}" for one in self.entries]
        return "\n".join([f"{self.title}, later entries override earlier ones:", *lines, f"  else: {self.default!r}"])


def _without_closer(one: Entry, earlier: Iterable[Entry], block: Block) -> Entry:
    """Return an entry for a class without the options that an earlier entry for a subclass has set at this block."""
    if not isinstance(one.blocks, Module):
        return one
    closer = [e for e in earlier if isinstance(e.blocks, Module) and e.blocks.closer(one.blocks, block)]
    said = {name for entry in closer for name, _ in entry.conventions}
    kept = tuple((name, value) for name, value in one.conventions if name not in said)
    return replace(one, rule=None if any(e.rule is not None for e in closer) else one.rule, conventions=kept)


def _rule(value: Any) -> Rule:
    if isinstance(value, Composite):
        raise OptionError("a composite cannot stand inside another one; join them with composite | entries.")
    if isinstance(value, str):
        return _rule(REGISTRY.get(value)())
    if not isinstance(value, Rule):
        raise OptionError(f"a composite gives blocks a propagation rule or its name; got {value!r}.")
    return value


def entry(key: Any, value: Any) -> Entry:
    """Return one entry of a composite from what a user writes. Raises `OptionError`, `UnknownNameError`."""
    if not isinstance(value, Mapping):
        return Entry(selector(key), _rule(value))
    unknown = sorted(set(value) - {"rule", *CONVENTIONS})
    if unknown:
        known = ", ".join(["rule", *CONVENTIONS])
        raise OptionError(f"a composite's entry takes {known}; got {', '.join(map(repr, unknown))}.")
    given = tuple((name, value[name]) for name in CONVENTIONS if value.get(name) is not None)
    for name, chosen in given:
        CONVENTIONS[name].check(chosen, " in a composite")
    rule = value.get("rule")
    if rule is None and not given:
        raise OptionError(f"the composite's entry for {key!r} says nothing; give rule or a convention.")
    return Entry(selector(key), None if rule is None else _rule(rule), given)


def concerns(convention: str, block: Block) -> bool:
    """Return whether a convention has a say in a block."""
    return block.bias is not None if convention == "bias" else block.convention == convention


def _reached(one: Entry, circuit: BlockCircuit) -> list[int]:
    """Return the blocks that an entry speaks of. What it fits without having a say there is refused."""
    blocks = circuit.blocks
    try:
        found = one.blocks.find(circuit)
    except UnknownNameError:
        if one.optional:
            return []
        raise
    if one.rule is not None:
        kept = [i for i in found if blocks[i].kind in one.rule.kinds]
        kept = [i for i in kept if not one.blocks.broad or one.rule.at(blocks[i]) is not None]
        wanted = "a linear map" if one.blocks.broad else f"a block of the kinds {', '.join(one.rule.kinds)}"
    else:
        kept = [i for i in found if any(concerns(name, blocks[i]) for name, _ in one.conventions)]
        wanted = " or ".join(CONVENTIONS[name].applies for name, _ in one.conventions)
    if not kept and not one.optional:
        fitting = ", ".join(f"{blocks[i].path} ({blocks[i].op})" for i in found[:5])
        raise OptionError(f"the composite's entry {one} wants {wanted}, and fits only {fitting}. Choose other blocks.")
    return kept
