"""Reads a formula back from the text that `Formula.text` prints, in either notation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from provnet.circuit.gates import ONE, PLUS, TIMES, ZERO, Neuron, Variable
from provnet.errors import ParseError
from provnet.symbolic.canonical import Builder, cone
from provnet.symbolic.formula import Formula
from provnet.symbolic.notation import unquoted

# A name is everything between two operators on one line, so that "fc1[2<-0]" and "w fc1[7]" need no quotes.
_TOKEN = re.compile(r"`(?:[^`\\]|\\.)*`|[⊕⊗+*()=]|[^⊕⊗+*()=`\s](?:[^⊕⊗+*()=`\n\r]*[^⊕⊗+*()=`\s])?|`")
_OPERATORS = {"⊕": PLUS, "+": PLUS, "⊗": TIMES, "*": TIMES}


@dataclass
class _Sum:
    """A sum that is being read: the terms that are finished, and the factors of the one that is not."""

    terms: list[int] = field(default_factory=list)
    factors: list[int] = field(default_factory=list)

    def finish_term(self, builder: Builder) -> None:
        self.terms.append(builder.combine(TIMES, self.factors))
        self.factors = []

    def finish(self, builder: Builder) -> int:
        self.finish_term(builder)
        return builder.combine(PLUS, self.terms)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [(m.group(), m.start()) for m in _TOKEN.finditer(text)]
        self.at = 0
        self.builder = Builder()
        self.shared: dict[str, int] = {}

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def wrong(self, wanted: str) -> ParseError:
        """Return the error that says what stands where `wanted` should."""
        here = self.tokens[self.at][1] if self.at < len(self.tokens) else len(self.text)
        line, column = self.text.count("\n", 0, here) + 1, here - self.text.rfind("\n", 0, here)
        found = repr(self.peek()) if self.peek() else "the end"
        return ParseError(
            f"line {line}, column {column}: found {found}, wanted {wanted}. See Formula.text for the form."
        )

    def read(self) -> int:
        """Return the gate of the whole text: definitions, then one expression."""
        while self.peek().startswith("let ") and self.at + 1 < len(self.tokens):
            name = self.take()[len("let ") :].strip()
            if self.take() != "=":
                self.at -= 1
                raise self.wrong(f"'=' after 'let {name}'")
            if name in self.shared:
                raise ParseError(f"{name!r} is defined twice: give each shared gate a name of its own.")
            self.shared[name] = self.expression()
        gate = self.expression()
        if self.at < len(self.tokens):
            raise self.wrong("an operator or the end")
        return gate

    def expression(self) -> int:
        """Return the gate of one expression. Open brackets are on a list: Python's stack bounds no depth."""
        open_sums = [_Sum()]
        while True:
            while self.peek() == "(":
                self.take()
                open_sums.append(_Sum())
            open_sums[-1].factors.append(self.atom())
            while self.peek() == ")":
                if len(open_sums) == 1:
                    raise self.wrong("an operator: no bracket is open")
                self.take()
                closed = open_sums.pop().finish(self.builder)
                open_sums[-1].factors.append(closed)
            if (operator := _OPERATORS.get(self.peek())) is None:
                break
            self.take()
            if operator == PLUS:
                open_sums[-1].finish_term(self.builder)
        if len(open_sums) > 1:
            raise self.wrong("')'")
        return open_sums[0].finish(self.builder)

    def atom(self) -> int:
        token = self.peek()
        if not token or token in "⊕⊗+*()=`" or token.startswith("let "):
            raise self.wrong("a variable, 0, 1 or '('")
        self.take()
        if token in self.shared:
            return self.shared[token]
        if token in ("0", "1"):
            return self.builder.constant(ZERO if token == "0" else ONE)
        return self.builder.variable(Variable(unquoted(token)))


def parse(text: str) -> Formula:
    """Return the formula that `text` shows: `parse(str(f)) == f`.

    ⊕ or + is a sum, ⊗ or * a product, which binds closer; `let name = …` defines a shared gate; names with operators in
    them stand in backticks. Variables are told by name only: their neurons are not in the text.
    Raises `ParseError` with line and column.
    """
    reader = _Reader(text)
    gate = reader.read()
    root = Neuron("formula", ())
    return Formula(cone(reader.builder.store([gate], [root]), [gate], [root]))
