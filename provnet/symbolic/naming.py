"""How variables and neurons are shown to people: other names for neurons, and values beside symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provnet.circuit.gates import Neuron, Variable, spelled
from provnet.errors import OptionError
from provnet.symbolic.notation import latex_text, latex_variable, quoted

DIGITS = 3
"""Significant digits of a value beside a symbol."""


@dataclass(frozen=True, eq=False)
class Aliases:
    """Other names for neurons: `single` by a neuron's or a variable's name, `whole` by a tensor's path.

    What stands for a whole tensor is a list, nested as its axes are, or a function of the indices.
    """

    single: Mapping[str, str] = field(default_factory=dict)
    whole: Mapping[str, Sequence[Any] | Callable[..., str]] = field(default_factory=dict)

    def neuron(self, neuron: Neuron | None) -> str | None:
        """Return the other name of a neuron; None: it has none."""
        if neuron is None:
            return None
        if str(neuron) in self.single:
            return self.single[str(neuron)]
        names = self.whole.get(neuron.path)
        if names is None:
            return None
        return str(names(*neuron.index)) if callable(names) else _looked_up(names, neuron)

    def variable(self, variable: Variable) -> str | None:
        """Return the other name of a variable: its own, or one made of its neurons' names; None: it has none."""
        if not self.single and not self.whole:
            return None
        if variable.name in self.single:
            return self.single[variable.name]
        target, source = self.neuron(variable.target), self.neuron(variable.source)
        if target is None and source is None:
            return None
        head = target or str(variable.target or variable.path)
        tail = source or ("bias" if variable.source is None else str(variable.source))
        return f"{head}←{tail}"


def _looked_up(names: Any, neuron: Neuron) -> str:
    try:
        for index in neuron.index:
            names = names[index]
    except (IndexError, KeyError, TypeError) as error:
        raise OptionError(
            f"the aliases of {neuron.path!r} have no name for {neuron}: give one for each neuron, nested as the "
            f"tensor's axes are, or a function of the indices."
        ) from error
    return str(names)


def aliases_of(given: Mapping[Any, Any] | Aliases | None) -> Aliases:
    """Return aliases from a mapping.

    given   neuron ("fc[3]", ("fc", 3), a Neuron) or variable -> name; path -> names of all its neurons, nested as the
            tensor's axes are, or a function of the indices. None: no aliases.
    Raises: `OptionError` for a key that is none of these.
    Example: `aliases_of({"fc": ["cat", "dog"], "input[3]": "left ear", "pixels": lambda r, c: f"({r}, {c})"})`
    """
    if isinstance(given, Aliases):
        return given
    single: dict[str, str] = {}
    whole: dict[str, Any] = {}
    for key, value in (given or {}).items():
        name = _key(key)
        if isinstance(value, str):
            single[name] = value
        elif callable(value) or isinstance(value, Sequence) or hasattr(value, "__getitem__"):
            whole[name] = value
        else:
            raise OptionError(f"the alias of {name!r} is {value!r}: give a text, a list of texts, or a function.")
    return Aliases(single, whole)


def _key(key: Any) -> str:
    if isinstance(key, tuple) and key and isinstance(key[0], str):
        rest = key[1] if len(key) == 2 and isinstance(key[1], tuple) else key[1:]
        return str(Neuron(key[0], tuple(rest)))
    if isinstance(key, Neuron | Variable):
        return str(key)
    if isinstance(key, str):
        return spelled(key)
    raise OptionError(f"an alias is given to {key!r}, which is no neuron: write 'fc[3]' or ('fc', 3), or a path.")


@dataclass(frozen=True, eq=False)
class Naming:
    """How a formula shows its variables.

    values   variable's name -> element, written before the symbol: `0.31·fc1[3<-17]`. None: symbols alone.
    """

    aliases: Aliases = field(default_factory=Aliases)
    values: Mapping[str, Any] | None = None
    digits: int = DIGITS

    @property
    def plain(self) -> bool:
        """Whether every variable is shown by its own name alone."""
        return self.values is None and not self.aliases.single and not self.aliases.whole

    def symbol(self, variable: Variable) -> str:
        """Return a variable's name or alias, as plain text."""
        return self.aliases.variable(variable) or variable.name

    def text(self, variable: Variable) -> str:
        """Return a variable as text formulas show it."""
        return self._valued(variable, "·", quoted(self.symbol(variable)))

    def plain_text(self, variable: Variable) -> str:
        """Return a variable with its value, without the quotes that a formula needs."""
        return self._valued(variable, "·", self.symbol(variable))

    def latex(self, variable: Variable) -> str:
        """Return a variable as LaTeX formulas show it."""
        alias = self.aliases.variable(variable)
        shown = latex_variable(variable.name) if alias is None else rf"\mathrm{{{latex_text(alias)}}}"
        return self._valued(variable, r"\cdot ", shown)

    def neuron(self, neuron: Neuron) -> str:
        """Return a neuron's alias or name."""
        return self.aliases.neuron(neuron) or str(neuron)

    def _valued(self, variable: Variable, dot: str, shown: str) -> str:
        if self.values is None or variable.name not in self.values:
            return shown
        return f"{number_text(self.values[variable.name], self.digits)}{dot}{shown}"


def number_text(value: Any, digits: int = DIGITS) -> str:
    """Return an element for people: numbers with few digits, infinities as ∞, anything else as it prints."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "-∞"
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}"
