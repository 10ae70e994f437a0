"""A formula: one neuron's relevance, written with ⊕ and ⊗ over the variables of the circuit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from provnet.circuit.fold import fold
from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, GateStore, Neuron
from provnet.errors import LimitError, ValuationError
from provnet.notebook import card
from provnet.on_use import on_use
from provnet.symbolic.canonical import Root, cone, find_gate
from provnet.symbolic.layout import LIMIT, Definition, Style, lay_out, symbols, wrap
from provnet.symbolic.naming import Naming, aliases_of
from provnet.symbolic.notation import latex_neuron, latex_text
from provnet.symbolic.size import leaves, spell, terms

if TYPE_CHECKING:
    import sympy
else:
    sympy = on_use("sympy")

K = TypeVar("K")
WIDTH = 100

NOTEBOOK_SYMBOLS = 200
"""Symbols up to which a notebook sets a formula in LaTeX; longer ones are text."""


@dataclass(frozen=True, eq=False)
class Formula:
    """One neuron's expression. `store` is its cone: one root, every gate below it, equal gates merged.

    Formulas are equal if they read the same, names of shared gates apart. `str` prints as much as 10,000 symbols.
    `naming` says how variables are shown; it is no part of what is compared.
    """

    store: GateStore
    naming: Naming = field(default_factory=Naming)

    def shown(self, aliases: Mapping[Any, Any] | None = None, values: Mapping[str, Any] | None = None) -> Formula:
        """Return the same formula, shown with other names and with values beside the symbols.

        aliases   neuron ("fc[3]", ("fc", 3)) or variable -> name; path -> names of all its neurons, or a function of
                  the indices. See `provnet.symbolic.naming.aliases_of`.
        values    variable's name -> element.
        What is shown so is for people: `parse` reads a formula without.
        Example: `formula.shown(aliases={"fc": ["cat", "dog"]}, values=gates.values("real"))`
        """
        return replace(self, naming=Naming(aliases_of(aliases), values))

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables that occur, in the order of their first occurrence."""
        return tuple(v.name for v in self.store.variables)

    @property
    def symbols(self) -> int:
        """How many variables, constants and names `str` prints, shared gates once."""
        return symbols(self.store)

    @property
    def terms(self) -> int:
        """How many monomials the unfolded polynomial has, equal ones apart: the number of paths."""
        return terms(self.store)[self._gate]

    @property
    def leaves(self) -> int:
        """How many variables and constants the expression shows if nothing is shared."""
        return leaves(self.store)[self._gate]

    @property
    def _gate(self) -> int:
        return int(self.store.root_gates[0])

    def text(self, unicode: bool = True, limit: int = LIMIT, width: int = WIDTH) -> str:
        """Return the formula as text: `let r1 = …` for each shared gate, then the expression.

        Without `unicode`, ⊕ is written + and ⊗ is written *. `parse` reads either.
        Raises `LimitError`, with the exact number of symbols, above `limit`.
        """
        return layout_text(self.store, unicode, limit, width, naming=self.naming)

    def latex(self, limit: int = LIMIT, width: int = 60) -> str:
        r"""Return the formula in LaTeX mathematics, without the surrounding $ or \[; it needs amsmath.

        With shared gates, or where it is longer than a line, it is an `aligned` list of definitions.
        """
        return layout_latex(self.store, limit, width, self.naming)

    def sympy(self, limit: int = 1_000) -> sympy.Expr:
        """Return a sympy expression with ⊕ as Add and ⊗ as Mul, built with evaluate=False so that it keeps its form.

        Substitute with `xreplace` (`subs` is thousands of times slower). Raises `LimitError` above `limit` leaves, for
        sympy walks a shared part once for each use.
        """
        if self.leaves > limit:
            raise LimitError(
                f"the sympy expression would have {spell(self.leaves)} leaves, more than limit={limit:,}. "
                f"Evaluate the gates instead, ask for a smaller cone, or raise limit."
            )
        value: list[sympy.Expr] = []
        for gate, kind in enumerate(self.store.kind.tolist()):
            if kind in (PLUS, TIMES):
                operands = [value[g] for g in self.store.operands_of(gate).tolist()]
                value.append((sympy.Add if kind == PLUS else sympy.Mul)(*operands, evaluate=False))
            elif kind == VARIABLE:
                value.append(sympy.Symbol(self.store.variables[self.store.variable[gate]].name))
            else:
                value.append(sympy.Integer(int(kind == ONE)))
        return value[self._gate]

    def fold(
        self,
        plus: Callable[[K, K], K],
        times: Callable[[K, K], K],
        zero: K,
        one: K,
        valuation: Mapping[str, K] | Callable[[str], K],
    ) -> K:
        """Return the formula's value in the semiring (plus, times, zero, one), each gate computed once.

        `valuation` gives a value to each variable's name. Raises `ValuationError` if it lacks one.
        """
        return fold(self.store, plus, times, zero, one, lambda v: value_of(valuation, v.name))[0]

    def key(self) -> tuple[Any, ...]:
        """Return what two formulas share exactly if they are equal."""
        names = [self.store.variables[v].name if v >= 0 else "" for v in self.store.variable.tolist()]
        return (tuple(self.store.kind.tolist()), tuple(self.store.operands.tolist()), tuple(names))

    def __eq__(self, other: object) -> bool:
        return self.key() == other.key() if isinstance(other, Formula) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key())

    def __str__(self) -> str:
        return self.text()

    def _repr_latex_(self) -> str | None:
        return f"$\\displaystyle {self.latex()}$" if self.symbols <= NOTEBOOK_SYMBOLS else None

    def _repr_html_(self) -> str:
        shown = self.symbols <= LIMIT
        return card(repr(self), code=self.text() if shown else "", lines=[] if shown else ["too long to print"])

    def __repr__(self) -> str:
        return f"<Formula of {self.store.roots[0]}: {self.symbols:,} symbols, {spell(self.terms)} terms>"


def formula(store: GateStore, root: Root = None) -> Formula:
    """Return the formula of one neuron or gate.

    `root` is a neuron, its name `path[0, 4]`, a gate's number, or None where there is one root only.
    Raises `UnknownNameError` for a neuron that is no root, `OptionError` for a number that is no gate.

    >>> print(formula(gates, "fc1:in[0]"))           # doctest: +SKIP
    fc1[0<-0] ⊗ fc2[3<-0] ⊕ fc1[1<-0] ⊗ fc2[3<-1]
    """
    gate, neuron = find_gate(store, root)
    return Formula(cone(store, [gate], [neuron]))


def value_of(valuation: Mapping[str, K] | Callable[[str], K], name: str) -> K:
    """Return a variable's value. Raises `ValuationError` if the valuation lacks it."""
    if not isinstance(valuation, Mapping):
        return valuation(name)
    if name not in valuation:
        raise ValuationError(f"the valuation has no value for the variable {name!r}: give every variable one.")
    return valuation[name]


def layout_text(
    store: GateStore,
    unicode: bool = True,
    limit: int = LIMIT,
    width: int = WIDTH,
    signs: tuple[str, str] | None = None,
    naming: Naming | None = None,
) -> str:
    """Return a cone's formulas as text: the shared gates, then one expression, or several as `neuron = …`.

    `signs` are written for plus and times in place of ⊕ and ⊗; `naming` says how variables are shown.
    Raises `LimitError` as `Formula.text` does.
    """
    plus, times = signs or (("⊕", "⊗") if unicode else ("+", "*"))
    lets, roots = lay_out(store, Style(plus, times, (naming or Naming()).text, str), limit)
    lines = [_text_lines(f"let {d.name} = ", d, width) for d in lets]
    lines += [_text_lines(f"{d.name} = " if len(roots) > 1 else "", d, width) for d in roots]
    return "\n".join(lines)


def layout_latex(store: GateStore, limit: int = LIMIT, width: int = 60, naming: Naming | None = None) -> str:
    """Return a cone's formulas in LaTeX: one equation, or an `aligned` list of definitions.

    Raises `LimitError` as `Formula.text` does.
    """
    style = Style(r"\oplus", r"\otimes", (naming or Naming()).latex, _latex_shared, (r"\left(", r"\right)"))
    lets, roots = lay_out(store, style, limit)
    heads = [_latex_root(neuron) for neuron in store.roots]
    if not lets and len(roots) == 1 and len(wrap("", roots[0], width, latex_width)) == 1:
        return rf"{heads[0]} = {f' {roots[0].operator} '.join(roots[0].parts)}"
    lines = [_latex_lines(_latex_shared(d.name), d, width) for d in lets]
    lines += [_latex_lines(head, d, width) for head, d in zip(heads, roots, strict=True)]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def _latex_root(neuron: Neuron) -> str:
    path = rf"\mathrm{{{latex_text(neuron.path)}}}"
    return rf"R^{{{path}}}_{{{latex_neuron(neuron)}}}" if neuron.index else f"R_{{{path}}}"


def _text_lines(head: str, definition: Definition, width: int) -> str:
    lines = wrap(head, definition, width)
    # Operators of one sum stand below each other: "let r1 = a" is continued by "       ⊕ b".
    indent = "\n" + " " * max(0, len(head) - 2)
    return head + indent.join(" ".join(line) for line in lines)


def _latex_shared(name: str) -> str:
    letters = name.rstrip("0123456789")
    return f"{letters}_{{{name[len(letters) :]}}}"


def latex_width(text: str) -> int:
    """Return roughly how many characters wide a piece of LaTeX is once set: commands count one, braces nothing."""
    width, command = 0, False
    for character in text:
        if character == "\\":
            command, width = True, width + 1
        elif command and character.isalpha():
            continue
        else:
            command = False
            width += character not in "{}^_ "
    return width


def _latex_lines(head: str, definition: Definition, width: int) -> str:
    lines = wrap("", definition, width, latex_width)
    return rf"{head} &= " + " \\\\\n&\\quad ".join(" ".join(line) for line in lines)
